package pipeline

import (
	"context"
	"time"

	"sluice/pipeline/state"
)

// Worker runs the stateless part of the graph on one batch at a time: decode,
// parse, enrich and match. Each worker goroutine has its own.
type Worker interface {
	// Work reads b.Records and fills b.Pours, b.Steps, b.Stats and b.Dead. It calls
	// turn.Wait before it touches what belongs to the partition (its stashes).
	Work(b *Batch, turn *Turn)
}

// Shard owns the buckets of the keys that are routed to it. One goroutine uses it.
type Shard interface {
	// Apply pours in order, interleaved with the clock's steps by their
	// lines, and appends the overflows, in order, to out.
	Apply(partition Partition, steps []ClockStep, pours []*Pour, out []Overflow) []Overflow
}

// DurableShard is a Shard that Checkpoint can write down. What an Apply gives
// never depends on the calls of the other methods, but for Forget.
type DurableShard interface {
	Shard
	// Freeze begins to write down the shard as it is at this moment: what
	// changed since the Freeze before.
	Freeze()
	// Encode writes down up to n of the buckets that Freeze found changed. It
	// returns what was written once that is all of them, and nil before.
	Encode(n int) *state.Writer
	// Stored says in which epoch the last Writer became durable.
	Stored(epoch uint64)
	// Forget drops what a partition fed last.
	Forget(p Partition)
	// Err says why the shard cannot go on, as when state cannot be read back:
	// the graph stops, and what was not made durable is made again.
	Err() error
}

// Front is what workers keep by partition: the stashes. Its methods are called
// by one goroutine while no worker touches the partitions in question.
type Front interface {
	// Save writes down what changed in the partitions since the Save before.
	Save(partitions []Partition, w *state.Writer)
	// Forget drops what belongs to a partition.
	Forget(p Partition, w *state.Writer)
}

// Coder writes down what waits inside the graph.
type Coder interface {
	AppendOverflow(to []byte, o *Overflow) []byte
	AppendPour(to []byte, p *Pour) []byte
}

// Alerter turns overflows into alerts.
type Alerter interface {
	// Repours tells whether an overflow's alert is to be poured again.
	Repours(o *Overflow) bool
	// Alert builds the alert of an overflow and runs the postoverflow
	// parsers on it. It may wait for look-ups; many goroutines call it.
	// A nil alert means that there is none, and why was counted.
	Alert(ctx context.Context, o *Overflow) *RuntimeAlert
	// Repour matches an alert against the scenarios that take alerts. Only
	// one goroutine calls it, in order.
	Repour(alert *RuntimeAlert, o *Overflow, arena *KeptArena, out []Pour) []Pour
}

// Outcome is what the graph hands on when a batch is through.
type Outcome struct {
	Partition Partition
	// Through says which records are through the graph by now.
	Through []Through
	// Alerts holds every overflow that became an alert, the whitelisted
	// included, sorted by (cause, depth, scenario, ordinal, key).
	Alerts []*RuntimeAlert
	Stats  BatchStats
	// Dead are records and lines for the dead letters, in order. They are out
	// before a barrier whose positions are behind them.
	Dead []DeadLetter
	// Clock is the partition's clock after the batch.
	Clock time.Time
	// Barrier, when set, is a barrier of Checkpoint: all outcomes before belong
	// to its epoch, all behind to the next. Nothing else is set then.
	Barrier *Snapshot
}

// Through says that all records of a partition before an offset are through.
type Through struct {
	Partition Partition
	Next      int64
}

// Options configure a Graph.
type Options struct {
	Workers int // goroutines that parse; at least 1
	Shards  int // goroutines that detect; at least 1
	// BatchRecords cuts the sources' batches, so that work spreads; 512 when 0.
	BatchRecords int
	// QueueBatches bounds the batches on their way to each step; 4 per worker when 0.
	QueueBatches int
	// LookUps bounds the alerts that wait for look-ups at once; 64, or 4096 with LateAlerts, when 0.
	LookUps int
	// MaxDepth bounds how often an alert's consequences are poured again; 5 when 0.
	MaxDepth int32
	// AlertLane says that some scenario takes alerts (Pour.AlertLane).
	AlertLane bool
	// LateAlerts lets an alert that waits for a look-up come out behind those
	// of later batches. Without it outcomes wait for it, so that their order is always the same.
	LateAlerts bool
	// Muted, when set, tells of a cause that nobody wants its alerts: they are
	// not waited for, and so never state.
	Muted func(cause Position) bool
	// Merge, when set, orders the lines of all partitions by their clocks.
	Merge *MergeOptions
	// Front is what workers keep by partition; nil when they keep nothing.
	Front Front
	// Coder serves Checkpoint; without it there is none.
	Coder Coder
	// Dictionary gives the numbers of partitions in what Checkpoint writes.
	Dictionary *state.Dictionary
	// Poison overwrites every batch's arena when it is recycled: for tests.
	Poison bool

	NewWorker func() Worker
	// NewShard makes shard i of the shuffle; the alert lane, which orders
	// reprocessed alerts among the pours of the scenarios that take them, is shard Shards.
	NewShard func(i int) Shard
	Alerter  Alerter
	// Deliver gets every batch's outcome, in the order in which batches
	// entered. An error stops the graph.
	Deliver func(ctx context.Context, out *Outcome) error
}
