//go:build integration

package integration

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/kafkatest"
	"sluice/cmd/internal/integration/rig"
)

// TestBrokerLoss ends one broker of three after the other, some at once and
// some in good order, so that every partition changes its leader while it is
// read: no record is lost or counted twice.
func TestBrokerLoss(t *testing.T) {
	seed := rig.Seed(t)
	losses := 4
	if rig.Soak() {
		losses = 60
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(losses)*40*time.Second+4*time.Minute)
	defer cancel()
	b, err := startBroker(ctx, t.TempDir(), kafkatest.Options{Nodes: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	s := b.newSetup(t, 8, starter())
	s.durable = true
	in := s.startAll(t, 1)[0]
	records := logs(seed, 8000*losses, 8, byKey)
	both, ctx2 := errgroup.WithContext(ctx)
	both.Go(func() error { return b.produce(ctx2, s.topic, records, 1000) })
	both.Go(func() error { return b.loseNodes(ctx2, rand.New(rand.NewPCG(seed, 7)), losses) })
	if err := both.Wait(); err != nil {
		t.Fatal(err)
	}
	same(t, s.finish(ctx, t, []*instance{in}), s.uninterrupted(t, 1))
}

// loseNodes ends nodes and brings them back.
func (b *broker) loseNodes(ctx context.Context, rng *rand.Rand, n int) error {
	for range n {
		node := 1 + rng.IntN(3)
		end := b.Kill
		if rng.IntN(2) == 0 {
			end = b.Stop
		}
		if err := end(node); err != nil {
			return err
		}
		if err := rig.Pause(ctx, time.Duration(rng.Int64N(int64(5*time.Second)))); err != nil {
			return err
		}
		if err := b.Restart(ctx, node); err != nil {
			return err
		}
	}
	return nil
}
