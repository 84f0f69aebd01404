package detect

import (
	"cmp"
	"slices"
	"time"

	"sluice/pipeline"
)

// State is what a shard holds, in a fixed order: for tests and tools. What
// is dead by the clock is left out, whether or not its memory was freed.
type State struct {
	Clocks     []ClockState     `json:"clocks,omitempty"`
	Buckets    []BucketState    `json:"buckets,omitempty"`
	Blackholes []BlackholeState `json:"blackholes,omitempty"`
}

// ClockState is the clock of a partition that has fed the shard.
type ClockState struct {
	Partition pipeline.Partition `json:"partition"`
	Clock     time.Time          `json:"clock"`
}

// BucketState is one bucket.
type BucketState struct {
	Scenario string `json:"scenario"`
	Filter   string `json:"filter"`
	Key      string `json:"key"`
	// Document is the index of the document that made it.
	Document int32     `json:"document"`
	Count    int32     `json:"count"`
	First    time.Time `json:"first"` // event time of the first pour
	Last     time.Time `json:"last"`  // of the last one
	// From and To are the positions of the first and the last pour.
	From pipeline.Position `json:"from"`
	To   pipeline.Position `json:"to"`
	// FedBy is the partition that fed it last.
	FedBy pipeline.Partition `json:"fed_by"`
	// Tokens and Accepted are the limiter's state: the tokens left at the last accepted event.
	Tokens   float64      `json:"tokens,omitempty"`
	Accepted time.Time    `json:"accepted,omitzero"`
	Queue    []EventState `json:"queue"` // oldest first
	Distinct []string     `json:"distinct,omitempty"`
	Held     []bool       `json:"held,omitempty"` // bayesian conditions that hold for good
}

// EventState is an event that a bucket keeps.
type EventState struct {
	Position pipeline.Position `json:"position"`
	Time     time.Time         `json:"time"`
	Scope    string            `json:"scope,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
}

// BlackholeState is a key that a document does not alert on until a time.
type BlackholeState struct {
	Scenario string    `json:"scenario"`
	Document int32     `json:"document"`
	Key      string    `json:"key"`
	Until    time.Time `json:"until"`
}

// Export returns what the shard holds. Only the shard's goroutine may call it.
func (s *Shard) Export() State {
	var out State
	for _, p := range s.parts {
		if p.started {
			out.Clocks = append(out.Clocks, ClockState{p.name, p.clock.time()})
		}
	}
	for _, r := range s.index {
		b, err := s.look(r)
		if err != nil {
			s.err = err
			continue
		}
		doc := &s.docs[b.doc]
		if doc.timed || !s.isPast(b.part, b.last.add(doc.life)) {
			out.Buckets = append(out.Buckets, s.exportBucket(b))
		}
	}
	for k, h := range s.holes {
		if !s.isPast(h.part, h.until) {
			out.Blackholes = append(out.Blackholes, BlackholeState{s.docs[k.doc].name, k.doc, k.key, h.until.time()})
		}
	}
	out.sort()
	return out
}

// look returns a bucket to read, a copy of one that is not in memory.
func (s *Shard) look(r ref) (*bucket, error) {
	if r > 0 {
		return s.slab.at(r), nil
	}
	b := new(bucket)
	return b, s.readCold(s.cold.at(coldRef(-r)), b)
}

func (s *State) sort() {
	slices.SortFunc(s.Clocks, func(a, b ClockState) int {
		return pipeline.Position{Partition: a.Partition}.Compare(pipeline.Position{Partition: b.Partition})
	})
	slices.SortFunc(s.Buckets, func(a, b BucketState) int {
		return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Filter, b.Filter), cmp.Compare(a.Key, b.Key))
	})
	slices.SortFunc(s.Blackholes, func(a, b BlackholeState) int {
		return cmp.Or(cmp.Compare(a.Document, b.Document), cmp.Compare(a.Key, b.Key))
	})
}

func (s *Shard) exportBucket(b *bucket) BucketState {
	doc := &s.docs[b.doc]
	out := BucketState{
		Scenario: doc.name, Filter: doc.filter, Key: b.key, Document: b.doc, Count: b.count,
		First: b.first.time(), Last: b.last.time(),
		From: s.position(b.from), To: s.position(b.to), FedBy: s.parts[b.part].name,
	}
	if doc.limited {
		out.Tokens, out.Accepted = b.limiter.tokens, b.limiter.last.time()
	}
	scopes := b.scopesOf()
	for i := range b.queue {
		ev := b.event(i)
		meta := make(map[string]string)
		ev.Each(pipeline.Meta, func(name, value string) { meta[name] = value })
		out.Queue = append(out.Queue, EventState{ev.Position, ev.Time, scopes[i], meta})
	}
	if b.extra != nil {
		out.Distinct, out.Held = slices.Clone(b.extra.distinct.values), slices.Clone(b.extra.held)
	}
	return out
}
