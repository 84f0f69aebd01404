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
	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/outbox"
	"sluice/sources"
	"sluice/stages/decode"
	"sluice/stages/engine"
)

// Pipeline is a configured pipeline, ready to run once.
type Pipeline struct {
	config  *Config
	log     *slog.Logger
	engine  *engine.Engine
	sources []sources.Source
	sinks   []sinks.Sink
	targets []outbox.Target // the sinks, with what to do when too much waits for one
	direct  *outbox.Direct
	dead    sinks.DeadLetters // nil when there is no place for them
	decode  map[string]decode.Config
	graph   *pipeline.Graph

	// Skipped is how many broken rules were left out.
	Skipped int

	stats  counters
	gauges engine.Gauges

	mu   sync.Mutex
	done sources.Positions // through the graph and the sinks, not yet committed
}

type counters struct {
	mu sync.Mutex
	pipeline.BatchStats
	overflows, whitelisted, alerts, decisions, lost atomic.Uint64
	clock                                           time.Time
}

// Env is what a program lends to a pipeline.
type Env struct {
	Log    *slog.Logger
	Stdout io.Writer
	Clock  sources.Clock // nil is the wall clock
}

// New makes the pipeline of a configuration: it compiles the rules and makes
// sources and sinks, and connects to nothing yet.
func New(c *Config, env Env) (*Pipeline, error) {
	p := &Pipeline{config: c, log: env.Log, decode: make(map[string]decode.Config), done: make(sources.Positions)}
	var err error
	if p.engine, p.Skipped, err = c.Compile(env.Log, true); err != nil {
		return nil, err
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
	if err := p.addDeadLetters(env); err != nil {
		return nil, errors.Join(inFile(c.file, err), p.Close())
	}
	if p.direct, err = outbox.NewDirect(p.outboxOptions(env)); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.file, err), p.Close())
	}
	if err := p.checkNotifications(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.file, err), p.Close())
	}
	p.graph, err = p.engine.Graph(engine.GraphOptions{
		Workers: goroutines(c.Pipeline.Workers), Shards: goroutines(c.Pipeline.Shards),
		BatchRecords: c.Pipeline.BatchRecords, Decode: p.decode, Gauges: &p.gauges,
		Dead: c.deadLetters.options(),
		Lost: func(err error) {
			p.stats.lost.Add(1)
			p.log.Warn("an overflow made no alert", "error", err)
		},
		Deliver: p.deliver,
	})
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// outboxOptions say where alerts and dead letters go.
func (p *Pipeline) outboxOptions(env Env) outbox.Options {
	o := &p.config.Outbox
	return outbox.Options{
		Sinks: p.targets, DeadLetters: p.dead, DeadOnFull: p.config.deadLetters.OnFull,
		Quota: int64(o.Quota), Batch: o.BatchAlerts, Logger: env.Log, Clock: env.Clock,
	}
}

func (p *Pipeline) addSource(node ast.Node, env Env) error {
	config, rest, err := decoding(node)
	if err != nil {
		return err
	}
	src, err := sources.New(rest, sources.Env{Log: env.Log, Clock: env.Clock})
	if err != nil {
		return err
	}
	p.sources = append(p.sources, src)
	if _, twice := p.decode[src.Name()]; twice {
		pos := node.GetToken().Position
		return &component.ConfigError{Line: pos.Line, Column: pos.Column,
			Message: fmt.Sprintf("two sources are called %q; give one a name: of its own", src.Name())}
	}
	p.decode[src.Name()] = config
	return nil
}

func (p *Pipeline) addSink(node ast.Node, env Env) error {
	policy, rest, err := takeOnFull(node)
	if err != nil {
		return err
	}
	sink, err := sinks.New(rest, sinks.Env{Log: env.Log, Stdout: env.Stdout})
	if err != nil {
		return err
	}
	p.sinks = append(p.sinks, sink)
	p.targets = append(p.targets, outbox.Target{Sink: sink, OnFull: policy})
	return nil
}

func (p *Pipeline) checkNotifications() error {
	names := make(map[string]bool, len(p.sinks))
	for _, s := range p.sinks {
		names[s.Name()] = true
	}
	for _, profile := range p.config.Profiles {
		for _, n := range profile.Notifications {
			if !names[n] {
				return fmt.Errorf("profile %s notifies %q, and no sink is called that; known are %v",
					profile.Name, n, slices.Sorted(maps.Keys(names)))
			}
		}
	}
	return nil
}

// Close frees sources and sinks.
func (p *Pipeline) Close() error {
	var errs []error
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
// through the graph and the sinks, and commits. Close comes after it.
func (p *Pipeline) Run(ctx context.Context) error {
	// The graph outlives ctx, so that what was read is drained; it ends by
	// itself when the sources have ended.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var all errgroup.Group
	graphDone := make(chan struct{})
	all.Go(func() error {
		defer cancel()
		defer close(graphDone)
		return p.graph.Run(inner)
	})
	all.Go(func() error {
		defer p.graph.Close()
		return p.read(ctx, graphDone)
	})
	all.Go(func() error { return p.commitLoop(inner, graphDone) })
	err := all.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, p.commit(context.WithoutCancel(ctx)))
}

// read runs all sources; one that fails stops the others.
func (p *Pipeline) read(ctx context.Context, graphDone <-chan struct{}) error {
	readers, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-graphDone: // nobody takes batches any more
			stop()
		case <-ctx.Done():
		}
	}()
	for _, s := range p.sources {
		readers.Go(func() error {
			err := s.Run(ctx, nil, p.graph.Emit)
			stopped := errors.Is(err, context.Canceled) || errors.Is(err, pipeline.ErrStopped) ||
				ctx.Err() != nil && errors.Is(err, ctx.Err())
			if err != nil && !stopped {
				return fmt.Errorf("source %s: %w", s.Name(), err)
			}
			return nil
		})
	}
	return readers.Wait()
}

func (p *Pipeline) commitLoop(ctx context.Context, graphDone <-chan struct{}) error {
	ticker := time.NewTicker(p.config.Pipeline.CommitInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := p.commit(ctx); err != nil {
				p.log.Warn("offsets were not committed; they are tried again", "error", err)
			}
		case <-graphDone:
			return nil
		}
	}
}

// commit tells each source how far its partitions are through.
func (p *Pipeline) commit(ctx context.Context) error {
	p.mu.Lock()
	bySource := make(map[string]sources.Positions)
	for part, next := range p.done {
		if bySource[part.Source] == nil {
			bySource[part.Source] = make(sources.Positions)
		}
		bySource[part.Source][part] = next
	}
	p.mu.Unlock()
	var errs []error
	for _, s := range p.sources {
		positions := bySource[s.Name()]
		if len(positions) == 0 {
			continue
		}
		if err := s.Commit(ctx, positions); err != nil {
			errs = append(errs, fmt.Errorf("source %s: committing offsets: %w", s.Name(), err))
			continue
		}
		p.mu.Lock()
		for part, next := range positions {
			if p.done[part] == next {
				delete(p.done, part)
			}
		}
		p.mu.Unlock()
	}
	return errors.Join(errs...)
}

// deliver takes one batch's alerts through the profiles to the sinks.
func (p *Pipeline) deliver(ctx context.Context, out *pipeline.Outcome) error {
	items := append(deadItems(out.Dead), p.decideAll(out)...)
	if len(items) > 0 {
		if err := p.direct.Deliver(ctx, items); err != nil {
			return err
		}
	}
	p.stats.add(out)
	p.mu.Lock()
	for _, t := range out.Through {
		p.done[t.Partition] = t.Next
	}
	p.mu.Unlock()
	return nil
}

// decideAll runs the profiles on the alerts of an outcome: they say what is
// decided, and which sinks are told.
func (p *Pipeline) decideAll(out *pipeline.Outcome) []outbox.Item {
	var items []outbox.Item
	for _, ra := range out.Alerts {
		p.stats.overflows.Add(1)
		if ra.Whitelisted {
			p.stats.whitelisted.Add(1)
			continue
		}
		for i := range ra.APIAlerts {
			a := ra.APIAlerts[i]
			v := p.engine.Decider.Decide(&a)
			for _, err := range v.Errors {
				p.log.Warn("a profile failed", "scenario", a.Scenario, "error", err)
			}
			if v.Decisions != nil {
				a.Decisions = v.Decisions
			}
			p.stats.decisions.Add(uint64(len(a.Decisions)))
			items = append(items, outbox.Item{Alert: &a, To: v.Notify})
		}
	}
	p.stats.alerts.Add(uint64(len(items)))
	return items
}

func (c *counters) add(out *pipeline.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.BatchStats.Add(&out.Stats)
	if out.Clock.After(c.clock) {
		c.clock = out.Clock
	}
}
