package detect

import (
	"slices"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// bucket counts what poured since its birth. It is a value in its shard's
// slab, and only its shard touches it. Apart from the events it keeps, it
// refers to everything by number, so that it can be written down as it is.
type bucket struct {
	key string // the groupby value
	// queue is a ring of the events kept; the oldest is at head.
	queue []*pipeline.Kept
	// extra is what few buckets have.
	extra   *extra
	limiter limiter
	// first and last are the event times of the first and the last poured event.
	first, last instant
	// from and to are their positions.
	from, to place
	count    int32 // pours since birth
	doc      int32 // the document that made it and whose configuration it keeps
	group    int32
	head     int32
	// part is the partition that fed it last: its clock decides.
	part int32
	// used: it was poured into since the last look for what may leave memory.
	used bool
	// dirty says in which lists of changed buckets it is; see checkpoint.go.
	dirty uint8
	// timer: when to look at it again; see wheel.go.
	timer timer
	// sum is that of its record in the store; 0 when it has none.
	sum state.Sum
	// written numbers the Writer that holds that record, 0 one of before the
	// shard was made. bytes is what the bucket's events and values take,
	// counted with a memory limit only.
	written, bytes uint32
}

// extra holds the state of the rarer options.
type extra struct {
	// scopes are the values of the scope expression, parallel to queue.
	scopes   []string
	distinct distinctSet
	// held are the bayesian conditions that hold for good.
	held []bool
}

// place is a position in a partition that the shard has numbered.
type place struct {
	offset int64
	part   int32
	line   int32
}

// bucketKey finds a bucket.
type bucketKey struct {
	group int32
	key   string
}

// ref is the number of a bucket in the slab; 0 is none.
type ref int32

const (
	chunkBits = 10
	chunkLen  = 1 << chunkBits
)

// slab holds buckets in chunks that never move: growing copies nothing, and
// of the chunks whose buckets are all gone, all but one are given back.
type slab struct {
	chunks []*chunk
	// open are the numbers of the chunks with room.
	open []int32
	// spare is the number, plus one, of an empty chunk that is kept, so that
	// a bucket that comes and goes alone does not make a chunk each time.
	spare int32
}

type chunk struct {
	buckets [chunkLen]bucket
	free    []uint16 // the places that are free, in the order of use
	used    int
}

func (s *slab) at(r ref) *bucket {
	i := int(r - 1)
	return &s.chunks[i>>chunkBits].buckets[i&(chunkLen-1)]
}

// taken tells whether a number may be that of a bucket: its chunk is there.
func (s *slab) taken(r ref) bool { return s.chunks[int(r-1)>>chunkBits] != nil }

// alloc returns the number of an empty bucket.
func (s *slab) alloc() ref {
	if len(s.open) == 0 {
		s.open = append(s.open, int32(len(s.chunks)))
		s.chunks = append(s.chunks, nil)
	}
	n := s.open[len(s.open)-1]
	if last := len(s.open) - 1; s.chunks[n] == nil && s.spare > 0 {
		if i := slices.Index(s.open, s.spare-1); i >= 0 && s.chunks[s.spare-1] != nil {
			s.open[i], s.open[last] = n, s.spare-1
			n = s.open[last]
		}
	}
	c := s.chunks[n]
	if c == nil {
		c = newChunk()
		s.chunks[n] = c
	}
	place := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	c.used++
	if len(c.free) == 0 {
		s.open = s.open[:len(s.open)-1]
	}
	return ref(int(n)<<chunkBits + int(place) + 1)
}

func newChunk() *chunk {
	c := &chunk{free: make([]uint16, chunkLen)}
	for i := range c.free {
		c.free[i] = uint16(chunkLen - 1 - i)
	}
	return c
}

// release empties a bucket and takes its place back.
func (s *slab) release(r ref) {
	*s.at(r) = bucket{}
	i := int(r - 1)
	n := int32(i >> chunkBits)
	c := s.chunks[n]
	if len(c.free) == 0 {
		s.open = append(s.open, n)
	}
	c.free = append(c.free, uint16(i&(chunkLen-1)))
	if c.used--; c.used > 0 {
		return
	}
	if old := s.spare - 1; old >= 0 && old != n && s.chunks[old] != nil && s.chunks[old].used == 0 {
		s.chunks[n] = nil
		return
	}
	s.spare = n + 1
}
