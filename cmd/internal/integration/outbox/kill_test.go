//go:build integration

package outbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// batch is how many alerts the outbox gives a sink at once: what a kill may cost.
const batch = 100

// place is where alerts arrive, as seen from there.
type place struct {
	mu     sync.Mutex
	ledger ledger
	lines  map[int]bool
	inRun  map[int]int // deliveries, by run
}

func newPlace() *place { return &place{lines: make(map[int]bool), inRun: make(map[int]int)} }

// add notes deliveries. The caller does not hold mu.
func (p *place) add(ds ...delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range ds {
		p.lines[d.line] = true
		p.inRun[d.run]++
	}
	p.ledger = append(p.ledger, ds...)
}

// waits polls until a count, taken with mu held, is as high as wanted.
func (p *place) waits(t *testing.T, in *rig.Instance, what string, want int, count func() int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	have := 0
	err := rig.Poll(ctx, what, func() (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if have = count(); have >= want {
			return true, nil
		}
		return false, in.Ended()
	})
	if err != nil {
		t.Fatalf("%d of %d: %v", have, want, err)
	}
}

// pour writes so many lines a second into a file until ctx ends, and returns how many.
func pour(ctx context.Context, path string, rate int) (n int, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for rig.Pause(ctx, 10*time.Millisecond) == nil {
		for range rate / 100 {
			if _, err := fmt.Fprintln(f, rig.Line(n)); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// kills is how often sluice is killed.
func kills() int {
	if rig.Soak() {
		return 100
	}
	return 11
}

// killed delivers to a place out of an instance that is killed at random
// moments while it delivers, and checks what has arrived in the end. sink
// makes the sink of a run, and is called right before it.
func killed(t *testing.T, p *place, rate int, sink func(run int) map[string]any) {
	rng := rand.New(rand.NewPCG(rig.Seed(t), 11))
	log := filepath.Join(t.TempDir(), "app.log")
	config := rig.Probing(map[string]any{"type": "file", "paths": []string{log}, "follow": true, "start": "beginning"})
	in := rig.New(t, "killed", config)
	run := 0
	start := func() {
		run++
		s := sink(run)
		s["batching"] = map[string]any{"alerts": batch}
		config["sinks"] = []any{s}
		in.Configure(t, config)
		in.Start(t)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var pouring errgroup.Group
	written := 0
	pouring.Go(func() (err error) {
		written, err = pour(ctx, log, rate)
		return err
	})
	for range kills() {
		start()
		p.waits(t, in, "a delivery", 1, func() int { return p.inRun[run] })
		if err := rig.Pause(ctx, time.Duration(rng.Int64N(int64(300*time.Millisecond)))); err != nil {
			t.Fatal(err)
		}
		in.Kill(t)
	}
	stop()
	if err := pouring.Wait(); err != nil {
		t.Fatal(err)
	}
	start()
	p.waits(t, in, "the alerts of all lines", written, func() int { return len(p.lines) })
	in.Stop(t)
	p.report(t, written)
}

// report checks the ledger and says what it holds.
func (p *place) report(t *testing.T, written int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, wrong := p.ledger.check(written)
	for _, what := range wrong[:min(len(wrong), 10)] {
		t.Error(what)
	}
	for run, n := range r.byKill {
		if n > batch {
			t.Errorf("after kill %d %d alerts that had arrived came again; a batch has %d", run, n, batch)
		}
	}
	lost := 0
	for _, d := range p.ledger {
		if d.lost {
			lost++
		}
	}
	t.Logf("%d kills, %d alerts, %d deliveries, each alert under one id: %d repeats, %d of them after lost answers (to %d deliveries), "+
		"%d after %d of the kills, at most %d after one (a batch has %d)",
		kills(), written, len(p.ledger), r.total, r.lost, lost, r.total-r.lost, len(r.byKill), r.most(), batch)
}
