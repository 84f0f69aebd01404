package redis

import (
	"slices"
	"sync"

	"sluice/pipeline"
	"sluice/sources"
)

// stream is what is known of one stream's reading. Any goroutine may use it.
type stream struct {
	key  string
	part pipeline.Partition

	mu        sync.Mutex
	committed int64   // the offset before which all is through and durable
	unacked   []int64 // entries that were emitted and not acknowledged, sorted
	stats     sources.PartitionStats
}

func newStream(source, key string) *stream {
	part := pipeline.Partition{Source: source, Topic: key}
	return &stream{key: key, part: part, stats: sources.PartitionStats{Partition: part, Next: -1, HighWatermark: -1}}
}

// commit moves forward what is through.
func (st *stream) commit(next int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.committed = max(st.committed, next)
}

// through returns the offset before which all is through.
func (st *stream) through() int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.committed
}

// emitted remembers entries for Commit to acknowledge.
func (st *stream) emitted(offsets ...int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.unacked = append(st.unacked, offsets...)
	if !slices.IsSorted(st.unacked) { // entries that came again
		slices.Sort(st.unacked)
		st.unacked = slices.Compact(st.unacked)
	}
}

// due returns up to n entries that are through and not acknowledged yet, sorted.
func (st *stream) due(n int) []int64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	end, _ := slices.BinarySearch(st.unacked, st.committed)
	return slices.Clone(st.unacked[:min(end, n)])
}

// done forgets entries that are acknowledged.
func (st *stream) done(offsets []int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.unacked = slices.DeleteFunc(st.unacked, func(o int64) bool {
		_, ok := slices.BinarySearch(offsets, o)
		return ok
	})
}

// reset sets where reading goes on, wherever it stood before.
func (st *stream) reset(next int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.committed = next
}

// note remembers how far the stream was read; left is how many entries are left, -1 when unknown.
func (st *stream) note(next, left int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.stats.Next, st.stats.HighWatermark = next, -1
	if left >= 0 {
		st.stats.HighWatermark = next + left
	}
}

func (st *stream) snapshot() sources.PartitionStats {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.stats
}
