package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sluice/pipeline/state"
)

// brokenToy is a durable shard that fails at its n-th pour.
type brokenToy struct {
	*durableToy
	left int
	err  error
}

func (s *brokenToy) Apply(p Partition, steps []ClockStep, pours []*Pour, out []Overflow) []Overflow {
	out = s.durableToy.Apply(p, steps, pours, out)
	if s.left -= len(pours); s.left < 0 {
		s.err = errors.New("a bucket is gone")
	}
	return out
}

func (s *brokenToy) Err() error { return s.err }

func (s *brokenToy) Encode(n int) *state.Writer {
	if s.err != nil {
		return nil
	}
	return s.durableToy.Encode(n)
}

// TestAShardThatFailsStopsTheGraph, be it a shard or the alert lane's, with a
// barrier under way or not: no batch that it failed at is delivered.
func TestAShardThatFailsStopsTheGraph(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 8))
			broken, lines := rng.IntN(2), 1+rng.IntN(30)
			schema := NewSchema()
			slot := schema.Slot(Meta, "key")
			keep := &KeepSet{}
			keep.Prepare(schema)
			var delivered int64
			g, err := NewGraph(Options{
				Workers: 1, Shards: 1, BatchRecords: 1, AlertLane: true, Coder: toyCoder{}, Dictionary: state.NewDictionary(),
				NewWorker: func() Worker { return &toyWorker{NewEvent(schema), slot, keep, nil} },
				NewShard: func(i int) Shard {
					left := 1 << 30
					if i == broken {
						left = lines
					}
					return &brokenToy{durableToy: newDurableToy(1000), left: left}
				},
				Alerter: toyAlerter{},
				Deliver: func(_ context.Context, out *Outcome) error {
					if out.Barrier == nil {
						delivered++
					}
					return nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			defer stop()
			errs := make(chan error, 1)
			go func() { errs <- g.Run(ctx) }()
			checkpoints := make(chan error, 1)
			at := rng.IntN(lines + 1)
			for i := range lines + 1 {
				if i == at {
					go func() { _, err := g.Checkpoint(ctx, 0); checkpoints <- err }()
				}
				rb := &RecordBatch{Partition: Partition{"toy", "t", 0}, Records: []Record{{Value: []byte("a 1"), Offset: int64(i)}}}
				if err := g.Emit(ctx, rb); err != nil && !errors.Is(err, ErrStopped) {
					t.Fatal(err)
				}
			}
			g.Close()
			if err := <-errs; err == nil || err.Error() != "a bucket is gone" {
				t.Errorf("Run returned %v, want the shard's error", err)
			}
			<-checkpoints // it comes back, with a Snapshot or without
			if delivered > int64(lines) {
				t.Errorf("%d batches were delivered, the shard failed at the one behind %d", delivered, lines)
			}
		})
	}
}

// TestAShardThatCannotGoOnStopsTheGraph before its overflows are delivered.
func TestAShardThatCannotGoOnStopsTheGraph(t *testing.T) {
	schema := NewSchema()
	keep, slot := &KeepSet{}, schema.Slot(Meta, "key")
	keep.Prepare(schema)
	broken := errors.New("the disk is gone")
	delivered := 0
	g, err := NewGraph(Options{
		Workers: 1, Shards: 1, Coder: toyCoder{}, Dictionary: state.NewDictionary(),
		NewWorker: func() Worker { return &toyWorker{NewEvent(schema), slot, keep, nil} },
		NewShard: func(int) Shard {
			s := newDurableToy(3)
			s.failed = broken
			return s
		},
		Alerter: toyAlerter{},
		Deliver: func(context.Context, *Outcome) error { delivered++; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() { errs <- g.Run(t.Context()) }()
	_ = g.Emit(t.Context(), &RecordBatch{Partition: Partition{Topic: "t"}, Records: []Record{{Value: []byte("b 1")}}})
	if err := <-errs; !errors.Is(err, broken) || delivered > 0 {
		t.Errorf("Run returned %v after %d outcomes, want the shard's error after none", err, delivered)
	}
}
