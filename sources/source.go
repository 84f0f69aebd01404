package sources

import (
	"context"
	"log/slog"
	"time"

	"github.com/goccy/go-yaml/ast"

	"sluice/pipeline"
	"sluice/pipeline/component"
)

// Emit takes a batch from a source. It blocks while the pipeline is full: that
// is all the backpressure there is. Once called, the batch belongs to the
// pipeline, which calls its Release when it is done, also when Emit fails. An
// error means that the pipeline is stopping: the source returns it from Run. A
// batch that was begun is taken to its end, though ctx is done, unless lines are
// merged or the pipeline has failed.
//
// A source calls Emit in order for each partition, and possibly at the same
// time for different ones, so an Emit is safe for concurrent use.
type Emit func(ctx context.Context, batch *pipeline.RecordBatch) error

// Positions are offsets to read next, by partition.
type Positions map[pipeline.Partition]int64

// Source reads one configured input.
type Source interface {
	// Name is the source's name in the configuration, and the Source of its partitions.
	Name() string

	// Run reads until the input ends (nil), ctx is done (its error, or nil
	// where the source ended by then), Emit fails (that error), or the source
	// cannot go on without a person (a sentence for that person). Trouble that
	// may pass, such as a broker that is down, is retried inside, counted and
	// logged once for each change of state.
	//
	// from says where to begin, for the partitions in it: what a checkpoint
	// holds. Other partitions begin where the configuration says. Run is called once.
	Run(ctx context.Context, from Positions, out Emit) error

	// Commit tells the input how far everything is through the pipeline, for
	// inputs that remember it (a broker's consumer group); others return nil.
	// It is called from one goroutine at a time, during Run and after it,
	// before Close. After an error nothing or a part is remembered; a later
	// call with the same or higher offsets makes up for it.
	Commit(ctx context.Context, next Positions) error

	// Stats returns a snapshot. It may be called at any time, from any goroutine.
	Stats() Stats

	// Close frees what the source holds, after Run has returned.
	Close() error
}

// Announcer is a Source that reads its partitions side by side and names each
// before it emits the first of its records, those it finds together in one
// call, even if that is none. Announce is called once, before Run. Lines of several partitions can be
// merged in the order of their times only where it is known which there are.
type Announcer interface {
	Announce(tell func(partitions ...pipeline.Partition))
}

// FileReader is a Source that reads files of the machine it runs on.
type FileReader interface {
	// Reads tells whether the key `paths` names a file, be it there yet or not.
	// It may be called before Run.
	Reads(path string) bool
}

// Stats is what a source has done so far.
type Stats struct {
	Records, Bytes uint64
	// Skipped counts empty lines and tombstones, which are no records, and repeats that are known as such.
	Skipped uint64
	// Cut counts records shortened to the configured size.
	Cut uint64
	// Errors counts failed reads; Reconnects counts recoveries from them.
	Errors, Reconnects uint64
	// Gaps counts times when the input had dropped or overwritten records before they were read.
	Gaps uint64
	// Redelivered counts records that the input says it has delivered before, and that were taken: after a
	// crash or a lost connection it cannot know what was. They may have been counted twice.
	Redelivered uint64
	// Drops counts what was refused or thrown away, by reason, such as
	// "message too long" or "peer not allowed": a short plain phrase, from a fixed
	// set of the kind's own. Nil when nothing was.
	Drops map[string]uint64
	// Connections is how many peers are connected at the moment, where the source listens.
	Connections int64
	// Behind is how long ago the oldest record arrived at the input that is not
	// read yet, where the input says so; 0 when all is read or nobody knows.
	Behind     time.Duration
	Partitions []PartitionStats // sorted by partition
}

// PartitionStats is how far a source has read one partition.
type PartitionStats struct {
	pipeline.Partition
	// Next is the offset after the last record emitted.
	Next int64
	// HighWatermark is the offset after the partition's last record, as last heard; -1 when unknown.
	HighWatermark int64
	// Done says that the partition ended and no more will come of it.
	Done bool
}

// Lag is what is left to read: records for a broker, bytes for a file; -1 when unknown.
func (p PartitionStats) Lag() int64 {
	if p.HighWatermark < 0 {
		return -1
	}
	return max(0, p.HighWatermark-p.Next)
}

// Clock is the time as a source sees it, so that tests decide it.
type Clock interface {
	// Now is the time of receipt of records that bring no time of their own.
	Now() time.Time
	// After sends the time once, when d has passed: for polling and backing off.
	After(d time.Duration) <-chan time.Time
}

// Env is what the program lends to a source. The zero value works.
type Env struct {
	// Log gets what the person on call should know; nil discards.
	Log *slog.Logger
	// Clock is the wall clock when nil.
	Clock Clock
	// Dir is a folder that lives as long as the state does, for journals and the
	// like. Each source makes one of its own name in it when it needs one. Dir is empty where no state
	// is kept (state.dir): what needs a folder then asks for one in its configuration.
	Dir string
	// Reserve, when set, tells how many bytes of Dir's file system the state
	// needs to stay free. What writes much into Dir stops before there is less, or nothing can be read any more.
	Reserve func() int64
}

// Complete returns the environment with its defaults filled in.
func (e Env) Complete() Env {
	if e.Log == nil {
		e.Log = slog.New(slog.DiscardHandler)
	}
	if e.Clock == nil {
		e.Clock = wallClock{}
	}
	return e
}

type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Kind declares a kind of source with its configuration C; see component.Kind.
type Kind[C any] = component.Kind[C, Env, Source]

// registry is filled by blank imports before main runs and only read after that.
var registry = component.Registry[Env, Source]{Noun: "source"}

// Register makes a kind known. Call it from an init that does nothing else.
func Register[C any](k Kind[C]) { component.Register(&registry, k) }

// New makes the source that a configuration mapping describes: its type, its
// name (the type when absent) and the keys of its kind. Errors are
// *component.ConfigError where the mapping is at fault. It connects to nothing.
func New(node ast.Node, env Env) (Source, error) { return registry.New(node, env.Complete()) }

// Kinds describes the kinds known, sorted by type.
func Kinds() []component.Info { return registry.Kinds() }

// Describe describes the kind that a configuration mapping names; false when it names none that is known.
func Describe(node ast.Node) (component.Info, bool) { return registry.Describe(node) }
