package pipeline

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// MergedPartition is the one partition that all lines belong to when their
// clocks order them: shards have one clock then.
var MergedPartition = Partition{Topic: "merged"}

// MergeOptions order the lines of all partitions by (clock of the partition,
// topic, partition, offset), whatever the order of their arrival: then what
// several partitions feed is the same in every run.
type MergeOptions struct {
	// Idle is how long lines wait for a partition that brings none. Then it
	// is stepped over, and counted: the order is no longer a function of the records.
	Idle time.Duration
	// CaughtUp tells whether nothing is left to read of a partition: only
	// such a one is stepped over. Nil means that all are.
	CaughtUp func(Partition) bool
	// IdleSteps counts how often a partition was stepped over.
	IdleSteps *atomic.Uint64
	// Now and After are the clock; nil is the wall clock.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
}

// merger puts the lines of partitions in order. The sequencer's goroutine
// uses it, but for admit and Expect.
type merger struct {
	opts      MergeOptions
	lines     int // of one merged batch
	partBatch int // batches that a partition may have in it
	shards    int
	clock     time.Time // of what was merged
	lanes     []*mergeLane
	byName    map[Partition]*mergeLane
	finished  []*flight    // batches whose lines are all merged, to be attached
	dead      []DeadLetter // of batches that came, to be attached
	records   RecordBatch
	saved     savedLines
	bounds    map[Partition]time.Time // clocks out of a checkpoint

	mu       sync.Mutex // guards what follows
	budgets  map[Partition]chan struct{}
	expected []Partition // not yet among lanes
}

func newMerger(o MergeOptions, opts Options) *merger {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.CaughtUp == nil {
		o.CaughtUp = func(Partition) bool { return true }
	}
	if o.IdleSteps == nil {
		o.IdleSteps = &atomic.Uint64{}
	}
	return &merger{
		opts: o, lines: opts.BatchRecords, partBatch: 8, shards: opts.Shards,
		byName: make(map[Partition]*mergeLane), budgets: make(map[Partition]chan struct{}),
		records: RecordBatch{Partition: MergedPartition}, saved: make(savedLines),
		bounds: make(map[Partition]time.Time),
	}
}

// Expect names partitions whose lines others must wait for, from the start
// on. It matters only when lines are merged.
func (g *Graph) Expect(partitions ...Partition) {
	if g.merger == nil {
		return
	}
	g.merger.mu.Lock()
	defer g.merger.mu.Unlock()
	g.merger.expected = append(g.merger.expected, partitions...)
}

// admit waits until a partition may have another batch in the graph: one that
// runs ahead must not fill it, for the others' lines have to come through.
func (m *merger) admit(ctx context.Context, g *Graph, p Partition) error {
	select {
	case m.budget(p) <- struct{}{}:
		return nil
	case <-g.refusing:
		return ErrRefused
	case <-ctx.Done():
		return ctx.Err()
	case <-g.stopped:
		return ErrStopped
	}
}

func (m *merger) budget(p Partition) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.budgets[p]
	if b == nil {
		b = make(chan struct{}, m.partBatch)
		m.budgets[p] = b
	}
	return b
}

// mergeLane is a partition's batches that wait.
type mergeLane struct {
	part  Partition
	queue []*flight
	pour  int // place in the first batch's pours
	step  int // and in its steps
	// clock is the partition's before the next line; bound its clock behind
	// all that came: no later line is earlier.
	clock, bound time.Time
	// idle: it was stepped over, and is not waited for until it brings a line.
	idle bool
	// silent is since when there has been no line of it that matters; babbling
	// says that others have come since.
	silent   time.Time
	babbling bool
}

// add takes a parsed batch.
func (m *merger) add(f *flight) {
	l := m.lane(f.Records.Partition)
	if len(f.Pours)+len(f.Steps) == 0 {
		l.babbling = true
	} else {
		l.idle, l.babbling, l.silent = false, false, m.opts.Now()
	}
	l.bound = f.ticket.clock
	if len(l.queue) == 0 {
		l.clock = f.before
	}
	l.queue = append(l.queue, f)
	m.dead = append(m.dead, f.Dead...)
	m.finish(l)
}

func (m *merger) lane(p Partition) *mergeLane {
	l := m.byName[p]
	if l == nil {
		l = &mergeLane{part: p, silent: m.opts.Now(), bound: m.bounds[p]}
		m.byName[p] = l
		m.lanes = append(m.lanes, l)
	}
	return l
}

// forget drops a partition's lines that wait, and waits for it no longer.
func (m *merger) forget(p Partition) {
	l := m.byName[p]
	if l == nil {
		return
	}
	for _, f := range l.queue {
		l.pour, l.step = 0, 0
		f.Pours, f.Steps = f.Pours[:0], f.Steps[:0]
	}
	m.finish(l)
	l.clock, l.bound, l.idle = time.Time{}, time.Time{}, true
}

// finish takes the batches out of a lane whose lines are all merged.
func (m *merger) finish(l *mergeLane) {
	for len(l.queue) > 0 {
		f := l.queue[0]
		if l.pour < len(f.Pours) || l.step < len(f.Steps) {
			return
		}
		l.pour, l.step = 0, 0
		l.queue = l.queue[1:]
		m.finished = append(m.finished, f)
		if f.share != nil { // not one out of a checkpoint
			<-m.budget(l.part)
		}
		if len(l.queue) > 0 {
			l.clock = l.queue[0].before
		}
	}
}

// head is the place of a lane's next line in the order.
type head struct {
	clock  time.Time
	part   Partition
	line   int32
	bounds bool // there is no line yet: none will come before this
}

func (l *mergeLane) head() head {
	if len(l.queue) == 0 {
		return head{clock: l.bound, part: l.part, bounds: true}
	}
	f := l.queue[0]
	h := head{clock: l.clock, part: l.part}
	if l.pour < len(f.Pours) {
		h.line = f.Pours[l.pour].Line
	}
	if l.step < len(f.Steps) && (l.pour == len(f.Pours) || f.Steps[l.step].Line <= h.line) {
		h.line, h.clock = f.Steps[l.step].Line, f.Steps[l.step].Clock
	}
	return h
}

// compare orders heads of different lanes.
func (h head) compare(o head) int {
	return cmp.Or(
		h.clock.Compare(o.clock),
		cmp.Compare(h.part.Topic, o.part.Topic), cmp.Compare(h.part.ID, o.part.ID), cmp.Compare(h.part.Source, o.part.Source),
	)
}

// pick returns the lane whose line is next, nil when another partition may
// still bring one before it.
func (m *merger) pick() (*mergeLane, head) {
	var best *mergeLane
	var first head
	for _, l := range m.lanes {
		h := l.head()
		if h.bounds && l.idle {
			continue
		}
		if best == nil || h.compare(first) < 0 {
			best, first = l, h
		}
	}
	if best == nil || first.bounds {
		return nil, head{}
	}
	return best, first
}

// next returns a batch of merged lines, nil when nothing can be put in order yet.
func (m *merger) next(g *Graph) *flight {
	m.meet()
	var f *flight
	for n := 0; n < m.lines; n++ {
		l, h := m.pick()
		if l == nil {
			break
		}
		if f == nil {
			f = m.newFlight(g)
		}
		m.take(f, l, h, int32(n))
	}
	if len(m.finished) > 0 || len(m.dead) > 0 {
		if f == nil {
			f = m.newFlight(g)
		}
		m.attach(f)
	}
	if f != nil {
		f.clock = m.clock
	}
	return f
}

func (m *merger) newFlight(g *Graph) *flight {
	f := g.newFlight()
	f.Records = &m.records
	return f
}

// meet makes lanes of the partitions that are expected.
func (m *merger) meet() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.expected {
		m.lane(p)
	}
	m.expected = m.expected[:0]
}

// take moves one line into a merged batch.
func (m *merger) take(f *flight, l *mergeLane, h head, n int32) {
	from := l.queue[0]
	l.clock = h.clock
	if l.step < len(from.Steps) && from.Steps[l.step].Line == h.line {
		s := from.Steps[l.step]
		l.step++
		if s.Clock.After(m.clock) {
			m.clock = s.Clock
			s.Line = n
			f.Steps = append(f.Steps, s)
		}
	}
	for l.pour < len(from.Pours) && from.Pours[l.pour].Line == h.line {
		p := &from.Pours[l.pour]
		l.pour++
		p.Line = n
		f.dealOne(p, m.shards)
	}
	m.finish(l)
}

// attach ends batches with the merged one that holds their last line: what
// they hold lives until that is through. Dead letters wait for no other
// partition, since a barrier's positions are behind lines that still wait.
func (m *merger) attach(f *flight) {
	f.Dead, m.dead = m.dead, nil
	for _, done := range m.finished {
		f.Stats.Add(&done.Stats)
		if done.share != nil && done.next > 0 {
			f.through = append(f.through, Through{done.Records.Partition, done.next})
		}
	}
	f.merged = append(f.merged, m.finished...)
	clear(m.finished)
	m.finished = m.finished[:0]
}

// blocking returns the silent partitions that lines wait for.
func (m *merger) blocking() []*mergeLane {
	var silent []*mergeLane
	waiting := false
	for _, l := range m.lanes {
		if len(l.queue) > 0 {
			waiting = true
		} else if !l.idle {
			silent = append(silent, l)
		}
	}
	if !waiting {
		return nil
	}
	return silent
}

// patience sends when a partition that lines wait for has been silent for
// long; it is nil when they wait for none.
func (m *merger) patience() <-chan time.Time {
	silent := m.blocking()
	if len(silent) == 0 || m.opts.Idle <= 0 {
		return nil
	}
	wait := m.opts.Idle
	for _, l := range silent {
		wait = min(wait, m.opts.Idle-m.opts.Now().Sub(l.silent))
	}
	return m.opts.After(max(wait, time.Millisecond))
}

// stepOver gives up waiting for partitions that have brought nothing for long
// and have nothing left to bring, or only lines that nobody understands. Of
// any other there is more to come: it is looked at again after as long.
func (m *merger) stepOver() {
	for _, l := range m.blocking() {
		switch {
		case m.opts.Now().Sub(l.silent) < m.opts.Idle:
		case l.babbling || m.opts.CaughtUp(l.part):
			l.idle = true
			m.opts.IdleSteps.Add(1)
		default:
			l.silent = m.opts.Now()
		}
	}
}
