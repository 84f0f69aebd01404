package httpd

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"sluice/pipeline"
)

// What records and labels take beside their bytes, roughly.
const (
	recordBytes = 128
	headerBytes = 48
	groupBytes  = 512
	labelBytes  = 64
)

// Batch is what a request holds: groups of records, each with labels of its
// own, and the memory that they lie in. What it takes is counted in the
// budget until it is released. Until it is put it is one goroutine's.
type Batch struct {
	now        time.Time
	maxRecords int
	budget     *budget
	peer       *peer // whose request it is; nil in tests without a server
	pool       *chunks

	groups []*Group
	count  int
	chunks [][]byte
	at     int // what of the last chunk is used
	held   int64
	refs   atomic.Int32
}

// Group is records with the same labels, in order.
type Group struct {
	labels  map[string]string
	records []pipeline.Record
	batch   *Batch
}

func (s *Source) newBatch() *Batch {
	b := &Batch{now: s.clock.Now(), maxRecords: s.config.MaxRecords, budget: &s.budget, pool: &s.chunks}
	b.refs.Store(1)
	return b
}

// Now is when the request came: the time of records that bring none.
func (b *Batch) Now() time.Time { return b.now }

// Reserve counts memory that a request takes until its records are released.
func (b *Batch) Reserve(n int) error {
	if !b.budget.hold(int64(n), b.peer) {
		return later("the memory for requests is in use; send the request again")
	}
	b.held += int64(n)
	return nil
}

// unreserve gives memory back early.
func (b *Batch) unreserve(n int) {
	b.budget.give(int64(n), b.peer)
	b.held -= int64(n)
}

// Group adds a group; records come by Add, and its labels may be set until the batch is put.
func (b *Batch) Group() (*Group, error) {
	if err := b.Reserve(groupBytes); err != nil {
		return nil, err
	}
	g := &Group{batch: b}
	b.groups = append(b.groups, g)
	return g, nil
}

// SetLabels sets the labels of the group's records. The map is kept.
func (g *Group) SetLabels(labels map[string]string) error {
	n := 0
	for k, v := range labels {
		n += labelBytes + len(k) + len(v)
	}
	g.labels = labels
	return g.batch.Reserve(n)
}

// Add adds a record; its bytes and headers stay as they are until the batch is released.
func (g *Group) Add(value []byte, at time.Time, headers []pipeline.Header) error {
	b := g.batch
	if b.count == b.maxRecords {
		return tooLarge("the request holds more than %d records; send fewer at a time, or raise max_records", b.maxRecords)
	}
	b.count++
	if len(g.records) == cap(g.records) { // it grows: what it grew from is garbage then
		more := max(16, cap(g.records))
		if err := b.Reserve(more * recordBytes); err != nil {
			return err
		}
		g.records = slices.Grow(g.records, more)
	}
	for _, h := range headers {
		if err := b.Reserve(headerBytes + len(h.Key)); err != nil {
			return err
		}
	}
	g.records = append(g.records, pipeline.Record{Value: value, Headers: headers, Time: at})
	return nil
}

// chunk begins a chunk of at least that size.
func (b *Batch) chunk(size int) ([]byte, error) {
	usual := size
	switch {
	case size <= smallChunk:
		usual = smallChunk
	case size <= largeChunk:
		usual = largeChunk
	}
	if err := b.Reserve(usual); err != nil {
		return nil, err
	}
	c := b.pool.get(size)
	b.chunks, b.at = append(b.chunks, c), 0
	return c, nil
}

// drop gives the last chunk back, which nothing lies in.
func (b *Batch) drop() {
	last := len(b.chunks) - 1
	c := b.chunks[last]
	b.chunks[last] = nil
	b.chunks, b.at = b.chunks[:last], 0
	if last > 0 {
		b.at = len(b.chunks[last-1])
	}
	b.unreserve(len(c))
	b.pool.put(c)
}

// Copy puts bytes into the batch's memory.
func (b *Batch) Copy(p []byte) ([]byte, error) {
	if len(b.chunks) == 0 || b.at+len(p) > len(b.chunks[len(b.chunks)-1]) {
		size := smallChunk
		if len(b.chunks) > 0 {
			size = largeChunk
		}
		if _, err := b.chunk(max(size, len(p))); err != nil {
			return nil, err
		}
	}
	c := b.chunks[len(b.chunks)-1]
	start := b.at
	b.at += copy(c[start:], p)
	return c[start:b.at:b.at], nil
}

// release gives a share of the memory back, and all of it with the last one.
func (b *Batch) release() {
	if b.refs.Add(-1) > 0 {
		return
	}
	for _, c := range b.chunks {
		b.pool.put(c)
	}
	b.chunks, b.groups = nil, nil
	b.budget.give(b.held, b.peer)
	b.held = 0
}

// merge lays labels over those of every group, and leaves out groups without records.
func (b *Batch) merge(over map[string]string) error {
	b.groups = slices.DeleteFunc(b.groups, func(g *Group) bool { return len(g.records) == 0 })
	for _, g := range b.groups {
		if len(g.labels) == 0 {
			g.labels = over
			continue
		}
		all := maps.Clone(g.labels)
		maps.Copy(all, over)
		if err := g.SetLabels(all); err != nil {
			return err
		}
	}
	return nil
}
