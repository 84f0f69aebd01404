package simulation

import (
	"fmt"
	"maps"
	"sync"

	"sluice/pipeline"
)

// broker is a log of partitions with the offsets committed to it. Records
// are there from the beginning and become visible as the simulator says.
type broker struct {
	mu        sync.Mutex
	log       map[pipeline.Partition][]pipeline.Record
	visible   map[pipeline.Partition]int64
	committed map[pipeline.Partition]int64
	changed   chan struct{} // closed and made anew when more is visible
}

func newBroker(log map[pipeline.Partition][]pipeline.Record) *broker {
	return &broker{
		log: log, visible: make(map[pipeline.Partition]int64), committed: make(map[pipeline.Partition]int64),
		changed: make(chan struct{}),
	}
}

// reveal makes records of a partition visible, up to an offset.
func (b *broker) reveal(p pipeline.Partition, end int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	end = min(end, int64(len(b.log[p])))
	if end > b.visible[p] {
		b.visible[p] = end
		close(b.changed)
		b.changed = make(chan struct{})
	}
}

func (b *broker) end(p pipeline.Partition) int64 { return int64(len(b.log[p])) }

func (b *broker) seen(p pipeline.Partition) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.visible[p]
}

// fetch returns copies of up to n records from an offset on, and a channel
// that is closed when there may be more.
func (b *broker) fetch(p pipeline.Partition, next int64, n int) (records []pipeline.Record, high int64, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	high = b.visible[p]
	for ; next < high && len(records) < n; next++ {
		r := b.log[p][next]
		r.Value = append([]byte(nil), r.Value...)
		records = append(records, r)
	}
	return records, high, b.changed
}

// commit takes offsets of static members, as far as they are durable.
func (b *broker) commit(next, durable map[pipeline.Partition]int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p, offset := range next {
		if offset > durable[p] {
			return fmt.Errorf("offset %d of %s is committed, and the state is durable up to %d", offset, p, durable[p])
		}
	}
	maps.Copy(b.committed, next)
	return nil
}

// place takes an offset of a group's member.
func (b *broker) place(p pipeline.Partition, offset int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if offset < b.committed[p] {
		offset = b.committed[p] // a late commit of the same tenure
	}
	b.committed[p] = offset
}

// begin is where a partition is read from that the state says nothing of.
func (b *broker) begin(p pipeline.Partition, from int64) int64 {
	if from >= 0 {
		return from
	}
	return max(b.at(p), 0)
}

// at returns the committed offset, -1 when there is none.
func (b *broker) at(p pipeline.Partition) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if next, ok := b.committed[p]; ok {
		return next
	}
	return -1
}
