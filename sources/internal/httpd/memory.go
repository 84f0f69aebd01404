package httpd

import (
	"sync"
	"sync/atomic"
)

// budget is the memory that all requests share.
type budget struct {
	limit int64
	held  atomic.Int64
}

// hold counts bytes; false when there are not that many left, and then they are not counted.
func (b *budget) hold(n int64) bool {
	if b.held.Add(n) > b.limit {
		b.held.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.held.Add(-n) }

// Sizes of the chunks that are kept for the next request.
const (
	smallChunk = 4 << 10
	largeChunk = 64 << 10
)

// chunks recycles chunks of the two usual sizes.
type chunks struct {
	small, large sync.Pool
	poison       bool // overwrite what is given back, so that tests find who still reads it
}

// get returns a chunk of at least that size.
func (c *chunks) get(size int) []byte {
	pool, usual := &c.large, largeChunk
	if size <= smallChunk {
		pool, usual = &c.small, smallChunk
	}
	if size > usual {
		return make([]byte, size)
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, usual)
}

func (c *chunks) put(b []byte) {
	if c.poison {
		for i := range b {
			b[i] = 0xA5
		}
	}
	switch len(b) {
	case smallChunk:
		c.small.Put(&b)
	case largeChunk:
		c.large.Put(&b)
	}
}
