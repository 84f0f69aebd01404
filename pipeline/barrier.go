package pipeline

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"sluice/pipeline/state"
)

// Snapshot is the graph at a barrier: everything that the records before its
// positions made of it, and nothing else.
type Snapshot struct {
	// Positions are the offsets to read next, of every partition heard of.
	Positions map[Partition]int64
	// Clocks are the partitions' clocks.
	Clocks map[Partition]time.Time
	// Forgotten are the partitions whose state was dropped at the barrier.
	Forgotten []Partition
	// Own is for who gets the outcomes: what it writes at the barrier belongs to the epoch.
	Own state.Writer

	parts []*state.Writer
}

// Parts are the writers of all parts of the graph.
func (s *Snapshot) Parts() []*state.Writer {
	out := make([]*state.Writer, 0, len(s.parts)+1)
	for _, w := range s.parts {
		if w != nil && w.Len() > 0 {
			out = append(out, w)
		}
	}
	if s.Own.Len() > 0 {
		out = append(out, &s.Own)
	}
	return out
}

// barrier goes through the graph between two batches. It follows the same
// position of every partition: all batches emitted before it have passed a
// step when it comes there, and none emitted behind it has.
type barrier struct {
	Snapshot
	forget []Partition
	// settle makes the barrier wait for alerts that wait for look-ups.
	settle bool
	// stored is the epoch of the barrier before, when that is durable.
	stored uint64
	opened []openTicket
	// left counts the parts that are not written yet, the passing of the
	// barrier itself included; done is closed when none is left.
	left atomic.Int32
	done chan struct{}
}

// openTicket makes the batches behind a barrier wait for it, as if it were a batch of each partition.
type openTicket struct {
	partition    Partition
	prev, ticket *ticket
}

// The parts of a barrier behind those of the shards and the alert lane.
const (
	partFront  = iota // stashes and lines that wait
	partLate          // alerts that wait
	extraParts        // how many there are
)

// written takes a part.
func (b *barrier) written(part int, w *state.Writer) {
	b.parts[part] = w
	b.count()
}

func (b *barrier) count() {
	if b.left.Add(-1) == 0 {
		close(b.done)
	}
}

// ErrNoState is Checkpoint's error when the graph was not made for it.
var ErrNoState = errors.New("graph: checkpoints need Options.Coder and Options.Dictionary")

// Checkpoint lets a barrier pass through the graph and returns what was
// written down at it, once all parts are. Deliver sees the barrier, as the
// Outcome's Barrier, at its place among the outcomes. The state of the
// partitions to forget is dropped at the barrier. stored is the epoch in which the
// Snapshot before became durable, 0 when there was none.
//
// Only one Checkpoint may be under way; the graph goes on meanwhile.
func (g *Graph) Checkpoint(ctx context.Context, stored uint64, forget ...Partition) (*Snapshot, error) {
	return g.checkpoint(ctx, &barrier{forget: forget, stored: stored})
}

// Settle is Checkpoint that waits for the look-ups that alerts wait for, so
// that none waits at the barrier: their scenarios may not be among the next graph's.
func (g *Graph) Settle(ctx context.Context, stored uint64) (*Snapshot, error) {
	return g.checkpoint(ctx, &barrier{settle: true, stored: stored})
}

func (g *Graph) checkpoint(ctx context.Context, b *barrier) (*Snapshot, error) {
	if g.opts.Coder == nil || g.opts.Dictionary == nil {
		return nil, ErrNoState
	}
	b.done = make(chan struct{})
	b.Forgotten = b.forget
	b.parts = make([]*state.Writer, g.opts.Shards+1+extraParts)
	b.left.Store(int32(len(b.parts) + 1))
	if err := g.inject(ctx, b); err != nil {
		return nil, err
	}
	select {
	case <-b.done:
		return &b.Snapshot, nil
	case <-g.stopped:
	}
	select {
	case <-b.done: // it was the last thing that passed
		return &b.Snapshot, nil
	default:
		return nil, ErrStopped
	}
}

// inject puts a barrier behind everything emitted so far.
func (g *Graph) inject(ctx context.Context, b *barrier) error {
	select {
	case g.emitTurn <- struct{}{}:
		defer g.endTurn()
	case <-ctx.Done():
		return ctx.Err()
	}
	if g.closed {
		return ErrStopped
	}
	for _, p := range b.forget {
		delete(g.next, p)
	}
	b.Positions = maps.Clone(g.next)
	for p, prev := range g.tickets {
		t := &ticket{sequenced: make(chan struct{})}
		b.opened = append(b.opened, openTicket{p, prev, t})
		g.tickets[p] = t
	}
	select {
	case g.order <- &flight{barrier: b}:
		return nil
	case <-g.stopped:
		return ErrStopped
	case <-ctx.Done():
		for _, o := range b.opened { // as if nothing had been
			g.tickets[o.partition] = o.prev
		}
		return ctx.Err()
	}
}

// sequenceBarrier writes down what belongs to the partitions. All batches
// before the barrier are parsed, and those behind it wait for its tickets
// before they touch any of that.
func (g *Graph) sequenceBarrier(b *barrier) {
	w := &state.Writer{}
	b.Clocks = make(map[Partition]time.Time, len(b.opened))
	parts := make([]Partition, 0, len(b.opened))
	for _, o := range b.opened {
		if slices.Contains(b.forget, o.partition) {
			if g.opts.Front != nil {
				g.opts.Front.Forget(o.partition, w)
			}
			continue
		}
		o.ticket.clock = o.prev.clock
		b.Clocks[o.partition] = o.prev.clock
		parts = append(parts, o.partition)
	}
	if g.opts.Front != nil {
		g.opts.Front.Save(parts, w)
	}
	if g.merger != nil {
		for _, p := range b.forget {
			g.merger.forget(p)
		}
		g.merger.save(w, g.opts.Coder, g.opts.Dictionary)
		b.Clocks[MergedPartition] = g.merger.clock
	}
	for _, o := range b.opened {
		close(o.ticket.sequenced)
	}
	b.opened = nil
	b.written(len(b.parts)-extraParts+partFront, w)
}

// Resume says where the partitions stand, from a checkpoint. Call it before
// Run; without order of lines by clock also for a partition that nothing was emitted of yet.
func (g *Graph) Resume(next map[Partition]int64, clocks map[Partition]time.Time) {
	g.emitTurn <- struct{}{}
	defer g.endTurn()
	for p, offset := range next {
		g.next[p] = offset
		g.Expect(p) // what it held of others may have to wait for its next line
	}
	for p, clock := range clocks {
		if p == MergedPartition {
			if g.merger != nil {
				g.merger.clock = clock
			}
			continue
		}
		if g.merger != nil {
			g.merger.bounds[p] = clock
		}
		t := &ticket{sequenced: make(chan struct{}), clock: clock}
		close(t.sequenced)
		g.tickets[p] = t
	}
}
