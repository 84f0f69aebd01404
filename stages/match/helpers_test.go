package match

import (
	"reflect"
	"testing"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
	"sluice/stages/rules"
)

// bench is a matcher with all that it takes to run it, and the oracle beside it.
type bench struct {
	schema            *pipeline.Schema
	fast, plain       *Matcher
	errs              []error // of fast
	runner, reference *Runner
	keep              pipeline.KeepSet
	arena             pipeline.KeptArena
	oracleArena       pipeline.KeptArena
}

// newBench compiles scenarios that read no data files.
func newBench(t testing.TB, scenarios []*rules.Scenario, wantErrors int) *bench {
	t.Helper()
	return newBenchWith(t, scenarios, funcs.NewData(), wantErrors)
}

// newBenchWith compiles scenarios twice; wantErrors is how many are
// broken, -1 for any number.
func newBenchWith(t testing.TB, scenarios []*rules.Scenario, data *funcs.Data, wantErrors int) *bench {
	t.Helper()
	b := &bench{schema: pipeline.NewSchema()}
	compile := func(reference bool) (*Matcher, []error) {
		compiler := expression.NewCompiler(b.schema, data, expression.Options{Reference: reference})
		return Compile(scenarios, Options{Compiler: compiler, Schema: b.schema})
	}
	b.plain, _ = compile(true)
	b.fast, b.errs = compile(false)
	if wantErrors >= 0 && len(b.errs) != wantErrors {
		t.Fatalf("errors %v, want %d", b.errs, wantErrors)
	}
	var stand *Matcher
	for i := range b.plain.docs {
		if b.plain.docs[i].filter == nil && b.fast.docs[i].filter != nil {
			t.Logf("%s: the reference compiler does not take it, so the oracle runs the fast program", scenarios[i].Name)
			if stand == nil {
				stand, _ = compile(false)
			}
			b.plain.docs[i] = stand.docs[i]
		}
		// Which documents take alerts is decided with the help of conjuncts, which the oracle has not.
		b.plain.docs[i].consumer = b.fast.docs[i].consumer
	}
	b.runner, b.reference = b.fast.NewRunner(), b.plain.NewRunner()
	return b
}

// field is a field of a generated event; space and name as in pipeline.Field.
type field struct {
	pipeline.Field
	value string
}

func meta(name, value string) field {
	return field{pipeline.Field{Space: pipeline.Meta, Name: name}, value}
}

func parsed(name, value string) field {
	return field{pipeline.Field{Space: pipeline.Parsed, Name: name}, value}
}

// event returns a log event with fields. Call it when all is compiled.
func (b *bench) event(fields ...field) *pipeline.Event {
	ev := pipeline.NewEvent(b.schema)
	for _, f := range fields {
		ev.SetField(f.Space, f.Name, f.value)
	}
	return ev
}

// match runs the fast path, and the oracle on a twin of the event, and returns the pours.
func (b *bench) match(t testing.TB, make func() *pipeline.Event) []pipeline.Pour {
	t.Helper()
	got := b.runner.Match(&expression.Context{Event: make()}, 7, &b.keep, &b.arena, nil)
	want := b.reference.MatchReference(&expression.Context{Event: make()}, 7, &b.keep, &b.oracleArena, nil)
	comparePours(t, got, want)
	return got
}

// matchFields is match on a log event.
func (b *bench) matchFields(t testing.TB, fields ...field) []pipeline.Pour {
	t.Helper()
	return b.match(t, func() *pipeline.Event { return b.event(fields...) })
}

func comparePours(t testing.TB, got, want []pipeline.Pour) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("pours into %v, the plain loop into %v", scenariosOf(got), scenariosOf(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		for _, k := range []*pipeline.Kept{g.Event, w.Event} {
			if len(k.Unmarshaled) == 0 {
				k.Unmarshaled = nil // made by whoever ran the VM
			}
		}
		if !reflect.DeepEqual(g.Event.View(), w.Event.View()) {
			t.Fatalf("scenario %d: the events kept differ:\n%+v\n%+v", g.Scenario, g.Event.View(), w.Event.View())
		}
		g.Event, w.Event = nil, nil
		if g != w {
			t.Fatalf("pour\n%+v, the plain loop makes\n%+v", g, w)
		}
	}
}

func scenariosOf(pours []pipeline.Pour) []int32 {
	out := []int32{}
	for _, p := range pours {
		out = append(out, p.Scenario)
	}
	return out
}

// scenario makes a leaky document; edit changes it.
func scenario(name, filter string, edit ...func(*rules.Scenario)) *rules.Scenario {
	s := &rules.Scenario{Name: name, Type: "leaky", Filter: text(filter)}
	for _, e := range edit {
		e(s)
	}
	return s
}

func text(s string) rules.Text {
	return rules.Text{Value: s, Pos: rules.Pos{File: "own.yaml", Line: 3, Column: 9}, Set: true}
}

func groupBy(s string) func(*rules.Scenario) {
	return func(sc *rules.Scenario) { sc.GroupBy = text(s) }
}

func distinct(s string) func(*rules.Scenario) {
	return func(sc *rules.Scenario) { sc.Distinct = text(s) }
}

func cancelOn(s string) func(*rules.Scenario) {
	return func(sc *rules.Scenario) { sc.CancelOn = text(s) }
}

func scope(kind, s string) func(*rules.Scenario) {
	return func(sc *rules.Scenario) { sc.ScopeType, sc.ScopeExpr = kind, text(s) }
}

func trigger(sc *rules.Scenario) { sc.Type = "trigger" }
