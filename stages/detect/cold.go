package detect

import (
	"fmt"
	"math"
	"unsafe"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// cold holds the buckets that are not in memory because the limit is reached:
// of each only what finds its record, and its death. A bucket may leave when
// its last record is in the store's folded part, so that leaving writes
// nothing; it comes back when an event of its own is poured. Whether it left
// decides no outcome: TestAMemoryLimitChangesNothing.
type cold struct {
	from  Cold
	limit int64
	// bytes is about what all buckets take, the cold ones included.
	bytes int64
	// chunks hold the cold buckets by their numbers, free the numbers that are free.
	chunks [][]coldBucket
	free   []coldRef
	count  int
	// hand is the place in the slab that is asked next to leave; sweep the
	// cold bucket that is looked at next, whether it is dead.
	hand  int
	sweep int
	// folded is the last Writer that the store has folded.
	folded uint32
	value  []byte // scratch
}

var _ Cold = (*state.Store)(nil)

// coldRef is the number of a cold bucket, from 1. The shard's index holds it
// negative, so that it cannot be taken for a ref.
type coldRef int32

type coldBucket struct {
	key   string
	sum   state.Sum // 0 in a place that is free
	death instant
	doc   int32
	part  int32
}

const (
	coldChunk = 4096
	// coldLooks, and some more for each pour, is how many places one Apply
	// looks at to move buckets out and to free cold ones.
	coldLooks = 256
	// indexBytes is about what an entry of the shard's index takes.
	indexBytes  = 48
	bucketBytes = int64(unsafe.Sizeof(bucket{})) + indexBytes
	coldBytes   = int64(unsafe.Sizeof(coldBucket{})) + indexBytes
)

func (c *cold) at(r coldRef) *coldBucket {
	return &c.chunks[int(r-1)/coldChunk][int(r-1)%coldChunk]
}

func (c *cold) add(b coldBucket) coldRef {
	if len(c.free) == 0 {
		first := len(c.chunks) * coldChunk
		c.chunks = append(c.chunks, make([]coldBucket, coldChunk))
		for i := coldChunk; i > 0; i-- {
			c.free = append(c.free, coldRef(first+i))
		}
	}
	r := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	*c.at(r) = b
	c.count++
	c.bytes += coldBytes + int64(len(b.key))
	return r
}

func (c *cold) release(r coldRef) {
	b := c.at(r)
	c.bytes -= coldBytes + int64(len(b.key))
	*b = coldBucket{}
	c.free = append(c.free, r)
	c.count--
}

// Err returns why the shard cannot go on: a bucket that is not in memory
// could not be read back. From then on Apply does nothing and Encode returns
// no Writer, so that nothing wrong becomes durable: the graph is to stop.
func (s *Shard) Err() error { return s.err }

// weigh counts what a bucket is about to take more.
func (s *Shard) weigh(b *bucket, more int) {
	before := int64(b.bytes)
	b.bytes = uint32(min(max(before+int64(more), 0), math.MaxUint32))
	s.cold.bytes += int64(b.bytes) - before
}

// weighPour counts an event that is about to be pushed, and the one that it pushes out.
func (s *Shard) weighPour(b *bucket, doc *document, from *pipeline.Pour, ev *pipeline.Kept) {
	more := ev.Size() + len(from.Scope)
	if len(b.queue) >= doc.keep {
		more -= b.queue[b.head].Size()
		if doc.scope {
			more -= len(b.extra.scopes[b.head])
		}
	}
	s.weigh(b, more)
}

// weighWhole counts a bucket that was read.
func (s *Shard) weighWhole(b *bucket) {
	size := 0
	for _, ev := range b.queue {
		size += ev.Size()
	}
	if x := b.extra; x != nil {
		for _, v := range x.scopes {
			size += len(v)
		}
		for _, v := range x.distinct.values {
			size += distinctBytes + len(v)
		}
	}
	s.cold.bytes += bucketBytes + int64(len(b.key))
	s.weigh(b, size)
}

// distinctBytes is about what a distinct value takes besides its text.
const distinctBytes = 40

// unweigh takes a bucket that goes out of the count.
func (s *Shard) unweigh(b *bucket) {
	s.cold.bytes -= bucketBytes + int64(len(b.key)) + int64(b.bytes)
}

// shrink moves buckets that were not poured into lately out of memory, while
// they take more than the limit, looking at no more than so many places.
func (s *Shard) shrink(most int) {
	c, v := s.cold, s.saving
	if c.bytes <= c.limit || len(s.slab.chunks) == 0 {
		return
	}
	for folded := c.from.Folded(); len(v.stored) > 0 && v.stored[0].epoch <= folded; v.stored = v.stored[1:] {
		c.folded = v.stored[0].writers
	}
	for ; most > 0 && c.bytes > c.limit; most-- {
		if c.hand >= len(s.slab.chunks)*chunkLen {
			c.hand = 0
		}
		r := ref(c.hand + 1)
		if !s.slab.taken(r) {
			c.hand += chunkLen - c.hand%chunkLen
			continue
		}
		c.hand++
		b := s.slab.at(r)
		switch {
		case b.count == 0: // the place is free
		case b.used:
			b.used = false
		case b.dirty == 0 && b.sum != 0 && b.written <= c.folded && !s.docs[b.doc].timed:
			s.evict(r, b)
		}
	}
}

// evict moves a bucket out of memory.
func (s *Shard) evict(r ref, b *bucket) {
	s.stats.Evictions++
	s.unwatch(r, b)
	s.unweigh(b)
	n := s.cold.add(coldBucket{key: b.key, sum: b.sum, death: b.last.add(s.docs[b.doc].life), doc: b.doc, part: b.part})
	s.index[bucketKey{b.group, b.key}] = -ref(n)
	s.slab.release(r)
}

// warm returns a cold bucket to memory for an event at now, or 0 when it is
// dead by then; it is not read for that.
func (s *Shard) warm(n coldRef, now instant) ref {
	c := s.cold.at(n)
	if now.after(c.death) || s.isPast(c.part, c.death) {
		s.stats.Expired++
		s.dropCold(n)
		return 0
	}
	r := s.slab.alloc()
	b := s.slab.at(r)
	if err := s.readCold(c, b); err != nil {
		s.slab.release(r)
		s.err = err
		return 0
	}
	s.stats.ColdReads++
	s.index[bucketKey{b.group, b.key}] = r
	if s.opts.Free {
		s.parts[b.part].wheel.link(&s.slab, r, c.death.sec)
	}
	s.cold.release(n)
	s.weighWhole(b)
	return r
}

// readCold reads a cold bucket's record into b.
func (s *Shard) readCold(c *coldBucket, b *bucket) error {
	key := s.coldKey(c)
	value, sum, ok, err := s.cold.from.Get(key, s.cold.value[:0])
	switch {
	case err != nil:
		return fmt.Errorf("reading the bucket %q back from the state: %w", key, err)
	case !ok || sum != c.sum:
		return fmt.Errorf("the bucket %q is not in the state as it was written: run sluice state inspect", key)
	}
	s.cold.value = value
	var h bucketRecord
	r := pipeline.NewStoredReader(value)
	h.read(&r)
	b.key, b.doc, b.group, b.sum = c.key, c.doc, s.docs[c.doc].group, c.sum
	if err := s.readBucket(&r, &h, b); err != nil {
		return fmt.Errorf("reading the bucket %q back from the state: %w", key, err)
	}
	return nil
}

func (s *Shard) coldKey(c *coldBucket) []byte {
	v := s.saving
	v.key = s.appendBucketKey(v.key[:0], &bucket{doc: c.doc, key: c.key})
	return v.key
}

// dropCold removes a cold bucket and its record.
func (s *Shard) dropCold(n coldRef) {
	c := s.cold.at(n)
	s.saving.now.Delete(s.coldKey(c), c.sum)
	delete(s.index, bucketKey{s.docs[c.doc].group, c.key})
	s.cold.release(n)
}

// freeCold removes cold buckets that are dead by their clocks, looking at no
// more than so many.
func (s *Shard) freeCold(most int) {
	c := s.cold
	for most = min(most, len(c.chunks)*coldChunk); most > 0 && c.count > 0; most-- {
		if c.sweep >= len(c.chunks)*coldChunk {
			c.sweep = 0
		}
		c.sweep++
		n := coldRef(c.sweep)
		if b := c.at(n); b.sum != 0 && s.isPast(b.part, b.death) {
			s.stats.Freed++
			s.dropCold(n)
		}
	}
}
