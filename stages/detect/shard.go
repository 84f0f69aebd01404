package detect

import (
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/expression"
)

// ShardOptions say how a shard treats time and memory.
type ShardOptions struct {
	// Free lets buckets and blackholes that are dead by the clock leave
	// memory. Off, as replay and test want it, a bucket dies of its own next
	// event only.
	Free bool
	// Lateness is how far behind the clock an event may come and still find
	// everything as if nothing were freed. Timed buckets wait as long before they overflow.
	Lateness time.Duration
	// DatedOnly drops events whose date no parser found, but for triggers, as
	// CrowdSec's replay does. Otherwise they pour on their time of receipt.
	DatedOnly bool
	// Processing runs buckets on the time of receipt instead of event time.
	Processing bool

	// Coder writes the shard's state for the store; nil keeps none, and costs
	// nothing. Its scenarios are Detector.ScenarioIDs. The shard takes a Clone.
	Coder *pipeline.KeptCoder
	// Index is the shard's place among the graph's. Shard 0 writes the
	// clocks, which all of a graph's shards see alike at a barrier.
	Index int
	// Cold gives back what the shard moved out of memory; nil keeps all in memory.
	Cold Cold
	// MemoryLimit is about how many bytes the shard's buckets may take; 0 is
	// no limit. It needs Cold and a Coder. What is loaded beyond it stays in
	// the store, which must be folded up to what is loaded.
	MemoryLimit int64
}

// Cold reads the state store.
type Cold interface {
	// Get appends to buf the value of a record that is in a folded epoch.
	// Only the caller's shard writes that record, and has not since.
	Get(key, buf []byte) (value []byte, sum state.Sum, ok bool, err error)
	// Folded returns the newest epoch that Get sees.
	Folded() uint64
}

// Shard owns the buckets of the keys that are routed to it. One goroutine uses it.
type Shard struct {
	docs []document
	lim  Options
	opts ShardOptions

	slab  slab
	index map[bucketKey]ref
	holes map[holeKey]hole

	// parts are the partitions seen so far; partIndex finds their numbers.
	parts     []*part
	partIndex map[pipeline.Partition]int32
	stats     Stats
	// saving is what changed and is not yet written; nil without a Coder.
	saving *saving
	// cold is what is not in memory; nil without a limit. err is Err.
	cold *cold
	err  error
	// looks is freeAtLeast, except in tests.
	looks int

	// What follows belongs to the Apply under way.

	out []pipeline.Overflow
	// cur is the partition that feeds the shard.
	cur int32
	// pours and at: the pour that is applied, among its neighbours.
	pours []*pipeline.Pour
	at    int
	// kept and owned: the event that was copied last and its copy, so that
	// the buckets of one event share one.
	kept, owned *pipeline.Kept
	// lastPart is the partition of the last position that was numbered.
	lastPart int32
	env      expression.QueueEnv
	views    []*pipeline.View
	// viewed is the event whose view was made last, lastView.
	viewed   *pipeline.Kept
	lastView *pipeline.View

	// ordinals count the overflows of a document and key at one cause. The
	// alert lane comes back to one cause several times, so they outlive an Apply.
	ordinals map[holeKey]int32
	ordered  pipeline.Position
}

// part is what a shard knows of a source partition.
type part struct {
	name pipeline.Partition
	// clock is the partition's clock; started is unset before its first step.
	clock   instant
	started bool
	timed   timedHeap
	wheel   wheel
	holes   holeHeap
	// number is the dictionary's; 0 until it is asked for.
	number uint32
	// saved is the clock in the store, sum that of its record.
	saved savedClock
	sum   state.Sum
}

// holeKey names a blackhole: it belongs to a document and a bucket's key.
type holeKey struct {
	doc int32
	key string
}

// hole mutes a key until a time, which ends it. part is the partition whose record armed it.
type hole struct {
	until instant
	part  int32
	sum   state.Sum // of its record in the store
}

// NewShard returns a shard without buckets.
func (d *Detector) NewShard(o ShardOptions) *Shard {
	s := &Shard{
		docs: d.docs, lim: d.opts, opts: o, looks: freeAtLeast,
		index: make(map[bucketKey]ref), holes: make(map[holeKey]hole),
		partIndex: make(map[pipeline.Partition]int32), ordinals: make(map[holeKey]int32),
	}
	if o.Coder != nil {
		s.saving = newSaving(o.Coder.Clone())
		if o.Cold != nil && o.MemoryLimit > 0 {
			s.cold = &cold{from: o.Cold, limit: o.MemoryLimit}
		}
	}
	return s
}

// Apply applies one partition's pours in their order, which is that of lines,
// interleaved with the steps of the partition's clock: at one line the step
// comes first. It appends the overflows to out, in the order in which they
// happened, and returns it.
//
// The pours and their events belong to the caller, who may overwrite them
// afterwards: what a bucket or an overflow keeps is copied. How steps and
// pours are cut into calls makes no difference, as long as no line's step
// comes after its pours.
func (s *Shard) Apply(partition pipeline.Partition, steps []pipeline.ClockStep, pours []*pipeline.Pour, out []pipeline.Overflow) []pipeline.Overflow {
	if s.err != nil {
		return out
	}
	s.out, s.pours = out, pours
	s.cur = s.number(partition)
	for i, p := range pours {
		for len(steps) > 0 && steps[0].Line <= p.Line {
			s.step(&steps[0])
			steps = steps[1:]
		}
		s.at = i
		if s.pour(p); s.err != nil {
			break
		}
	}
	for i := range steps {
		s.step(&steps[i])
	}
	if s.opts.Free {
		s.free(s.looks + 2*len(pours))
	}
	if s.cold != nil {
		s.freeCold(coldLooks + len(pours))
		s.shrink(coldLooks + 8*len(pours))
	}
	out = s.out
	s.out, s.pours = nil, nil
	// The arena's events will be others.
	s.kept, s.owned, s.viewed, s.lastView = nil, nil, nil, nil
	s.env = expression.QueueEnv{}
	clear(s.views)
	return out
}

// number returns the shard's number for a partition.
func (s *Shard) number(p pipeline.Partition) int32 {
	if int(s.lastPart) < len(s.parts) && s.parts[s.lastPart].name == p {
		return s.lastPart
	}
	n, known := s.partIndex[p]
	if !known {
		n = int32(len(s.parts))
		s.partIndex[p] = n
		s.parts = append(s.parts, &part{name: p, timed: timedHeap{shard: s}})
	}
	s.lastPart = n
	return n
}

func (s *Shard) place(p pipeline.Position) place {
	return place{offset: p.Offset, line: p.Line, part: s.number(p.Partition)}
}

func (s *Shard) position(p place) pipeline.Position {
	return pipeline.Position{Partition: s.parts[p.part].name, Offset: p.offset, Line: p.line}
}

// timeOf is the time on which an event pours.
func (s *Shard) timeOf(ev *pipeline.Kept) instant {
	if s.opts.Processing {
		return instantOf(ev.Received)
	}
	return instantOf(ev.Time)
}
