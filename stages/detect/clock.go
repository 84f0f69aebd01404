package detect

import (
	"container/heap"

	"sluice/pipeline"
)

// deadline says when something is to be looked at again. It may have changed
// since: whoever takes it out checks.
type deadline struct {
	at   int64
	key  bucketKey
	born uint64 // of the bucket
	// muted is the document whose blackhole this is about, plus one; 0 for a bucket.
	muted int32
}

// deadlines is a heap, the earliest first.
type deadlines []deadline

// Len, Less, Swap, Push and Pop implement heap.Interface. Equal times are
// ordered by key, so that what fires together fires in one order.
func (d deadlines) Len() int { return len(d) }
func (d deadlines) Less(i, j int) bool {
	if d[i].at != d[j].at {
		return d[i].at < d[j].at
	}
	if d[i].key.group != d[j].key.group {
		return d[i].key.group < d[j].key.group
	}
	return d[i].key.key < d[j].key.key
}
func (d deadlines) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)   { *d = append(*d, x.(deadline)) }
func (d *deadlines) Pop() any {
	old := *d
	last := old[len(old)-1]
	old[len(old)-1] = deadline{}
	*d = old[:len(old)-1]
	return last
}

// watch notes when a new bucket is to be looked at.
func (s *Shard) watch(key bucketKey, b *bucket, doc *document) {
	if doc.timed() {
		heap.Push(&s.now.timed, deadline{at: plus(b.first, doc.life), key: key, born: b.born})
	} else if s.opts.Free {
		heap.Push(&s.now.free, deadline{at: plus(b.last, doc.life), key: key, born: b.born})
	}
}

// watchMute notes when a blackhole ends.
func (s *Shard) watchMute(m mute) {
	if s.opts.Free {
		heap.Push(&s.now.free, deadline{at: s.blackholes[m], key: bucketKey{key: m.key}, muted: m.doc + 1})
	}
}

// step moves the partition's clock and fires the counters that are due. The
// line that moved it is their cause, wherever batches are cut.
func (s *Shard) step(step *pipeline.ClockStep) {
	s.now.clock = nanos(step.Clock)
	s.line, s.position = step.Line, step.Position
	for len(s.now.timed) > 0 && s.past(s.now.timed[0].at) {
		d := heap.Pop(&s.now.timed).(deadline)
		b := s.buckets[d.key]
		if b == nil || b.born != d.born { // gone; a later bucket of the key is watched itself
			continue
		}
		switch {
		case b.to.partition != s.now.id: // another partition's clock decides
			heap.Push(&s.partitions[b.to.partition].timed, d)
		default:
			delete(s.buckets, d.key)
			s.overflow(b, nil)
		}
	}
}

// past tells whether the clock is beyond a time, allowing for late events.
func (s *Shard) past(at int64) bool {
	return s.now.clock > plus(at, s.opts.Lateness)
}

// release frees what is dead by the clock. It decides no outcome: a bucket
// that is dead by its life time starts anew with its next event either way.
func (s *Shard) release() {
	for n := 0; n < maxFrees && len(s.now.free) > 0 && s.past(s.now.free[0].at); n++ {
		d := heap.Pop(&s.now.free).(deadline)
		if d.muted > 0 {
			m := mute{d.muted - 1, d.key.key}
			if until, ok := s.blackholes[m]; ok && until <= d.at {
				delete(s.blackholes, m)
			}
			continue
		}
		b := s.buckets[d.key]
		if b == nil || b.born != d.born {
			continue
		}
		death := plus(b.last, s.d.docs[b.doc].life)
		switch {
		case b.to.partition != s.now.id:
			d.at = death
			heap.Push(&s.partitions[b.to.partition].free, d)
		case s.past(death):
			delete(s.buckets, d.key)
			s.stats.Freed++
		default:
			d.at = death
			heap.Push(&s.now.free, d)
		}
	}
}
