package rig

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Load is what comes to an instance while it is killed.
type Load struct {
	// Kills is how often; SLUICE_SOAK makes it ten times as often.
	Kills int
	// Produce makes a round of lines. It is called Rounds times for each kill,
	// Pause apart, by one goroutine.
	Produce func(ctx context.Context) error
	Rounds  int
	Pause   time.Duration
	// Before, when set, is called before each kill, counted from 0.
	Before func(kill int)
}

// KillUnder starts the instance and kills it, again and again, each time a
// little longer after its state is loaded, while the load comes; every third
// time it stops it in good order instead. It returns, with the instance
// running, once all of the load has come.
func (in *Instance) KillUnder(t testing.TB, l Load) (kills int) {
	t.Helper()
	kills = l.Kills
	if Soak() {
		kills *= 10
	}
	load, ctx := errgroup.WithContext(t.Context())
	load.Go(func() error {
		for range kills * l.Rounds {
			if err := l.Produce(ctx); err != nil {
				return err
			}
			if err := Pause(ctx, l.Pause); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range kills {
		in.StartReady(t, "the state is loaded")
		if err := Pause(t.Context(), time.Duration(250+i%20*67)*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if l.Before != nil {
			l.Before(i)
		}
		if i%3 == 2 {
			in.Stop(t)
		} else {
			in.Kill(t)
		}
	}
	if err := load.Wait(); err != nil {
		t.Fatal(err)
	}
	in.Start(t)
	return kills
}
