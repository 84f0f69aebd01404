package kafka

import (
	"io"
	"sync"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"sluice/pipeline"
)

// chunkBytes is the size of the pieces of memory that records are copied into.
const chunkBytes = 256 << 10

// memory recycles batches with what their records are copied into.
type memory struct {
	poison  bool // overwrite what is given back, so that tests find who still reads it
	batches sync.Pool
}

// batch is a RecordBatch that owns the bytes of its records.
type batch struct {
	pipeline.RecordBatch
	chunks  [][]byte // each filled up to its length; the last is being filled
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

// recycle keeps one chunk of the usual size for the next batch.
func (b *batch) recycle(poison bool) {
	var keep [][]byte
	for _, c := range b.chunks {
		if poison {
			c = c[:cap(c)]
			for i := range c {
				c[i] = 0xA5
			}
		}
		if cap(c) == chunkBytes && len(keep) == 0 {
			keep = append(b.chunks[:0], c[:0])
		}
	}
	clear(b.Records)
	clear(b.headers)
	b.chunks, b.Records, b.headers, b.size = keep, b.Records[:0], b.headers[:0], 0
}

// copy reads bytes of a response into the batch's memory; nil stays nil.
func (b *batch) copy(from protocol.Bytes) ([]byte, error) {
	if from == nil {
		return nil, nil
	}
	n := from.Len()
	last := len(b.chunks) - 1
	if last < 0 || cap(b.chunks[last])-len(b.chunks[last]) < n {
		b.chunks = append(b.chunks, make([]byte, 0, max(n, chunkBytes)))
		last++
	}
	c := b.chunks[last]
	out := c[len(c) : len(c)+n : len(c)+n]
	if _, err := io.ReadFull(from, out); err != nil {
		return nil, err
	}
	b.chunks[last] = c[:len(c)+n]
	b.size += uint64(n)
	return out, nil
}

// copyHeaders keeps a record's headers. Their values have memory of their own.
func (b *batch) copyHeaders(from []kafka.Header) []pipeline.Header {
	if len(from) == 0 {
		return nil
	}
	start := len(b.headers)
	for _, h := range from {
		b.headers = append(b.headers, pipeline.Header{Key: h.Key, Value: h.Value})
	}
	return b.headers[start:len(b.headers):len(b.headers)]
}
