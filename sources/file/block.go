package file

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pipeline"
)

// block is memory that lines are read into. Its splitter and every batch with
// lines in it hold a reference; the last one to let go gives it back.
type block struct {
	buf  []byte
	refs atomic.Int32
}

// batch is a RecordBatch with the memory it needs.
type batch struct {
	pipeline.RecordBatch
	block *block
}

// memory recycles blocks and batches.
type memory struct {
	blockBytes int
	poison     bool // overwrite what is given back, so that tests find who still reads it
	blocks     sync.Pool
	batches    sync.Pool
}

func (m *memory) block(size int) *block {
	if size <= m.blockBytes {
		if b, ok := m.blocks.Get().(*block); ok {
			b.refs.Store(1)
			return b
		}
		size = m.blockBytes
	}
	b := &block{buf: make([]byte, size)}
	b.refs.Store(1)
	return b
}

func (m *memory) drop(b *block) {
	if b.refs.Add(-1) > 0 {
		return
	}
	if m.poison {
		for i := range b.buf {
			b.buf[i] = 0xA5
		}
	}
	if len(b.buf) == m.blockBytes { // one that grew for a long line is not kept
		m.blocks.Put(b)
	}
}

func (m *memory) batch(b *block) *batch {
	out, ok := m.batches.Get().(*batch)
	if !ok {
		out = &batch{}
		out.Release = func() {
			block := out.block
			clear(out.Records)
			out.Records, out.block = out.Records[:0], nil
			m.drop(block)
			m.batches.Put(out)
		}
	}
	b.refs.Add(1)
	out.block = b
	return out
}

// splitter cuts the bytes of one file into records, whole lines at a time.
// buf[start:end] of its block is read and not yet split; the file's next byte
// goes to buf[end].
type splitter struct {
	mem        *memory
	maxLine    int
	maxRecords int

	block      *block
	start, end int
	offset     int64 // of buf[start] in the file
	scanned    int   // buf[start:start+scanned] holds no line end
	skipping   bool  // the rest of a line that was cut is being dropped

	skipped, cut uint64 // empty lines, lines shortened
}

// read reads once and returns how many bytes came.
func (s *splitter) read(r io.Reader) (int, error) {
	s.makeRoom()
	n, err := r.Read(s.block.buf[s.end:])
	s.end += n
	return n, err
}

// makeRoom makes the block have room at its end. At most the unfinished line is copied.
func (s *splitter) makeRoom() {
	switch {
	case s.block == nil:
		s.block = s.mem.block(s.mem.blockBytes)
		s.start, s.end = 0, 0
	case s.end < len(s.block.buf):
	default:
		left := s.end - s.start
		size := s.mem.blockBytes
		for size <= left*2 && left > 0 {
			size *= 2
		}
		next := s.mem.block(size)
		copy(next.buf, s.block.buf[s.start:s.end])
		s.mem.drop(s.block)
		s.block, s.start, s.end = next, 0, left
	}
}

// next returns a batch of the whole lines read so far, nil when there are none.
func (s *splitter) next(now time.Time) *batch {
	var out *batch
	for out == nil || len(out.Records) < s.maxRecords {
		window := s.block.buf[s.start:s.end]
		i := bytes.IndexByte(window[s.scanned:], '\n')
		if i < 0 {
			s.scanned = len(window)
			if s.skipping {
				s.advance(len(window))
			} else if len(window) > s.maxLine+1 { // one more: a CR before the line end to come
				out = s.add(out, window, now)
				s.advance(len(window))
				s.skipping = true
			}
			break
		}
		i += s.scanned
		if !s.skipping {
			out = s.add(out, window[:i], now)
		}
		s.skipping = false
		s.advance(i + 1)
	}
	return out
}

// finish returns the last line, which no line end closes; nil when there is none.
func (s *splitter) finish(now time.Time) *batch {
	if s.block == nil || s.start == s.end {
		return nil
	}
	var out *batch
	if !s.skipping {
		out = s.add(nil, s.block.buf[s.start:s.end], now)
	}
	s.skipping = false
	s.advance(s.end - s.start)
	return out
}

func (s *splitter) advance(n int) {
	s.start += n
	s.offset += int64(n)
	s.scanned = 0
}

// add puts a line into the batch.
func (s *splitter) add(out *batch, line []byte, now time.Time) *batch {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if len(line) == 0 {
		s.skipped++
		return out
	}
	if len(line) > s.maxLine {
		line = line[:s.maxLine]
		s.cut++
	}
	if out == nil {
		out = s.mem.batch(s.block)
	}
	out.Records = append(out.Records, pipeline.Record{Value: line[:len(line):len(line)], Offset: s.offset, Time: now})
	return out
}

// close lets go of the block. Bytes not split yet are lost.
func (s *splitter) close() {
	if s.block != nil {
		s.mem.drop(s.block)
		s.block = nil
	}
}
