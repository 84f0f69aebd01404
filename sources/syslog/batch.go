package syslog

import (
	"sync"
	"time"

	"sluice/pipeline"
)

// Sizes of a batch: its records, what they are made of in bytes, and the
// headers of a record for which there is room without growing.
const (
	batchRecords = 256
	batchBytes   = 64 << 10
	batchHeaders = 8
)

// batch is the records of messages that arrived together, and the memory that
// they lie in. It belongs to the pipeline once it is put, until its release.
type batch struct {
	records []pipeline.Record
	headers []pipeline.Header
	text    []byte // never grows: records alias it
	release func()
}

// batches recycles batches.
type batches struct {
	pool   sync.Pool
	poison bool // overwrite what is given back, so that tests find who still reads it
}

// take returns an empty batch.
func (p *batches) take() *batch {
	if b, ok := p.pool.Get().(*batch); ok {
		return b
	}
	b := &batch{records: make([]pipeline.Record, 0, batchRecords), text: make([]byte, 0, batchBytes)}
	b.release = func() { p.give(b) }
	return b
}

func (p *batches) give(b *batch) {
	if p.poison {
		for i := range b.text {
			b.text[i] = 0xA5
		}
		clear(b.headers)
	}
	clear(b.records)
	b.records, b.headers = b.records[:0], b.headers[:0]
	if cap(b.text) != batchBytes { // it was made for one long message
		b.text = make([]byte, 0, batchBytes)
	}
	b.text = b.text[:0]
	if cap(b.headers) > 4*batchRecords*batchHeaders { // for messages with much structured data
		b.headers = nil
	}
	p.pool.Put(b)
}

// room makes sure that a record of so many bytes and headers fits in; false
// says that the batch is to be put first.
func (b *batch) room(bytes, headers int) bool {
	if len(b.records) == 0 {
		if bytes > cap(b.text) {
			b.text = make([]byte, 0, bytes)
		}
		if headers > cap(b.headers) {
			b.headers = make([]pipeline.Header, 0, max(headers, batchRecords*batchHeaders))
		}
		return true
	}
	return len(b.records) < cap(b.records) && len(b.text)+bytes <= cap(b.text) && len(b.headers)+headers <= cap(b.headers)
}

// copy puts bytes into the batch.
func (b *batch) copy(p []byte) []byte {
	start := len(b.text)
	b.text = append(b.text, p...)
	return b.text[start:len(b.text):len(b.text)]
}

// header adds a header to the record that is being made; an empty one is none.
func (b *batch) header(key string, value []byte) {
	if len(value) > 0 {
		b.headers = append(b.headers, pipeline.Header{Key: key, Value: value})
	}
}

// add ends a record: its value and headers are what the batch holds from the given places on.
func (b *batch) add(value []byte, headers int, received time.Time) {
	r := pipeline.Record{Value: value, Time: received}
	if n := len(b.headers); n > headers {
		r.Headers = b.headers[headers:n:n]
	}
	b.records = append(b.records, r)
}
