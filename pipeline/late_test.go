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

// slowAlerter holds every alert back until it is told to let them go.
type slowAlerter struct {
	toyAlerter
	gate chan struct{}
}

func (a slowAlerter) Alert(ctx context.Context, o *Overflow) *RuntimeAlert {
	select {
	case <-a.gate:
		return a.toyAlerter.Alert(ctx, o)
	case <-ctx.Done():
		return nil
	}
}

func (slowAlerter) Repours(*Overflow) bool { return false }

// TestAnAlertThatWaitsIsState: look-ups that never end hold up neither
// batches nor barriers, and are made again after a crash.
func TestAnAlertThatWaitsIsState(t *testing.T) {
	log := map[Partition][]string{{Source: "toy", Topic: "t"}: {"b 1", "b 2", "b 3", "c 4", "c 5", "c 6"}}
	r := newToyRun(t, 1, 1)
	r.late, r.alerter = true, slowAlerter{gate: make(chan struct{})}
	rng := rand.New(rand.NewPCG(1, 5))
	r.run(log, 1<<30, rng)
	if len(r.alerts) != 0 {
		t.Fatalf("alerts %v came out before their look-ups ended", r.alerts)
	}
	gate := make(chan struct{})
	close(gate)
	r.alerter = slowAlerter{gate: gate}
	for try := 0; len(r.alerts) < 2 && try < 1000; try++ { // the look-ups end when they end
		r.run(log, 1<<30, rng)
	}
	slices.Sort(r.alerts)
	if want := []string{"0/b/3@2.0", "0/c/3@5.0"}; !slices.Equal(r.alerts, want) {
		t.Errorf("alerts %v, want %v", r.alerts, want)
	}
	for k := range r.stored {
		if k[0] == byte(state.KindPending) {
			t.Errorf("record %q is still there", k)
		}
	}
}

// TestSettleWaitsForLookUps: none of the alerts waits at the barrier.
func TestSettleWaitsForLookUps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := map[Partition][]string{{Source: "toy", Topic: "t"}: {"b 1", "b 2", "b 3"}}
		gate := make(chan struct{})
		r := newToyRun(t, 1, 1)
		r.late, r.settle, r.alerter = true, true, slowAlerter{gate: gate}
		go func() {
			time.Sleep(time.Minute)
			close(gate)
		}()
		r.run(log, 1<<30, rand.New(rand.NewPCG(1, 5)))
		if want := []string{"0/b/3@2.0"}; !slices.Equal(r.alerts, want) {
			t.Errorf("alerts %v, want %v", r.alerts, want)
		}
	})
}
