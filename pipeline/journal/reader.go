package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"

	"sluice/pipeline"
)

// Batch is a run of records of one stream, in order. Their offsets grow, but
// records of other streams may lie between them.
type Batch struct {
	Stream
	Labels  map[string]string // never written to: batches share it
	Records []pipeline.Record

	key   *streamKey
	chunk *chunk
	pool  *sync.Pool
}

// Release gives the records' memory back. It is called once, by anyone.
func (b *Batch) Release() {
	c := b.chunk
	clear(b.Records)
	b.Records, b.chunk, b.key = b.Records[:0], nil, nil
	c.drop()
	b.pool.Put(b)
}

const (
	// chunkBytes is how much is read at once at most, but for a group that is larger.
	chunkBytes = maxFilling
	// smallChunk serves a reader that is close behind the writer.
	smallChunk = 64 << 10
	// batchRecords is the most that a batch holds, but for an entry that holds more.
	batchRecords = 1000
	// maxKeys bounds the streams and labels that a reader remembers.
	maxKeys = 4096
)

// chunk is memory that groups are read into; each batch on it holds a reference.
type chunk struct {
	buf  []byte
	refs atomic.Int32
	of   *chunks
}

// chunks recycles chunks of the two usual sizes.
type chunks struct {
	small, large sync.Pool
	batches      sync.Pool
	poison       bool
}

func (c *chunks) get(size int) *chunk {
	pool, usual := &c.large, chunkBytes
	if size <= smallChunk {
		pool, usual = &c.small, smallChunk
	}
	out, _ := pool.Get().(*chunk)
	if out == nil || size > usual {
		out = &chunk{buf: make([]byte, max(size, usual)), of: c}
	}
	out.refs.Store(1)
	return out
}

func (c *chunk) drop() {
	if c.refs.Add(-1) > 0 {
		return
	}
	if c.of.poison {
		for i := range c.buf {
			c.buf[i] = 0xA5
		}
	}
	switch len(c.buf) {
	case smallChunk:
		c.of.small.Put(c)
	case chunkBytes:
		c.of.large.Put(c)
	}
}

// streamKey is what a frame's key says.
type streamKey struct {
	Stream
	labels map[string]string
}

// Reader reads a journal from its beginning on, and waits for more at its
// end. It sees what is synced alone. One goroutine uses it.
type Reader struct {
	j    *Journal
	from map[Stream]int64

	file   File
	number uint64 // of the segment that file is
	at     int64  // in it
	next   int64  // offset of the next record

	keys  map[string]*streamKey
	ready []*Batch          // what was read at once
	given int               // how many of these Next has returned
	open  map[Stream]*Batch // the last in ready of each stream
}

// Reader returns a reader that leaves out each stream's records before from.
func (j *Journal) Reader(from map[Stream]int64) *Reader {
	return &Reader{j: j, from: from, keys: make(map[string]*streamKey), open: make(map[Stream]*Batch)}
}

// Next returns the next batch, once there is one. When ctx is done its error
// is ctx's; when the journal's run has ended and all is read it is io.EOF.
func (r *Reader) Next(ctx context.Context) (*Batch, error) {
	for r.given == len(r.ready) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		limit, err := r.wait(ctx)
		if err != nil {
			return nil, err
		}
		if err := r.read(limit); err != nil {
			return nil, err
		}
	}
	b := r.ready[r.given]
	r.given++
	return b, nil
}

// Close closes the reader's file, and drops what was read and not returned.
func (r *Reader) Close() error {
	for _, b := range r.ready[r.given:] {
		b.Release()
	}
	r.ready, r.given = nil, 0
	if r.file == nil {
		return nil
	}
	defer func() { r.file = nil }()
	return r.file.Close()
}

// wait waits until there is something to read in the reader's segment, or in
// the one after it, and returns where it ends.
func (r *Reader) wait(ctx context.Context) (limit int64, err error) {
	j := r.j
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		for i, s := range j.segments {
			switch {
			case s.number == r.number && r.at < s.size:
				return s.size, nil
			case s.number > r.number && i < len(j.segments)-1 && j.through(s.ends):
				// Nobody needs it, so Trim may be removing its file at this moment.
			case s.number > r.number:
				return s.size, r.enter(s)
			}
		}
		if j.ended != nil && len(j.filling.done) == 0 && j.spare != nil {
			return 0, io.EOF
		}
		changed := j.changed
		j.mu.Unlock()
		select {
		case <-changed:
			j.mu.Lock()
		case <-ctx.Done():
			j.mu.Lock()
			return 0, ctx.Err()
		}
	}
}

// enter goes on to a segment.
func (r *Reader) enter(s *segment) error {
	f, err := r.j.o.FS.Open(s.path)
	if err != nil {
		return fmt.Errorf("journal: reading on: %w", err)
	}
	if r.file != nil {
		err = r.file.Close()
	}
	r.file, r.number, r.at = f, s.number, 0
	if err != nil {
		return fmt.Errorf("journal: closing a segment that was read: %w", err)
	}
	return nil
}

// read reads whole blocks up to limit, at least one, into batches.
func (r *Reader) read(limit int64) error {
	size := int(min(limit-r.at, chunkBytes))
	c := r.j.chunks.get(size)
	defer func() { c.drop() }()
	b := c.buf[:size]
	if err := r.fill(b); err != nil {
		return err
	}
	if h, err := parseHeader(b, r.j.id); err == nil && headerBytes+int(h.length) > size { // larger than a chunk
		c.drop()
		size = int(min(limit-r.at, int64(headerBytes+int(h.length))))
		c = r.j.chunks.get(size)
		b = c.buf[:size]
		if err := r.fill(b); err != nil {
			return err
		}
	}
	clear(r.open)
	r.ready, r.given = r.ready[:0], 0
	for first := true; len(b) > 0; first = false {
		h, body, n, err := parseBlock(b, r.j.id)
		if errors.Is(err, errShort) && !first && int64(len(b)) < limit-r.at {
			return nil // the rest is for the next chunk
		}
		if err == nil {
			err = r.take(c, h, body)
		}
		if err != nil {
			return r.j.damage(filepath.Base(r.j.path(r.number)), r.at, fmt.Sprintf("something was damaged since the start (%v)", err))
		}
		b = b[n:]
		r.at += int64(n)
	}
	return nil
}

func (r *Reader) fill(b []byte) error {
	if _, err := r.file.ReadAt(b, r.at); err != nil {
		return fmt.Errorf("journal: reading %s at byte %d: %w", r.j.path(r.number), r.at, err)
	}
	return nil
}

// take puts a block's records into batches.
func (r *Reader) take(c *chunk, h header, body []byte) error {
	if h.magic == magicHead {
		r.next = h.first
		return nil
	}
	if h.first != r.next {
		return errPlace
	}
	d := decoder{b: body}
	for len(d.b) > 0 {
		f, ok := d.nextFrame()
		if !ok {
			return errFrame
		}
		if f.count == 0 {
			continue
		}
		if err := r.add(c, &f); err != nil {
			return err
		}
	}
	return nil
}

// add puts a frame's records into the batch of its stream and labels.
func (r *Reader) add(c *chunk, f *frame) error {
	key := r.keys[string(f.key)]
	if key == nil {
		s, labels, ok := decodeKey(f.key)
		if !ok {
			return errFrame
		}
		if len(r.keys) >= maxKeys {
			clear(r.keys)
		}
		key = &streamKey{s, labels}
		r.keys[string(f.key)] = key
	}
	first, from := r.next, r.from[key.Stream]
	r.next += int64(f.count)
	if r.next <= from {
		return nil
	}
	b := r.open[key.Stream]
	if b == nil || b.key != key || len(b.Records) >= batchRecords {
		b = r.j.chunks.batch()
		c.refs.Add(1)
		b.Stream, b.Labels, b.key, b.chunk = key.Stream, key.labels, key, c
		r.open[key.Stream] = b
		r.ready = append(r.ready, b)
	}
	var ok bool
	if b.Records, ok = f.appendRecords(b.Records, first, from); !ok {
		return errFrame
	}
	return nil
}

func (c *chunks) batch() *Batch {
	if b, ok := c.batches.Get().(*Batch); ok {
		return b
	}
	return &Batch{pool: &c.batches}
}
