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
	return x.since(since, x.newMatcher(f), now, func(seq int64, c change) bool {
		return yield(&Change{Seq: seq, Why: c.why, Decision: x.decision(x.slots.at(c.ref))})
	})
}

// since must be called with the lock held.
func (x *Index) since(since int64, m *matcher, now time.Time, yield func(seq int64, c change) bool) (last int64, known bool) {
	first := x.seq - int64(len(x.log)) // of the change before the log
	if since < first || since > x.seq {
		return x.seq, false
	}
	for i, c := range x.log[since-first:] {
		seq := since + int64(i) + 1
		s := x.slots.at(c.ref)
		ok := c.why != Added && s.id <= since && m.matches(s) ||
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
// value and type outlasts is not added, and one that another still stands in for is not removed.
func (x *Index) Delta(since int64, f *Filter, now time.Time, dedup bool) (added, removed []Decision, last int64, known bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	m := x.newMatcher(f)
	last, known = x.since(since, m, now, func(_ int64, c change) bool {
		switch {
		case c.why == Added && (!dedup || m.longest(c.ref, now)):
			added = append(added, x.decision(x.slots.at(c.ref)))
		case c.why != Added && (!dedup || !m.replaced(c.ref, now)):
			removed = append(removed, x.decision(x.slots.at(c.ref)))
		}
		return true
	})
	return added, removed, last, known
}

func (m *matcher) inForce(s *slot, now time.Time) bool {
	return s.gone == Added && s.until > now.Unix() && m.matches(s)
}

// longest tells whether no other decision of the value and type lasts longer;
// of those that last as long the newest does.
func (m *matcher) longest(r ref, now time.Time) bool {
	s := m.x.slots.at(r)
	for o := m.x.head(s); o != 0; o = m.x.slots.at(o).next {
		other := m.x.slots.at(o)
		if o != r && other.typ == s.typ && (other.until > s.until || other.until == s.until && other.id > s.id) && m.inForce(other, now) {
			return false
		}
	}
	return true
}

// replaced tells whether another decision of the value and type is in force.
func (m *matcher) replaced(r ref, now time.Time) bool {
	s := m.x.slots.at(r)
	for o := m.x.head(s); o != 0; o = m.x.slots.at(o).next {
		if other := m.x.slots.at(o); o != r && other.typ == s.typ && m.inForce(other, now) {
			return true
		}
	}
	return false
}

// Forget drops the changes up to a number from the log, and the memory of what they removed.
func (x *Index) Forget(upTo int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	first := x.seq - int64(len(x.log))
	n := min(upTo-first, int64(len(x.log)))
	if n <= 0 {
		return
	}
	for i := range x.log[:n] {
		if c := x.log[i]; c.why != Added {
			x.drop(c.ref)
		}
	}
	x.log = append(x.log[:0:0], x.log[n:]...)
}

// drop frees a slot and its texts.
func (x *Index) drop(r ref) {
	s := x.slots.at(r)
	for _, t := range []text{s.scope, s.typ, s.origin, s.scenario, s.value} {
		x.texts.drop(t)
	}
	x.slots.release(r)
}
