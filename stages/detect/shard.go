package detect

import (
	"strings"
	"time"

	"sluice/pipeline"
)

// ShardOptions say how a shard treats time and memory.
type ShardOptions struct {
	// Free lets buckets and blackholes that are dead by the clock leave
	// memory. Off, as in replay and test, they die of their own next event only.
	Free bool
	// Lateness is how far behind the clock an event may still come: nothing
	// is freed or fired before the clock is that far past it.
	Lateness time.Duration
	// DatedOnly drops events without a date but for triggers, as CrowdSec's
	// replay does; otherwise they count at their time of receipt.
	DatedOnly bool
	// Processing runs buckets on the time of receipt instead of the event's.
	Processing bool
}

// Shard owns buckets. One goroutine uses it.
type Shard struct {
	d    *Detector
	opts ShardOptions

	buckets    map[bucketKey]*bucket
	blackholes map[mute]int64 // until when, event time
	partitions []partition
	index      map[pipeline.Partition]int32
	births     uint64
	stats      Stats

	// of the Apply under way
	now      *partition
	line     int32
	position pipeline.Position // of the line that is applied
	out      []pipeline.Overflow
	ordinals map[ordinalKey]int32
	lastKept *pipeline.Kept // the event copied last, and its copy
	lastOwn  *pipeline.Kept
}

// mute is a key that a document does not alert on for a while (FIDELITY 19).
type mute struct {
	doc int32
	key string
}

// ordinalKey counts the overflows of one bucket at one line.
type ordinalKey struct {
	scenario int32
	key      string
	line     int32
}

// partition is what a shard knows of one source partition.
type partition struct {
	id    int32
	name  pipeline.Partition
	clock int64
	timed deadlines // when counters that it fed last are due
	free  deadlines // when buckets and blackholes that it fed last are dead
}

// Stats is what a shard did and holds.
type Stats struct {
	// Live is the number of buckets in memory, Muted that of blackholes.
	Live, Muted int
	// Poured counts pours that reached a bucket.
	Poured uint64
	// Overflows counts those handed on.
	Overflows uint64
	// Expired buckets died of a later event, Freed ones of the clock.
	Expired, Freed uint64
	// Dropped counts pours and overflows that came to nothing, by reason.
	Dropped map[string]uint64
}

// The reasons in Stats.Dropped.
const (
	DroppedUndated        = "no date"
	DroppedFailed         = "an expression failed"
	DroppedDistinct       = "not distinct"
	DroppedCancelled      = "cancelled"
	DroppedOverflowFilter = "overflow_filter"
	DroppedBlackhole      = "blackhole"
	DroppedCondition      = "condition failed"
	DistinctFull          = "distinct set full"
)

// NewShard returns a shard without buckets.
func (d *Detector) NewShard(o ShardOptions) *Shard {
	return &Shard{
		d: d, opts: o,
		buckets: make(map[bucketKey]*bucket), blackholes: make(map[mute]int64),
		index: make(map[pipeline.Partition]int32), ordinals: make(map[ordinalKey]int32),
		stats: Stats{Dropped: make(map[string]uint64)},
	}
}

// Stats returns the counters. Only the shard's goroutine may call it, and
// Dropped is the shard's own map.
func (s *Shard) Stats() Stats {
	st := s.stats
	st.Live, st.Muted = len(s.buckets), len(s.blackholes)
	return st
}

// maxFrees bounds how much memory is freed at once, so that a million
// buckets that die together do not stop the stream.
const maxFrees = 20_000

// Apply applies one partition's pours, in order, interleaved with the steps
// of its clock by line (at one line the step comes first), and appends the
// overflows to out. Pours and their events belong to the caller: what a
// bucket keeps is copied.
func (s *Shard) Apply(name pipeline.Partition, steps []pipeline.ClockStep, pours []*pipeline.Pour, out []pipeline.Overflow) []pipeline.Overflow {
	s.now, s.out = s.partition(name), out
	s.lastKept, s.lastOwn = nil, nil
	clear(s.ordinals)
	for _, p := range pours {
		for len(steps) > 0 && steps[0].Line <= p.Line {
			s.step(&steps[0])
			steps = steps[1:]
		}
		s.line, s.position = p.Line, p.Event.Position
		s.pour(p)
	}
	for i := range steps {
		s.step(&steps[i])
	}
	if s.opts.Free {
		s.release()
	}
	out, s.out, s.now = s.out, nil, nil
	return out
}

func (s *Shard) partition(name pipeline.Partition) *partition {
	i, ok := s.index[name]
	if !ok {
		i = int32(len(s.partitions))
		s.partitions = append(s.partitions, partition{id: i, name: name})
		s.index[name] = i
	}
	return &s.partitions[i]
}

// pour applies one pour.
func (s *Shard) pour(p *pipeline.Pour) {
	doc := &s.d.docs[p.Scenario]
	if doc.skip {
		return
	}
	if p.Failed {
		s.stats.Dropped[DroppedFailed]++
		return
	}
	s.stats.Poured++
	t := nanos(p.Event.Time)
	if s.opts.Processing {
		t = nanos(p.Event.Received)
	}
	if doc.kind == trigger {
		b := &bucket{key: p.Key, doc: p.Scenario, count: 1, first: t, last: t, from: s.place(p), to: s.place(p)}
		b.keep(doc, s.own(p.Event), p.Scope)
		s.overflow(b, p.Event)
		return
	}
	if s.opts.DatedOnly && !p.Event.Has(pipeline.SlotMarshaledTime) {
		s.stats.Dropped[DroppedUndated]++
		return
	}
	key := bucketKey{doc.group, p.Key}
	b := s.buckets[key]
	if b != nil {
		maker := &s.d.docs[b.doc]
		if b.expired(maker, t) {
			delete(s.buckets, key)
			if maker.timed() {
				s.overflow(b, nil)
			} else {
				s.stats.Expired++
			}
			b = nil
		}
	}
	if b == nil {
		key.key = strings.Clone(p.Key)
		s.births++
		b = &bucket{key: key.key, doc: p.Scenario, born: s.births}
		s.buckets[key] = b
	}
	s.fill(key, b, p, t)
}

// fill runs the processors on a pour (FIDELITY 19): distinct, cancel_on, the
// limiter, then condition and bayesian.
func (s *Shard) fill(key bucketKey, b *bucket, p *pipeline.Pour, t int64) {
	doc := &s.d.docs[b.doc]
	if doc.distinct && !s.distinct(b, p.Distinct) {
		s.stats.Dropped[DroppedDistinct]++
		return
	}
	if doc.cancel && p.Cancel {
		s.stats.Dropped[DroppedCancelled]++
		delete(s.buckets, key)
		return
	}
	b.count++
	b.last, b.to = t, s.place(p)
	if b.count == 1 {
		b.first, b.from = t, b.to
		s.watch(key, b, doc)
	}
	full := !doc.unlimited && !b.limiter.allow(doc.rate, t)
	b.keep(doc, s.own(p.Event), p.Scope)
	if full || s.conditions(b, doc, p.Event) {
		delete(s.buckets, key)
		s.overflow(b, p.Event)
	}
}

// distinct tells whether the bucket sees a value for the first time.
func (s *Shard) distinct(b *bucket, value string) bool {
	if _, seen := b.distinct[value]; seen {
		return false
	}
	if len(b.distinct) >= s.d.opts.MaxDistinct {
		s.stats.Dropped[DistinctFull]++
		return true
	}
	if b.distinct == nil {
		b.distinct = make(map[string]struct{})
	}
	b.distinct[strings.Clone(value)] = struct{}{}
	return true
}

// conditions tells whether condition or bayesian makes the bucket overflow.
// One that fails does not.
func (s *Shard) conditions(b *bucket, doc *document, ev *pipeline.Kept) bool {
	if doc.condition == nil && doc.bayes == nil {
		return false
	}
	env := b.env(doc, ev)
	failed := func(error) { s.stats.Dropped[DroppedCondition]++ }
	if doc.condition != nil {
		ok, err := doc.condition.Bool(env)
		if err != nil {
			failed(err)
		}
		if ok {
			return true
		}
	}
	return doc.kind == bayesian && b.evil(doc, env, failed)
}

// overflow hands a bucket that is already gone from the map on, unless
// overflow_filter or the blackhole stop it. ev is the event that did it; nil
// when its time was up.
func (s *Shard) overflow(b *bucket, ev *pipeline.Kept) {
	doc := &s.d.docs[b.doc]
	o := pipeline.Overflow{
		Scenario: b.doc, Key: strings.Clone(b.key), Cause: s.position, Line: s.line,
		First: s.positionOf(b.from), Last: s.positionOf(b.to),
		FirstTime: timeOf(b.first), LastTime: timeOf(b.last),
		Count: b.count, Queue: b.queue, Scopes: b.scopes,
	}
	if doc.overflowFilter != nil && !s.passes(b, doc, &o, ev) {
		s.stats.Dropped[DroppedOverflowFilter]++
		return
	}
	if doc.blackhole > 0 {
		m := mute{b.doc, b.key}
		if until, ok := s.blackholes[m]; ok && until > b.last {
			s.stats.Dropped[DroppedBlackhole]++
			return
		}
		m.key = o.Key
		s.blackholes[m] = plus(b.last, doc.blackhole)
		s.watchMute(m)
	}
	id := ordinalKey{b.doc, o.Key, s.line}
	o.Ordinal = s.ordinals[id]
	s.ordinals[id]++
	s.stats.Overflows++
	s.out = append(s.out, o)
}

func (s *Shard) passes(b *bucket, doc *document, o *pipeline.Overflow, ev *pipeline.Kept) bool {
	if ev == nil {
		ev = b.queue[len(b.queue)-1]
	}
	env := b.env(doc, ev)
	if s.d.opts.BuildSignal != nil {
		env.Signal = s.d.opts.BuildSignal(o)
	}
	ok, err := doc.overflowFilter.Bool(env)
	return ok && err == nil
}

// own copies an event out of the batch, once for all buckets that keep it.
func (s *Shard) own(k *pipeline.Kept) *pipeline.Kept {
	if s.lastKept != k || s.lastOwn == nil {
		s.lastKept, s.lastOwn = k, k.Own()
	}
	return s.lastOwn
}

func (s *Shard) place(p *pipeline.Pour) place {
	return place{p.Event.Position.Offset, s.now.id, p.Event.Position.Line}
}

func (s *Shard) positionOf(p place) pipeline.Position {
	return pipeline.Position{Partition: s.partitions[p.partition].name, Offset: p.offset, Line: p.line}
}

func timeOf(n int64) time.Time { return time.Unix(0, n).UTC() }
