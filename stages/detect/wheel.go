package detect

import "container/heap"

// timer ties a bucket to the clock of the partition that fed it last.
//
// A bucket that dies is in a list of the wheel, by the second of its death at
// the time of linking. A pour does not move it: whoever finds it in a list
// that is due links it again if it lives longer by now, so that a pour costs
// nothing and a bucket's life a constant number of steps.
//
// A timed bucket is in a heap, by its deadline, which never changes.
type timer struct {
	second     int64 // the list it is in
	next, prev ref   // neighbours in the list
	// place is the place in the heap, from 1; 0 for a bucket that is in none.
	place  int32
	linked bool // it is in a list
}

// wheel holds lists of buckets by the second of their death, and a heap of
// the seconds that have a list.
type wheel struct {
	lists   map[int64]ref
	seconds secondHeap
}

func (w *wheel) link(s *slab, r ref, second int64) {
	if w.lists == nil {
		w.lists = make(map[int64]ref)
	}
	head, known := w.lists[second]
	if !known {
		heap.Push(&w.seconds, second)
	}
	if head != 0 {
		s.at(head).timer.prev = r
	}
	s.at(r).timer = timer{second: second, next: head, linked: true}
	w.lists[second] = r
}

func (w *wheel) unlink(s *slab, r ref) {
	t := s.at(r).timer
	if t.next != 0 {
		s.at(t.next).timer.prev = t.prev
	}
	if t.prev != 0 {
		s.at(t.prev).timer.next = t.next
	} else {
		w.lists[t.second] = t.next // an empty list stays until its second is due
	}
	s.at(r).timer = timer{}
}

// due returns a bucket of the earliest list whose second ends at or before the limit, 0 when there is none.
func (w *wheel) due(limit int64) ref {
	for len(w.seconds) > 0 && w.seconds[0] < limit {
		if r := w.lists[w.seconds[0]]; r != 0 {
			return r
		}
		delete(w.lists, w.seconds[0])
		heap.Pop(&w.seconds)
	}
	return 0
}

// secondHeap implements heap.Interface, the earliest first.
type secondHeap []int64

func (h secondHeap) Len() int           { return len(h) }
func (h secondHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h secondHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *secondHeap) Push(x any)        { *h = append(*h, x.(int64)) }
func (h *secondHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// timedHeap implements heap.Interface: timed buckets, the earliest deadline
// first, then by group and key, so that the order is one whatever came before.
type timedHeap struct {
	shard *Shard
	refs  []ref
}

func (h *timedHeap) Len() int { return len(h.refs) }
func (h *timedHeap) Less(i, j int) bool {
	a, b := h.shard.slab.at(h.refs[i]), h.shard.slab.at(h.refs[j])
	da, db := h.shard.deadline(a), h.shard.deadline(b)
	if da != db {
		return db.after(da)
	}
	if a.group != b.group {
		return a.group < b.group
	}
	return a.key < b.key
}
func (h *timedHeap) Swap(i, j int) {
	h.refs[i], h.refs[j] = h.refs[j], h.refs[i]
	h.shard.slab.at(h.refs[i]).timer.place = int32(i + 1)
	h.shard.slab.at(h.refs[j]).timer.place = int32(j + 1)
}
func (h *timedHeap) Push(x any) {
	h.refs = append(h.refs, x.(ref))
	h.shard.slab.at(x.(ref)).timer.place = int32(len(h.refs))
}
func (h *timedHeap) Pop() any {
	last := h.refs[len(h.refs)-1]
	h.refs = h.refs[:len(h.refs)-1]
	h.shard.slab.at(last).timer = timer{}
	return last
}

// holeHeap implements heap.Interface: the ends of blackholes. An entry whose
// blackhole was armed anew or is gone means nothing.
type holeHeap []holeEnd

type holeEnd struct {
	at  instant
	key holeKey
}

func (h holeHeap) Len() int           { return len(h) }
func (h holeHeap) Less(i, j int) bool { return h[j].at.after(h[i].at) }
func (h holeHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *holeHeap) Push(x any)        { *h = append(*h, x.(holeEnd)) }
func (h *holeHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = holeEnd{}
	*h = (*h)[:len(*h)-1]
	return last
}
