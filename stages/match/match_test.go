package match

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/rules"
)

func TestPoursComeInTheOrderOfTheDocuments(t *testing.T) {
	b := newBench(t, []*rules.Scenario{
		scenario("all", `true`),
		scenario("by literal", `Upper(evt.Meta.path) contains '/ADMIN'`),
		scenario("by value", `evt.Meta.type == 'web'`),
		scenario("by another value", `evt.Meta.type == 'ssh'`),
		scenario("by literal too", `Upper(evt.Meta.path) contains '/X'`),
		scenario("by list", `evt.Meta.type in ['web', 'proxy'] && evt.Parsed.verb == 'GET'`),
		scenario("never", `false`),
	}, 0)
	for _, tc := range []struct {
		name   string
		fields []field
		want   []int32
	}{
		{"an event without fields", nil, []int32{0}},
		{"one literal", []field{meta("path", "/admin"), meta("type", "web")}, []int32{0, 1, 2}},
		{"all that can be", []field{meta("path", "/admin/x"), meta("type", "web"), parsed("verb", "GET")}, []int32{0, 1, 2, 4, 5}},
		{"another text with the same Runner", []field{meta("path", "/b/X"), meta("type", "ssh")}, []int32{0, 3, 4}},
		{"no text with the same Runner", []field{meta("type", "proxy"), parsed("verb", "GET")}, []int32{0, 5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pours := b.matchFields(t, tc.fields...)
			if got := scenariosOf(pours); !slices.Equal(got, tc.want) {
				t.Errorf("poured into %v, want %v", got, tc.want)
			}
			for _, p := range pours {
				if p.Event != pours[0].Event {
					t.Error("the pours of an event do not share what is kept of it")
				}
				if p.Line != 7 {
					t.Errorf("line %d", p.Line)
				}
			}
		})
	}
}

// TestOneEventReusedForManyLines resets one event, as a worker does: nothing
// of a line may show in the next, remembered sub-expressions included.
func TestOneEventReusedForManyLines(t *testing.T) {
	b := newBench(t, []*rules.Scenario{
		scenario("a", `Upper(evt.Meta.path) contains '/ONE'`, groupBy(`Upper(evt.Meta.path)`)),
		scenario("b", `Upper(evt.Meta.path) contains '/TWO'`, groupBy(`evt.Meta.source_ip`)),
		scenario("c", `Upper(evt.Meta.path) startsWith '/O'`),
	}, 0)
	ev := b.event()
	for i, want := range [][]int32{{0, 2}, {1}, {}, {0, 1, 2}, {}} {
		path := []string{"/one", "/two", "", "/one/two", "/"}[i]
		ev.Reset()
		ev.SetField(pipeline.Meta, "path", path)
		ev.SetField(pipeline.Meta, "source_ip", fmt.Sprint("192.0.2.", i))
		pours := b.runner.Match(&expression.Context{Event: ev}, 0, &b.keep, &b.arena, nil)
		if got := scenariosOf(pours); !slices.Equal(got, want) {
			t.Errorf("path %q: poured into %v, want %v", path, got, want)
		}
		for _, p := range pours {
			if p.Scenario == 0 && p.Key != strings.ToUpper(path) || p.Scenario == 1 && p.Key != fmt.Sprint("192.0.2.", i) {
				t.Errorf("path %q: key %q", path, p.Key)
			}
		}
	}
}

func TestValuesOfAPour(t *testing.T) {
	b := newBench(t, []*rules.Scenario{
		scenario("plain", `true`, groupBy(`evt.Meta.source_ip`), distinct(`evt.Parsed.user`), cancelOn(`evt.Meta.type == 'ok'`)),
		scenario("sum", `true`, groupBy(`evt.Meta.source_ip + '/' + evt.Parsed.user`), distinct(`'always'`), scope("user", `evt.Parsed.user`)),
		scenario("trigger", `true`, trigger, groupBy(`'one'`), distinct(`evt.Parsed.user`), cancelOn(`true`), scope("user", `Upper(evt.Parsed.user)`)),
		scenario("nothing", `true`),
	}, 0)
	want := []pipeline.Pour{
		{Scenario: 0, Key: "2001:db8::1", Distinct: "root", Cancel: true},
		{Scenario: 1, Key: "2001:db8::1/root", Distinct: "always", Scope: "root"},
		{Scenario: 2, Key: "one", Scope: "ROOT"},
		{Scenario: 3},
	}
	got := b.matchFields(t, meta("source_ip", "2001:db8::1"), parsed("user", "root"), meta("type", "ok"))
	if len(got) != len(want) {
		t.Fatalf("poured into %v", scenariosOf(got))
	}
	for i, w := range want {
		g := got[i]
		// All of these filters are true of an alert too.
		if g.Key != w.Key || g.Distinct != w.Distinct || g.Scope != w.Scope || g.Cancel != w.Cancel || g.Failed || !g.AlertLane {
			t.Errorf("pour %+v, want %+v", g, w)
		}
	}
	if got[0].Route != got[1].Route {
		t.Error("two scenarios of one address have different routes")
	}
	if got[0].Route == got[3].Route || got[2].Route == got[3].Route {
		t.Error("groups of their own share a route")
	}
}

func TestPoursOwnTheirStrings(t *testing.T) {
	b := newBench(t, []*rules.Scenario{
		scenario("a", `true`, groupBy(`evt.Meta.source_ip`), distinct(`evt.Parsed.user`), scope("x", `Upper(evt.Parsed.user)`)),
		scenario("b", `true`, groupBy(`evt.Parsed.user + evt.Meta.source_ip`), distinct(`evt.Meta.source_ip`), scope("x", `evt.Meta.absent`)),
	}, 0)
	raw := []byte("192.0.2.1 alice")
	line := string(raw)
	ev := b.event()
	ev.SetField(pipeline.Meta, "source_ip", line[:9])
	ev.SetField(pipeline.Parsed, "user", line[10:])
	pours := b.runner.Match(&expression.Context{Event: ev}, 0, &b.keep, &b.arena, nil)
	ev.Reset()
	ev.SetField(pipeline.Meta, "source_ip", "overwritten")
	if p := pours[0]; p.Key != "192.0.2.1" || p.Distinct != "alice" || p.Scope != "ALICE" {
		t.Errorf("%+v", p)
	}
	if p := pours[1]; p.Key != "alice192.0.2.1" || p.Distinct != "192.0.2.1" || p.Scope != "" {
		t.Errorf("%+v", p)
	}
	b.arena.Poison()
	for _, p := range pours {
		for _, s := range []string{p.Key, p.Distinct, p.Scope} {
			if s != strings.Repeat("\xa5", len(s)) {
				t.Errorf("scenario %d: %q does not live in the batch's arena", p.Scenario, s)
			}
		}
	}
}

func TestEqualKeysHaveEqualRoutesWhateverTheFieldsHold(t *testing.T) {
	b := newBench(t, []*rules.Scenario{
		scenario("prefix", `true`, groupBy(`evt.Meta.source_ip + '--' + evt.Meta.x`)),
		scenario("suffix", `true`, groupBy(`evt.Meta.x + ' - ' + evt.Meta.source_ip`)),
	}, 0)
	a := b.matchFields(t, meta("source_ip", "a--b"), meta("x", "c"))
	c := b.matchFields(t, meta("source_ip", "a"), meta("x", "b--c"))
	if a[0].Key != c[0].Key || a[0].Route != c[0].Route {
		t.Errorf("key %q and %q, route %x and %x", a[0].Key, c[0].Key, a[0].Route, c[0].Route)
	}
	a = b.matchFields(t, meta("source_ip", "a - b"), meta("x", "c"))
	c = b.matchFields(t, meta("source_ip", "b"), meta("x", "c - a"))
	if a[1].Key != c[1].Key || a[1].Route != c[1].Route {
		t.Errorf("key %q and %q, route %x and %x", a[1].Key, c[1].Key, a[1].Route, c[1].Route)
	}
}

func TestFailuresAreCountedAndStopNothingElse(t *testing.T) {
	const broken = `evt.Overflow.Alert.Source.IP` // no alert on a log line
	b := newBench(t, []*rules.Scenario{
		scenario("filter", `evt.Meta.a == '' && `+broken+` == 'x'`),
		scenario("groupby", `true`, groupBy(broken)),
		scenario("groupby gives no string", `true`, groupBy(`evt.Unmarshaled.nothing`)),
		scenario("distinct", `true`, groupBy(`evt.Meta.source_ip`), distinct(broken)),
		scenario("distinct gives no string", `true`, distinct(`evt.Unmarshaled.nothing`)),
		scenario("scope", `true`, scope("x", broken)),
		scenario("cancel_on", `true`, cancelOn(broken+` == 'x'`)),
		scenario("sound", `true`),
	}, 0)
	pours := b.matchFields(t, meta("source_ip", "192.0.2.1"))
	var failed []int32
	for _, p := range pours {
		if p.Failed {
			failed = append(failed, p.Scenario)
		}
	}
	if got, want := scenariosOf(pours), []int32{1, 2, 3, 4, 5, 6, 7}; !slices.Equal(got, want) {
		t.Errorf("poured into %v, want %v", got, want)
	}
	if want := []int32{1, 2, 3, 5}; !slices.Equal(failed, want) {
		t.Errorf("failed %v, want %v", failed, want)
	}
	totals := make([]Counters, b.fast.Len())
	b.runner.Drain(totals)
	b.runner.Drain(totals) // adds nothing
	for i, want := range []Counters{
		{FilterErrors: 1}, {Pours: 1, Failed: 1}, {Pours: 1, Failed: 1}, {Pours: 1, Failed: 1},
		{Pours: 1}, {Pours: 1, Failed: 1}, {Pours: 1, CancelErrors: 1}, {Pours: 1},
	} {
		got := totals[i]
		if wantErr := want.Failed+want.FilterErrors+want.CancelErrors > 0; (got.First != nil) != wantErr {
			t.Errorf("document %d: first error %v", i, got.First)
		}
		got.First = nil
		if got != want {
			t.Errorf("document %d: %+v, want %+v", i, got, want)
		}
	}
}

func TestAlertsPourOnlyIntoThoseThatTakeThem(t *testing.T) {
	b := newBench(t, []*rules.Scenario{
		scenario("of logs", `evt.Meta.type == 'web'`),
		scenario("of alerts", `evt.GetType() == 'overflow' && evt.Overflow.Alert.Remediation == true`, groupBy(`evt.Overflow.Alert.Source.Range`), distinct(`evt.Overflow.Alert.Source.IP`)),
		scenario("of both", `evt.Meta.type != 'ssh'`),
		scenario("of both", `evt.Meta.type != 'ssh'`, groupBy(`evt.Meta.source_ip`)),
		scenario("of an absent field", `evt.Meta.type in ['', 'web']`),
		scenario("asks the outside", `GetDecisionsCount(evt.Meta.source_ip) == 0`),
		scenario("asks the outside of logs", `evt.Meta.type == 'web' && GetDecisionsCount(evt.Meta.source_ip) == 0`),
	}, 0)
	for i, want := range []bool{false, true, true, true, true, true, false} {
		if got := b.fast.Consumer(int32(i)); got != want {
			t.Errorf("document %d: consumer %v, want %v", i, got, want)
		}
	}
	alert := func() *pipeline.Event {
		ev := b.event(meta("type", "web"))
		ev.Type = pipeline.OverflowEvent
		ev.Overflow = &pipeline.RuntimeAlert{Alert: &pipeline.Alert{Remediation: true, Source: &pipeline.Source{IP: "192.0.2.1", Range: "192.0.2.0/24"}}}
		return ev
	}
	pours := b.match(t, alert)
	if got, want := scenariosOf(pours), []int32{1, 2, 3, 4, 5}; !slices.Equal(got, want) {
		t.Fatalf("an alert poured into %v, want %v", got, want)
	}
	if p := pours[0]; p.Key != "192.0.2.0/24" || p.Distinct != "192.0.2.1" || !p.AlertLane || p.Failed {
		t.Errorf("%+v", p)
	}
	for _, p := range b.matchFields(t, meta("type", "web")) {
		if p.AlertLane != b.fast.Consumer(p.Scenario) {
			t.Errorf("the pours of a log line must take the alert lane where alerts do: %+v", p)
		}
	}
}

func TestAWhitelistedEventPoursNowhere(t *testing.T) {
	b := newBench(t, []*rules.Scenario{scenario("all", `true`)}, 0)
	pours := b.match(t, func() *pipeline.Event {
		ev := b.event()
		ev.Whitelisted = true
		return ev
	})
	if len(pours) != 0 {
		t.Errorf("poured into %v", scenariosOf(pours))
	}
}

func TestAFilterThatWritesIsSeenByThoseBehindIt(t *testing.T) {
	b := newBench(t, []*rules.Scenario{
		scenario("before", `true`),
		scenario("writes", `evt.Meta.json != '' && UnmarshalJSON(evt.Meta.json, evt.Unmarshaled, 'j') == nil`),
		scenario("behind", `evt.Unmarshaled.j != nil`),
	}, 0)
	b.keep.Unmarshaled = true
	pours := b.matchFields(t, meta("json", `{"a":"b"}`))
	if got, want := scenariosOf(pours), []int32{0, 1, 2}; !slices.Equal(got, want) {
		t.Fatalf("poured into %v, want %v", got, want)
	}
	for i, want := range []bool{false, true, true} {
		if _, got := pours[i].Event.Unmarshaled["j"]; got != want {
			t.Errorf("pour %d shows what the filter wrote: %v, want %v", i, got, want)
		}
	}
}

func TestAFieldThatAFilterSetsIsSeenByThoseBehindIt(t *testing.T) {
	b := newBench(t, []*rules.Scenario{
		scenario("before", `evt.Meta.tag == 'new'`),
		scenario("reads before", `Upper(evt.Meta.tag) contains 'OLD'`),
		scenario("writes", `evt.Meta.set != '' && evt.SetMeta('tag', 'new')`, groupBy(`evt.Meta.tag`)),
		scenario("by value", `evt.Meta.tag == 'new'`),
		scenario("by literal", `Upper(evt.Meta.tag) contains 'NEW'`, groupBy(`Upper(evt.Meta.tag)`)),
		scenario("of the old value", `Upper(evt.Meta.tag) contains 'OLD'`),
		scenario("of another field", `evt.Meta.type == 'web'`, groupBy(`evt.Meta.tag`)),
	}, 0)
	for i, want := range []bool{false, false, false, true, true, true, false} {
		if got := b.fast.docs[i].afterWriter; got != want {
			t.Errorf("document %d reads what was written: %v, want %v", i, got, want)
		}
	}
	pours := b.matchFields(t, meta("tag", "old"), meta("set", "1"), meta("type", "web"))
	if got, want := scenariosOf(pours), []int32{1, 2, 3, 4, 6}; !slices.Equal(got, want) {
		t.Fatalf("poured into %v, want %v", got, want)
	}
	for i, want := range []string{"", "new", "", "NEW", "new"} {
		if pours[i].Key != want {
			t.Errorf("scenario %d: key %q, want %q", pours[i].Scenario, pours[i].Key, want)
		}
	}
	if got := scenariosOf(b.matchFields(t, meta("tag", "old"))); !slices.Equal(got, []int32{1, 5}) {
		t.Errorf("without the write: poured into %v", got)
	}
}

func TestABrokenDocumentIsPlacedAndLeftOut(t *testing.T) {
	scenarios := []*rules.Scenario{
		scenario("sound", `true`),
		scenario("filter", `evt.Meta.type ==`),
		scenario("groupby", `true`, groupBy(`evt.(`)),
		scenario("distinct of a trigger", `true`, trigger, distinct(`Nonsense(`)),
		scenario("cancel_on", `true`, cancelOn(`)`)),
		scenario("no filter", ` `),
		scenario("sound too", `true`),
	}
	b := newBench(t, scenarios, 5)
	for i, err := range b.errs {
		var e *Error
		if !errors.As(err, &e) || e.Scenario != int32(i+1) || b.fast.Compiled(e.Scenario) {
			t.Errorf("error %d: %v", i, err)
		}
		var placed *rules.Error
		if !errors.As(err, &placed) || placed.Rule != scenarios[i+1].Name {
			t.Errorf("error %d names no place: %v", i, err)
		}
	}
	if got := scenariosOf(b.matchFields(t)); !slices.Equal(got, []int32{0, 6}) {
		t.Errorf("poured into %v", got)
	}
}

// TestMatchEqualsThePlainLoop compares both paths on random scenarios and events.
func TestMatchEqualsThePlainLoop(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	values := []string{"web", "ssh", "/a", "/A/b", "b/a", "", "x", "192.0.2.1", "2001:db8::1"}
	names := []string{"type", "service", "path", "source_ip"}
	pick := func(from []string) string { return from[rng.IntN(len(from))] }
	var atom func(depth int) string
	atom = func(depth int) string {
		f := "evt.Meta." + pick(names)
		v := pick(values)
		switch rng.IntN(9 - depth) {
		case 0:
			return fmt.Sprintf("%s in ['%s', '%s']", f, v, pick(values))
		case 1:
			return fmt.Sprintf("Upper(%s) contains '%s'", f, strings.ToUpper(v))
		case 2:
			return fmt.Sprintf("%s startsWith '%s'", f, v)
		case 3:
			return fmt.Sprintf("%s endsWith '%s'", f, v)
		case 4:
			return fmt.Sprintf("%s != '%s'", f, v)
		case 5:
			return fmt.Sprintf("%s == '%s'", f, v)
		case 6:
			return fmt.Sprintf("(%s || %s)", atom(depth+1), atom(depth+1))
		case 7:
			return fmt.Sprintf("%s && %s", atom(depth+1), atom(depth+1))
		}
		return fmt.Sprintf("Lower(%s) == '%s' && not (%s)", f, strings.ToLower(v), atom(depth+1))
	}
	for range 20 {
		var scenarios []*rules.Scenario
		for i := range 80 {
			scenarios = append(scenarios, scenario(fmt.Sprint("s", i/2), atom(0)+" && "+atom(0),
				groupBy([]string{"", "evt.Meta.source_ip", "evt.Meta.source_ip + '/' + evt.Meta.path", "Upper(evt.Meta.path)"}[rng.IntN(4)])))
		}
		b := newBench(t, scenarios, 0)
		for range 50 {
			var fields []field
			for _, n := range names {
				if rng.IntN(4) > 0 {
					fields = append(fields, meta(n, pick(values)))
				}
			}
			b.matchFields(t, fields...)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	b := newBench(t, []*rules.Scenario{
		scenario("one", `evt.Meta.type == 'web' && evt.Meta.path contains '/a'`, groupBy(`evt.Meta.source_ip`), distinct(`evt.Parsed.request`)),
		scenario("two", `evt.Meta.type == 'web' && evt.Meta.path contains '/b'`, groupBy(`evt.Meta.source_ip`)),
		scenario("three", `evt.Meta.type in ['web', 'proxy']`, groupBy(`evt.Parsed.request`), scope("verb", `evt.Parsed.verb`)),
		scenario("four", `evt.Meta.type == 'ssh'`),
	}, 0)
	ctx := &expression.Context{Event: b.event(meta("type", "web"), meta("path", "/a"), meta("source_ip", "192.0.2.1"), parsed("request", "/a?x=y"), parsed("verb", "GET"))}
	out := make([]pipeline.Pour, 0, 8)
	b.keep.Prepare(b.schema)
	allocs := testing.AllocsPerRun(100, func() {
		b.arena.Reset()
		out = b.runner.Match(ctx, 0, &b.keep, &b.arena, out[:0])
	})
	if got := scenariosOf(out); !slices.Equal(got, []int32{0, 2}) {
		t.Fatalf("poured into %v", got)
	}
	if allocs > 0 {
		t.Errorf("%v allocations an event", allocs)
	}
}
