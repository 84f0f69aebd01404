package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"sluice/pipeline"
	"sluice/stages/decide"
	"sluice/stages/detect"
	"sluice/stages/enrich"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
	"sluice/stages/grok"
	"sluice/stages/match"
	"sluice/stages/overflow"
	"sluice/stages/parse"
	"sluice/stages/rules"
)

// Options say how a rule set is compiled and how time and the outside are treated.
type Options struct {
	// Reference compiles expressions for the plain expr VM and patterns for
	// the standard regexp: the oracle of the fast paths.
	Reference bool
	// MaxFuture bounds how far a line's date may run ahead of its receipt
	// before the partition's clock stops following it; 10 minutes when 0.
	MaxFuture time.Duration
	// Free lets buckets that are dead by the clock leave memory; off, as
	// replay and test want it, nothing is freed that an event from the past
	// could still reach. Lateness says how far back that is when it is on.
	Free     bool
	Lateness time.Duration
	// Processing runs buckets on the time of receipt instead of event time.
	Processing bool
	// ReverseDNS turns look-ups of names on; offline it stays off.
	ReverseDNS bool
	// Names answers the method reverse_dns; nil asks the system's resolver
	// when ReverseDNS is on, and nobody when it is off.
	Names enrich.Resolver
	// ContextLength bounds the bytes of one value of the alert context; 4000 when 0.
	ContextLength int
	// Simulated tells whether a scenario runs in simulation.
	Simulated func(scenario string) bool
	// Profiles decide on alerts; nil means decide.DefaultProfiles.
	Profiles []decide.Profile
	// Allowlists except alerts from decisions.
	Allowlists []decide.Allowlist
	// Log gets what the person on call should know; nil discards.
	Log *slog.Logger
}

// Engine is a compiled rule set. It is immutable: any number of graphs may run it.
type Engine struct {
	opts     Options
	Set      *rules.Set
	Schema   *pipeline.Schema
	Data     *funcs.Data
	Parser   *parse.Pipeline
	Post     *parse.Pipeline // the postoverflow parsers
	Matcher  *match.Matcher
	Detector *detect.Detector
	Builder  *overflow.Builder
	Decider  *decide.Decider
	Ledger   *decide.Ledger

	compiler *expression.Compiler
	keep     pipeline.KeepSet
}

// Condition compiles an expression over Alert with the helpers that profiles have.
func (e *Engine) Condition(src string) (*decide.Condition, error) {
	return decide.NewCondition(src, e.compiler)
}

// Compile compiles a rule set. Rules that do not compile are left out and
// reported, one error each; the engine holds the rest. It is nil when
// something without which nothing runs is broken.
func Compile(set *rules.Set, o Options) (*Engine, []error) {
	if o.MaxFuture == 0 {
		o.MaxFuture = 10 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Profiles == nil {
		o.Profiles = decide.DefaultProfiles()
	}
	e := &Engine{opts: o, Set: set, Schema: pipeline.NewSchema(), Data: funcs.NewData(), Ledger: decide.NewLedger()}
	errs := e.loadData()
	library, err := newLibrary(set)
	if err != nil {
		return nil, append(errs, err)
	}
	enrichOptions, err := e.enrichOptions()
	if err != nil {
		return nil, append(errs, err)
	}
	enricher, more := newEnricher(e.Schema, enrichOptions)
	errs = append(errs, more...)
	compiler := expression.NewCompiler(e.Schema, e.Data, expression.Options{
		Reference: o.Reference, Decisions: e.Ledger, Helpers: e.helperOptions(enricher),
	})
	e.compiler = compiler

	parseOptions := parse.Options{
		Schema: e.Schema, Compiler: compiler, Library: library, Enrich: enricher, Reference: o.Reference,
	}
	e.Parser, more = parse.Compile(set.Parsers, parseOptions)
	errs = append(errs, more...)
	e.Post, more = parse.Compile(set.Postoverflows, parseOptions)
	errs = append(errs, more...)
	e.Matcher, more = match.Compile(set.Scenarios, match.Options{Compiler: compiler, Schema: e.Schema})
	errs = append(errs, more...)
	e.Builder, err = overflow.NewBuilder(set.Scenarios, set.Contexts, compiler, e.Schema, overflow.Options{
		ContextLength: o.ContextLength, Simulated: o.Simulated,
	})
	if err != nil {
		return nil, append(errs, err)
	}
	e.Detector, more = detect.Compile(set.Scenarios, compiler, e.detectOptions())
	errs = append(errs, more...)
	e.Decider, err = decide.New(o.Profiles, o.Allowlists, compiler, e.Ledger)
	if err != nil {
		return nil, append(errs, err)
	}
	e.Builder.AddReads(&e.keep)
	e.Detector.AddReads(&e.keep)
	return e, errs
}

func (e *Engine) loadData() []error {
	var errs []error
	for _, f := range e.Set.Data {
		if f.Path == "" || f.Type == "" {
			continue // missing files were reported by the loader; files without a type are for methods
		}
		err := e.Data.Load(f.DestFile, f.Path, f.Type, funcs.LoadOptions{
			Cache: f.Cache, Strategy: f.Strategy, Size: f.Size, TTLNanos: int64(f.TTL),
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d:%d: loading data: %w", f.Pos.File, f.Pos.Line, f.Pos.Column, err))
		}
	}
	return errs
}

func (e *Engine) enrichOptions() (enrich.Options, error) {
	o := enrich.Options{Data: e.Set.Data, Names: e.opts.Names}
	if e.opts.ReverseDNS && o.Names == nil {
		names, err := enrich.NewNames(enrich.NamesOptions{})
		if err != nil {
			return o, fmt.Errorf("preparing reverse DNS: %w", err)
		}
		o.Names = names
	}
	return o, nil
}

// newEnricher opens the MaxMind files. One that cannot be read is reported
// and left out: the methods that need it find nothing.
func newEnricher(schema *pipeline.Schema, o enrich.Options) (*enrich.Set, []error) {
	var errs []error
	var good []rules.DataFile
	for _, f := range o.Data {
		one := o
		one.Data = []rules.DataFile{f}
		if _, err := enrich.New(schema, one); err != nil {
			errs = append(errs, err)
		} else {
			good = append(good, f)
		}
	}
	o.Data = good
	set, err := enrich.New(schema, o)
	if err != nil { // they opened a moment ago
		return enrich.WithoutFiles(schema), append(errs, err)
	}
	return set, errs
}

// helperOptions lends the helpers the databases, and the DNS only where it is turned on.
func (e *Engine) helperOptions(enricher *enrich.Set) funcs.Options {
	o := funcs.Options{Geo: enricher.GeoReader()}
	if !e.opts.ReverseDNS {
		o.Resolver = offline{}
	}
	return o
}

// offline is a resolver that asks nobody.
type offline struct{}

// LookupHost implements funcs.Resolver.
func (offline) LookupHost(string) []string { return nil }

// Names implements funcs.Resolver.
func (offline) Names(netip.Addr) []string { return nil }

// detectOptions lends the detector what its expressions see of an alert.
func (e *Engine) detectOptions() detect.Options {
	return detect.Options{BuildSignal: func(o *pipeline.Overflow) *pipeline.RuntimeAlert {
		ra, err := e.Builder.Build(o)
		if err != nil {
			return nil
		}
		return ra
	}}
}

func newLibrary(set *rules.Set) (*grok.Library, error) {
	library := grok.NewLibrary()
	for _, dir := range set.PatternDirs {
		if err := library.LoadDir(dir); err != nil {
			return nil, fmt.Errorf("loading grok patterns: %w", err)
		}
	}
	return library, nil
}

// alerter implements pipeline.Alerter for one graph.
type alerter struct {
	e       *Engine
	post    *runnerPool
	repour  *match.Runner
	event   *pipeline.Event
	context *expression.Context
	lost    func(err error)
}

// Alert implements pipeline.Alerter.
func (a *alerter) Alert(ctx context.Context, o *pipeline.Overflow) *pipeline.RuntimeAlert {
	ra, err := a.e.Builder.Build(o)
	if err != nil {
		a.lost(err)
		return nil
	}
	a.post.run(ctx, ra, o)
	return ra
}

// Repours implements pipeline.Alerter.
func (a *alerter) Repours(o *pipeline.Overflow) bool { return a.e.Set.Scenarios[o.Scenario].Reprocess }

// Repour implements pipeline.Alerter.
func (a *alerter) Repour(ra *pipeline.RuntimeAlert, o *pipeline.Overflow, arena *pipeline.KeptArena, out []pipeline.Pour) []pipeline.Pour {
	overflowEvent(a.event, ra, o)
	return a.repour.Match(a.context, o.Line, &a.e.keep, arena, out)
}

// overflowEvent fills an event with an alert. Its time is the causing event's
// (FIDELITY 25: CrowdSec's is the wall clock's).
func overflowEvent(ev *pipeline.Event, ra *pipeline.RuntimeAlert, o *pipeline.Overflow) {
	ev.Reset()
	ev.Type = pipeline.OverflowEvent
	ev.Position = o.Cause
	ev.Time, ev.Received = ra.Time, ra.Time
	ev.Overflow = ra
	ev.Set(pipeline.SlotMarshaledTime, ra.Time.UTC().Format(time.RFC3339Nano))
}
