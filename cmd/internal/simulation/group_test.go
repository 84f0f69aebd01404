package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources"
)

// group is the coordinator of the members' consumer group. A generation lasts
// until the simulator completes the next one with those who have joined again.
type group struct {
	w *world

	mu         sync.Mutex // guards what follows
	generation int
	owners     map[pipeline.Partition]*process
	history    map[pipeline.Partition][]claim // newest first
	accepted   map[pipeline.Partition][]acceptance
	leave      chan struct{} // closed when members are to join again
	joined     map[*process]bool
	complete   chan struct{} // closed when a generation is complete
}

// claim is a tenure as it was written down.
type claim struct {
	began int64
	state string // name of the state
}

// acceptance is a commit that the group took.
type acceptance struct {
	claim
	next int64
}

func newGroup(w *world) *group {
	return &group{
		w: w, owners: make(map[pipeline.Partition]*process), history: make(map[pipeline.Partition][]claim),
		accepted: make(map[pipeline.Partition][]acceptance), leave: make(chan struct{}),
		joined: make(map[*process]bool), complete: make(chan struct{}),
	}
}

// prepare asks the members to join again.
func (g *group) prepare() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.leave)
	g.leave = make(chan struct{})
}

// finish completes a generation: assign gives each partition to one of those who joined.
func (g *group) finish(assign func(p pipeline.Partition, joined []*process) *process) {
	g.mu.Lock()
	joined := slices.Collect(maps.Keys(g.joined))
	g.mu.Unlock()
	joined = slices.DeleteFunc(joined, (*process).isDead) // a process's door comes before the group's lock
	g.mu.Lock()
	defer g.mu.Unlock()
	slices.SortFunc(joined, func(a, b *process) int { return a.member.index - b.member.index })
	if len(joined) == 0 {
		return
	}
	g.generation++
	clear(g.owners)
	for id := range g.w.plan.partitions {
		g.owners[partition(id)] = assign(partition(id), joined)
	}
	clear(g.joined)
	close(g.complete)
	g.complete = make(chan struct{})
}

// assignment is a member's part of a generation.
type assignment struct {
	generation int
	parts      []sources.Assignment
	leave      <-chan struct{}
}

// join waits for the next generation that has the process.
func (g *group) join(ctx context.Context, pr *process) (a assignment, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(a.parts) == 0 {
		g.joined[pr] = true
		complete := g.complete
		g.mu.Unlock()
		select {
		case <-complete:
		case <-ctx.Done():
			err = ctx.Err()
		}
		g.mu.Lock()
		if err != nil {
			delete(g.joined, pr)
			return a, err
		}
		a = assignment{generation: g.generation, leave: g.leave}
		for id := range g.w.plan.partitions {
			p := partition(id)
			if g.owners[p] != pr {
				continue
			}
			one := sources.Assignment{Partition: p, Committed: g.w.broker.at(p), History: g.tenures(p, pr)}
			if g.untouched(p) {
				one.Committed = -1
			}
			a.parts = append(a.parts, one)
		}
	}
	return a, nil
}

// untouched tells whether the group has nothing of a partition yet: it still
// stands where its first tenure began. g.mu is held.
func (g *group) untouched(p pipeline.Partition) bool {
	h := g.history[p]
	return len(h) > 0 && len(h) < sources.HistoryLength && h[len(h)-1].began == g.w.broker.at(p)
}

// tenures is the history of a partition as a process sees it. g.mu is held.
func (g *group) tenures(p pipeline.Partition, pr *process) []sources.Tenure {
	var out []sources.Tenure
	for _, c := range g.history[p] {
		if len(out) < sources.HistoryLength {
			out = append(out, sources.Tenure{Began: c.began, Member: c.state, Own: c.state == pr.source.keeper.Name()})
		}
	}
	return out
}

// claim writes down that a tenure begins, before its first record is read.
func (g *group) claim(pr *process, a assignment, parts []pipeline.Partition) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range parts {
		if g.generation != a.generation || g.owners[p] != pr {
			return sources.ErrFenced
		}
		began := max(g.w.broker.at(p), 0)
		g.w.broker.place(p, began)
		if h := g.history[p]; len(h) == 0 || h[0].state != pr.source.keeper.Name() { // a member's in a row are one
			g.history[p] = append([]claim{{began, pr.source.keeper.Name()}}, h...)
		}
	}
	return nil
}

// commit takes offsets under a generation. One that is refused counts all the
// same when the group had accepted it before, and the answer was lost.
func (g *group) commit(pr *process, a assignment, next sources.Positions) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for p, offset := range next {
		if g.generation == a.generation && g.owners[p] == pr && len(g.history[p]) > 0 && g.history[p][0].state == pr.source.keeper.Name() {
			if durable := pr.member.durable()[p]; offset > durable {
				g.w.fail("member %d: offset %d of %s is committed, and the state is durable up to %d", pr.member.index, offset, p, durable)
			}
			g.w.broker.place(p, offset)
			g.accepted[p] = append(g.accepted[p], acceptance{g.history[p][0], offset})
			continue
		}
		if ok, _ := sources.Accepted(g.tenures(p, pr), g.w.broker.at(p), offset); !ok {
			errs = append(errs, fmt.Errorf("%s at %d: %w", p, offset, sources.ErrFenced))
		}
	}
	return errors.Join(errs...)
}

// mayDeliver tells whether the group has accepted a record from the state
// that delivers what it caused, in a tenure that read it or began before it.
func (g *group) mayDeliver(state string, cause pipeline.Position) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.accepted[cause.Partition], func(a acceptance) bool {
		return a.state == state && a.began <= cause.Offset && cause.Offset < a.next
	})
}

// memberSource is a source whose partitions the group assigns.
type memberSource struct {
	*source
	mu      sync.Mutex
	current assignment
}

// Keep implements sources.Member.
func (s *memberSource) Keep(k sources.Keeper) {
	s.keeper = k
	s.pr.member.stateName = k.Name()
}

// Run implements sources.Source: one tenure after another.
func (s *memberSource) Run(ctx context.Context, _ sources.Positions, out sources.Emit) error {
	s.announce() // none is known yet
	for ctx.Err() == nil {
		a, err := s.pr.w.group.join(ctx, s.pr)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.current = a
		s.mu.Unlock()
		if err := s.hold(ctx, a, out); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// hold is one tenure: it ends when the group rebalances and the member hears
// of it. One that is deaf reads on, and is fenced.
func (s *memberSource) hold(ctx context.Context, a assignment, out sources.Emit) error {
	tenure, cancel := context.WithCancel(ctx)
	defer cancel()
	from, err := s.keeper.Assigned(tenure, a.parts)
	if err != nil {
		return err
	}
	taken := slices.SortedFunc(maps.Keys(from), func(a, b pipeline.Partition) int { return int(a.ID - b.ID) })
	if err := s.pr.pass(never, func() error { return s.pr.w.group.claim(s.pr, a, taken) }, never); err != nil {
		if errors.Is(err, sources.ErrFenced) {
			return nil
		}
		return err
	}
	readers, reading := errgroup.WithContext(tenure)
	for _, p := range taken {
		readers.Go(func() error { return s.read(reading, p, s.pr.w.broker.begin(p, from[p]), out) })
	}
	readers.Go(func() error {
		defer cancel()
		select {
		case <-a.leave:
			return s.pr.member.faults.hearing(tenure)
		case <-reading.Done():
			return nil
		}
	})
	err = readers.Wait()
	if err != nil && tenure.Err() == nil {
		return err
	}
	bounded, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	_ = s.keeper.Revoked(bounded, taken) // what it says is logged
	return ctx.Err()
}

// Commit implements sources.Source.
func (s *memberSource) Commit(ctx context.Context, next sources.Positions) error {
	s.mu.Lock()
	a := s.current
	s.mu.Unlock()
	return s.commit(ctx, func() error { return s.pr.w.group.commit(s.pr, a, next) })
}

// Rewind implements sources.Rewinder: ten records back.
func (s *memberSource) Rewind(_ context.Context, _ pipeline.Partition, offset int64, _ time.Duration) (int64, error) {
	return max(0, offset-10), nil
}

// rebalance has the group agree anew. Those who do not hear of it, or take
// too long, are left out and go on as if nothing had been.
func (w *world) rebalance(home bool) {
	w.group.prepare()
	if !w.plan.racy || home {
		time.Sleep(3 * time.Second)
	}
	w.group.finish(func(p pipeline.Partition, joined []*process) *process {
		pr := w.home(p, joined)
		if pr == nil || !home && w.steps.IntN(3) == 0 {
			pr = joined[w.steps.IntN(len(joined))]
		}
		w.record("%s is assigned to member %d in generation %d", p, pr.member.index, w.group.generation)
		return pr
	})
}

// home returns the process whose state the newest tenure of a partition was of.
func (w *world) home(p pipeline.Partition, joined []*process) *process {
	if len(w.group.history[p]) > 0 {
		for _, pr := range joined {
			if pr.source.keeper.Name() == w.group.history[p][0].state {
				return pr
			}
		}
	}
	return nil
}
