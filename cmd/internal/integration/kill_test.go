//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/benchmarks/workload"
	"sluice/cmd/internal/integration/rig"
)

// killing is how a run is disturbed.
type killing struct {
	seed    uint64
	kills   int
	longest time.Duration // between two kills; the shortest is none
}

// length is about how long a run takes.
func (k killing) length() time.Duration { return time.Duration(k.kills) * k.longest / 2 }

// kills is how often the kill tests kill: enough for every change, and more in a soak.
func kills() int {
	if rig.Soak() {
		return 200
	}
	return 20
}

// killed starts the instances, kills one or the other at random moments while
// records are produced, lets all come to the end and collects what they left.
func (s *setup) killed(t testing.TB, records []record, instances int, k killing) *result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*k.length()+3*time.Minute)
	defer cancel()
	all := s.startAll(t, instances)
	both, ctx2 := errgroup.WithContext(ctx)
	both.Go(func() error {
		return s.broker.produce(ctx2, s.topic, records, int(float64(len(records))/k.length().Seconds()))
	})
	both.Go(func() error { return k.disturb(ctx2, all) })
	if err := both.Wait(); err != nil {
		t.Fatal(err)
	}
	return s.finish(ctx, t, all)
}

// disturb kills and starts again.
func (k killing) disturb(ctx context.Context, instances []*instance) error {
	rng := rand.New(rand.NewPCG(k.seed, 1))
	for range k.kills {
		victim := instances[rng.IntN(len(instances))]
		select {
		case <-time.After(time.Duration(rng.Int64N(int64(k.longest)))):
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, in := range instances {
			if err := in.Ended(); err != nil {
				return err
			}
		}
		if err := victim.Kill(); err != nil {
			return err
		}
		if err := victim.Start(); err != nil {
			return err
		}
	}
	return nil
}

// TestKill kills sluice at random moments and demands the alerts and the
// state of a run that nothing disturbed.
func TestKill(t *testing.T) {
	t.Run("A: keys in one partition each, scenarios grouped by them, two instances", func(t *testing.T) {
		seed := rig.Seed(t)
		s := parts.broker.newSetup(t, 8, starter())
		s.durable = true
		equalsUninterrupted(t, s, 2, logs(seed, 2000*kills(), 8, byKey), killing{seed, kills(), 2 * time.Second})
	})
	t.Run("B: the whole hub on one partition", func(t *testing.T) {
		seed := rig.Seed(t)
		s := parts.broker.newSetup(t, 1, wholeHub(t))
		s.durable = true
		equalsUninterrupted(t, s, 1, hubLogs(t, seed, 1500*kills(), 1, byKey), killing{seed, kills(), 4 * time.Second})
	})
	t.Run("C: the whole hub on partitions that are merged", func(t *testing.T) {
		seed := rig.Seed(t)
		s := parts.broker.newSetup(t, 8, wholeHub(t))
		s.durable = true
		s.pipeline = map[string]any{"order": "merged", "idle_after": "1h"}
		equalsUninterrupted(t, s, 1, hubLogs(t, seed, 1500*kills(), 8, spread), killing{seed, kills(), 4 * time.Second})
	})
	t.Run("D: keys spread over partitions, in order of arrival", func(t *testing.T) {
		seed := rig.Seed(t)
		s := parts.broker.newSetup(t, 8, counting())
		s.durable = true
		records := counted(seed, 1000*kills(), 100, 8, true)
		r := s.killed(t, records, 1, killing{seed, kills(), 2 * time.Second})
		report(t, once(r, records))
		report(t, possible(r, records))
		report(t, kept(r, records))
		t.Logf("%d alerts, %d again", len(r.alerts), r.repeats)
	})
}

// equalsUninterrupted holds a run with kills to one without.
func equalsUninterrupted(t *testing.T, s *setup, instances int, records []record, k killing) {
	t.Helper()
	got := s.killed(t, records, instances, k)
	same(t, got, s.uninterrupted(t, instances))
	t.Logf("%d alerts, %d again; state of %d records; %s", len(got.alerts), got.repeats, got.size(), got.scenarios())
}

// spread deals lines out in turn, whatever their key.
func spread(_ workload.Line, n, partitions int) int32 { return int32(n % partitions) }

// size is how many records all states hold.
func (r *result) size() int {
	n := 0
	for _, s := range r.state {
		n += len(s)
	}
	return n
}

// kept returns what is wrong with the buckets of every-five: each must hold
// the lines of its key that no alert holds, the rest of a division by five.
func kept(r *result, records []record) (wrong []string) {
	held := make(map[string]int)
	for _, state := range r.state {
		for text := range state {
			var b struct {
				Kind     string
				Scenario string
				Key      string
				Count    int
			}
			if err := json.Unmarshal([]byte(text), &b); err != nil {
				return []string{fmt.Sprintf("%v in %s", err, text)}
			}
			if b.Kind == "bucket" && b.Scenario == "test/every-five" {
				held[b.Key] += b.Count
			}
		}
	}
	keys, _ := tallies(records)
	for key, k := range keys {
		if held[key] != k.total%5 {
			wrong = append(wrong, fmt.Sprintf("the bucket of %s holds %d lines, want %d", key, held[key], k.total%5))
		}
	}
	return wrong
}
