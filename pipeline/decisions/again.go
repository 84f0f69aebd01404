package decisions

import "time"

// again says that a decision that was withdrawn would have ended, while
// another stands in for it. A bouncer that takes no later end for a value that
// it has may have kept that of the withdrawn one, and have lost the value with it:
// it is to be told again.
type again struct {
	at int64 // the end, in Unix seconds
	by ref   // what stood in then
	id int64 // of that, which the slot has as long as it is not another's
}

// fewAgain is how many of them are remembered at least.
const fewAgain = 200_000

// ends notes that a withdrawn decision would have ended. It must be called with the lock held.
func (x *Index) ends(m *matcher, r ref, now time.Time) {
	by := m.standIn(r, now)
	if by == 0 {
		return
	}
	x.again = append(x.again, again{x.slots.at(r).until, by, x.slots.at(by).id})
	if most := max(fewAgain, 2*x.active); len(x.again) > most+most/10 {
		n := len(x.again) - most
		x.again, x.before = append(x.again[:0:0], x.again[n:]...), x.before+int64(n)
	}
}

// AgainPlace returns where Again is to begin for a bouncer that is told of all that is in force.
func (x *Index) AgainPlace() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.before + int64(len(x.again))
}

// Again returns what is in force on the values of decisions that were
// withdrawn, and would have ended behind a place and not before a time: with
// it, a bouncer that keeps the first end for a value has them again. Of a value and
// type it is what lasts longest. What is newer than the change since, which
// Delta tells, is left out. It returns the place to go on from, and false when more than
// limit are to be told, or some are no longer known: then only Startup tells them.
func (x *Index) Again(place int64, from time.Time, since int64, f *Filter, now time.Time, limit int) (ds []Decision, last int64, known bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	last = x.before + int64(len(x.again))
	if place < x.before || last-place > int64(limit) {
		return nil, last, false
	}
	m, told := x.newMatcher(f), make(map[ref]bool)
	for _, a := range x.again[min(place, last)-x.before:] {
		s := x.slots.at(a.by)
		if a.at < from.Unix() || s.id != a.id {
			continue
		}
		by := a.by
		if !m.inForce(s, now) || !m.longest(by, now) {
			by = m.standIn(a.by, now)
		}
		if by == 0 || told[by] || x.slots.at(by).id > since {
			continue
		}
		told[by] = true
		ds = append(ds, x.decision(x.slots.at(by)))
	}
	return ds, last, true
}
