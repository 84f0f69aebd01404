package httpd

import (
	"sync"
	"sync/atomic"
)

// budget is the memory that all requests share.
type budget struct {
	limit, each int64 // of all, and of one peer, 0 for no bound
	held        atomic.Int64
}

// hold counts bytes; false when there are not that many left, for all or for
// the peer, and then they are not counted. There may be no peer.
func (b *budget) hold(n int64, p *peer) bool {
	if p != nil && p.held.Add(n) > b.each && b.each > 0 {
		p.give(n)
		return false
	}
	if b.held.Add(n) > b.limit {
		b.give(n, p)
		return false
	}
	return true
}

func (b *budget) give(n int64, p *peer) {
	b.held.Add(-n)
	if p != nil {
		p.give(n)
	}
}

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
