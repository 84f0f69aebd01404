package detect

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	reference "golang.org/x/time/rate"

	"sluice/pipeline"
	"sluice/stages/rules"
)

// zoo has every type and option, and two documents that share buckets.
func zoo() []*rules.Scenario {
	return []*rules.Scenario{
		{Type: "leaky", Capacity: 3, LeakSpeed: 7 * time.Second, Blackhole: 20 * time.Second},
		{Type: "leaky", Capacity: 5, CacheSize: 2, LeakSpeed: 3 * time.Second, Distinct: text("evt.Meta.user"), ScopeType: "user", ScopeExpr: text("evt.Meta.user")},
		{Type: "leaky", Capacity: 4, LeakSpeed: 10 * time.Second, CancelOn: text("true"), OverflowFilter: text(`any(queue.Queue, {.Meta.user == "u1"})`), Blackhole: 5 * time.Second},
		{Type: "trigger", Blackhole: 9 * time.Second},
		{Type: "trigger", OverflowFilter: text(`evt.Meta.user == "u2"`)},
		{Type: "counter", Capacity: -1, Duration: 13 * time.Second, CacheSize: 4},
		{Type: "conditional", Capacity: -1, LeakSpeed: 8 * time.Second, Condition: text(`len(queue.Queue) > 3 && evt.Meta.user == "u0"`)},
		{Type: "bayesian", Capacity: -1, CacheSize: 3, LeakSpeed: 15 * time.Second, BayesianPrior: 0.3, BayesianThreshold: 0.9, BayesianConditions: []rules.BayesianCondition{
			{Condition: text(`evt.Meta.user == "u1"`), ProbGivenEvil: 0.8, ProbGivenBenign: 0.1, Guillotine: true},
			{Condition: text(`leaky.Total_count > 2`), ProbGivenEvil: 0.9, ProbGivenBenign: 0.2},
		}},
		{Type: "leaky", Name: "shared", Capacity: 3, LeakSpeed: 5 * time.Second},
		{Type: "leaky", Name: "shared", Capacity: 4, LeakSpeed: 9 * time.Second, Distinct: text("evt.Meta.user")},
		{Type: "trigger", Name: "mixed", Blackhole: 3 * time.Second},
		{Type: "counter", Name: "mixed", Capacity: -1, Duration: 6 * time.Second, Blackhole: 30 * time.Second},
	}
}

// randomScript makes lines of two partitions whose times go forward on the
// whole, and back by up to backward.
func randomScript(r *rand.Rand, lines int, docs int, backward time.Duration) []scriptLine {
	var out []scriptLine
	clocks := [2]time.Duration{}
	for range lines {
		l := scriptLine{part: int32(r.IntN(2)), meta: map[string]string{"user": fmt.Sprint("u", r.IntN(4))}}
		clocks[l.part] += time.Duration(r.Int64N(int64(3 * time.Second)))
		l.at = clocks[l.part]
		if r.IntN(8) == 0 {
			l.at -= time.Duration(r.Int64N(int64(backward)))
		}
		key := fmt.Sprint("k", r.IntN(5))
		for d := range docs {
			if d > 7 || r.IntN(3) == 0 {
				l.pours = append(l.pours, pipeline.Pour{
					Scenario: int32(d), Key: key, Distinct: l.meta["user"], Scope: l.meta["user"],
					Cancel: r.IntN(20) == 0, Failed: r.IntN(50) == 0,
				})
			}
		}
		out = append(out, l)
	}
	return out
}

// TestCuttingChangesNothing cuts random pours into different batches,
// spreads them over different numbers of shards, and frees memory at
// different paces: overflows and what is held in the end stay the same.
func TestCuttingChangesNothing(t *testing.T) {
	const backward = 40 * time.Second
	for _, lateness := range []time.Duration{0, 10 * time.Second, 2 * backward} {
		for seed := range uint64(2) {
			script := randomScript(rand.New(rand.NewPCG(seed, 1)), 1000, len(zoo()), backward)
			b := compileBench(t, Options{}, zoo()...)
			opts := ShardOptions{Free: true, Lateness: lateness}
			want := outcome(t, b, script, cutting{batch: len(script), opts: opts})
			if strings.Count(want, "\n") < 500 {
				t.Fatalf("lateness %v seed %d: too little happens:\n%s", lateness, seed, want)
			}
			for _, c := range []cutting{
				{batch: 1, opts: opts},
				{batch: 1, shards: 5, opts: opts},
				{seed: 1, shards: 2, opts: opts, looks: 1},
				{seed: 2, shards: 16, opts: opts, looks: 3},
			} {
				if got := outcome(t, b, script, c); got != want {
					t.Fatalf("lateness %v seed %d, cut as %+v:\n%s", lateness, seed, c, firstDifference(got, want))
				}
			}
		}
	}
}

// TestFreeingChangesNothing holds freeing to keeping everything, for events
// that are no later than the lateness.
func TestFreeingChangesNothing(t *testing.T) {
	const backward = 40 * time.Second
	for seed := range uint64(4) {
		script := randomScript(rand.New(rand.NewPCG(seed, 2)), 1500, len(zoo()), backward)
		// The promise is about one clock.
		script = slices.DeleteFunc(script, func(l scriptLine) bool { return l.part != 0 })
		b := compileBench(t, Options{}, zoo()...)
		var all [2][]pipeline.Overflow
		var stats [2]Stats
		for i, free := range []bool{false, true} {
			all[i], _, stats[i] = b.run(t, script, cutting{seed: seed, opts: ShardOptions{Free: free, Lateness: lateBy(script)}})
		}
		got, want := strings.Join(describeAll(all[1]), "\n"), strings.Join(describeAll(all[0]), "\n")
		if got != want {
			t.Fatalf("seed %d: freeing made a difference:\n%s", seed, firstDifference(got, want))
		}
		if stats[1].Freed == 0 || stats[1].Live > stats[0].Live {
			t.Errorf("seed %d: nothing was freed: %+v", seed, stats[1])
		}
	}
}

// lateBy is how far the script's latest line is behind the clock.
func lateBy(script []scriptLine) time.Duration {
	var clock, late time.Duration
	for _, l := range script {
		clock = max(clock, l.at)
		late = max(late, clock-l.at)
	}
	return late
}

func outcome(t *testing.T, b *bench, script []scriptLine, c cutting) string {
	overflows, state, stats := b.run(t, script, c)
	dump, err := json.MarshalIndent(state, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	stats.Live, stats.Blackholes, stats.Freed, stats.Expired = 0, 0, 0, 0 // memory
	return fmt.Sprintf("%s\n%+v\n%s", strings.Join(describeAll(overflows), "\n"), stats, dump)
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d:\ngot  %s\nwant %s", i, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines instead of %d", len(g), len(w))
}

// model is the plain way to count one leaky document: an x/time/rate limiter
// and a slice for each key.
type model struct {
	doc     *rules.Scenario
	buckets map[string]*modelBucket
	muted   map[string]time.Time
}

type modelBucket struct {
	limiter     *reference.Limiter
	seen        map[string]bool
	lines       []int
	count       int
	first, last time.Time
}

func (m *model) pour(line int, p *pipeline.Pour, now time.Time) string {
	d := m.doc
	b := m.buckets[p.Key]
	if b != nil && now.After(b.last.Add(time.Duration(d.Capacity+1)*d.LeakSpeed)) {
		b = nil
	}
	if b == nil {
		b = &modelBucket{limiter: reference.NewLimiter(reference.Every(d.LeakSpeed), d.Capacity), seen: map[string]bool{}, first: now}
		m.buckets[p.Key] = b
	}
	if d.Distinct.Value != "" {
		if b.seen[p.Distinct] {
			return ""
		}
		b.seen[p.Distinct] = true
	}
	if d.CancelOn.Value != "" && p.Cancel {
		delete(m.buckets, p.Key)
		return ""
	}
	b.count++
	b.last = now
	size := d.Capacity
	if d.CacheSize > 0 && d.CacheSize <= d.Capacity {
		size = d.CacheSize
	}
	if b.lines = append(b.lines, line); len(b.lines) > size+1 {
		b.lines = b.lines[1:]
	}
	if b.limiter.AllowN(now, 1) {
		return ""
	}
	delete(m.buckets, p.Key)
	if d.Blackhole > 0 {
		if m.muted[p.Key].After(now) {
			return ""
		}
		m.muted[p.Key] = now.Add(d.Blackhole)
	}
	return fmt.Sprintf("%d: %d:%s n=%d %v %v-%v", line, p.Scenario, p.Key, b.count, b.lines, b.first.Sub(origin), b.last.Sub(origin))
}

// TestLeakyEqualsModel holds leaky buckets to the model on random lines.
func TestLeakyEqualsModel(t *testing.T) {
	total := 0
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 3))
		var docs []*rules.Scenario
		var models []*model
		for range 6 {
			d := &rules.Scenario{Type: "leaky", Capacity: 1 + r.IntN(8), CacheSize: r.IntN(10), LeakSpeed: time.Duration(1 + r.Int64N(int64(time.Minute)))}
			if r.IntN(2) == 0 {
				d.Distinct = text("evt.Meta.user")
			}
			if r.IntN(2) == 0 {
				d.CancelOn = text("true")
			}
			if r.IntN(2) == 0 {
				d.Blackhole = time.Duration(r.Int64N(int64(time.Minute)))
			}
			docs = append(docs, d)
			models = append(models, &model{doc: d, buckets: map[string]*modelBucket{}, muted: map[string]time.Time{}})
		}
		script := randomScript(r, 2000, len(docs), time.Hour)
		var want []string
		for i, l := range script {
			for j := range l.pours {
				if p := &l.pours[j]; !p.Failed {
					if o := models[p.Scenario].pour(i, p, origin.Add(l.at)); o != "" {
						want = append(want, o)
					}
				}
			}
		}
		overflows, _, _ := compileBench(t, Options{}, docs...).run(t, script, cutting{seed: seed, shards: 3})
		if got := describeAll(overflows); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %s", seed, firstDifference(strings.Join(got, "\n"), strings.Join(want, "\n")))
		}
		total += len(want)
	}
	if total < 500 {
		t.Errorf("only %d overflows: the scripts are too tame", total)
	}
}
