package pipeline

import (
	"context"
	"time"
)

// runSequencer puts batches back in order, moves the partition's clock and
// deals the pours to the shards.
func (g *Graph) runSequencer(ctx context.Context) error {
	defer func() {
		for _, t := range g.tasks {
			close(t)
		}
		close(g.done)
	}()
	// Lines that a checkpoint kept go on with the first batch: they waited for
	// one, and until then not all partitions that they wait for may be expected.
	for {
		f, idle, err := g.nextInOrder(ctx)
		switch {
		case err != nil:
			return err
		case idle:
			g.merger.stepOver()
			err = g.dispatchMerged(ctx)
		case f == nil:
			return nil
		default:
			err = g.sequence(ctx, f)
		}
		if err != nil {
			return err
		}
	}
}

// nextInOrder returns the next batch or barrier; idle says instead that lines
// have waited long enough for a partition that is silent.
func (g *Graph) nextInOrder(ctx context.Context) (f *flight, idle bool, err error) {
	var timer <-chan time.Time
	if g.merger != nil {
		timer = g.merger.patience()
	}
	select {
	case f := <-g.order: // nil once it is closed
		return f, false, nil
	case <-timer:
		return nil, true, nil
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// sequence takes the next batch or barrier of the order.
func (g *Graph) sequence(ctx context.Context, f *flight) error {
	if f.barrier != nil {
		forgets := len(f.barrier.forget) > 0
		g.sequenceBarrier(f.barrier)
		if err := g.dispatch(ctx, f); err != nil || !forgets || g.merger == nil {
			return err
		}
		return g.dispatchMerged(ctx) // what waited for those that are forgotten
	}
	select {
	case <-f.worked:
	case <-ctx.Done():
		return ctx.Err()
	}
	f.advanceClock()
	close(f.ticket.sequenced)
	if g.merger != nil {
		g.merger.add(f)
		return g.dispatchMerged(ctx)
	}
	f.clock = f.ticket.clock
	if f.next > 0 { // else it holds dead letters alone, and does not say where they stood
		f.through = append(f.through, Through{f.Records.Partition, f.next})
	}
	f.deal(g.opts.Shards)
	return g.dispatch(ctx, f)
}

// dispatchMerged hands on what the merger can put in order by now.
func (g *Graph) dispatchMerged(ctx context.Context) error {
	for f := g.merger.next(g); f != nil; f = g.merger.next(g) {
		if err := g.dispatch(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// dispatch hands a batch or a barrier to every shard and to the collector.
func (g *Graph) dispatch(ctx context.Context, f *flight) error {
	if f.barrier == nil {
		f.unapplied.Store(int32(g.opts.Shards))
	}
	for _, t := range g.tasks {
		if err := send(ctx, t, f); err != nil {
			return err
		}
	}
	return send(ctx, g.done, f)
}

// advanceClock drops the batch's steps that do not pass the partition's clock.
func (f *flight) advanceClock() {
	if f.prev != nil {
		f.before = f.prev.clock
		f.prev = nil // let the chain of tickets go
	}
	clock := f.before
	steps := f.Steps[:0]
	for _, s := range f.Steps {
		if s.Clock.After(clock) {
			clock = s.Clock
			steps = append(steps, s)
		}
	}
	f.Steps = steps
	f.ticket.clock = clock
}

func (f *flight) deal(shards int) {
	for i := range f.Pours {
		f.dealOne(&f.Pours[i], shards)
	}
}

// dealOne puts a pour to those of its shard; the last place is the alert lane's.
func (f *flight) dealOne(p *Pour, shards int) {
	shard := shards
	if !p.AlertLane {
		shard = int(p.Route % uint64(shards))
	}
	f.shardPours[shard] = append(f.shardPours[shard], p)
}
