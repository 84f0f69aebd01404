package detect

import (
	"slices"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// saving is what a shard has to write into the store. Nothing is copied and
// nobody waits: Freeze ends an epoch by exchanging lists, and Encode writes
// the epoch's buckets bit by bit while the next one runs. The one rule is
// that a frozen bucket is written before it changes (touch, unsave), so that
// what is written is the state at the Freeze whenever that happens.
//
// An outcome never depends on it: TestCheckpointsChangeNothing.
type saving struct {
	coder *pipeline.KeptCoder
	// now gathers the epoch under way: removals and blackholes at once,
	// buckets when it is frozen.
	now *state.Writer
	// frozen is the epoch that is being written, nil when there is none.
	frozen *state.Writer
	// written are epochs that were frozen and that Encode has yet to return.
	written []*state.Writer
	// changed are the buckets of the epoch under way, left those of the
	// frozen one. A number whose bucket lacks the list's bit is stale: its
	// bucket was written before its turn, or is gone.
	changed, left []ref
	// bit marks the buckets in changed, the other of dirtyBits those in left.
	bit uint8
	// freezes counts the epochs frozen, returned those whose Writer Encode returned.
	freezes, returned uint32
	// stored says in which epoch of the store Writers became durable, for
	// those of which the store has not folded yet.
	stored []storedEpoch
	// parts are the shard's numbers for partitions, plus one, by the dictionary's.
	parts      []int32
	key, value []byte // scratch
}

// storedEpoch says that all Writers up to the n-th are durable with an epoch of the store.
type storedEpoch struct {
	writers uint32
	epoch   uint64
}

const dirtyBits = 1 | 2

var _ pipeline.DurableShard = (*Shard)(nil)

func newSaving(c *pipeline.KeptCoder) *saving {
	return &saving{coder: c, now: new(state.Writer), bit: 1}
}

// touch is called before a bucket changes.
func (s *Shard) touch(r ref, b *bucket) {
	if v := s.saving; v != nil && b.dirty != v.bit {
		s.change(r, b)
	}
}

func (s *Shard) change(r ref, b *bucket) {
	v := s.saving
	if b.dirty&^v.bit != 0 {
		s.encode(b)
	}
	if b.dirty == 0 {
		b.dirty = v.bit
		v.changed = append(v.changed, r)
	}
}

// unsave is called before a bucket is removed. One that came and went within
// an epoch leaves nothing behind.
func (s *Shard) unsave(b *bucket) {
	v := s.saving
	if v == nil {
		return
	}
	if b.dirty&^v.bit != 0 {
		s.encode(b)
	}
	if b.sum != 0 {
		v.key = s.appendBucketKey(v.key[:0], b)
		v.now.Delete(v.key, b.sum)
	}
}

// encode writes a frozen bucket.
func (s *Shard) encode(b *bucket) {
	v := s.saving
	v.key = s.appendBucketKey(v.key[:0], b)
	v.value = s.appendBucket(v.value[:0], b)
	b.sum = v.frozen.Put(v.key, v.value, b.sum)
	b.dirty &= v.bit
	b.written = v.freezes
}

// Freeze ends an epoch: everything that changed since the last Freeze is now
// frozen, as it stands, and Encode writes it. It takes constant time. The shard's
// goroutine calls it, between Applies, at a barrier of the graph.
func (s *Shard) Freeze() {
	v := s.saving
	if v == nil {
		return
	}
	if v.frozen != nil { // the graph was faster than Encode: it gets that epoch first
		v.written = append(v.written, s.finish(len(v.left)))
	}
	v.frozen, v.now = v.now, new(state.Writer)
	v.changed, v.left = v.left[:0], v.changed
	v.bit ^= dirtyBits
	v.freezes++
	if s.opts.Index == 0 {
		for _, p := range s.parts {
			s.saveClock(p)
		}
	}
}

// Encode writes up to n of the frozen buckets. It returns the epoch's Writer
// once none is left, and nil before that, and when nothing is frozen. Each
// Freeze has one Writer, in order. The shard's goroutine calls it, between Applies.
func (s *Shard) Encode(n int) *state.Writer {
	v := s.saving
	var w *state.Writer
	switch {
	case v == nil || s.err != nil:
	case len(v.written) > 0:
		w = v.written[0]
		v.written = slices.Delete(v.written, 0, 1)
	case v.frozen != nil:
		w = s.finish(n)
	}
	if w != nil {
		v.returned++
	}
	return w
}

// Stored says in which epoch of the store the last Writer that Encode
// returned became durable. The shard's goroutine calls it.
func (s *Shard) Stored(epoch uint64) {
	if v := s.saving; v != nil && s.opts.Cold != nil {
		v.stored = append(v.stored, storedEpoch{v.returned, epoch})
	}
}

// finish writes up to n frozen buckets and returns the epoch's Writer if they were the last.
func (s *Shard) finish(n int) *state.Writer {
	v := s.saving
	frozen := v.bit ^ dirtyBits
	for ; n > 0 && len(v.left) > 0; n-- {
		last := len(v.left) - 1
		r := v.left[last]
		v.left = v.left[:last]
		if !s.slab.taken(r) {
			continue
		}
		if b := s.slab.at(r); b.dirty&frozen != 0 {
			s.encode(b)
		}
	}
	if len(v.left) > 0 {
		return nil
	}
	w := v.frozen
	v.frozen = nil
	return w
}

// saveHole writes a blackhole. They are few, and change seldom, so they are
// written at once.
func (s *Shard) saveHole(key holeKey, h hole) state.Sum {
	v := s.saving
	k := v.holeKey(key)
	v.value = s.appendHole(v.value[:0], key, h)
	return v.now.Put(k, v.value, h.sum)
}

// savedClock is what a clock's record says.
type savedClock struct {
	clock    instant
	free     bool
	lateness int64
}

// saveClock writes a partition's clock into the frozen epoch, if it moved.
func (s *Shard) saveClock(p *part) {
	c := savedClock{p.clock, s.opts.Free, int64(s.opts.Lateness)}
	if !p.started || p.sum != 0 && p.saved == c {
		return
	}
	v := s.saving
	v.key = s.appendClockKey(v.key[:0], p)
	v.value = appendClock(v.value[:0], c)
	p.saved, p.sum = c, v.frozen.Put(v.key, v.value, p.sum)
}
