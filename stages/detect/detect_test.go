package detect

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
	"sluice/stages/rules"
)

func TestProcessingTimePoursOnReceipt(t *testing.T) {
	b := compileBench(t, Options{}, &rules.Scenario{Type: "leaky", Capacity: 1, LeakSpeed: time.Second})
	s := b.detector.NewShard(ShardOptions{Processing: true})
	var arena pipeline.KeptArena
	ev := pipeline.NewEvent(b.schema)
	var out []pipeline.Overflow
	for i := range 2 {
		ev.Reset()
		ev.Time, ev.Received = origin.Add(time.Duration(i)*time.Hour), origin
		out = s.Apply(pipeline.Partition{}, nil, []*pipeline.Pour{{Key: "a", Event: arena.Keep(ev, b.keep)}}, out)
	}
	if len(out) != 1 || !out[0].LastTime.Equal(origin) {
		t.Fatalf("%d overflows: %v", len(out), describeAll(out))
	}
}

func TestUndatedEventsPourIntoTriggersAlone(t *testing.T) {
	b := compileBench(t, Options{}, &rules.Scenario{Type: "leaky", Capacity: 1, LeakSpeed: time.Hour}, &rules.Scenario{Type: "trigger"})
	script := parseScript(t, []string{"0s a 1:a", "0s a 1:a"})
	overflows, _, stats := b.run(t, script, cutting{batch: 1, opts: ShardOptions{DatedOnly: true}})
	want := []string{"0: 1:a n=1 [0] 0s-0s", "1: 1:a n=1 [1] 0s-0s"}
	if got := describeAll(overflows); !slices.Equal(got, want) || stats.Undated != 2 {
		t.Errorf("got %v, want %v; %+v", got, want, stats)
	}
}

func TestBoundsAreCounted(t *testing.T) {
	b := compileBench(t, Options{MaxDistinct: 2, MaxQueue: 3},
		&rules.Scenario{Type: "counter", Capacity: -1, Duration: 10 * time.Second, Distinct: text("evt.Meta.user")})
	script := parseScript(t, []string{"0s a d=1", "0s a d=2", "0s a d=3", "0s a d=3", "0s a d=1", "0s a d=4", "11s"})
	overflows, _, stats := b.run(t, script, cutting{batch: 3})
	want := []string{"6: 0:a n=5 [2 3 5] 0s-0s"}
	if got := describeAll(overflows); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if stats.DistinctFull != 3 || stats.QueueFull != 2 || stats.Duplicates != 1 {
		t.Errorf("%+v", stats)
	}
}

func TestLatenessDelaysTimedOverflowsAndFreeing(t *testing.T) {
	b := compileBench(t, Options{},
		&rules.Scenario{Type: "counter", Capacity: -1, Duration: 10 * time.Second},
		&rules.Scenario{Type: "leaky", Capacity: 1, LeakSpeed: 5 * time.Second},
		&rules.Scenario{Type: "trigger", Blackhole: 10 * time.Second})
	script := parseScript(t, []string{"0s a 1:a 2:a", "15s", "16s", "3s 1:a 2:a"})
	for _, c := range []struct {
		name     string
		lateness time.Duration
		want     []string
	}{
		{"the late event finds its bucket and its blackhole", 6 * time.Second,
			[]string{"0: 2:a n=1 [0] 0s-0s", "3: 1:a n=2 [0 3] 0s-3s"}},
		{"the late event comes after both are gone", 5 * time.Second,
			[]string{"0: 2:a n=1 [0] 0s-0s", "2: 0:a n=1 [0] 0s-0s", "3: 2:a n=1 [3] 3s-3s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, batch := range []int{1, 2, 3, 4} {
				overflows, _, _ := b.run(t, script, cutting{batch: batch, opts: ShardOptions{Free: true, Lateness: c.lateness}})
				if got := describeAll(overflows); !slices.Equal(got, c.want) {
					t.Errorf("batches of %d: got %v, want %v", batch, got, c.want)
				}
			}
		})
	}
}

func TestFreeingGivesMemoryBack(t *testing.T) {
	b := compileBench(t, Options{}, &rules.Scenario{Type: "leaky", Capacity: 1, LeakSpeed: 5 * time.Second, Blackhole: time.Minute})
	var lines []string
	for i := range 5000 {
		lines = append(lines, "0s k"+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)))
	}
	lines = append(lines, "1s kaaa", "11s", "12s", "13s")
	s := b.detector.NewShard(ShardOptions{Free: true})
	if _, _, stats := b.run(t, parseScript(t, lines), cutting{batch: 100, opts: s.opts, looks: 10_000}); stats.Live != 0 || stats.Freed != 4999 || stats.Blackholes != 1 {
		t.Fatalf("after the life of all: %+v", stats)
	}
	if _, _, stats := b.run(t, parseScript(t, append(lines, "62s", "63s")), cutting{batch: 100, opts: s.opts, looks: 10_000}); stats.Blackholes != 0 {
		t.Fatalf("after the blackhole: %+v", stats)
	}
	if _, _, stats := b.run(t, parseScript(t, lines), cutting{batch: 100}); stats.Live != 4999 {
		t.Fatalf("where nothing is freed: %+v", stats)
	}
}

func TestCompileReportsDocumentsAndLeavesThemOut(t *testing.T) {
	schema := pipeline.NewSchema()
	c := expression.NewCompiler(schema, funcs.NewData(), expression.Options{})
	at := func(s string) rules.Text {
		return rules.Text{Value: s, Set: true, Pos: rules.Pos{File: "f.yaml", Line: 7, Column: 12}}
	}
	d, errs := Compile([]*rules.Scenario{
		{Name: "a", Type: "leaky", Capacity: 1, LeakSpeed: 1, OverflowFilter: at("queue.Queu == 1")},
		{Name: "b", Type: "conditional", Capacity: -1, LeakSpeed: 1, Condition: at("len(")},
		{Name: "c", Type: "leeky"},
		{Name: "d", Type: "trigger"},
	}, c, Options{})
	if len(errs) != 3 {
		t.Fatalf("%d errors: %v", len(errs), errs)
	}
	var e *rules.Error
	if !errors.As(errs[0], &e) || e.Pos.File != "f.yaml" || e.Pos.Line != 7 || e.Pos.Column < 12 || e.Rule != "a" {
		t.Errorf("the first error is not placed: %v", errs[0])
	}
	s := d.NewShard(ShardOptions{})
	var arena pipeline.KeptArena
	keep := &pipeline.KeepSet{}
	kept := arena.Keep(pipeline.NewEvent(schema), keep)
	var pours []*pipeline.Pour
	for i := range 4 {
		pours = append(pours, &pipeline.Pour{Scenario: int32(i), Event: kept})
	}
	out := s.Apply(pipeline.Partition{}, nil, pours, nil)
	if st := s.Stats(); len(out) != 1 || st.Broken != 3 || st.Dropped()["broken_scenario"] != 3 {
		t.Errorf("%d overflows, %+v", len(out), st)
	}
}

func TestAddReadsNamesWhatQueueExpressionsRead(t *testing.T) {
	b := compileBench(t, Options{},
		&rules.Scenario{Type: "conditional", Capacity: -1, LeakSpeed: 1, Condition: text(`evt.Parsed.verb == "GET" && any(queue.Queue, {.Enriched.IsoCode == "FR"})`)})
	for _, f := range []pipeline.Field{{Space: pipeline.Parsed, Name: "verb"}, {Space: pipeline.Enriched, Name: "IsoCode"}} {
		slot := b.schema.Lookup(f.Space, f.Name)
		if !b.keep.Whole && !slices.Contains(b.keep.Slots, slot) {
			t.Errorf("%v is not kept: %+v", f, b.keep)
		}
	}
}

func TestLifeTimeDoesNotRunOver(t *testing.T) {
	if got := lifeTime(&rules.Scenario{Capacity: 1000, LeakSpeed: math.MaxInt64 / 10}, leaky); got != math.MaxInt64 {
		t.Errorf("%v", got)
	}
}
