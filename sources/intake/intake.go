package intake

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
)

// Entry is a run of records that arrived together.
type Entry struct {
	// Topic and ID name the partition within the source: "" and 0 for sources of
	// one stream. Partitions stay in the state for good, so use few, long-lived ones.
	Topic string
	ID    int32
	// Labels are those of all records. They are read, never written to, and must not change any more.
	Labels map[string]string
	// Records are what arrived, in order. Offset is given by the intake; Time
	// must be set. Their bytes stay as they are until Release.
	Records []pipeline.Record
	// Marks say where reading of the outside goes on behind the records, by
	// stream. They are kept atomically with them; "" forgets one.
	Marks map[string]string
	// Release, when set, gives the records' memory back: it is called once, also when Put fails.
	Release func()
}

func (e *Entry) release() {
	if e.Release != nil {
		e.Release()
	}
}

// ErrStopped is the error of Put when Run has not begun or has ended, and of
// acknowledgements that will not come any more.
var ErrStopped = errors.New("the source takes nothing at the moment: it has stopped, or has not begun")

// Intake carries entries from a source into the pipeline. Its methods may be
// called from any goroutine, but for Run and Close: Run is called once, and
// Close after it.
type Intake struct {
	name, module string
	config       Config
	env          sources.Env
	way          way

	records, bytes atomic.Uint64

	mu    sync.Mutex
	tell  func(...pipeline.Partition)
	marks map[string]string
}

// way is how entries get from Put to the pipeline: directly, or by a journal.
type way interface {
	run(ctx context.Context, from sources.Positions, out sources.Emit, receive func(context.Context) error) error
	// put keeps to Put's contract, but for Marks, Release and counts where it
	// fails before it has taken the entry.
	put(ctx context.Context, e *Entry, acked func(error)) error
	full() bool
	commit(next sources.Positions) error
	fill(s *sources.Stats)
	close() error
}

// New makes the intake of a source. module is the records' evt.Line.Module. It
// opens nothing; the configuration is at fault when it returns an error.
func New(name, module string, c Config, env sources.Env) (*Intake, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	env.Log = env.Log.With("source", name)
	in := &Intake{name: name, module: module, config: c, env: env, marks: make(map[string]string)}
	switch {
	case c.Intake == Direct:
		in.way = newDirect(in)
	case in.dir() == "":
		return nil, component.Invalid("journal.dir", "no state is kept, so there is no place for the journal of source %s: "+
			"set state.dir, or journal.dir for this source, or intake: direct to do without a journal", in.name)
	default:
		in.way = newJournaled(in)
	}
	return in, nil
}

// dir returns the folder of the journal, "" when there is no place for one.
func (in *Intake) dir() string {
	if in.config.Journal.Dir != "" || in.env.Dir == "" {
		return in.config.Journal.Dir
	}
	return filepath.Join(in.env.Dir, url.PathEscape(in.name), "journal")
}

// Announce is for a source of one stream, which implements sources.Announcer
// with it: Run names the partition before it emits.
func (in *Intake) Announce(tell func(...pipeline.Partition)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.tell = tell
}

// Run emits what the journal holds behind from, and runs receive beside that,
// which calls Put, possibly from many goroutines. It ends with nil when receive
// has returned nil and everything was emitted; when ctx is done, with its
// error; or when receive or Emit fails, with that error. receive's context ends
// when Run is to end; Run waits for receive and for every Put under way.
func (in *Intake) Run(ctx context.Context, from sources.Positions, out sources.Emit, receive func(ctx context.Context) error) error {
	in.mu.Lock()
	tell := in.tell
	in.mu.Unlock()
	if tell != nil {
		tell(in.partition("", 0))
	}
	return in.way.run(ctx, from, out, receive)
}

// Put takes an entry. It blocks while the pipeline or the journal is full: that
// is the backpressure. Entries of one partition keep the order of the calls.
//
// acked, if not nil, is called exactly once, from this or another goroutine, and in the order of
// the calls for entries of one partition: with nil when the records are safe, or with the
// error why they will not be in this run. When Put fails, acked was called with that error before it
// returns: then it is called out of order, and entries put before may still become safe.
// acked must not block and must not call the Intake.
//
// An entry without records keeps its marks, behind all records before.
func (in *Intake) Put(ctx context.Context, e Entry, acked func(error)) error {
	if acked == nil {
		acked = func(error) {}
	}
	return in.way.put(ctx, &e, acked)
}

// PutWait is Put that waits for the acknowledgement.
func (in *Intake) PutWait(ctx context.Context, e Entry) error {
	safe := make(chan error, 1)
	if err := in.Put(ctx, e, func(err error) { safe <- err }); err != nil {
		return err
	}
	select {
	case err := <-safe:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Full tells whether a Put would have to wait at the moment, for room in the
// journal or for a pipeline that is behind: a source that can ask its senders to
// come later, as HTTP's 429 does, does so then.
func (in *Intake) Full() bool { return in.way.full() }

// Marks returns the marks of all that was ever put and, with a journal, is in
// it since earlier runs. It is valid inside receive.
func (in *Intake) Marks() map[string]string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return maps.Clone(in.marks)
}

// mark remembers an entry's marks. The entries of one mark must come in order.
func (in *Intake) mark(marks map[string]string) {
	if len(marks) == 0 {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for stream, at := range marks {
		if at == "" {
			delete(in.marks, stream)
		} else {
			in.marks[stream] = at
		}
	}
}

// Commit implements sources.Source's: everything before next is through and
// durable, so it is acknowledged, or leaves the journal.
func (in *Intake) Commit(_ context.Context, next sources.Positions) error { return in.way.commit(next) }

// Fill puts what the intake knows into a snapshot: records, bytes, partitions; and it adds its errors and gaps.
func (in *Intake) Fill(s *sources.Stats) {
	s.Records, s.Bytes = in.records.Load(), in.bytes.Load()
	in.way.fill(s)
}

// Close fails what still waits for an acknowledgement, and frees the journal.
func (in *Intake) Close() error { return in.way.close() }

func (in *Intake) partition(topic string, id int32) pipeline.Partition {
	return pipeline.Partition{Source: in.name, Topic: topic, ID: id}
}

func (in *Intake) count(records []pipeline.Record) {
	var size uint64
	for i := range records {
		size += uint64(len(records[i].Value))
	}
	in.records.Add(uint64(len(records)))
	in.bytes.Add(size)
}
