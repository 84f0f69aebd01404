package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"sluice/pipeline"
	"sluice/stages/decode"
	"sluice/stages/detect"
	"sluice/stages/expression"
	"sluice/stages/parse"
)

// GraphOptions configure a graph that runs the engine.
type GraphOptions struct {
	Workers, Shards, BatchRecords, QueueBatches, LookUps int
	// Decode says how the records of each source, by name, become lines;
	// records of other sources are one raw line each.
	Decode map[string]decode.Config
	// Observer, when set, makes an observer for each worker's parsers.
	Observer func() parse.Observer
	// Lost, when set, is told why an overflow made no alert. Any goroutine calls it.
	Lost func(err error)
	// Dead says which records and lines are handed on as dead letters.
	Dead DeadOptions
	// Gauges, when set, follows what the graph holds.
	Gauges *Gauges
	// Muted is pipeline.Options.Muted.
	Muted func(cause pipeline.Position) bool
	// Merge, when set, orders the lines of all partitions by their clocks.
	Merge *pipeline.MergeOptions
	// Poison overwrites recycled batches: for tests.
	Poison bool
	// Deliver gets every batch's outcome, in order.
	Deliver func(ctx context.Context, out *pipeline.Outcome) error
}

// DeadOptions say what is kept of records and lines that come to nothing.
type DeadOptions struct {
	Undecodable, Unparsed bool
	// Unreadable are those that sources give out, of what they could not read.
	Unreadable bool
	// Bytes bounds one of them.
	Bytes int
}

// Graph makes a graph. Every call makes one with empty buckets and stashes.
func (e *Engine) Graph(o GraphOptions) (*pipeline.Graph, error) {
	r, err := e.newRunning(&o)
	if err != nil {
		return nil, err
	}
	return pipeline.NewGraph(e.pipelineOptions(&o, r, func(int) *detect.Shard { return e.Detector.NewShard(e.shardOptions()) }))
}

// newRunning compiles the decoders: the schema is complete after it.
func (e *Engine) newRunning(o *GraphOptions) (*running, error) {
	decoders := make(map[string]*decode.Decoder, len(o.Decode))
	for name, config := range o.Decode {
		d, err := decode.Compile(config, e.Schema)
		if err != nil {
			return nil, fmt.Errorf("source %s: decoding: %w", name, err)
		}
		decoders[name] = d
	}
	raw, err := decode.Compile(decode.Default(), e.Schema)
	if err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	e.keep.Prepare(e.Schema)
	if o.Lost == nil {
		o.Lost = func(error) {}
	}
	if o.Gauges == nil {
		o.Gauges = &Gauges{}
	}
	return &running{engine: e, decoders: decoders, raw: raw, dead: o.Dead, stashes: make(map[pipeline.Partition]*parse.Stashes)}, nil
}

func (e *Engine) shardOptions() detect.ShardOptions {
	return detect.ShardOptions{
		Free: e.opts.Free, DatedOnly: !e.opts.Free, Lateness: e.opts.Lateness, Processing: e.opts.Processing,
	}
}

func (e *Engine) pipelineOptions(o *GraphOptions, r *running, newShard func(i int) *detect.Shard) pipeline.Options {
	return pipeline.Options{
		Workers: o.Workers, Shards: o.Shards, BatchRecords: o.BatchRecords,
		QueueBatches: o.QueueBatches, LookUps: o.LookUps, Poison: o.Poison, Merge: o.Merge, Muted: o.Muted,
		AlertLane: e.takesAlerts(),
		NewWorker: func() pipeline.Worker {
			w := r.newWorker()
			if o.Observer != nil {
				w.observer = o.Observer()
			}
			return w
		},
		NewShard: func(i int) pipeline.Shard { return &shard{Shard: newShard(i), gauges: o.Gauges} },
		Alerter:  e.newAlerter(o.Lost),
		Deliver:  o.Deliver,
	}
}

// Gauges is what a running graph holds; any goroutine may read it.
type Gauges struct {
	Buckets atomic.Int64 // live buckets, cold ones included
	// Cold are those of them in the store alone, Bytes about what the others
	// take: with a memory limit only.
	Cold, Bytes atomic.Int64
	// ColdReads counts buckets that were read back.
	ColdReads atomic.Uint64
}

// shard keeps the gauges up to date, once a batch.
type shard struct {
	*detect.Shard
	gauges *Gauges
	told   detect.Stats
}

// Apply implements pipeline.Shard.
func (s *shard) Apply(p pipeline.Partition, steps []pipeline.ClockStep, pours []*pipeline.Pour, out []pipeline.Overflow) []pipeline.Overflow {
	out = s.Shard.Apply(p, steps, pours, out)
	now := s.Shard.Stats()
	if n := now.Live + now.Cold - s.told.Live - s.told.Cold; n != 0 {
		s.gauges.Buckets.Add(int64(n))
	}
	if now.Bytes != s.told.Bytes || now.ColdReads != s.told.ColdReads {
		s.gauges.Cold.Add(int64(now.Cold - s.told.Cold))
		s.gauges.Bytes.Add(now.Bytes - s.told.Bytes)
		s.gauges.ColdReads.Add(now.ColdReads - s.told.ColdReads)
	}
	s.told = now
	return out
}

func (e *Engine) takesAlerts() bool {
	for i := range e.Set.Scenarios {
		if e.Matcher.Consumer(int32(i)) {
			return true
		}
	}
	return false
}

func (e *Engine) newAlerter(lost func(error)) *alerter {
	a := &alerter{
		e: e, lost: lost, repour: e.Matcher.NewRunner(),
		event: pipeline.NewEvent(e.Schema),
		post:  &runnerPool{},
	}
	a.context = &expression.Context{Event: a.event, Decisions: e.Ledger}
	a.post.pool.New = func() any {
		ev := pipeline.NewEvent(e.Schema)
		return &postRunner{
			runner: e.Post.NewRunner(), event: ev,
			context: &expression.Context{Event: ev, Decisions: e.Ledger},
		}
	}
	return a
}

// runnerPool lends postoverflow runners to the goroutines that finish alerts.
type runnerPool struct{ pool sync.Pool }

type postRunner struct {
	runner  *parse.Runner
	event   *pipeline.Event
	context *expression.Context
}

// run runs the postoverflow parsers on an alert, which they change in place.
// A stage that fails does not stop the alert (FIDELITY 26).
func (p *runnerPool) run(ctx context.Context, ra *pipeline.RuntimeAlert, o *pipeline.Overflow) {
	r := p.pool.Get().(*postRunner)
	defer p.pool.Put(r)
	overflowEvent(r.event, ra, o)
	key := ra.Alert.GetValue()
	r.runner.SetContext(ctx)
	r.runner.Run(r.context, nil)
	ra.Whitelisted = r.event.Whitelisted
	// A parser may have changed the scope and value of the alert's source.
	if src, ok := ra.Sources[key]; ok {
		src.Scope, src.Value = ra.Alert.GetScope(), ra.Alert.GetValue()
		ra.Sources[key] = src
	}
	r.event.Overflow = nil
}
