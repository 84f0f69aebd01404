package decisions

import "time"

// Since calls yield with the changes behind a number, in order, that a filter
// selects; additions of what is gone again are left out, and removals of what
// was added behind the number. It returns the number of the last change, and
// false when changes behind since are no longer known: then only Select tells
// the whole. It holds a lock: yield must not call the index.
func (x *Index) Since(since int64, f *Filter, now time.Time, yield func(c *Change) bool) (last int64, known bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.since(since, false, x.newMatcher(f), now, func(seq int64, c change) bool {
		return yield(&Change{Seq: seq, Why: c.why, Decision: x.decision(x.slots.at(c.ref))})
	})
}

// forgotten returns the number of the change before the log.
func (x *Index) forgotten() int64 { return x.seq - int64(x.log.len) }

// since must be called with the lock held. In doubt it also gives removals of
// what was added behind the number.
func (x *Index) since(since int64, doubt bool, m *matcher, now time.Time, yield func(seq int64, c change) bool) (last int64, known bool) {
	first := x.forgotten()
	if since < first || since > x.seq {
		return x.seq, false
	}
	for seq := since + 1; seq <= x.seq; seq++ {
		c := x.log.at(int(seq - first - 1))
		if c.ref == 0 {
			continue // it was forgotten before a restart
		}
		s := x.slots.at(c.ref)
		ok := c.why != Added && (doubt || s.id <= since) && m.matches(s) ||
			c.why == Added && s.id == seq && m.inForce(s, now)
		if ok && !yield(seq, c) {
			break
		}
	}
	return x.seq, true
}

// Startup gives page after page of the decisions in force that a filter
// selects, and returns the number of the last change that they reflect: what
// changed later, also while pages were read, is what Since tells from there.
// A page is only valid during its call, and no lock is held during it. With
// dedup, of several decisions of one value and type the one that lasts longest is given alone.
func (x *Index) Startup(f *Filter, now time.Time, dedup bool, page func([]Decision) error) (seq int64, err error) {
	seq = x.Seq()
	var out []Decision
	for next, more := ref(1), true; more; {
		out = out[:0]
		x.mu.RLock()
		m := x.newMatcher(f)
		end := min(next+chunkSlots, x.slots.used+1)
		for r := next; r < end; r++ {
			s := x.slots.at(r)
			if s.id != 0 && s.id <= seq && m.inForce(s, now) && (!dedup || m.longest(r, now)) {
				out = append(out, x.decision(s))
			}
		}
		next, more = end, end <= x.slots.used
		x.mu.RUnlock()
		if len(out) > 0 {
			if err := page(out); err != nil {
				return seq, err
			}
		}
	}
	return seq, nil
}

// Delta returns what a bouncer that knows the changes up to since is to add
// and to remove, as Since gives it. With dedup, a decision that another of its
// value and type outlasts is not added, and one that another still stands in
// for is not removed: the one that stands in is added, again if it was before,
// since bouncers keep one end for a value and some do not take a later one
// while the value is there.
func (x *Index) Delta(since int64, f *Filter, now time.Time, dedup bool) (added, removed []Decision, last int64, known bool) {
	return x.delta(since, false, f, now, dedup)
}

// DeltaInDoubt is Delta for a bouncer that knows the changes up to since and
// perhaps more: what was added behind since and is gone is removed, too.
func (x *Index) DeltaInDoubt(since int64, f *Filter, now time.Time, dedup bool) (added, removed []Decision, last int64, known bool) {
	return x.delta(since, true, f, now, dedup)
}

func (x *Index) delta(since int64, doubt bool, f *Filter, now time.Time, dedup bool) (added, removed []Decision, last int64, known bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	m := x.newMatcher(f)
	stands := make(map[ref]bool) // those that stand in for one or more
	last, known = x.since(since, doubt, m, now, func(_ int64, c change) bool {
		switch {
		case c.why == Added && (!dedup || m.longest(c.ref, now)):
			added = append(added, x.decision(x.slots.at(c.ref)))
		case c.why != Added:
			s, by := x.slots.at(c.ref), ref(0)
			if dedup {
				by = m.standIn(c.ref, now)
			}
			if by == 0 {
				removed = append(removed, x.decision(s))
				break
			}
			// One that is new is added as such. One that is older and lasts longer was all that the bouncer was told of.
			if in := x.slots.at(by); in.id <= since && (in.id > s.id || in.until < s.until) && !stands[by] {
				stands[by] = true
				added = append(added, x.decision(in))
			}
		}
		return true
	})
	return added, removed, last, known
}

// Gone gives page after page of what DeltaInDoubt removes, and nothing when
// changes behind since are no longer known. A page is only valid during its
// call, and no lock is held during it.
func (x *Index) Gone(since int64, f *Filter, now time.Time, dedup bool, page func([]Decision) error) error {
	var out []Decision
	for last := x.Seq(); since < last; {
		out = out[:0]
		x.mu.RLock()
		first := x.forgotten()
		if since < first {
			x.mu.RUnlock()
			return nil
		}
		m := x.newMatcher(f)
		end := min(since+chunkSlots, last)
		for ; since < end; since++ {
			c := x.log.at(int(since - first))
			if c.ref == 0 || c.why == Added {
				continue
			}
			if s := x.slots.at(c.ref); m.matches(s) && (!dedup || m.standIn(c.ref, now) == 0) {
				out = append(out, x.decision(s))
			}
		}
		x.mu.RUnlock()
		if len(out) > 0 {
			if err := page(out); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *matcher) inForce(s *slot, now time.Time) bool {
	return s.gone == Added && s.until > now.Unix() && m.matches(s)
}

func (m *matcher) sameType(a, b *slot) bool {
	return a.kind == b.kind || m.x.kind(a).typ == m.x.kind(b).typ
}

// longest tells whether no other decision of the value and type lasts longer;
// of those that last as long the newest does.
func (m *matcher) longest(r ref, now time.Time) bool {
	s := m.x.slots.at(r)
	for o := m.x.head(s); o != 0; o = m.x.slots.at(o).next {
		other := m.x.slots.at(o)
		if o != r && m.sameType(other, s) && (other.until > s.until || other.until == s.until && other.id > s.id) && m.inForce(other, now) {
			return false
		}
	}
	return true
}

// standIn returns the decision of a gone one's value and type that lasts
// longest, the newest of several, 0 for none.
func (m *matcher) standIn(r ref, now time.Time) (by ref) {
	s := m.x.slots.at(r)
	for o := m.x.head(s); o != 0; o = m.x.slots.at(o).next {
		other := m.x.slots.at(o)
		if o == r || !m.sameType(other, s) || !m.inForce(other, now) {
			continue
		}
		if best := m.x.slots.at(by); by == 0 || other.until > best.until || other.until == best.until && other.id > best.id {
			by = o
		}
	}
	return by
}

// Changes returns how many changes are remembered.
func (x *Index) Changes() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.log.len
}

// Forget drops the changes up to a number from the log, and the memory of what
// they removed, a few at a time so that others need not wait.
func (x *Index) Forget(upTo int64) {
	for x.forgetFew(upTo) {
	}
}

// forgetFew tells whether there is more to be forgotten.
func (x *Index) forgetFew(upTo int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := int(min(upTo-x.forgotten(), int64(x.log.len)))
	if n <= 0 {
		return false
	}
	few := min(n, chunkSlots)
	for i := range few {
		if c := x.log.at(i); c.why != Added && c.ref != 0 {
			x.drop(c.ref)
		}
	}
	x.log.forget(few)
	return few < n
}

// drop frees a slot, and its part in what it shares.
func (x *Index) drop(r ref) {
	s := x.slots.at(r)
	x.kinds.drop(s.kind)
	if s.value != 0 {
		x.texts.drop(s.value)
	}
	x.slots.release(r)
}
