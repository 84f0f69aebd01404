package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/engine"
	"sluice/stages/rules"
)

// gate compiles the rules of testdata/hub: those of a gate that denies and is knocked at.
func gate(t *testing.T, o engine.Options) *engine.Engine {
	t.Helper()
	set, err := rules.Load(rules.Options{Roots: []string{"testdata/hub"}, Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	eng, errs := engine.Compile(set, o)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return eng
}

// gateStart is the time of the first line of a gate's log.
var gateStart = time.Date(2026, time.March, 1, 10, 0, 0, 0, time.UTC)

// gateLog makes a log of lines "VERB ADDRESS USER", one a second, in batches.
func gateLog(batch int, lines ...string) []*pipeline.RecordBatch {
	var out []*pipeline.RecordBatch
	for i, l := range lines {
		if i%batch == 0 {
			out = append(out, &pipeline.RecordBatch{Partition: pipeline.Partition{Source: "test", Topic: "gate"}, Module: "file", HighWatermark: -1})
		}
		at := gateStart.Add(time.Duration(i) * time.Second)
		rb := out[len(out)-1]
		rb.Records = append(rb.Records, record("gate", at.Format(time.RFC3339)+" "+l, int64(i), at))
	}
	return out
}

// record is a line in an envelope that carries its type.
func record(kind, line string, offset int64, received time.Time) pipeline.Record {
	value, err := json.Marshal(map[string]string{"type": kind, "message": line})
	if err != nil {
		panic(err) // a map of strings marshals
	}
	return pipeline.Record{Value: value, Offset: offset, Time: received}
}

// summary tells of an alert: causing offset, scenario, depth, source, and the verbs of its events, "alert" for one that was poured again.
func summary(ra *pipeline.RuntimeAlert) string {
	a := ra.Alert
	var verbs []string
	for _, e := range a.Events {
		if v := e.GetMeta("verb"); v != "" {
			verbs = append(verbs, v)
		} else {
			verbs = append(verbs, "alert")
		}
	}
	s := fmt.Sprintf("%d %s depth %d of %s: %s", a.Sluice.Cause.Offset, a.Scenario, a.Sluice.Depth, strings.Join(ra.GetSources(), " "), strings.Join(verbs, " "))
	if ra.Whitelisted {
		s += " (whitelisted)"
	}
	return s
}

// shapes are the ways to cut and spread the work that must not matter.
var shapes = []run{
	{workers: 1, shards: 1, batch: 512, poison: true}, {workers: 4, shards: 1, batch: 1, poison: true},
	{workers: 1, shards: 8, batch: 3, poison: true}, {workers: 4, shards: 8, batch: 2, poison: true},
}

// expect runs the lines in every shape, cut into batches of several sizes.
func expect(t *testing.T, eng *engine.Engine, lines, want []string) {
	t.Helper()
	for _, r := range shapes {
		var got []string
		deliver(t, eng, gateLog(r.batch, lines...), r, func(ra *pipeline.RuntimeAlert) { got = append(got, summary(ra)) })
		if !slices.Equal(got, want) {
			t.Errorf("%+v:\n got %s\nwant %s", r, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
	}
}

// TestAlertsArePouredAgainInOrder follows alerts into the scenarios that ask
// for them: each enters behind its line's pours and before the next line's.
func TestAlertsArePouredAgainInOrder(t *testing.T) {
	deny, knock := "deny 192.0.2.1 alice", "knock 192.0.2.1 alice"
	expect(t, gate(t, engine.Options{}), []string{
		deny, deny, knock, deny, // the alert at 3 is the second of test/mixed
		knock, deny, deny, deny, // the alert at 7 is the fourth; test/denied-often overflows on it, too
		knock, "deny 192.0.2.2 bob", knock, knock, // with the alert of test/denied-often: four
	}, []string{
		"3 test/denied depth 0 of 192.0.2.1: deny deny deny",
		"7 test/denied depth 0 of 192.0.2.1: deny deny deny",
		"7 test/denied-often depth 1 of 192.0.2.1: alert alert",
		"7 test/mixed depth 1 of 192.0.2.1: knock alert knock alert",
		"11 test/mixed depth 0 of 192.0.2.1: alert knock knock knock",
	})
}

// crawlers is a resolver that knows the names of two addresses.
type crawlers struct{}

// Lookup implements enrich.Resolver.
func (crawlers) Lookup(_ context.Context, addr string) ([]string, error) {
	switch addr {
	case "192.0.2.1", "2001:db8::1":
		return []string{"a1.crawler.example."}, nil
	case "192.0.2.2":
		return []string{"home.example."}, nil
	}
	return nil, errors.New("the resolver does not answer")
}

// TestPostoverflowsLookUpNamesAndWhitelist: a welcome address is marked and
// poured nowhere; a resolver that fails harms no alert.
func TestPostoverflowsLookUpNamesAndWhitelist(t *testing.T) {
	var lines []string
	for _, ip := range []string{"192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"} {
		lines = append(lines, slices.Repeat([]string{"deny " + ip + " alice"}, 6)...)
	}
	expect(t, gate(t, engine.Options{Names: crawlers{}}), lines, []string{
		"2 test/denied depth 0 of 192.0.2.1: deny deny deny (whitelisted)",
		"5 test/denied depth 0 of 192.0.2.1: deny deny deny (whitelisted)",
		"8 test/denied depth 0 of 2001:db8::1: deny deny deny (whitelisted)",
		"11 test/denied depth 0 of 2001:db8::1: deny deny deny (whitelisted)",
		"14 test/denied depth 0 of 192.0.2.2: deny deny deny",
		"17 test/denied depth 0 of 192.0.2.2: deny deny deny",
		"17 test/denied-often depth 1 of 192.0.2.2: alert alert",
		"20 test/denied depth 0 of 192.0.2.3: deny deny deny",
		"23 test/denied depth 0 of 192.0.2.3: deny deny deny",
		"23 test/denied-often depth 1 of 192.0.2.3: alert alert",
	})
}

// TestStashesReachAcrossBatchesAndWorkers: a line finds what an earlier line
// of its partition remembered, until the partition's clock is past the time to live.
func TestStashesReachAcrossBatchesAndWorkers(t *testing.T) {
	lines := []string{"err - s1", "open 192.0.2.1 s1", "open 2001:db8::2 s2", "err - s1", "err - s2", "open 192.0.2.3 s1", "err - s1", "err - s3"}
	want := []string{
		"3 test/session-errors depth 0 of 192.0.2.1: err",
		"4 test/session-errors depth 0 of 2001:db8::2: err",
		"6 test/session-errors depth 0 of 192.0.2.3: err",
	}
	for len(lines) < 70 {
		lines = append(lines, "pass 192.0.2.9 alice")
	}
	expect(t, gate(t, engine.Options{}), append(lines, "err - s1"), want)
}

// TestSimulatedScenariosMarkTheirAlerts and the decisions made of them, and no others.
func TestSimulatedScenariosMarkTheirAlerts(t *testing.T) {
	eng := gate(t, engine.Options{Simulated: func(name string) bool { return name == "test/denied" }})
	got := make(map[string]bool)
	lines := append(slices.Repeat([]string{"deny 192.0.2.1 alice"}, 6), "open 192.0.2.1 s1", "err - s1")
	deliver(t, eng, gateLog(4, lines...), shapes[0], func(ra *pipeline.RuntimeAlert) {
		got[ra.Alert.Scenario] = ra.Alert.Simulated
		for _, d := range eng.Decider.Decide(ra.Alert).Decisions {
			if d.Simulated != ra.Alert.Simulated {
				t.Errorf("%s: the decision's simulated is %v", ra.Alert.Scenario, d.Simulated)
			}
		}
	})
	want := map[string]bool{"test/denied": true, "test/denied-often": false, "test/session-errors": false}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("simulated %v, want %v", got, want)
	}
}

// TestAPartitionWhoseClockRunsAheadHarmsNoOther: the lines of one partition
// are dated a day ahead. Buckets of the other are not forgotten because of it.
func TestAPartitionWhoseClockRunsAheadHarmsNoOther(t *testing.T) {
	for _, free := range []bool{false, true} {
		t.Run(fmt.Sprintf("with memory freed %v", free), func(t *testing.T) {
			eng := gate(t, engine.Options{Free: free, Lateness: time.Second, MaxFuture: time.Minute})
			var batches []*pipeline.RecordBatch
			for i := range 6 {
				at := gateStart.Add(time.Duration(i) * time.Second)
				for id, ahead := range []time.Duration{0, 24 * time.Hour} {
					line := fmt.Sprintf("%s deny 192.0.2.%d alice", at.Add(ahead).Format(time.RFC3339), id+1)
					batches = append(batches, &pipeline.RecordBatch{
						Partition: pipeline.Partition{Source: "test", Topic: "gate", ID: int32(id)}, Module: "file", HighWatermark: -1,
						Records: []pipeline.Record{record("gate", line, int64(i), at)},
					})
				}
			}
			want := []string{
				"2 test/denied depth 0 of 192.0.2.1: deny deny deny", "2 test/denied depth 0 of 192.0.2.2: deny deny deny",
				"5 test/denied depth 0 of 192.0.2.1: deny deny deny", "5 test/denied-often depth 1 of 192.0.2.1: alert alert",
				"5 test/denied depth 0 of 192.0.2.2: deny deny deny", "5 test/denied-often depth 1 of 192.0.2.2: alert alert",
			}
			for _, r := range shapes {
				var got []string
				deliver(t, eng, batches, r, func(ra *pipeline.RuntimeAlert) { got = append(got, summary(ra)) })
				if !slices.Equal(got, want) {
					t.Errorf("%+v:\n got %s\nwant %s", r, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
				}
			}
		})
	}
}
