package pipeline

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sluice/pipeline/state"
)

// TestMergedLinesAreTheSameInEveryRun reads three partitions in random order,
// with and without crashes: the alerts are the same, in the same order.
func TestMergedLinesAreTheSameInEveryRun(t *testing.T) {
	logs := make(map[Partition][]string)
	for id := range int32(3) {
		// The end is later than all else, so that everything before is merged.
		logs[Partition{Source: "toy", Topic: "t", ID: id}] = append(toyLog(uint64(id), 400), "z 9000")
	}
	var want []string
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 4))
		r := newToyRun(t, 2, 2)
		r.merge = &MergeOptions{}
		if seed%2 == 1 {
			for range 10 {
				r.run(logs, 30+rng.IntN(100), rng)
				r.workers, r.shards = 1+rng.IntN(3), 1+rng.IntN(4)
			}
		}
		r.run(logs, 1<<30, rng)
		if want == nil {
			if want = r.alerts; len(want) < 300 {
				t.Fatalf("only %d alerts: too few to show anything", len(want))
			}
		}
		if !slices.Equal(r.alerts, want) {
			t.Fatalf("seed %d: %d alerts, want %d; they differ", seed, len(r.alerts), len(want))
		}
	}
}

// TestASilentPartitionIsSteppedOver once lines have waited for it long enough, and counted.
func TestASilentPartitionIsSteppedOver(t *testing.T) {
	timer := make(chan time.Time)
	now := time.Unix(0, 0)
	o := MergeOptions{
		Idle: time.Minute, Now: func() time.Time { return now },
		After: func(time.Duration) <-chan time.Time { return timer },
	}
	m := newMerger(o, Options{BatchRecords: 10, Shards: 1})
	g := &Graph{opts: Options{Shards: 1}}
	a, b := Partition{Topic: "t", ID: 0}, Partition{Topic: "t", ID: 1}
	m.expected = []Partition{a, b}
	m.meet()
	clock := time.Unix(100, 0)
	m.add(&flight{
		Batch:  Batch{Records: &RecordBatch{Partition: a}, Steps: []ClockStep{{Line: 0, Clock: clock}}},
		ticket: &ticket{clock: clock},
	})
	if f := m.next(g); f != nil {
		t.Fatal("a line did not wait for the silent partition")
	}
	m.stepOver()
	if m.opts.IdleSteps.Load() != 0 {
		t.Fatal("it was stepped over at once")
	}
	now = now.Add(time.Minute)
	m.stepOver()
	f := m.next(g)
	if m.opts.IdleSteps.Load() != 1 || f == nil || len(f.Steps) != 1 || !f.clock.Equal(clock) {
		t.Errorf("%d steps over silent partitions, merged %+v", m.opts.IdleSteps.Load(), f)
	}
}

// TestLinesOfACheckpointWaitForPartitionsThatAreNamedLater: sources name their
// partitions only once the graph runs.
func TestLinesOfACheckpointWaitForPartitionsThatAreNamedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Partition{Source: "toy", Topic: "t", ID: 0}, Partition{Source: "toy", Topic: "t", ID: 1}
		schema := NewSchema()
		keep, slot := &KeepSet{}, schema.Slot(Meta, "key")
		keep.Prepare(schema)
		var clocks []int64
		g, err := NewGraph(Options{
			Workers: 1, Shards: 1, Merge: &MergeOptions{}, Coder: toyCoder{}, Dictionary: state.NewDictionary(),
			NewWorker: func() Worker { return &toyWorker{NewEvent(schema), slot, keep, nil} },
			NewShard:  func(int) Shard { return newDurableToy(3) },
			Alerter:   toyAlerter{},
			Deliver: func(_ context.Context, out *Outcome) error {
				clocks = append(clocks, out.Clock.Unix())
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		g.Resume(map[Partition]int64{a: 1}, map[Partition]time.Time{a: time.Unix(100, 0)})
		g.ResumeLines([]*WaitingLine{{Key: []byte("m"), Position: Position{a, 0, 0}, Step: true, Clock: time.Unix(100, 0)}})
		ended := make(chan error)
		go func() { ended <- g.Run(t.Context()) }()
		synctest.Wait()
		if len(clocks) != 0 {
			t.Errorf("lines up to %v went on before all partitions were named", clocks)
		}
		g.Expect(b)
		for i, text := range []string{"b 50", "b 200"} {
			rb := &RecordBatch{Partition: b, Records: []Record{{Value: []byte(text), Offset: int64(i)}}}
			if err := g.Emit(t.Context(), rb); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if !slices.Contains(clocks, 50) || !slices.Contains(clocks, 100) || !slices.IsSorted(clocks) {
			t.Errorf("the merged clock went %v, want 50 before 100", clocks)
		}
		g.Close()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}
