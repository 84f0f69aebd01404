package pipeline

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"sluice/pipeline/state"
)

// TestCrashesChangeNothing stops a graph at random moments and goes on from
// the last barrier, with other numbers of workers and shards: what comes out
// up to each barrier is what an uninterrupted graph gives.
func TestCrashesChangeNothing(t *testing.T) {
	log := toyLog(1, 2000)
	want := runToy(t, log, 1000, 1000, 1, 1)
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 3))
		r := newToyRun(t, 2, 3)
		for range 20 {
			r.run(map[Partition][]string{{Source: "toy", Topic: "t"}: log}, 50+rng.IntN(150), rng)
			r.workers, r.shards = 1+rng.IntN(3), 1+rng.IntN(4)
		}
		r.run(map[Partition][]string{{Source: "toy", Topic: "t"}: log}, 1<<30, rng)
		if !slices.Equal(r.alerts, want) {
			t.Fatalf("seed %d: %d alerts, want %d; they differ", seed, len(r.alerts), len(want))
		}
	}
}

// TestACheckpointWaitsNoLongerThanItsContext for whoever emits into a full graph.
func TestACheckpointWaitsNoLongerThanItsContext(t *testing.T) {
	g, err := NewGraph(Options{Workers: 1, Shards: 1, Coder: toyCoder{}, Dictionary: state.NewDictionary()})
	if err != nil {
		t.Fatal(err)
	}
	g.emitTurn <- struct{}{} // as an Emit under way has it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Checkpoint(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
