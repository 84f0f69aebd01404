package detect_test

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/detect"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
	"sluice/stages/rules"
)

var t0 = time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)

type ln struct {
	at    time.Duration
	user  string
	pours []pipeline.Pour
}

type rig struct {
	d      *detect.Detector
	schema *pipeline.Schema
	keep   *pipeline.KeepSet
	docs   []*rules.Scenario
}

func txt(s string) rules.Text { return rules.Text{Value: s, Set: s != ""} }

func newRig(t testing.TB, docs []rules.Scenario) *rig {
	r := &rig{schema: pipeline.NewSchema(), keep: &pipeline.KeepSet{}}
	r.schema.Slot(pipeline.Meta, "user")
	r.schema.Slot(pipeline.Meta, "line")
	for i := range docs {
		d := docs[i]
		if d.Name == "" {
			d.Name = fmt.Sprint("s", i)
		}
		d.Filter = txt("true")
		r.docs = append(r.docs, &d)
	}
	d, errs := detect.Compile(r.docs, expression.NewCompiler(r.schema, funcs.NewData(), expression.Options{}), detect.Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	r.d = d
	d.AddReads(r.keep)
	r.keep.Prepare(r.schema)
	return r
}

// play returns the overflows by (line, scenario, key, ordinal), live buckets and freed ones.
func (r *rig) play(lines []ln, shards int, cut func() int, o detect.ShardOptions) ([]string, int, uint64) {
	var ss []*detect.Shard
	for range shards {
		ss = append(ss, r.d.NewShard(o))
	}
	part := pipeline.Partition{Source: "t", Topic: "t"}
	var arena pipeline.KeptArena
	ev := pipeline.NewEvent(r.schema)
	var clock time.Time
	var all []pipeline.Overflow
	for from := 0; from < len(lines); {
		to := min(len(lines), from+cut())
		pours := make([][]*pipeline.Pour, shards)
		var steps []pipeline.ClockStep
		for i := from; i < to; i++ {
			now, pos := t0.Add(lines[i].at), pipeline.Position{Partition: part, Offset: int64(i)}
			if now.After(clock) {
				clock = now
				steps = append(steps, pipeline.ClockStep{Line: int32(i - from), Position: pos, Clock: now})
			}
			ev.Reset()
			ev.Time, ev.Received, ev.Position = now, now, pos
			ev.SetField(pipeline.Meta, "user", lines[i].user)
			ev.SetField(pipeline.Meta, "line", strconv.Itoa(i))
			k := arena.Keep(ev, r.keep)
			for _, p := range lines[i].pours {
				h := fnv.New64a()
				fmt.Fprint(h, r.docs[p.Scenario].Name, p.Key)
				p.Route = h.Sum64()
				p.Line, p.Event = int32(i-from), k
				p.Key, p.Distinct, p.Scope = arena.Copy(p.Key), arena.Copy(p.Distinct), arena.Copy(p.Scope)
				n := p.Route % uint64(shards)
				pours[n] = append(pours[n], &p)
			}
		}
		for i, s := range ss {
			all = s.Apply(part, steps, pours[i], all)
		}
		arena.Poison()
		arena.Reset()
		from = to
	}
	slices.SortStableFunc(all, func(a, b pipeline.Overflow) int {
		if a.Cause.Offset != b.Cause.Offset {
			return int(a.Cause.Offset - b.Cause.Offset)
		}
		if a.Scenario != b.Scenario {
			return int(a.Scenario - b.Scenario)
		}
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return int(a.Ordinal - b.Ordinal)
	})
	var out []string
	for _, o := range all {
		var q []string
		for _, e := range o.Queue {
			v, _ := e.Field(pipeline.Meta, "line")
			q = append(q, v)
		}
		out = append(out, fmt.Sprintf("%d: %d:%s n=%d %v %v-%v #%d", o.Cause.Offset, o.Scenario, o.Key, o.Count, q, o.FirstTime.Sub(t0), o.LastTime.Sub(t0), o.Ordinal))
	}
	live, freed := 0, uint64(0)
	for _, s := range ss {
		live += s.Stats().Live
		freed += s.Stats().Freed
	}
	return out, live, freed
}

func every(n int) func() int { return func() int { return n } }

var zooDocs = map[string][]rules.Scenario{
	"leaky":              {{Type: "leaky", Capacity: 3, LeakSpeed: 7 * time.Second}},
	"leaky blackhole":    {{Type: "leaky", Capacity: 3, LeakSpeed: 7 * time.Second, Blackhole: 20 * time.Second}},
	"leaky distinct":     {{Type: "leaky", Capacity: 2, LeakSpeed: 9 * time.Second, Distinct: txt("evt.Meta.user")}},
	"leaky cancel":       {{Type: "leaky", Capacity: 3, LeakSpeed: 9 * time.Second, CancelOn: txt("true")}},
	"leaky cache":        {{Type: "leaky", Capacity: 5, CacheSize: 2, LeakSpeed: 9 * time.Second}},
	"leaky filter+hole":  {{Type: "leaky", Capacity: 2, LeakSpeed: 9 * time.Second, Blackhole: 30 * time.Second, OverflowFilter: txt(`evt.Meta.user == "u1"`)}},
	"leaky condition":    {{Type: "leaky", Capacity: 4, LeakSpeed: 9 * time.Second, Condition: txt(`evt.Meta.user == "u0" && leaky.Total_count > 2`)}},
	"trigger":            {{Type: "trigger"}},
	"trigger blackhole":  {{Type: "trigger", Blackhole: 9 * time.Second}},
	"counter":            {{Type: "counter", Capacity: -1, Duration: 13 * time.Second}},
	"counter hole":       {{Type: "counter", Capacity: -1, Duration: 13 * time.Second, Blackhole: 30 * time.Second}},
	"conditional":        {{Type: "conditional", Capacity: -1, LeakSpeed: 8 * time.Second, Condition: txt(`len(queue.Queue) > 3 && evt.Meta.user == "u0"`)}},
	"conditional cached": {{Type: "conditional", Capacity: -1, CacheSize: 2, LeakSpeed: 8 * time.Second, Condition: txt(`leaky.Total_count > 5`)}},
	"bayesian": {{Type: "bayesian", Capacity: -1, LeakSpeed: 15 * time.Second, BayesianPrior: 0.3, BayesianThreshold: 0.9, BayesianConditions: []rules.BayesianCondition{
		{Condition: txt(`evt.Meta.user == "u1"`), ProbGivenEvil: 0.8, ProbGivenBenign: 0.1, Guillotine: true},
		{Condition: txt(`leaky.Total_count > 2`), ProbGivenEvil: 0.9, ProbGivenBenign: 0.2}}}},
	"shared same":     {{Name: "x", Type: "leaky", Capacity: 4, LeakSpeed: 7 * time.Second}, {Name: "x", Type: "leaky", Capacity: 4, LeakSpeed: 7 * time.Second}},
	"shared distinct": {{Name: "x", Type: "leaky", Capacity: 3, LeakSpeed: 5 * time.Second}, {Name: "x", Type: "leaky", Capacity: 4, LeakSpeed: 9 * time.Second, Distinct: txt("evt.Meta.user")}},
	"shared trigger":  {{Name: "x", Type: "trigger"}, {Name: "x", Type: "leaky", Capacity: 3, LeakSpeed: time.Minute}},
}

func randomLines(seed uint64, docs int, n int, back time.Duration) []ln {
	r := rand.New(rand.NewPCG(seed, 9))
	var out []ln
	var c time.Duration
	for range n {
		c += time.Duration(r.Int64N(int64(3 * time.Second)))
		l := ln{at: c, user: fmt.Sprint("u", r.IntN(4))}
		if r.IntN(6) == 0 {
			l.at -= time.Duration(r.Int64N(int64(back)))
		}
		key := fmt.Sprint("k", r.IntN(5))
		cancel, fail := r.IntN(20) == 0, r.IntN(40) == 0
		for d := range docs {
			l.pours = append(l.pours, pipeline.Pour{Scenario: int32(d), Key: key, Distinct: l.user, Cancel: cancel, Failed: fail})
		}
		out = append(out, l)
	}
	return out
}

func diff(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("#%d\n got  %s\n want %s", i, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d, want %d", len(a), len(b))
}

func TestCutsShardsAndFreeing(t *testing.T) {
	for name, docs := range zooDocs {
		t.Run(name, func(t *testing.T) {
			seeds, size := uint64(2), 500
			switch {
			case os.Getenv("SLUICE_FULL") != "":
				seeds, size = 6, 1500
			case raceEnabled: // some ten times slower
				seeds, size = 1, 250
			}
			for seed := range seeds {
				r := newRig(t, docs)
				const back = 20 * time.Second
				lines := randomLines(seed, len(docs), size, back)
				base := detect.ShardOptions{Lateness: back}
				want, _, _ := r.play(lines, 1, every(len(lines)), base)
				if len(want) < 5 {
					t.Fatalf("only %d overflows", len(want))
				}
				for _, shards := range []int{1, 3, 8} {
					for _, free := range []bool{false, true} {
						o := base
						o.Free = free
						for _, n := range []int{1, 7, 100, size} {
							if got, _, _ := r.play(lines, shards, every(n), o); !slices.Equal(got, want) {
								t.Fatalf("seed %d shards %d free %v batch %d: %s", seed, shards, free, n, diff(got, want))
							}
						}
					}
				}
			}
		})
	}
}

func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestHotKeyHoldsNoMemory lets one key overflow again and again while the clock stands.
func TestHotKeyHoldsNoMemory(t *testing.T) {
	for _, kind := range []string{"leaky", "counter"} {
		doc := rules.Scenario{Type: "leaky", Capacity: 1, LeakSpeed: time.Hour, CancelOn: txt("true")}
		if kind == "counter" {
			doc = rules.Scenario{Type: "counter", Capacity: -1, Duration: time.Hour, CancelOn: txt("true")}
		}
		r := newRig(t, []rules.Scenario{doc})
		s := r.d.NewShard(detect.ShardOptions{Free: true})
		ev := pipeline.NewEvent(r.schema)
		ev.Time, ev.Received = t0, t0
		var arena pipeline.KeptArena
		k := arena.Keep(ev, r.keep)
		var pours []*pipeline.Pour
		for i := range 1000 {
			pours = append(pours, &pipeline.Pour{Line: int32(i), Key: "hot", Event: k, Cancel: kind == "counter" && i%2 == 1})
		}
		part := pipeline.Partition{Source: "t"}
		out := s.Apply(part, []pipeline.ClockStep{{Clock: t0}}, pours, nil)
		before := heapNow()
		for range 500 {
			out = s.Apply(part, nil, pours, out[:0])
		}
		clear(out[:cap(out)])
		grown := heapNow() - before
		runtime.KeepAlive(s)
		t.Logf("%s: %d births, heap grew by %d bytes, live %d", kind, 250_000, grown, s.Stats().Live)
		if grown > 1<<20 {
			t.Errorf("%s: the heap grew by %d bytes", kind, grown)
		}
	}
}

// BenchmarkMillionBucketsByWallClock tells the longest Apply as the stream
// feels it, collections of garbage included; it wants a quiet machine.
func BenchmarkMillionBucketsByWallClock(b *testing.B) {
	for b.Loop() {
		r := newRig(b, []rules.Scenario{{Type: "leaky", Capacity: 5, LeakSpeed: 10 * time.Second}})
		ev := pipeline.NewEvent(r.schema)
		var arena pipeline.KeptArena
		before := heapNow()
		s := r.d.NewShard(detect.ShardOptions{Free: true})
		part := pipeline.Partition{Source: "t"}
		var making, freeing time.Duration
		pours := make([]*pipeline.Pour, 1000)
		for n := 0; n < 1_000_000; n += 1000 {
			arena.Reset()
			for i := range pours {
				ev.Reset()
				ev.Time, ev.Received = t0, t0
				key := fmt.Sprintf("10.%d.%d.%d", (n+i)>>16, (n+i)>>8&255, (n+i)&255)
				ev.SetField(pipeline.Meta, "user", "somebody")
				ev.SetField(pipeline.Meta, "line", key)
				pours[i] = &pipeline.Pour{Line: int32(i), Key: arena.Copy(key), Event: arena.Keep(ev, r.keep)}
			}
			start := time.Now()
			s.Apply(part, []pipeline.ClockStep{{Clock: t0}}, pours, nil)
			making = max(making, time.Since(start))
		}
		held := heapNow() - before
		for i := 0; s.Stats().Live > 0; i++ {
			start := time.Now()
			s.Apply(part, []pipeline.ClockStep{{Clock: t0.Add(time.Hour + time.Duration(i))}}, nil, nil)
			freeing = max(freeing, time.Since(start))
		}
		left := heapNow() - before
		runtime.KeepAlive(s)
		b.ReportMetric(float64(held)/1e6, "B/bucket")
		b.ReportMetric(float64(left)/1e6, "B-left/bucket")
		b.ReportMetric(making.Seconds()*1e3, "ms-making")
		b.ReportMetric(freeing.Seconds()*1e3, "ms-freeing")
	}
}
