package pipeline

import (
	"context"
	"math"
)

// encodeAtOnce is how many buckets a shard writes down between two looks at
// its queue: too few to be felt.
const encodeAtOnce = 256

// runShard applies batches. Between them it writes down what a barrier froze,
// a portion at a time, so that no batch waits for a whole checkpoint.
func (g *Graph) runShard(ctx context.Context, i int, shard Shard, tasks <-chan *flight) error {
	var e encoder
	e.shard, _ = shard.(DurableShard)
	for {
		f, ok, err := e.receive(ctx, tasks)
		if !ok {
			return err
		}
		if f.barrier != nil {
			e.begin(f.barrier, i)
			continue
		}
		pours := f.shardPours[i]
		f.overflows[i] = shard.Apply(f.Records.Partition, f.Steps, pours, f.overflows[i][:0])
		if err := e.err(); err != nil {
			return err
		}
		if f.unapplied.Add(-1) == 0 {
			close(f.applied)
		}
		// Twice as fast as buckets change, so that it ends before the next barrier.
		e.encode(encodeAtOnce/4 + 4*len(pours))
	}
}

// encoder writes down a shard's frozen buckets for the barrier that froze
// them. The shard's goroutine uses it.
type encoder struct {
	shard   DurableShard
	barrier *barrier // nil when nothing is frozen
	part    int      // where the barrier wants the Writer
}

// begin freezes the shard at a barrier.
func (e *encoder) begin(b *barrier, part int) {
	if e.shard == nil {
		b.written(part, nil)
		return
	}
	if b.stored != 0 {
		e.shard.Stored(b.stored)
	}
	for _, p := range b.forget {
		e.shard.Forget(p)
	}
	e.shard.Freeze()
	e.barrier, e.part = b, part
}

// err is the shard's.
func (e *encoder) err() error {
	if e.shard == nil {
		return nil
	}
	return e.shard.Err()
}

// encode writes down up to n buckets.
func (e *encoder) encode(n int) {
	if e.barrier == nil {
		return
	}
	if w := e.shard.Encode(n); w != nil {
		e.barrier.written(e.part, w)
		e.barrier = nil
	}
}

// finish writes down all that is left: the last barrier of a graph that ends.
func (e *encoder) finish() {
	for e.barrier != nil {
		e.encode(math.MaxInt32)
	}
}

// receive returns the next batch, and writes down what is frozen while there is none.
func (e *encoder) receive(ctx context.Context, tasks <-chan *flight) (f *flight, ok bool, err error) {
	for e.barrier != nil {
		select {
		case f, ok := <-tasks:
			if ok {
				return f, true, nil
			}
			e.finish()
			return nil, false, nil
		case <-ctx.Done():
			return nil, false, ctx.Err()
		default:
			e.encode(encodeAtOnce)
		}
	}
	f, err = receive(ctx, tasks)
	return f, f != nil, err
}
