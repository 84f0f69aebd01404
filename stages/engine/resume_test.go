package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/decode"
	"sluice/stages/engine"
	"sluice/stages/rules"
)

// resumer runs an engine that is interrupted again and again, on one store.
type resumer struct {
	t       *testing.T
	compile func() *engine.Engine
	store   *state.Store
	cp      *pipeline.Checkpointer
	out     bytes.Buffer
	epoch   bytes.Buffer // since the last barrier
}

type noClock struct{}

func (noClock) Now() time.Time                       { return time.Time{} }
func (noClock) After(time.Duration) <-chan time.Time { return nil }

// open opens the store as after a crash and returns a graph that goes on from it.
func (r *resumer) open(dir string, workers, shards int) (*pipeline.Graph, map[pipeline.Partition]int64) {
	r.t.Helper()
	var err error
	if r.store, err = state.Open(state.Options{Dir: dir}); err != nil {
		r.t.Fatal(err)
	}
	eng := r.compile()
	encoder := json.NewEncoder(&r.epoch)
	r.epoch.Reset()
	r.cp = pipeline.NewCheckpointer(pipeline.CheckpointOptions{
		Store: r.store, Clock: noClock{},
		Entries: func(out *pipeline.Outcome) ([]pipeline.CausedEntry, error) {
			for _, ra := range out.Alerts {
				for i := range ra.APIAlerts {
					if err := encoder.Encode(&ra.APIAlerts[i]); err != nil {
						return nil, err
					}
				}
			}
			return nil, nil
		},
		Save: func(w *state.Writer) {
			eng.Ledger.Save(w)
			r.out.Write(r.epoch.Bytes())
			r.epoch.Reset()
		},
		Durable: func(context.Context, *pipeline.DurableEpoch) error { return nil },
	})
	decoding := decode.Default()
	decoding.Format, decoding.Message = decode.FormatJSON, "message"
	decoding.LabelsFrom = map[string]string{"type": "field:type"}
	re, err := eng.Resume(engine.GraphOptions{
		Workers: workers, Shards: shards, BatchRecords: 64, Poison: true, Deliver: r.cp.Deliver,
		Decode: map[string]decode.Config{"test": decoding},
	}, engine.StateOptions{Dictionary: r.store.Dictionary()})
	if err != nil {
		r.t.Fatal(err)
	}
	err = r.store.LoadParallel(2, func(_ int, key, value []byte, sum state.Sum) error {
		switch state.Kind(key[0]) {
		case state.KindPosition, state.KindClock:
			return r.cp.Load(key, value, sum)
		}
		return re.Load(key, value, sum)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	next, clocks := r.cp.Held()
	g, orphans, err := re.Graph(next, clocks)
	if err != nil {
		r.t.Fatal(err)
	}
	if orphans.Len() > 0 {
		r.t.Errorf("%d records of the same rules found no owner", orphans.Len())
	}
	r.cp.Attach(g)
	return g, next
}

// leg goes on with the records from where the state stands, for so many
// batches, makes some of it durable, and crashes. It is true at the log's end.
func (r *resumer) leg(dir string, records []pipeline.Record, batches, workers, shards int) (end bool) {
	r.t.Helper()
	g, next := r.open(dir, workers, shards)
	part := pipeline.Partition{Source: "test", Topic: "hub"}
	at := int(next[part])
	ctx, crash := context.WithCancel(r.t.Context())
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return g.Run(ctx) })
	for i := range batches {
		n := min(1+len(records)/16, len(records)-at)
		if end = n == 0; end {
			break
		}
		if err := g.Emit(ctx, &pipeline.RecordBatch{Partition: part, Module: "file", HighWatermark: -1, Records: records[at : at+n]}); err != nil {
			r.t.Fatal(err)
		}
		at += n
		if i == batches/2 {
			if err := r.cp.Checkpoint(ctx); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	if end {
		if err := r.cp.Checkpoint(ctx); err != nil {
			r.t.Fatal(err)
		}
	}
	crash()
	_ = eg.Wait() // it says that it was stopped
	if err := r.store.Close(); err != nil {
		r.t.Fatal(err)
	}
	return end
}

// TestAnInterruptedRunEqualsAWholeOne stops the engine at random places of the
// hub's logs and goes on from the store, with other numbers of workers and shards:
// the alerts are those of a run that nobody stopped, byte for byte.
func TestAnInterruptedRunEqualsAWholeOne(t *testing.T) {
	hub, nth := needHub(t), 3
	if raceEnabled || testing.Short() {
		nth = 40
	}
	set, err := rules.Load(rules.Options{Roots: []string{hub}, TestData: true})
	if err != nil {
		t.Fatal(err)
	}
	compile := func() *engine.Engine {
		eng, errs := engine.Compile(set, engine.Options{})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		return eng
	}
	want := alerts(t, compile(), hubLog(t, hub, nth, 1000), run{workers: 1, shards: 1, batch: 1000, mayLose: true})
	var records []pipeline.Record
	for _, b := range hubLog(t, hub, nth, 1000) {
		records = append(records, b.Records...)
	}
	rng := rand.New(rand.NewPCG(11, 12))
	r := &resumer{t: t, compile: compile}
	dir := t.TempDir()
	legs := 1
	for ; !r.leg(dir, records, 1+rng.IntN(4), 1+rng.IntN(3), 1+rng.IntN(5)); legs++ {
		if legs > 200 {
			t.Fatal("it gets nowhere")
		}
	}
	t.Logf("%d records in %d legs, %d alerts", len(records), legs, bytes.Count(want, []byte("\n")))
	if legs < 3 {
		t.Fatal("too few interruptions to show anything")
	}
	compareLines(t, r.out.Bytes(), want)
}
