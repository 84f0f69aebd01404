package pipeline

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"slices"

	"sluice/pipeline/state"
)

// pendingAlert is an overflow whose alert is being built, perhaps waiting for look-ups.
type pendingAlert struct {
	overflow *Overflow
	ready    chan struct{}
	alert    *RuntimeAlert
	// number and sum are those of its record, when a checkpoint wrote it down.
	number uint64
	sum    state.Sum
}

func newPendingAlert(o *Overflow) *pendingAlert {
	return &pendingAlert{overflow: o, ready: make(chan struct{})}
}

// start begins to make an alert, once there is room for it.
func (g *Graph) start(ctx context.Context, p *pendingAlert) error {
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	g.lookUps.Go(func() {
		p.alert = g.opts.Alerter.Alert(ctx, p.overflow)
		close(p.ready)
		<-g.slots
	})
	return nil
}

// runCollector waits for the shards, batch by batch, puts their overflows in
// order and starts the look-ups of their alerts, so that those of several
// batches run side by side.
func (g *Graph) runCollector(ctx context.Context) error {
	defer close(g.tail)
	for {
		f, err := receive(ctx, g.done)
		if f == nil {
			return err
		}
		if f.barrier == nil {
			select {
			case <-f.applied:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for _, shard := range f.overflows {
			for i := range shard {
				o := shard[i] // the alert may outlive the batch
				f.pending = append(f.pending, newPendingAlert(&o))
			}
		}
		slices.SortFunc(f.pending, func(a, b *pendingAlert) int { return compareOverflows(a.overflow, b.overflow) })
		for _, p := range f.pending {
			if err := g.start(ctx, p); err != nil {
				return err
			}
		}
		if err := send(ctx, g.tail, f); err != nil {
			return err
		}
	}
}

// compareOverflows orders the overflows of one batch: by cause, then by how
// many alerts stand before them, then by scenario.
func compareOverflows(a, b *Overflow) int {
	return cmp.Or(
		cmp.Compare(a.Line, b.Line),
		cmp.Compare(a.Depth, b.Depth),
		cmp.Compare(a.Scenario, b.Scenario),
		cmp.Compare(a.Ordinal, b.Ordinal),
		cmp.Compare(a.Key, b.Key),
	)
}

// alertLane applies the pours of the scenarios that take alerts, together
// with the alerts that are poured again. It is one goroutine, since an alert
// made at one line must enter behind all pours of that line and before those
// of the next, whatever shard made it and wherever batches are cut.
type alertLane struct {
	g         *Graph
	shard     Shard // nil when no scenario takes alerts
	encoder   encoder
	arena     KeptArena
	queue     alertQueue
	alerts    []*pendingAlert // of the batch
	repours   []Pour
	overflows []Overflow
}

// run returns all alerts of a batch that are ready, in order.
func (l *alertLane) run(ctx context.Context, f *flight) []*RuntimeAlert {
	l.queue.items, l.alerts = l.queue.items[:0], l.alerts[:0]
	for _, p := range f.pending {
		if p != nil {
			l.add(p)
		}
	}
	if l.shard != nil {
		l.pour(ctx, f)
		l.arena.Reset()
	}
	slices.SortStableFunc(l.alerts, func(a, b *pendingAlert) int { return compareOverflows(a.overflow, b.overflow) })
	out := make([]*RuntimeAlert, len(l.alerts))
	for i, p := range l.alerts {
		out[i] = p.alert
	}
	return out
}

// add takes a finished alert, and queues it if it is to be poured again.
func (l *alertLane) add(p *pendingAlert) {
	if p.alert == nil {
		return
	}
	l.alerts = append(l.alerts, p)
	if l.shard != nil && p.alert.Reprocess && !p.alert.Whitelisted && p.overflow.Depth < l.g.opts.MaxDepth {
		heap.Push(&l.queue, p)
	}
}

// pour applies what the batch holds for the lane. At one line the clock's
// step comes first, then the line's pours, then alerts by depth.
func (l *alertLane) pour(ctx context.Context, f *flight) {
	const none = math.MaxInt32
	pours, steps := f.shardPours[l.g.opts.Shards], f.Steps
	for {
		step, pour, alert := int32(none), int32(none), int32(none)
		if len(steps) > 0 {
			step = steps[0].Line
		}
		if len(pours) > 0 {
			pour = pours[0].Line
		}
		if l.queue.Len() > 0 {
			alert = l.queue.items[0].overflow.Line
		}
		switch {
		case step != none && step <= pour && step <= alert:
			l.apply(ctx, f, steps[:1], nil, 0)
			steps = steps[1:]
		case pour != none && pour <= alert:
			l.apply(ctx, f, nil, pours[:1], 0)
			pours = pours[1:]
		case alert != none:
			l.repour(ctx, f, heap.Pop(&l.queue).(*pendingAlert))
		default:
			return
		}
	}
}

func (l *alertLane) repour(ctx context.Context, f *flight, p *pendingAlert) {
	l.repours = l.g.opts.Alerter.Repour(p.alert, p.overflow, &l.arena, l.repours[:0])
	for i := range l.repours {
		l.repours[i].Line = p.overflow.Line
		l.apply(ctx, f, nil, []*Pour{&l.repours[i]}, p.overflow.Depth+1)
	}
}

func (l *alertLane) apply(ctx context.Context, f *flight, steps []ClockStep, pours []*Pour, depth int32) {
	l.overflows = l.shard.Apply(f.Records.Partition, steps, pours, l.overflows[:0])
	for i := range l.overflows {
		o := l.overflows[i] // a copy: the slice is used again
		o.Depth = depth
		l.add(&pendingAlert{overflow: &o, alert: l.g.opts.Alerter.Alert(ctx, &o)})
	}
}

// alertQueue orders the alerts that wait to be poured again.
type alertQueue struct{ items []*pendingAlert }

func (q *alertQueue) Len() int { return len(q.items) }
func (q *alertQueue) Less(i, j int) bool {
	return compareOverflows(q.items[i].overflow, q.items[j].overflow) < 0
}
func (q *alertQueue) Swap(i, j int) { q.items[i], q.items[j] = q.items[j], q.items[i] }
func (q *alertQueue) Push(x any)    { q.items = append(q.items, x.(*pendingAlert)) }
func (q *alertQueue) Pop() any {
	last := q.items[len(q.items)-1]
	q.items = q.items[:len(q.items)-1]
	return last
}
