package overflow_test

import (
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
	"sluice/stages/overflow"
	"sluice/stages/rules"
)

var start = time.Date(2026, time.March, 1, 10, 0, 0, 0, time.UTC)

// bench holds a builder and makes events of its schema.
type bench struct {
	builder *overflow.Builder
	schema  *pipeline.Schema
	keep    pipeline.KeepSet
	arena   pipeline.KeptArena
}

func text(s string) rules.Text { return rules.Text{Value: s, Set: s != ""} }

// scenario is a leaky scenario of a scope with an expression, "" for none.
func scenario(scope, expr string) *rules.Scenario {
	return &rules.Scenario{
		Name: "test/guessing", Version: "1.2", Hash: "abc", Type: "leaky", Capacity: 5, LeakSpeed: 10 * time.Second,
		ScopeType: scope, ScopeExpr: text(expr),
		Labels: map[string]any{"remediation": true, "service": "ssh"},
	}
}

func newBench(t *testing.T, sc *rules.Scenario, o overflow.Options, contexts ...rules.ContextEntry) *bench {
	t.Helper()
	b := &bench{schema: pipeline.NewSchema()}
	compiler := expression.NewCompiler(b.schema, funcs.NewData(), expression.Options{})
	var err error
	b.builder, err = overflow.NewBuilder([]*rules.Scenario{sc}, contexts, compiler, b.schema, o)
	if err != nil {
		t.Fatal(err)
	}
	b.builder.AddReads(&b.keep)
	b.keep.Prepare(b.schema)
	return b
}

// fields are written as "Meta.source_ip".
type fields map[string]string

var spaces = map[string]pipeline.Namespace{
	"Meta": pipeline.Meta, "Enriched": pipeline.Enriched, "Parsed": pipeline.Parsed,
}

func (b *bench) event(f fields) *pipeline.Kept {
	ev := pipeline.NewEvent(b.schema)
	ev.Time, ev.Received = start, start
	for name, value := range f {
		for space, n := range spaces {
			if len(name) > len(space) && name[:len(space)+1] == space+"." {
				ev.SetField(n, name[len(space)+1:], value)
			}
		}
	}
	return b.arena.Keep(ev, &b.keep).Own()
}

// address is an event of one address.
func (b *bench) address(ip string) *pipeline.Kept { return b.event(fields{"Meta.source_ip": ip}) }

// poured is an alert with the given sources that was poured again.
func poured(sources ...pipeline.Source) *pipeline.Kept {
	ra := &pipeline.RuntimeAlert{Sources: make(map[string]pipeline.Source)}
	for i := range sources {
		ra.Sources[sources[i].Value] = sources[i]
		ra.APIAlerts = append(ra.APIAlerts, pipeline.Alert{Source: &sources[i]})
	}
	ra.Alert = &ra.APIAlerts[0]
	return &pipeline.Kept{Type: pipeline.OverflowEvent, Overflow: ra}
}

// full is an overflow of events, whose scope expression gave the scopes.
func full(scopes []string, queue ...*pipeline.Kept) *pipeline.Overflow {
	p := pipeline.Partition{Source: "test", Topic: "auth.log"}
	return &pipeline.Overflow{
		Key: "key", First: pipeline.Position{Partition: p, Offset: 1}, Last: pipeline.Position{Partition: p, Offset: 6},
		Cause:     pipeline.Position{Partition: p, Offset: 6},
		FirstTime: start, LastTime: start.Add(1500 * time.Millisecond),
		Count: 6, Queue: queue, Scopes: scopes,
	}
}
