package pipeline

import (
	"context"

	"sluice/pipeline/state"
)

// runTail finishes batches in order: the alert lane, then Deliver.
func (g *Graph) runTail(ctx context.Context, lane *alertLane) error {
	g.startResumed(ctx)
	for {
		f, late, err := lane.receive(ctx)
		switch {
		case err != nil:
			return err
		case late != nil:
			err = g.finishLate(ctx, late)
		case f == nil:
			return nil
		case f.barrier != nil:
			err = g.passBarrier(ctx, lane, f.barrier)
		default:
			err = g.finish(ctx, lane, f)
		}
		if err != nil {
			return err
		}
	}
}

// receive returns the next batch or barrier, or an alert that comes late. It
// writes down what is frozen while there is neither.
func (l *alertLane) receive(ctx context.Context) (f *flight, late *pendingAlert, err error) {
	for l.encoder.barrier != nil {
		select {
		case f, ok := <-l.g.tail:
			if !ok {
				l.encoder.finish()
			}
			return f, nil, nil
		case late := <-l.g.late.done:
			return nil, late, nil
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		default:
			l.encoder.encode(encodeAtOnce)
		}
	}
	select {
	case f := <-l.g.tail:
		return f, nil, nil
	case late := <-l.g.late.done:
		return nil, late, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// finish takes a batch through the alert lane and delivers it.
func (g *Graph) finish(ctx context.Context, lane *alertLane, f *flight) error {
	for i, p := range f.pending {
		if g.opts.LateAlerts && !g.opts.Alerter.Repours(p.overflow) {
			select {
			case <-p.ready:
			default:
				if g.opts.Muted == nil || !g.opts.Muted(p.overflow.Cause) {
					g.late.wait(ctx, g, p)
				}
				f.pending[i] = nil
			}
			continue
		}
		select {
		case <-p.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	out := &Outcome{
		Partition: f.Records.Partition, Through: f.through, Clock: f.clock,
		Alerts: lane.run(ctx, f), Dead: f.Dead,
	}
	if err := lane.encoder.err(); err != nil {
		return err
	}
	out.Stats = f.Stats
	lane.encoder.encode(encodeAtOnce/4 + 4*len(f.shardPours[g.opts.Shards]))
	if err := g.opts.Deliver(ctx, out); err != nil {
		return err
	}
	g.recycle(f)
	return nil
}

// finishLate delivers an alert whose batch has long passed.
func (g *Graph) finishLate(ctx context.Context, p *pendingAlert) error {
	g.late.came(p)
	if p.alert == nil {
		return nil
	}
	return g.opts.Deliver(ctx, &Outcome{Partition: p.overflow.Cause.Partition, Alerts: []*RuntimeAlert{p.alert}})
}

// passBarrier writes down the last parts, and tells Deliver that the epoch is complete.
func (g *Graph) passBarrier(ctx context.Context, lane *alertLane, b *barrier) error {
	for b.settle && len(g.late.waiting) > 0 {
		select {
		case p := <-g.late.done:
			if err := g.finishLate(ctx, p); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	lane.encoder.begin(b, g.opts.Shards)
	w := &state.Writer{}
	g.late.save(w, g.opts.Coder)
	if err := g.opts.Deliver(ctx, &Outcome{Barrier: &b.Snapshot}); err != nil {
		return err
	}
	b.written(len(b.parts)-extraParts+partLate, w)
	b.count() // the barrier itself has passed
	return nil
}
