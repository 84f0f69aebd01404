package decisions

// view is which decisions there were when it began. It is to catch up whenever
// the lock was let go.
type view struct {
	x           *Index
	seq, looked int64    // the last change that it shows, and the last that it knows of; 0 before it begins
	removed     []uint64 // a bit for each slot whose decision was removed since
}

// catchUp must be called with the lock held.
func (v *view) catchUp() {
	if v.looked == 0 {
		v.seq, v.looked = v.x.seq, v.x.seq
	}
	first := v.x.forgotten()
	for v.looked = max(v.looked, first); v.looked < v.x.seq; v.looked++ {
		c := v.x.log.at(int(v.looked - first))
		if c.why == Added {
			continue
		}
		if v.removed == nil {
			v.removed = make([]uint64, v.x.slots.used/64+1)
		}
		if i := int(c.ref / 64); i < len(v.removed) { // else it came later
			v.removed[i] |= 1 << (c.ref % 64)
		}
	}
}

// has tells whether a slot's decision was there. It must be called with the lock
// held. A nil view shows what there is.
func (v *view) has(r ref, s *slot) bool {
	switch {
	case s.gone == Added:
		return v == nil || s.id <= v.seq
	case v == nil || s.id > v.seq || int(r/64) >= len(v.removed):
		return false
	}
	return v.removed[r/64]&(1<<(r%64)) != 0
}
