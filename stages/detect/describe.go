package detect

import (
	"errors"
	"fmt"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// Describer says what the records of shards hold, by names instead of the
// dictionary's numbers and without the rules: for exports that two runs are
// compared by. First it is given all clocks, then the other records.
type Describer struct {
	coder  *pipeline.KeptCoder
	clocks map[uint32]savedClock // by the partition's number
}

// NewDescriber describes records whose numbers are a dictionary's.
func NewDescriber(dict *state.Dictionary) *Describer {
	return &Describer{
		coder:  pipeline.NewKeptCoder(pipeline.NewSchema(), dict, nil).Clone(),
		clocks: make(map[uint32]savedClock),
	}
}

// ClockRecord describes the clock of a partition as shards have seen it.
type ClockRecord struct {
	Kind      string    `json:"kind"`
	Partition string    `json:"partition"`
	Clock     time.Time `json:"clock"`
}

// BlackholeRecord describes a key that a document does not alert on until a time.
type BlackholeRecord struct {
	Kind       string    `json:"kind"`
	Scenario   string    `json:"scenario"`
	Filter     string    `json:"filter"`
	Definition string    `json:"definition"` // rules.Scenario.Hash
	Key        string    `json:"key"`
	Until      time.Time `json:"until"`
	FedBy      string    `json:"fed_by"`
}

// BucketRecord describes a bucket.
type BucketRecord struct {
	Kind       string        `json:"kind"`
	Scenario   string        `json:"scenario"`
	Filter     string        `json:"filter"`
	Definition string        `json:"definition"` // rules.Scenario.Hash
	Key        string        `json:"key"`
	Count      int32         `json:"count"`
	First      time.Time     `json:"first"` // event time of the first pour
	Last       time.Time     `json:"last"`  // of the last one
	From       string        `json:"from"`  // position of the first pour
	To         string        `json:"to"`
	FedBy      string        `json:"fed_by"` // the partition that fed it last
	Tokens     float64       `json:"tokens,omitempty"`
	Accepted   time.Time     `json:"accepted,omitzero"`
	Queue      []EventRecord `json:"queue"` // oldest first
	Distinct   []string      `json:"distinct,omitempty"`
	Held       []bool        `json:"held,omitempty"`
}

// EventRecord describes an event that a bucket keeps.
type EventRecord struct {
	Position string    `json:"position"`
	Time     time.Time `json:"time"`
	Scope    string    `json:"scope,omitempty"`
	// Fields are by their paths, such as evt.Meta.source_ip.
	Fields map[string]string `json:"fields"`
}

// errNoNumber says that a record refers to what the dictionary does not have.
var errNoNumber = errors.New("the record refers to a number that the state's dictionary does not have")

// Clock takes the record of a clock.
func (d *Describer) Clock(key, value []byte) (*ClockRecord, error) {
	number, own, ok := splitKey(key)
	if !ok || len(own) > 0 {
		return nil, pipeline.ErrCut
	}
	c, err := readClock(value)
	if err != nil {
		return nil, err
	}
	d.clocks[number] = c
	p, err := d.coder.PartitionOf(number)
	if err != nil {
		return nil, err
	}
	return &ClockRecord{state.KindShardClock.String(), p.String(), c.clock.time()}, nil
}

// isPast is Shard.isPast for a partition's number.
func (d *Describer) isPast(part uint32, t instant) bool {
	c, started := d.clocks[part]
	return started && c.free && c.clock.add(-time.Duration(c.lateness)).after(t)
}

// Blackhole takes the record of a blackhole; it returns nil for one that has
// ended, whether or not its memory was freed.
func (d *Describer) Blackhole(key, value []byte) (*BlackholeRecord, error) {
	definition, own, ok := splitKey(key)
	if !ok {
		return nil, pipeline.ErrCut
	}
	h, err := readHole(value)
	if err != nil || d.isPast(h.part, h.until) {
		return nil, err
	}
	out := &BlackholeRecord{Kind: state.KindBlackhole.String(), Key: string(own), Until: h.until.time()}
	out.Scenario, out.Filter, out.Definition, err = d.names(h.group, definition)
	if err != nil {
		return nil, err
	}
	p, err := d.coder.PartitionOf(h.part)
	out.FedBy = p.String()
	return out, err
}

// Bucket takes the record of a bucket; it returns nil for one that is dead,
// whether or not its memory was freed.
func (d *Describer) Bucket(key, value []byte) (*BucketRecord, error) {
	group, own, ok := splitKey(key)
	if !ok {
		return nil, pipeline.ErrCut
	}
	var h bucketRecord
	r := pipeline.NewStoredReader(value)
	h.read(&r)
	var b bucket
	readQueue(&r, d.coder, h.has, &b)
	if err := r.End(); err != nil {
		return nil, err
	}
	if h.has&isTimed == 0 && d.isPast(h.part, h.last.add(time.Duration(h.life))) {
		return nil, nil
	}
	out := &BucketRecord{
		Kind: state.KindBucket.String(), Key: string(own), Count: h.count,
		First: h.first.time(), Last: h.last.time(), Queue: make([]EventRecord, len(b.queue)),
	}
	if h.has&hasLimiter != 0 {
		out.Tokens, out.Accepted = h.limiter.tokens, h.limiter.last.time()
	}
	if b.extra != nil {
		out.Distinct, out.Held = b.extra.distinct.values, b.extra.held
	}
	for i, ev := range b.queue {
		out.Queue[i] = eventRecord(ev)
		if b.extra != nil && b.extra.scopes != nil {
			out.Queue[i].Scope = b.extra.scopes[i]
		}
	}
	return out, d.nameBucket(out, &h, group)
}

func (d *Describer) nameBucket(out *BucketRecord, h *bucketRecord, group uint32) (err error) {
	if out.Scenario, out.Filter, out.Definition, err = d.names(group, h.definition); err != nil {
		return err
	}
	p, err := d.coder.PartitionOf(h.part)
	if err != nil {
		return err
	}
	out.FedBy = p.String()
	if out.From, err = d.place(h.from); err != nil {
		return err
	}
	out.To, err = d.place(h.to)
	return err
}

func (d *Describer) names(group, definition uint32) (scenario, filter, hash string, err error) {
	scenario, filter, ok := pipeline.GroupOf(d.coder.Dictionary(), group)
	hash, known := d.coder.Dictionary().Name(state.NumberDefinition, definition)
	if !ok || !known {
		return "", "", "", fmt.Errorf("scenario %d, defined by %d: %w", group, definition, errNoNumber)
	}
	return scenario, filter, hash, nil
}

func (d *Describer) place(p storedPlace) (string, error) {
	part, err := d.coder.PartitionOf(p.part)
	return pipeline.Position{Partition: part, Offset: p.offset, Line: p.line}.String(), err
}

func eventRecord(ev *pipeline.Kept) EventRecord {
	out := EventRecord{Position: ev.Position.String(), Time: ev.Time, Fields: make(map[string]string)}
	for _, space := range []pipeline.Namespace{pipeline.Core, pipeline.Label, pipeline.Parsed, pipeline.Meta, pipeline.Enriched} {
		ev.Each(space, func(name, value string) { out.Fields[space.String()+"."+name] = value })
	}
	return out
}

// FedBy returns the partition that the record of a bucket, a blackhole or a
// clock goes with: the one that fed it last.
func (d *Describer) FedBy(key, value []byte) (pipeline.Partition, error) {
	var number uint32
	switch state.Kind(key[0]) {
	case state.KindBucket:
		var h bucketRecord
		r := pipeline.NewStoredReader(value)
		h.read(&r)
		if r.Err() != nil {
			return pipeline.Partition{}, r.Err()
		}
		number = h.part
	case state.KindBlackhole:
		h, err := readHole(value)
		if err != nil {
			return pipeline.Partition{}, err
		}
		number = h.part
	default:
		n, _, ok := splitKey(key)
		if !ok {
			return pipeline.Partition{}, pipeline.ErrCut
		}
		number = n
	}
	return d.coder.PartitionOf(number)
}
