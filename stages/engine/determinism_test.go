package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/benchmarks/workload"
	"sluice/pipeline"
	"sluice/stages/decode"
	"sluice/stages/engine"
	"sluice/stages/rules"
)

// starter loads the starter rules.
func starter(t testing.TB, collections ...string) *engine.Engine {
	t.Helper()
	return compile(t, rules.Options{Roots: []string{filepath.FromSlash("../../configs/rules")}, Collections: collections, Strict: true})
}

func compile(t testing.TB, o rules.Options) *engine.Engine {
	t.Helper()
	set, err := rules.Load(o)
	if err != nil {
		t.Fatal(err)
	}
	eng, errs := engine.Compile(set, engine.Options{})
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	return eng
}

// mixed is a mixed log of n lines, cut into batches of two partitions' worth
// of topics: the label `type` comes from the topic.
func mixed(n, batch int) []*pipeline.RecordBatch {
	s := workload.New(workload.Options{
		Seed: 42, Start: time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC), Step: 20 * time.Millisecond, Attacks: 0.1,
	})
	var out []*pipeline.RecordBatch
	for i := range n {
		l := s.Next()
		if i%batch == 0 {
			out = append(out, &pipeline.RecordBatch{
				Partition: pipeline.Partition{Source: "test", Topic: "mixed"}, Module: "file", HighWatermark: -1,
			})
		}
		rb := out[len(out)-1]
		// The envelope carries the type, so that one partition holds both kinds in order.
		value, err := json.Marshal(map[string]string{"type": string(l.Kind), "message": l.Text})
		if err != nil {
			panic(err)
		}
		rb.Records = append(rb.Records, pipeline.Record{Value: value, Offset: int64(i), Time: l.Time})
	}
	return out
}

type run struct {
	workers, shards, batch int
	poison                 bool
	mayLose                bool // overflows without a source are no failure
}

// alerts runs the batches and returns the alerts as JSON lines.
func alerts(t testing.TB, eng *engine.Engine, batches []*pipeline.RecordBatch, r run) []byte {
	t.Helper()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	deliver(t, eng, batches, r, func(ra *pipeline.RuntimeAlert) {
		for i := range ra.APIAlerts {
			if err := encoder.Encode(&ra.APIAlerts[i]); err != nil {
				t.Error(err)
			}
		}
	})
	return out.Bytes()
}

// deliver runs the batches and hands over the alerts in order.
func deliver(t testing.TB, eng *engine.Engine, batches []*pipeline.RecordBatch, r run, each func(ra *pipeline.RuntimeAlert)) {
	t.Helper()
	decoding := decode.Default()
	decoding.Format, decoding.Message = decode.FormatJSON, "message"
	decoding.LabelsFrom = map[string]string{"type": "field:type"}
	g, err := eng.Graph(engine.GraphOptions{
		Workers: r.workers, Shards: r.shards, BatchRecords: r.batch, Poison: r.poison,
		Decode: map[string]decode.Config{"test": decoding},
		Lost: func(err error) {
			if !r.mayLose {
				t.Error(err)
			}
		},
		Deliver: func(_ context.Context, o *pipeline.Outcome) error {
			for _, ra := range o.Alerts {
				each(ra)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	eg, ctx := errgroup.WithContext(t.Context())
	eg.Go(func() error { return g.Run(ctx) })
	eg.Go(func() error {
		defer g.Close()
		for _, b := range batches {
			again := *b
			if err := g.Emit(ctx, &again); err != nil {
				return err
			}
		}
		return nil
	})
	if err := eg.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestAlertsAreTheSameForAnyWorkersAndShards(t *testing.T) {
	lines := 200_000
	if raceEnabled {
		lines = 20_000 // the detector makes everything some ten times slower
	}
	eng := starter(t, "sluice/demo")
	batches := mixed(lines, 2000)
	want := alerts(t, eng, batches, run{workers: 1, shards: 1, batch: 2000})
	if n := bytes.Count(want, []byte("\n")); n < lines/2000 {
		t.Fatalf("only %d alerts of %d lines: too few to show anything", n, lines)
	}
	for _, workers := range []int{1, 2, 8} {
		for _, shards := range []int{1, 4, 16} {
			t.Run(fmt.Sprintf("%d workers %d shards", workers, shards), func(t *testing.T) {
				got := alerts(t, eng, batches, run{workers: workers, shards: shards, batch: 512, poison: true})
				compareLines(t, got, want)
			})
		}
	}
}

func compareLines(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	a, b := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			t.Fatalf("alert %d of %d (want %d) differs:\n got %s\nwant %s", i, len(a), len(b), a[i], b[i])
		}
	}
	t.Fatalf("%d alerts, want %d", len(a), len(b))
}
