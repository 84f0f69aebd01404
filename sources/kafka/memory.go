package kafka

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"sluice/pipeline"
)

// Blocks come in powers of two from 4 KiB; larger than 64 MiB ones are not kept.
const (
	minBlockBits = 12
	maxBlockBits = 26
	// arenaBytes is the least block that payloads are decompressed into, so that small ones share it.
	arenaBytes = 256 << 10
)

// memory recycles blocks, and batches of records that lie in them.
type memory struct {
	poison  bool // overwrite what is given back, so that tests find who still reads it
	blocks  [maxBlockBits + 1]sync.Pool
	batches sync.Pool
}

// block is memory that records lie in. It counts who still reads it: the
// fetcher that fills it and every batch with a record in it.
type block struct {
	mem  *memory
	data []byte // all of it
	used int    // data[:used] is taken
	refs atomic.Int32
}

// block returns one of at least size bytes, empty, held once.
func (m *memory) block(size int) *block {
	class := max(bits.Len(uint(max(size, 1)-1)), minBlockBits)
	if class <= maxBlockBits {
		if b, ok := m.blocks[class].Get().(*block); ok {
			b.refs.Store(1)
			return b
		}
		size = 1 << class
	}
	return m.wrap(make([]byte, size))
}

// wrap makes a block of memory that something else allocated.
func (m *memory) wrap(data []byte) *block {
	b := &block{mem: m, data: data[:cap(data)]}
	b.refs.Store(1)
	return b
}

func (b *block) hold() { b.refs.Add(1) }

// drop gives the block back when nobody else reads it.
func (b *block) drop() {
	if b.refs.Add(-1) > 0 {
		return
	}
	if b.mem.poison {
		for i := range b.data {
			b.data[i] = 0xA5
		}
	}
	b.used = 0
	if class := bits.Len(uint(len(b.data))) - 1; class >= minBlockBits && class <= maxBlockBits {
		b.mem.blocks[class].Put(b)
	}
}

// batch is a RecordBatch whose records lie in blocks that it holds.
type batch struct {
	pipeline.RecordBatch
	blocks  []*block
	headers []pipeline.Header
	size    uint64 // of keys and values
}

func (m *memory) batch() *batch {
	b, ok := m.batches.Get().(*batch)
	if !ok {
		b = &batch{}
		b.Release = func() {
			b.recycle(m.poison)
			m.batches.Put(b)
		}
	}
	return b
}

// recycle lets go of the blocks.
func (b *batch) recycle(poison bool) {
	for _, held := range b.blocks {
		held.drop()
	}
	if poison {
		for i := range b.headers {
			b.headers[i] = pipeline.Header{Key: "recycled"}
		}
	} else {
		clear(b.headers)
	}
	clear(b.blocks)
	clear(b.Records)
	b.blocks, b.Records, b.headers, b.size, b.Next = b.blocks[:0], b.Records[:0], b.headers[:0], 0, 0
}

// lies says that records of the batch lie in a block.
func (b *batch) lies(in *block) {
	if n := len(b.blocks); n > 0 && b.blocks[n-1] == in {
		return
	}
	in.hold()
	b.blocks = append(b.blocks, in)
}
