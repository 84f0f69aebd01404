package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goccy/go-yaml/ast"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/pipeline/allowlist"
	"sluice/pipeline/component"
	"sluice/pipeline/state"
	"sluice/sinks"
	"sluice/sinks/outbox"
	"sluice/sources"
	"sluice/stages/decide"
	"sluice/stages/decode"
	"sluice/stages/engine"
	"sluice/stages/enrich"
)

// Pipeline is a configured pipeline, ready to run once.
type Pipeline struct {
	config  *Config
	env     Env
	log     *slog.Logger
	clock   sources.Clock
	engine  *engine.Engine
	sources []sources.Source
	sinks   []sinks.Sink
	targets []outbox.Target   // the sinks, with what to do when too much waits for one
	dead    sinks.DeadLetters // nil when there is no place for them
	// addressees are the sinks in the same order, with the conditions that say which alerts they get.
	addressees []addressee
	decode     map[string]decode.Config
	intake     *intake
	graphs     graphs

	// Of these one is set: with durable state, alerts go through the outbox;
	// without, whoever delivers waits for the sinks.
	durable *durable
	direct  *outbox.Direct
	commits *committer // without durable state

	promises  []promise
	reloading sync.Mutex                    // held by a reload, and by the end
	deciding  sync.Mutex                    // held while profiles and conditions of sinks run, and while they change
	allowed   atomic.Pointer[allowlist.Set] // the configuration's lists, for sinks

	silentMu sync.Mutex
	silent   map[string]bool // sources that have named no partitions yet, where lines are merged

	// Skipped is how many broken rules were left out.
	Skipped int

	stats  counters
	gauges engine.Gauges
}

// promise is what a source's kind promises of each record across a crash.
type promise struct{ source, kind, delivery string }

type counters struct {
	mu sync.Mutex
	pipeline.BatchStats
	overflows, whitelisted, allowlisted, alerts, decisions, lost, idleSteps, muted atomic.Uint64
	clock                                                                          time.Time
	// dead counts what goes to the dead letters, by kind and reason.
	dead map[string]uint64
}

// Env is what a program lends to a pipeline.
type Env struct {
	Log    *slog.Logger
	Stdout io.Writer
	Clock  sources.Clock // nil is the wall clock
	// OpenState opens the folder of the state; nil is state.Open.
	OpenState func(state.Options) (Store, error)
	// Names answers reverse DNS where the configuration turns it on; nil asks the system's resolver.
	Names enrich.Resolver
}

// New makes the pipeline of a configuration: it compiles the rules and makes
// sources and sinks, and connects to nothing yet.
func New(c *Config, env Env) (*Pipeline, error) {
	p := &Pipeline{config: c, env: env, log: env.Log, clock: sources.Env{Clock: env.Clock}.Complete().Clock, decode: make(map[string]decode.Config)}
	p.intake = newIntake(env.Log)
	p.graphs.intake, p.graphs.over = p.intake, make(chan struct{})
	var err error
	if p.engine, p.Skipped, err = c.compile(env.Log, true, env.Names); err != nil {
		return nil, err
	}
	if err := p.useAllowlists(c.Allowlists); err != nil {
		return nil, fmt.Errorf("%s: %w", c.file, err)
	}
	if len(c.sources) == 0 {
		return nil, fmt.Errorf("%s: there are no sources; add one under the key sources", c.file)
	}
	for _, node := range c.sources {
		if err := p.addSource(node, env); err != nil {
			return nil, errors.Join(inFile(c.file, err), p.Close())
		}
	}
	for _, node := range c.sinks {
		if err := p.addSink(node, env); err != nil {
			return nil, errors.Join(inFile(c.file, err), p.Close())
		}
	}
	if err := p.follow(); err != nil {
		return nil, errors.Join(inFile(c.file, err), p.Close())
	}
	if p.addressees, err = p.addressed(p.engine); err != nil {
		return nil, errors.Join(inFile(c.file, err), p.Close())
	}
	if err := p.addDeadLetters(env); err != nil {
		return nil, errors.Join(inFile(c.file, err), p.Close())
	}
	if err := p.checkFiles(); err != nil {
		return nil, errors.Join(inFile(c.file, err), p.Close())
	}
	if err := p.checkNotifications(c.Profiles); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.file, err), p.Close())
	}
	if err := p.announcements(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.prepare(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// prepare makes the first graph, with the state that a folder holds or empty.
func (p *Pipeline) prepare() (err error) {
	if p.config.State.Dir != "" {
		p.durable, err = openDurable(p)
		return err
	}
	p.direct, err = outbox.NewDirect(p.outboxOptions())
	if err != nil {
		return fmt.Errorf("%s: %w", p.config.file, err)
	}
	p.commits = newCommitter(p)
	g, err := p.engine.Graph(p.graphOptions(p.deliver))
	if err != nil {
		return err
	}
	p.graphs.current = newGraphRun(g)
	return nil
}

// graphOptions are those of every graph that the pipeline runs.
func (p *Pipeline) graphOptions(deliver func(context.Context, *pipeline.Outcome) error) engine.GraphOptions {
	c := &p.config.Pipeline
	o := engine.GraphOptions{
		Workers: goroutines(c.Workers), Shards: goroutines(c.Shards),
		BatchRecords: c.BatchRecords, Decode: p.decode, Gauges: &p.gauges,
		Dead: p.config.deadLetters.options(),
		Lost: func(err error) {
			p.stats.lost.Add(1)
			p.log.Warn("an overflow made no alert", "error", err)
		},
		Deliver: deliver,
	}
	if c.Order == OrderMerged {
		o.Merge = &pipeline.MergeOptions{
			Idle: c.IdleAfter, CaughtUp: p.caughtUp, IdleSteps: &p.stats.idleSteps,
			Now: p.clock.Now, After: p.clock.After,
		}
	}
	return o
}

// caughtUp tells whether a source has nothing left of a partition, as far as it knows.
func (p *Pipeline) caughtUp(part pipeline.Partition) bool {
	for _, s := range p.sources {
		if s.Name() != part.Source {
			continue
		}
		for _, st := range s.Stats().Partitions {
			if st.Partition == part {
				return st.Done || st.Lag() == 0
			}
		}
	}
	return true // it is not read here any more
}

// outboxOptions say where alerts and dead letters go.
func (p *Pipeline) outboxOptions() outbox.Options {
	o := &p.config.Outbox
	return outbox.Options{
		Sinks: p.targets, DeadLetters: p.dead, DeadOnFull: p.config.deadLetters.OnFull,
		Quota: int64(o.Quota), Batch: o.BatchAlerts, Logger: p.log, Clock: p.clock,
	}
}

func (p *Pipeline) addSource(node ast.Node, env Env) error {
	config, rest, err := decoding(node)
	if err != nil {
		return err
	}
	src, err := sources.New(rest, sources.Env{Log: env.Log, Clock: env.Clock, Dir: p.config.sourcesDir(), Reserve: p.reserve})
	if err != nil {
		return err
	}
	if name := src.Name(); name == "." || name == ".." {
		pos := node.GetToken().Position
		return &component.ConfigError{Line: pos.Line, Column: pos.Column,
			Message: fmt.Sprintf("a source cannot be called %q, since its folder beside the state has its name", name)}
	}
	p.sources = append(p.sources, src)
	if kind, ok := sources.Describe(rest); ok && kind.Delivery != "" {
		p.promises = append(p.promises, promise{src.Name(), kind.Type, kind.Delivery})
	}
	if _, twice := p.decode[src.Name()]; twice {
		pos := node.GetToken().Position
		return &component.ConfigError{Line: pos.Line, Column: pos.Column,
			Message: fmt.Sprintf("two sources are called %q; give one a name: of its own", src.Name())}
	}
	p.decode[src.Name()] = config
	return nil
}

// reserve is how much of the disk the state needs to stay free.
func (p *Pipeline) reserve() int64 {
	if p.durable == nil {
		return 0
	}
	space, err := p.durable.store.Space()
	if err != nil {
		return 0 // it is closed, or the watch tells
	}
	return space.Reserve
}

func (p *Pipeline) addSink(node ast.Node, env Env) error {
	keys, rest, err := takeSinkKeys(node)
	if err != nil {
		return err
	}
	if err := keys.checkDeadLetters(p.config.deadLetters.kind != ""); err != nil {
		return err
	}
	sink, err := sinks.New(rest, sinks.Env{Log: env.Log, Stdout: env.Stdout, Dir: p.config.sinksDir(), Decide: p.decide, Condition: p.condition, Allowlists: p.allowed.Load})
	if err != nil {
		return err
	}
	p.sinks = append(p.sinks, sink)
	if err := keys.checkBatching(sink); err != nil {
		return err
	}
	p.targets = append(p.targets, outbox.Target{
		Sink: sink, OnFull: keys.onFull, Retry: keys.retry, Batching: keys.batching,
	})
	p.addressees = append(p.addressees, addressee{name: sink.Name(), keys: keys})
	return nil
}

func (p *Pipeline) checkNotifications(profiles []decide.Profile) error {
	names := make(map[string]bool, len(p.sinks))
	for _, s := range p.sinks {
		names[s.Name()] = true
	}
	for _, profile := range profiles {
		for _, n := range profile.Notifications {
			if !names[n] {
				return fmt.Errorf("profile %s notifies %q, and no sink is called that; known are %v",
					profile.Name, n, slices.Sorted(maps.Keys(names)))
			}
		}
	}
	return nil
}

// Close frees sources, sinks and state.
func (p *Pipeline) Close() error {
	var errs []error
	if p.durable != nil {
		errs = append(errs, p.durable.store.Close())
	}
	for _, s := range p.sources {
		errs = append(errs, s.Close())
	}
	for _, s := range p.sinks {
		errs = append(errs, s.Close())
	}
	if p.dead != nil {
		errs = append(errs, p.dead.Close())
	}
	return errors.Join(errs...)
}

// Run reads the sources until they end or ctx is done, takes what was read
// through the graph and the sinks, and commits. Close comes after it. What
// sinks do besides begins before that and ends after it.
func (p *Pipeline) Run(ctx context.Context) error {
	for _, s := range p.promises {
		p.log.Info("a source is read", "source", s.source, "type", s.kind, "delivery", s.delivery)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	besides, running := errgroup.WithContext(running)
	for _, s := range p.sinks {
		if r, ok := s.(sinks.Runner); ok {
			besides.Go(func() error { return r.Run(running) })
		}
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(running, stop)() // one of them cannot go on
	err := p.run(reading)
	cancel()
	return errors.Join(err, besides.Wait())
}

func (p *Pipeline) run(ctx context.Context) error {
	if p.durable != nil {
		return p.durable.run(ctx)
	}
	// The graph outlives ctx, so that what was read is drained; it ends by
	// itself when the sources have ended.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	// Sources may stand before a full graph, so that its time begins where
	// the end is asked for. When they end by themselves nobody waits, and sinks have all the time.
	reading, end := context.WithCancel(ctx)
	defer end()
	var all errgroup.Group
	graphDone := make(chan struct{})
	all.Go(func() error {
		defer cancel()
		defer close(graphDone)
		return p.graphs.run(inner)
	})
	all.Go(func() error {
		defer p.endGraphs()
		return p.read(reading, graphDone, func(ctx context.Context, s sources.Source) error {
			err := p.readSource(ctx, s, nil)
			if err != nil {
				end()
			}
			return err
		})
	})
	all.Go(func() error {
		select {
		case <-reading.Done():
			p.direct.Drain(inner, p.config.Outbox.Drain)
		case <-graphDone:
		}
		return nil
	})
	all.Go(func() error { return p.commitLoop(inner, graphDone) })
	err := all.Wait()
	p.logLeft()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, p.commits.commit(context.WithoutCancel(ctx)))
}

func (p *Pipeline) endGraphs() {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	p.graphs.close()
}

// logLeft says what an end without durable state leaves: no position is past
// it, so that a source may bring its records again, but not those before them.
func (p *Pipeline) logLeft() {
	left := p.direct.Left()
	if left == (outbox.Left{}) {
		return
	}
	p.log.Error("sinks have not taken all, and nothing keeps what is left; set state.dir, and it is delivered at the next start",
		"alerts", left.Alerts, "dead_letters", left.DeadLetters, "waited_for", left.Place, "drain", p.config.Outbox.Drain.String())
}

// read has each take all sources; one that fails, or the closing of stop, stops the others.
func (p *Pipeline) read(ctx context.Context, stop <-chan struct{}, each func(context.Context, sources.Source) error) error {
	readers, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-stop: // nobody takes batches any more
			cancel()
		case <-ctx.Done():
		}
	}()
	for _, s := range p.sources {
		readers.Go(func() error { return each(ctx, s) })
	}
	return readers.Wait()
}

// readSource reads a source from where it is to begin, until it ends or is told to.
func (p *Pipeline) readSource(ctx context.Context, s sources.Source, from sources.Positions) error {
	err := s.Run(ctx, from, p.intake.emit)
	stopped := errors.Is(err, context.Canceled) || errors.Is(err, pipeline.ErrStopped) ||
		ctx.Err() != nil && errors.Is(err, ctx.Err())
	if err != nil && !stopped {
		return fmt.Errorf("source %s: %w", s.Name(), err)
	}
	return nil
}

// announcements has sources name their partitions. Where lines are merged,
// those of one wait for those of the others: nothing is let in before every
// source has named them.
func (p *Pipeline) announcements() error {
	merged := p.config.Pipeline.Order == OrderMerged
	p.silent = make(map[string]bool)
	for _, s := range p.sources {
		a, ok := s.(sources.Announcer)
		if merged && !ok {
			return fmt.Errorf("%s: pipeline.order is merged, and source %s does not read its partitions side by side; "+
				"use a source such as kafka, or order: arrival", p.config.file, s.Name())
		}
		if ok {
			p.silent[s.Name()] = merged
			a.Announce(func(parts ...pipeline.Partition) {
				p.announced(s.Name(), parts...)
				p.durable.begins(s, parts)
			})
		}
	}
	p.intake.hold(holdSources, merged)
	return nil
}

// announced is told which partitions a source reads.
func (p *Pipeline) announced(source string, parts ...pipeline.Partition) {
	if p.config.Pipeline.Order != OrderMerged {
		return
	}
	p.intake.expect(parts...)
	p.silentMu.Lock()
	defer p.silentMu.Unlock()
	delete(p.silent, source)
	p.intake.hold(holdSources, len(p.silent) > 0)
}

func (p *Pipeline) commitLoop(ctx context.Context, graphDone <-chan struct{}) error {
	ticker := time.NewTicker(p.config.Pipeline.CommitInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = p.commits.commit(ctx) // it is logged and tried again
		case <-graphDone:
			return nil
		}
	}
}
