package hubtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/stages/decode"
	"sluice/stages/engine"
	"sluice/stages/parse"
	"sluice/stages/rules"
)

// Result is the outcome of one test.
type Result struct {
	Name       string    `json:"name"`
	Passed     bool      `json:"passed"`
	Assertions int       `json:"assertions"`
	Failures   []Failure `json:"failures,omitempty"`
	// Disregarded are lines of scenario.assert that do not hold and that
	// CrowdSec passes over too (see Failure.counts).
	Disregarded []Failure `json:"disregarded,omitempty"`
	// Error says why the test could not run.
	Error string `json:"error,omitempty"`
}

// Summary is the outcome of a run.
type Summary struct {
	Passed int      `json:"passed"`
	Failed int      `json:"failed"`
	Total  int      `json:"total"`
	Tests  []Result `json:"tests"`
}

// Options configure a run.
type Options struct {
	// Hub is the folder with parsers, scenarios, data and tests.
	Hub string
	// Names are the tests to run; all when empty.
	Names []string
	// Parallel is how many tests run at once; 1 when 0.
	Parallel int
	// Reference runs the rules on the plain paths only.
	Reference bool
	// Each, when set, gets every result in order of names as it is known.
	Each func(Result)
}

// received is the time of receipt of every line, so that dates without a
// year come out the same in every run.
var received = time.Date(2026, time.December, 31, 12, 0, 0, 0, time.UTC)

// Run runs the tests and returns their results, sorted by name.
func Run(ctx context.Context, o Options) (*Summary, error) {
	names, err := testNames(o)
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(names))
	ready := make([]chan struct{}, len(names))
	for i := range ready {
		ready[i] = make(chan struct{})
	}
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(max(1, o.Parallel) + 1)
	eg.Go(func() error {
		for i := range results {
			select {
			case <-ready[i]:
			case <-ctx.Done():
				return ctx.Err()
			}
			if o.Each != nil {
				o.Each(results[i])
			}
		}
		return nil
	})
	for i, name := range names {
		eg.Go(func() error {
			results[i] = runOne(ctx, o, name)
			close(ready[i])
			return ctx.Err()
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	s := &Summary{Total: len(results), Tests: results}
	for _, r := range results {
		if r.Passed {
			s.Passed++
		} else {
			s.Failed++
		}
	}
	return s, nil
}

func testNames(o Options) ([]string, error) {
	root := filepath.Join(o.Hub, "tests")
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("looking for the tests of the hub: %w; give the folder that holds tests/ with --hub", err)
	}
	var all []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(root, e.Name(), "config.yaml")); err == nil {
			all = append(all, e.Name())
		}
	}
	if len(o.Names) == 0 {
		if len(all) == 0 {
			return nil, fmt.Errorf("%s holds no tests (folders with a config.yaml)", root)
		}
		return all, nil
	}
	for _, n := range o.Names {
		if !slices.Contains(all, n) {
			return nil, fmt.Errorf("the hub has no test %q in %s", n, root)
		}
	}
	names := slices.Clone(o.Names)
	slices.Sort(names)
	return slices.Compact(names), nil
}

func runOne(ctx context.Context, o Options, name string) Result {
	res := Result{Name: name}
	t := &test{opts: o, dir: filepath.Join(o.Hub, "tests", name)}
	if err := t.run(ctx, &res); err != nil {
		res.Error = err.Error()
	}
	res.Passed = res.Error == "" && len(res.Failures) == 0
	return res
}

const (
	parserAssert   = "parser.assert"
	scenarioAssert = "scenario.assert"
)

type test struct {
	opts   Options
	dir    string
	config *Config
	engine *engine.Engine

	mu      sync.Mutex
	parsers ParserResults
	buckets BucketResults
}

func (t *test) run(ctx context.Context, res *Result) error {
	var err error
	if t.config, err = readConfig(t.dir); err != nil {
		return err
	}
	if err := t.compile(); err != nil {
		return err
	}
	t.parsers = newParserResults()
	if err := t.feed(ctx); err != nil {
		return err
	}
	if !t.config.IgnoreParsers {
		if err := t.assert(parserAssert, t.parsers, res); err != nil {
			return err
		}
	}
	if len(t.config.Scenarios) > 0 {
		return t.assert(scenarioAssert, t.buckets.sorted(), res)
	}
	return nil
}

func (t *test) assert(file string, results any, res *Result) error {
	count, failures, err := newAsserter(results, t.engine.Data).file(filepath.Join(t.dir, file))
	res.Assertions += count
	for _, f := range failures {
		if file == scenarioAssert && f.Error == "" && !f.counts() {
			res.Disregarded = append(res.Disregarded, f)
		} else {
			res.Failures = append(res.Failures, f)
		}
	}
	return err
}

// compile loads the rules that the test names: the hub's first, then its own.
func (t *test) compile() error {
	set, err := rules.Load(rules.Options{
		Roots:     []string{t.opts.Hub},
		PathRoots: []string{t.opts.Hub, t.dir},
		Parsers:   t.config.Parsers, Scenarios: t.config.Scenarios,
		Postoverflows: t.config.Postoverflows, Collections: t.config.Collections,
		TestData: true, Strict: true,
	})
	if err != nil {
		return err
	}
	set.Contexts = nil
	if len(t.config.OverrideStatics) > 0 {
		set.Parsers = slices.Insert(set.Parsers, 0, t.overrides(set))
	}
	var errs []error
	t.engine, errs = engine.Compile(set, engine.Options{Reference: t.opts.Reference})
	return errors.Join(errs...)
}

// overrides is the node that runs before all others (FIDELITY 33).
func (t *test) overrides(set *rules.Set) *rules.Node {
	pos := rules.Pos{File: filepath.Join(t.dir, "config.yaml"), Line: 1, Column: 1}
	text := func(s string) rules.Text { return rules.Text{Value: s, Pos: pos, Set: s != ""} }
	n := &rules.Node{Pos: pos, Name: "overrides", Filter: text("1==1"), Stage: "s00-raw"}
	if len(set.Parsers) > 0 {
		n.Stage = set.Parsers[0].Stage
	}
	for _, o := range t.config.OverrideStatics {
		n.Statics = append(n.Statics, rules.Static{
			Pos: pos, Meta: o.Meta, Parsed: o.Parsed, Enriched: o.Enriched, Target: o.Target,
			Method: o.Method, Value: text(o.Value), Expression: text(o.Expression),
		})
	}
	return n
}

// feed runs the test's log through the graph and gathers the results.
func (t *test) feed(ctx context.Context) error {
	path := filepath.Join(t.dir, t.config.LogFile)
	log, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the test's log: %w", err)
	}
	decoding := decode.Default()
	decoding.Type, decoding.Labels = t.config.LogType, t.config.Labels
	g, err := t.engine.Graph(engine.GraphOptions{
		Workers: 1, Shards: 1,
		Decode:   map[string]decode.Config{"file": decoding},
		Observer: func() parse.Observer { return &recorder{test: t} },
		Deliver: func(_ context.Context, out *pipeline.Outcome) error {
			for _, ra := range out.Alerts {
				t.buckets = append(t.buckets, pipeline.View{
					Type: int(pipeline.OverflowEvent), Overflow: *ra, Whitelisted: ra.Whitelisted,
				})
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return g.Run(ctx) })
	eg.Go(func() error {
		defer g.Close()
		return g.Emit(ctx, logBatch(path, log))
	})
	return eg.Wait()
}

// logBatch cuts a log into records: empty lines are no lines, CR is dropped.
func logBatch(path string, log []byte) *pipeline.RecordBatch {
	rb := &pipeline.RecordBatch{
		Partition: pipeline.Partition{Source: "file", Topic: path}, Module: "file", HighWatermark: int64(len(log)),
	}
	offset := int64(0)
	for line := range bytes.Lines(log) {
		text := bytes.TrimRight(line, "\r\n")
		if len(text) > 0 {
			rb.Records = append(rb.Records, pipeline.Record{Value: text, Offset: offset, Time: received})
		}
		offset += int64(len(line))
	}
	return rb
}
