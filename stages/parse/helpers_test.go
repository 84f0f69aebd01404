package parse

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
	"sluice/stages/grok"
	"sluice/stages/rules"
)

// received is the time of receipt of every line of these tests.
var received = time.Date(2025, time.June, 15, 12, 0, 0, 0, time.UTC)

// bench is a compiled pipeline with what runs it.
type bench struct {
	*Pipeline
	schema *pipeline.Schema
	runner *Runner
	ctx    *expression.Context
	label  pipeline.Slot // of the label type
}

// load writes files (path below parsers/ or postoverflows/ → YAML) into a
// hub-shaped folder and loads it.
func load(t testing.TB, files map[string]string) *rules.Set {
	t.Helper()
	set, err := rulesLoad(t, files)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func compileNodes(nodes []*rules.Node, reference bool) (*bench, []error) {
	schema := pipeline.NewSchema()
	p, errs := Compile(nodes, Options{
		Schema: schema, Library: grok.NewLibrary(), Reference: reference,
		Compiler: expression.NewCompiler(schema, funcs.NewData(), expression.Options{Reference: reference}),
	})
	b := &bench{Pipeline: p, schema: schema}
	b.start()
	return b, errs
}

// start makes runner and event, once the schema is complete.
func (b *bench) start() {
	b.label = b.schema.Slot(pipeline.Label, "type")
	b.schema.Slot(pipeline.Parsed, "message")
	b.runner = b.NewRunner()
	b.ctx = &expression.Context{Event: pipeline.NewEvent(b.schema), Stash: b.NewStashes()}
}

func newBench(t testing.TB, files map[string]string) *bench {
	t.Helper()
	set := load(t, files)
	nodes := set.Parsers
	if len(nodes) == 0 {
		nodes = set.Postoverflows
	}
	b, errs := compileNodes(nodes, false)
	for _, err := range errs {
		t.Fatal(err)
	}
	return b
}

// one is a rule set of one parser in s00-raw.
func one(text string) map[string]string {
	return map[string]string{"parsers/s00-raw/us/one.yaml": "name: us/one\n" + text}
}

// line prepares the event for a line.
func (b *bench) line(text string) *pipeline.Event {
	ev := b.ctx.Event
	ev.Reset()
	ev.Received, ev.Time = received, received
	ev.Set(pipeline.SlotLineRaw, text)
	ev.Set(pipeline.SlotLineSrc, "/var/log/x")
	ev.SetField(pipeline.Label, "type", "test")
	ev.SetField(pipeline.Parsed, "message", text)
	return ev
}

func (b *bench) run(text string, obs Observer) Outcome {
	b.line(text)
	return b.runner.Run(b.ctx, obs)
}

// fields renders what the event holds beyond what line set, sorted.
func fields(ev *pipeline.Event) []string {
	var out []string
	for _, space := range []pipeline.Namespace{pipeline.Parsed, pipeline.Meta, pipeline.Enriched, pipeline.Label} {
		ev.Each(space, func(name, value string) {
			if name != "message" && name != "type" {
				out = append(out, fmt.Sprintf("%s=%s", pipeline.Field{Space: space, Name: name}, value))
			}
		})
	}
	for _, slot := range []pipeline.Slot{pipeline.SlotStrTime, pipeline.SlotStrTimeFormat, pipeline.SlotMarshaledTime, pipeline.SlotWhitelistReason} {
		if ev.Has(slot) {
			out = append(out, "evt."+ev.Schema().Field(slot).Name+"="+ev.Get(slot))
		}
	}
	slices.Sort(out)
	return out
}

// tree is an observer that draws what it sees.
type tree struct {
	b     strings.Builder
	depth int
}

func (t *tree) printf(format string, args ...any) {
	fmt.Fprintf(&t.b, "%s%s\n", strings.Repeat("  ", t.depth), fmt.Sprintf(format, args...))
}

func (t *tree) Enter(n *Node) {
	name := n.Name
	if name == "" {
		name = fmt.Sprintf("#%d", n.Index)
	}
	if n.Depth == 0 {
		name = n.Stage + " " + name
	}
	t.printf("%s", name)
	t.depth++
}

func (t *tree) Observe(n *Node, o Observation) {
	switch o.Kind {
	case FilterFalse:
		t.printf("filter false: %s", n.Filter)
	case WhitelistHit:
		t.printf("whitelisted: %s", o.Value)
	case WhitelistMiss:
		t.printf("not on the whitelist")
	case GrokMatched:
		t.printf("grok matched")
	case GrokFailed:
		t.printf("grok failed")
	case Stashed:
		t.printf("stash %s: %s=%s", o.Text, o.Field, o.Value)
	case Wrote:
		t.printf("%s=%s (%s)", o.Field, o.Value, o.Text)
	case Problem:
		t.printf("problem with %s", o.Text)
	case StaticsSkipped:
		t.printf("statics skipped")
	case Moved:
		t.printf("to %s", o.Value)
	case EventAborted:
		t.printf("aborted at %s", o.Field)
	}
}

func (t *tree) Leave(_ *Node, _ *pipeline.Event, success bool) {
	t.printf("= %v", success)
	t.depth--
}

// rulesLoad is load that returns the error.
func rulesLoad(t testing.TB, files map[string]string) (*rules.Set, error) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return rules.Load(rules.Options{Roots: []string{root}, All: true, Strict: true})
}
