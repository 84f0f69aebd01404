package detect

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/rules"
)

// spec is what buckets do, case by case. Expected overflows are written as
// describe renders them: "line: document:key n=count [lines kept] first-last".
var spec = []struct {
	name   string
	docs   []rules.Scenario
	script []string
	want   []string
	stats  func(*Stats) uint64 // a counter
	count  uint64              // and its value
}{
	{
		name:   "leaky: the event after capacity overflows, and the bucket begins anew",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 2, LeakSpeed: 10 * time.Second}},
		script: []string{"0s a", "1s a", "2s a", "3s a", "4s a", "5s a"},
		want:   []string{"2: 0:a n=3 [0 1 2] 0s-2s", "5: 0:a n=3 [3 4 5] 3s-5s"},
	},
	{
		name:   "leaky: keys are apart",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 1, LeakSpeed: 10 * time.Second}},
		script: []string{"0s a", "1s b", "2s c", "3s b"},
		want:   []string{"3: 0:b n=2 [1 3] 1s-3s"},
	},
	{
		name:   "leaky: what leaked makes room",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 2, LeakSpeed: 10 * time.Second}},
		script: []string{"0s a", "5s a", "11s a", "20s a", "21s a"},
		want:   []string{"4: 0:a n=5 [2 3 4] 0s-21s"},
		// the queue keeps capacity+1 events; the count is of all pours since birth (FIDELITY 18)
	},
	{
		name:   "leaky: an event exactly at the end of the life pours, one later finds the bucket dead",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 1, LeakSpeed: 10 * time.Second}},
		script: []string{"0s a", "20s a", "20s a", "30s b", "50.000000001s b", "50.000000001s b"},
		want:   []string{"2: 0:a n=3 [1 2] 0s-20s", "5: 0:b n=2 [4 5] 50.000000001s-50.000000001s"},
		stats:  func(s *Stats) uint64 { return s.Expired }, count: 1,
	},
	{
		name:   "leaky: time may go backward; life counts from the last event, whenever it was",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 2, LeakSpeed: 10 * time.Second}},
		script: []string{"1h a", "0s a", "1s a", "2h a", "0s a", "0s a"},
		want:   []string{"2: 0:a n=3 [0 1 2] 1h0m0s-1s", "5: 0:a n=3 [3 4 5] 2h0m0s-0s"},
	},
	{
		name:   "leaky: a bucket that went backward dies of an event that is late by its last one",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 2, LeakSpeed: 10 * time.Second}},
		script: []string{"1h a", "0s a", "31s a", "32s a", "33s a"},
		want:   []string{"4: 0:a n=3 [2 3 4] 31s-33s"},
	},
	{
		name:   "leaky: cache_size keeps the newest n+1",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 5, CacheSize: 2, LeakSpeed: time.Hour}},
		script: []string{"0s a", "1s a", "2s a", "3s a", "4s a", "5s a"},
		want:   []string{"5: 0:a n=6 [3 4 5] 0s-5s"},
	},
	{
		name:   "leaky: a cache_size above capacity counts for nothing",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 1, CacheSize: 9, LeakSpeed: 10 * time.Second}},
		script: []string{"0s a", "10s a", "20s a", "20s a"},
		want:   []string{"3: 0:a n=4 [2 3] 0s-20s"},
	},
	{
		name:   "no groupby: one bucket for all",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 1, LeakSpeed: time.Hour}},
		script: []string{"0s 0:", "1s 0:"},
		want:   []string{"1: 0: n=2 [0 1] 0s-1s"},
	},
	{
		name:   "trigger: every event overflows",
		docs:   []rules.Scenario{{Type: "trigger"}},
		script: []string{"0s a", "0s a", "-1h b"},
		want:   []string{"0: 0:a n=1 [0] 0s-0s", "1: 0:a n=1 [1] 0s-0s", "2: 0:b n=1 [2] -1h0m0s--1h0m0s"},
	},
	{
		name:   "trigger: distinct, cancel_on and condition are ignored",
		docs:   []rules.Scenario{{Type: "trigger", Distinct: text("evt.Meta.user"), CancelOn: text("true"), Condition: text("false")}},
		script: []string{"0s a d=x", "1s a d=x cancel"},
		want:   []string{"0: 0:a n=1 [0] 0s-0s", "1: 0:a n=1 [1] 1s-1s"},
	},
	{
		name:   "trigger: one line may pour twice under one key; the ordinal tells the alerts apart",
		docs:   []rules.Scenario{{Type: "trigger"}},
		script: []string{"0s a a b"},
		want:   []string{"0: 0:a n=1 [0] 0s-0s", "0: 0:b n=1 [0] 0s-0s", "0: 0:a n=1 [0] 0s-0s #1"},
	},
	{
		name: "distinct: a value counts once; it may expire the bucket, but does not keep it alive",
		docs: []rules.Scenario{{Type: "leaky", Capacity: 2, LeakSpeed: 10 * time.Second, Distinct: text("evt.Meta.user")}},
		script: []string{
			"0s a d=x", "1s a d=x", "2s a d=y", "3s a d=x", "4s a d=z", // x y z
			"100s b d=x", "125s b d=x", "131s b d=x", "132s b d=y", "133s b d=z", // 125 keeps nothing alive: 131 is late
		},
		want:  []string{"4: 0:a n=3 [0 2 4] 0s-4s", "9: 0:b n=3 [7 8 9] 2m11s-2m13s"},
		stats: func(s *Stats) uint64 { return s.Duplicates }, count: 3,
	},
	{
		name: "distinct: the empty value is a value, and a set may be large",
		docs: []rules.Scenario{{Type: "leaky", Capacity: 20, LeakSpeed: time.Hour, CacheSize: 1, Distinct: text("evt.Meta.user")}},
		script: slices.Concat(
			[]string{"0s a d=", "0s a d="}, many(30, func(i string) string { return "1s a d=" + i[:1] }),
			many(12, func(i string) string { return "2s a d=x" + i }),
		),
		want: []string{"43: 0:a n=21 [42 43] 0s-2s"},
	},
	{
		name:   "cancel_on: the bucket is gone with the event; the next event begins another",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 2, LeakSpeed: time.Hour, CancelOn: text("true")}},
		script: []string{"0s a cancel", "1s a", "2s a", "3s a cancel", "4s a", "5s a", "6s a"},
		want:   []string{"6: 0:a n=3 [4 5 6] 4s-6s"},
		stats:  func(s *Stats) uint64 { return s.Canceled }, count: 2,
	},
	{
		name:   "cancel_on stands behind distinct: a duplicate cancels nothing",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 1, LeakSpeed: time.Hour, CancelOn: text("true"), Distinct: text("evt.Meta.user")}},
		script: []string{"0s a d=x", "1s a d=x cancel", "2s a d=y"},
		want:   []string{"2: 0:a n=2 [0 2] 0s-2s"},
	},
	{
		name:   "blackhole: silence until exactly its end, not prolonged by what it swallows",
		docs:   []rules.Scenario{{Type: "trigger", Blackhole: 10 * time.Second}},
		script: []string{"0s a", "3s a", "5s b", "9.999999999s a", "10s a", "19s a", "20s a"},
		want:   []string{"0: 0:a n=1 [0] 0s-0s", "2: 0:b n=1 [2] 5s-5s", "4: 0:a n=1 [4] 10s-10s", "6: 0:a n=1 [6] 20s-20s"},
		stats:  func(s *Stats) uint64 { return s.Muted }, count: 3,
	},
	{
		name:   "blackhole: an event from the past falls in, however far back",
		docs:   []rules.Scenario{{Type: "trigger", Blackhole: 10 * time.Second}},
		script: []string{"1h a", "0s a", "1h10s a"},
		want:   []string{"0: 0:a n=1 [0] 1h0m0s-1h0m0s", "2: 0:a n=1 [2] 1h0m10s-1h0m10s"},
	},
	{
		name:   "blackhole: a swallowed overflow ends its bucket",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 1, LeakSpeed: time.Hour, Blackhole: time.Minute}},
		script: []string{"0s a", "1s a", "2s a", "3s a", "62s a", "63s a"},
		want:   []string{"1: 0:a n=2 [0 1] 0s-1s", "5: 0:a n=2 [4 5] 1m2s-1m3s"},
	},
	{
		name:   "blackhole: it belongs to the document",
		docs:   []rules.Scenario{{Type: "trigger", Name: "one", Blackhole: time.Hour}, {Type: "trigger", Name: "one", Blackhole: time.Second}},
		script: []string{"0s a 1:a", "2s a 1:a"},
		want:   []string{"0: 0:a n=1 [0] 0s-0s", "0: 1:a n=1 [0] 0s-0s", "1: 1:a n=1 [1] 2s-2s"},
	},
	{
		name: "overflow_filter: what it refuses is no alert and arms no blackhole; it sees queue, leaky and evt",
		docs: []rules.Scenario{{Type: "leaky", Capacity: 1, LeakSpeed: time.Hour, Blackhole: time.Hour,
			OverflowFilter: text(`any(queue.Queue, {.Meta.user == "bob"}) && leaky.Total_count == 2 && evt.Meta.user != ""`)}},
		script: []string{"0s a u=eve", "1s a u=eve", "2s a u=bob", "3s a u=eve", "4s a u=bob", "5s a u=bob"},
		want:   []string{"3: 0:a n=2 [2 3] 2s-3s"},
		stats:  func(s *Stats) uint64 { return s.Filtered }, count: 1,
	},
	{
		name:   "overflow_filter: triggers have it too",
		docs:   []rules.Scenario{{Type: "trigger", OverflowFilter: text(`evt.Meta.user == "bob"`)}},
		script: []string{"0s a u=eve", "1s a u=bob"},
		want:   []string{"1: 0:a n=1 [1] 1s-1s"},
	},
	{
		name:   "overflow_filter: one that fails lets the overflow pass",
		docs:   []rules.Scenario{{Type: "trigger", OverflowFilter: text(`queue.Queue[7].Meta.user == "bob"`)}},
		script: []string{"0s a"},
		want:   []string{"0: 0:a n=1 [0] 0s-0s"},
		stats:  func(s *Stats) uint64 { return s.FilterErrors }, count: 1,
	},
	{
		name:   "overflow_filter: signal is the alert",
		docs:   []rules.Scenario{{Type: "trigger", OverflowFilter: text(`signal.Alert.Scenario == "n1" && signal.Mapkey == "a"`)}},
		script: []string{"0s a", "0s b"},
		want:   []string{"0: 0:a n=1 [0] 0s-0s"},
	},
	{
		name: "conditional: overflows when its condition holds, whatever the capacity",
		docs: []rules.Scenario{{Type: "conditional", Capacity: 1, LeakSpeed: time.Minute,
			Condition: text(`leaky.Total_count >= 3 && evt.Meta.user == "bob"`)}},
		script: []string{"0s a u=bob", "1s a u=bob", "2s a u=eve", "3s a u=bob", "4s a u=bob"},
		want:   []string{"3: 0:a n=4 [2 3] 0s-3s"},
	},
	{
		name: "conditional: lives leakspeed from its last event; its condition sees the whole queue",
		docs: []rules.Scenario{{Type: "conditional", Capacity: -1, LeakSpeed: 10 * time.Second,
			Condition: text(`len(queue.Queue) == 3 && queue.Queue[0].Meta.user == "bob"`)}},
		script: []string{"0s a u=bob", "10s a u=x", "20.1s a u=bob", "21s a u=y", "31s a u=z"},
		want:   []string{"4: 0:a n=3 [2 3 4] 20.1s-31s"},
	},
	{
		name:   "conditional: cache_size bounds the queue of an endless one",
		docs:   []rules.Scenario{{Type: "conditional", Capacity: -1, CacheSize: 1, LeakSpeed: time.Hour, Condition: text(`leaky.Total_count == 4`)}},
		script: []string{"0s a", "1s a", "2s a", "3s a"},
		want:   []string{"3: 0:a n=4 [2 3] 0s-3s"},
	},
	{
		name:   "conditional: one that fails does not overflow, and is counted",
		docs:   []rules.Scenario{{Type: "conditional", Capacity: -1, LeakSpeed: time.Hour, Condition: text(`queue.Queue[1].Meta.user == "bob"`)}},
		script: []string{"0s a", "1s a u=bob"},
		want:   []string{"1: 0:a n=2 [0 1] 0s-1s"},
		stats:  func(s *Stats) uint64 { return s.ConditionErrors }, count: 1,
	},
	{
		name:   "leaky with a condition: either overflows",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 2, LeakSpeed: time.Hour, Condition: text(`evt.Meta.user == "root"`)}},
		script: []string{"0s a u=root", "1s a", "2s a u=root", "3s a", "4s a", "5s a"},
		want:   []string{"0: 0:a n=1 [0] 0s-0s", "2: 0:a n=2 [1 2] 1s-2s", "5: 0:a n=3 [3 4 5] 3s-5s"},
	},
	{
		name: "bayesian: the posterior has to be above the threshold",
		// prior 1/2: x gives 0.5*0.9/(0.5*0.9+0.5*0.1) = 0.9, without x 0.1
		docs:   []rules.Scenario{bayes1("x", 0.5, 0.89, false)},
		script: []string{"0s a u=y", "1s a u=y", "2s a u=x", "3s a u=x"},
		want:   []string{"2: 0:a n=3 [0 1 2] 0s-2s", "3: 0:a n=1 [3] 3s-3s"},
	},
	{
		name:   "bayesian: equal to the threshold is not above",
		docs:   []rules.Scenario{bayes1("x", 0.5, 0.9, false)},
		script: []string{"0s a u=x"},
		want:   []string{},
	},
	{
		name: "bayesian: each event starts from the prior; a guillotined condition stays true",
		docs: []rules.Scenario{{Type: "bayesian", Capacity: -1, LeakSpeed: time.Hour, BayesianPrior: 0.5, BayesianThreshold: 0.95,
			BayesianConditions: []rules.BayesianCondition{
				{Condition: text(`evt.Meta.user == "x"`), ProbGivenEvil: 0.9, ProbGivenBenign: 0.1, Guillotine: true},
				{Condition: text(`evt.Meta.user == "y"`), ProbGivenEvil: 0.9, ProbGivenBenign: 0.1},
			}}},
		script: []string{"0s a u=y", "1s a u=x", "2s a u=z", "3s a u=y"},
		want:   []string{"3: 0:a n=4 [0 1 2 3] 0s-3s"},
	},
	{
		name: "bayesian: without guillotine nothing is remembered",
		docs: []rules.Scenario{{Type: "bayesian", Capacity: -1, LeakSpeed: time.Hour, BayesianPrior: 0.5, BayesianThreshold: 0.95,
			BayesianConditions: []rules.BayesianCondition{
				{Condition: text(`evt.Meta.user == "x"`), ProbGivenEvil: 0.9, ProbGivenBenign: 0.1},
				{Condition: text(`evt.Meta.user == "y"`), ProbGivenEvil: 0.9, ProbGivenBenign: 0.1},
			}}},
		script: []string{"0s a u=y", "1s a u=x", "2s a u=y"},
		want:   []string{},
	},
	{
		name: "bayesian: a condition that fails takes no part",
		docs: []rules.Scenario{{Type: "bayesian", Capacity: -1, LeakSpeed: time.Hour, BayesianPrior: 0.5, BayesianThreshold: 0.85,
			BayesianConditions: []rules.BayesianCondition{
				{Condition: text(`queue.Queue[9].Meta.user == "x"`), ProbGivenEvil: 0.1, ProbGivenBenign: 0.9},
				{Condition: text(`evt.Meta.user == "x"`), ProbGivenEvil: 0.9, ProbGivenBenign: 0.1},
			}}},
		script: []string{"0s a u=x"},
		want:   []string{"0: 0:a n=1 [0] 0s-0s"},
		stats:  func(s *Stats) uint64 { return s.ConditionErrors }, count: 1,
	},
	{
		name:   "counter: overflows when the clock is past its duration; the line that moved it is the cause",
		docs:   []rules.Scenario{{Type: "counter", Capacity: -1, Duration: 10 * time.Second}},
		script: []string{"0s a", "4s a", "7s b", "10s", "10.5s", "17s b", "18s"},
		want:   []string{"4: 0:a n=2 [0 1] 0s-4s", "6: 0:b n=2 [2 5] 7s-17s"},
	},
	{
		name:   "counter: a line's clock comes before its pours",
		docs:   []rules.Scenario{{Type: "counter", Capacity: -1, Duration: 10 * time.Second}},
		script: []string{"0s a", "11s a", "22s"},
		want:   []string{"1: 0:a n=1 [0] 0s-0s", "2: 0:a n=1 [1] 11s-11s"},
	},
	{
		name:   "counter: its own late event ends it where the clock stands still",
		docs:   []rules.Scenario{{Type: "counter", Capacity: -1, Duration: 10 * time.Second}},
		script: []string{"1h x", "0s a", "5s a", "10.1s a", "2h"},
		// line 1 is born behind the clock, so the clock's next step would end it; its own event is first.
		want: []string{"3: 0:a n=2 [1 2] 0s-5s", "4: 0:a n=1 [3] 10.1s-10.1s", "4: 0:x n=1 [0] 1h0m0s-1h0m0s"},
	},
	{
		name:   "counter: what is due at the end of the lines does not fire",
		docs:   []rules.Scenario{{Type: "counter", Capacity: -1, Duration: 10 * time.Second}},
		script: []string{"0s a", "10s a"},
		want:   []string{},
	},
	{
		name: "counter: cache_size, distinct, cancel_on and blackhole apply; the blackhole begins at the deadline",
		docs: []rules.Scenario{{Type: "counter", Capacity: -1, Duration: 10 * time.Second, CacheSize: 1, Distinct: text("evt.Meta.user"), CancelOn: text("true"), Blackhole: 15 * time.Second}},
		script: []string{
			"0s a d=x", "1s a d=y", "2s a d=z", "3s a d=x", "11s", // fires at 10s, muted until 25s
			"12s a d=x", "23s", // due at 22s: muted
			"30s a d=x", "31s a d=y cancel", "41s", // killed
			"50s a d=x", "61s",
		},
		want: []string{"4: 0:a n=3 [1 2] 0s-2s", "11: 0:a n=1 [10] 50s-50s"},
	},
	{
		name:   "counter: the clock of the partition that fed it last decides",
		docs:   []rules.Scenario{{Type: "counter", Capacity: -1, Duration: 10 * time.Second}},
		script: []string{"0s a", "1s @1 a", "60s", "5s @1", "11s @1"},
		want:   []string{"4: 0:a n=2 [0 1] 0s-1s"},
	},
	{
		name:   "a leaky bucket with a duration overflows by capacity or by time",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 2, LeakSpeed: time.Second, Duration: 10 * time.Second}},
		script: []string{"0s a", "8s a", "11s", "20s a", "20s a", "20s a"},
		want:   []string{"2: 0:a n=2 [0 1] 0s-8s", "5: 0:a n=3 [3 4 5] 20s-20s"},
	},
	{
		name:   "scope: the overflow has the scope's value of each event it keeps",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 3, CacheSize: 2, LeakSpeed: time.Hour, ScopeType: "user", ScopeExpr: text("evt.Meta.user")}, {Type: "trigger", ScopeType: "user", ScopeExpr: text("evt.Meta.user")}},
		script: []string{"0s a s=p", "1s a s=q", "2s a s=r", "3s a s=t 1:b s=z"},
		want:   []string{"3: 0:a n=4 [1(q) 2(r) 3(t)] 0s-3s", "3: 1:b n=1 [3(z)] 3s-3s"},
	},
	{
		name: "documents of one name and filter share a bucket: each pours, and the first to pour sets the rules",
		docs: []rules.Scenario{
			{Type: "leaky", Name: "one", Capacity: 4, LeakSpeed: time.Hour},
			{Type: "leaky", Name: "one", Capacity: 1, LeakSpeed: time.Hour},
		},
		script: []string{"0s a 1:a", "1s a 1:a", "2s a 1:a"},
		// a1 b1 a2 b2 a3 overflows by document 0's capacity; then document 1 makes the next.
		want: []string{"2: 0:a n=5 [0 0 1 1 2] 0s-2s"},
	},
	{
		name: "a shared bucket runs its maker's distinct on every document's pours",
		docs: []rules.Scenario{
			{Type: "leaky", Name: "one", Capacity: 2, LeakSpeed: time.Hour},
			{Type: "leaky", Name: "one", Capacity: 2, LeakSpeed: time.Hour, Distinct: text("evt.Meta.user")},
		},
		script: []string{
			"0s a 1:a d=x", "1s a 1:a d=x", // the third pour overflows document 0's bucket; document 1 makes one with distinct
			"2s a 1:a d=x", "3s a 1:a d=y", "4s a 1:a d=z",
		},
		want: []string{"1: 0:a n=3 [0 0 1] 0s-1s", "4: 1:a n=3 [1 3 4] 1s-4s"},
	},
	{
		name: "a trigger that shares with a leaky pours into the leaky's bucket while it lives",
		docs: []rules.Scenario{
			{Type: "trigger", Name: "one"},
			{Type: "leaky", Name: "one", Capacity: 3, LeakSpeed: time.Hour},
		},
		script: []string{"0s a 1:a", "1s a 1:a", "2s a 1:a"},
		want:   []string{"0: 0:a n=1 [0] 0s-0s", "2: 1:a n=4 [0 1 1 2] 0s-2s"},
	},
	{
		name:   "a failed pour is dropped and counted",
		docs:   []rules.Scenario{{Type: "leaky", Capacity: 1, LeakSpeed: time.Hour}},
		script: []string{"0s a", "1s a failed", "2s a"},
		want:   []string{"2: 0:a n=2 [0 2] 0s-2s"},
		stats:  func(s *Stats) uint64 { return s.Failed }, count: 1,
	},
}

func bayes1(user string, prior, threshold float32, guillotine bool) rules.Scenario {
	return rules.Scenario{Type: "bayesian", Capacity: -1, LeakSpeed: time.Hour, BayesianPrior: prior, BayesianThreshold: threshold,
		BayesianConditions: []rules.BayesianCondition{{
			Condition: text(`evt.Meta.user == "` + user + `"`), ProbGivenEvil: 0.9, ProbGivenBenign: 0.1, Guillotine: guillotine,
		}}}
}

func many(n int, f func(string) string) []string {
	var out []string
	for i := range n {
		out = append(out, f(string(rune('a'+i%8))+string(rune('a'+i))))
	}
	return out
}

func pointers(docs []rules.Scenario) []*rules.Scenario {
	var out []*rules.Scenario
	for i := range docs {
		d := docs[i]
		out = append(out, &d)
	}
	return out
}

func specSignal(o *pipeline.Overflow) *pipeline.RuntimeAlert {
	return &pipeline.RuntimeAlert{Mapkey: o.Key, Alert: &pipeline.Alert{Scenario: "n" + string(rune('0'+len(o.Queue)))}}
}

// TestSpec runs every case of spec, cut and spread in many ways.
func TestSpec(t *testing.T) {
	for _, c := range spec {
		t.Run(c.name, func(t *testing.T) {
			b := compileBench(t, Options{BuildSignal: specSignal}, pointers(c.docs)...)
			script := parseScript(t, c.script)
			for _, cut := range []cutting{
				{shards: 1, batch: 1000},
				{shards: 1, batch: 1},
				{shards: 3, batch: 2},
			} {
				overflows, _, stats := b.run(t, script, cut)
				if got := describeAll(overflows); !slices.Equal(got, c.want) {
					t.Fatalf("%+v:\ngot  %s\nwant %s", cut, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
				}
				if c.stats != nil && c.stats(&stats) != c.count {
					t.Errorf("%+v: the counter stands at %d, want %d: %+v", cut, c.stats(&stats), c.count, stats)
				}
			}
		})
	}
}
