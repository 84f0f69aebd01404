package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// ErrStopped is Emit's error when the graph takes nothing any more.
var ErrStopped = errors.New("the graph has stopped")

// ErrRefused is EmitSome's error when the graph makes way for another.
var ErrRefused = errors.New("the graph makes way for another")

// Graph carries batches from Emit to Deliver: parallel workers, put back in
// order by the sequencer, then shards, then alerts.
//
//	Emit ─► work ─► workers ─┐
//	   └──► order ──────────►sequencer ─► shards ─► collector ─► alert lane ─► Deliver
//
// Order: batches leave every step in the order in which they entered (Seq).
type Graph struct {
	opts Options

	// emitTurn, of one, is held by whoever emits. It is a channel since it is
	// waited for while the graph is full, and that within a bound.
	emitTurn chan struct{}
	seq      uint64
	tickets  map[Partition]*ticket // the last batch of each partition; under emitTurn
	next     map[Partition]int64   // the offset after it; under emitTurn
	closed   bool
	merger   *merger // nil when lines go in the order of their arrival
	late     lateAlerts
	slots    chan struct{} // bounds the alerts being made
	lookUps  sync.WaitGroup

	work  chan *flight
	order chan *flight // to the sequencer
	done  chan *flight // to the collector
	tail  chan *flight // to the alert lane
	tasks []chan *flight

	stopped    chan struct{} // closed when Run returns
	refusing   chan struct{} // closed by Refuse
	refuseOnce sync.Once
	pool       sync.Pool
}

// flight is a batch with what the graph needs to know of it.
type flight struct {
	Batch
	prev   *ticket // of the partition's batch before
	ticket *ticket
	worked chan struct{} // a worker is finished with it

	shardPours [][]*Pour // by shard; the last is the alert lane's
	overflows  [][]Overflow
	unapplied  atomic.Int32  // shards that have yet to apply it
	applied    chan struct{} // closed when none has
	pending    []*pendingAlert
	share      *shared
	next       int64
	// before and clock are the clocks before and after the batch.
	before, clock time.Time
	through       []Through

	// barrier is set when this is no batch but a barrier between batches.
	barrier *barrier
	// merged are the batches whose last line is in this one (Options.Merge).
	merged []*flight
}

// ticket orders the batches of one partition.
type ticket struct {
	sequenced chan struct{} // closed when clock is set
	clock     time.Time     // the partition's clock after the batch
}

// shared counts the batches that were cut from one RecordBatch.
type shared struct {
	mu      sync.Mutex
	left    int
	release func()
}

func (s *shared) done() { s.give(1) }

// give says that some parts are through, or will never be taken.
func (s *shared) give(parts int) {
	s.mu.Lock()
	s.left -= parts
	last := s.left == 0
	s.mu.Unlock()
	if last && s.release != nil {
		s.release()
	}
}

// Turn lets a worker wait until all earlier batches of the partition are
// parsed, for what depends on order before the shuffle: the stashes.
type Turn struct {
	ctx  context.Context
	prev *ticket
}

// Wait blocks until it is the batch's turn and returns the partition's clock
// before the batch. It is false when the graph stops instead.
func (t *Turn) Wait() (clock time.Time, ok bool) {
	if t.prev == nil {
		return time.Time{}, true
	}
	select {
	case <-t.prev.sequenced:
		return t.prev.clock, true
	case <-t.ctx.Done():
		return time.Time{}, false
	}
}

// NewGraph checks the options and returns a graph; Run starts it.
func NewGraph(opts Options) (*Graph, error) {
	if opts.Workers < 1 || opts.Shards < 1 {
		return nil, fmt.Errorf("graph: workers and shards must be at least 1, not %d and %d", opts.Workers, opts.Shards)
	}
	if opts.BatchRecords == 0 {
		opts.BatchRecords = 512
	}
	if opts.QueueBatches == 0 {
		opts.QueueBatches = 4 * opts.Workers
	}
	if opts.LookUps == 0 {
		opts.LookUps = 64
		if opts.LateAlerts {
			opts.LookUps = 4096
		}
	}
	if opts.MaxDepth == 0 {
		opts.MaxDepth = 5
	}
	g := &Graph{
		opts:    opts,
		tickets: make(map[Partition]*ticket), emitTurn: make(chan struct{}, 1),
		next:    make(map[Partition]int64),
		work:    make(chan *flight, opts.QueueBatches),
		order:   make(chan *flight, opts.QueueBatches+opts.Workers),
		done:    make(chan *flight, opts.QueueBatches),
		tail:    make(chan *flight, opts.QueueBatches),
		stopped: make(chan struct{}), refusing: make(chan struct{}),
		slots: make(chan struct{}, opts.LookUps),
	}
	for range opts.Shards {
		g.tasks = append(g.tasks, make(chan *flight, opts.QueueBatches))
	}
	if opts.Merge != nil {
		g.merger = newMerger(*opts.Merge, opts)
	}
	g.late.init()
	return g, nil
}

// Emit takes a batch from a source: records of one partition, in order. It
// blocks while the graph is full. Batches of one partition must not be
// emitted concurrently. The graph calls rb.Release when it is through.
func (g *Graph) Emit(ctx context.Context, rb *RecordBatch) error {
	_, err := g.EmitSome(ctx, rb)
	return err
}

// EmitSome is Emit that tells how many records it took before it failed. With
// ErrRefused the graph makes way for another, which is to get the rest once
// this one is through with what it took.
//
// A batch that is begun is taken to its end even when ctx is done: a source
// that was told that it was not taken would have half of it come again. Only
// where lines are merged it may be broken off, since there the rest may
// have to wait for partitions that bring nothing any more.
func (g *Graph) EmitSome(ctx context.Context, rb *RecordBatch) (taken int, err error) {
	if len(rb.Records) == 0 && len(rb.Dead) == 0 {
		err := g.noteNext(ctx, rb)
		if rb.Release != nil && !errors.Is(err, ErrRefused) { // the next graph gets it again
			rb.Release()
		}
		return 0, err
	}
	n, whole := g.opts.BatchRecords, *rb // once its last part is emitted, rb may be released and used again
	share := &shared{left: max(1, (len(whole.Records)+n-1)/n), release: whole.Release}
	for start := 0; start == 0 || start < len(whole.Records); start += n {
		part, end := whole, min(start+n, len(whole.Records))
		part.Records = whole.Records[start:end]
		if end < len(whole.Records) {
			part.Next = whole.Records[end].Offset
		}
		part.Dead, whole.Dead = whole.deadBefore(end)
		if err := g.emit(ctx, &part, share); err != nil {
			if !errors.Is(err, ErrRefused) { // the next graph gets the rest, with its Release
				share.give((max(1, len(whole.Records)-start) + n - 1) / n)
			}
			return start, err
		}
		if g.merger == nil {
			ctx = context.WithoutCancel(ctx)
		}
	}
	return len(whole.Records), nil
}

// Rest drops the records that EmitSome has taken, and the dead letters that
// went with them, before what is left is given to another graph.
func (rb *RecordBatch) Rest(taken int) {
	if taken > 0 {
		_, rb.Dead = rb.deadBefore(taken)
		rb.Records = rb.Records[taken:]
	}
}

// deadBefore parts the dead letters that stood before a record from the
// others: no position may pass a letter that is not on its way.
func (rb *RecordBatch) deadBefore(record int) (before, others []DeadLetter) {
	if record >= len(rb.Records) {
		return rb.Dead, nil
	}
	n := 0
	for n < len(rb.Dead) && rb.Dead[n].Position.Offset < rb.Records[record].Offset {
		n++
	}
	return rb.Dead[:n], rb.Dead[n:]
}

// noteNext takes a batch without records that says where its partition stands:
// a checkpoint knows then, though nothing was read yet.
func (g *Graph) noteNext(ctx context.Context, rb *RecordBatch) error {
	if err := g.takeTurn(ctx); err != nil {
		return err
	}
	defer g.endTurn()
	if rb.Next > g.next[rb.Partition] {
		g.next[rb.Partition] = rb.Next
	}
	return nil
}

// Refuse makes every Emit, those under way too, fail with ErrRefused.
func (g *Graph) Refuse() { g.refuseOnce.Do(func() { close(g.refusing) }) }

// takeTurn lets one batch in at a time; endTurn comes after it unless it failed.
func (g *Graph) takeTurn(ctx context.Context) error {
	select {
	case g.emitTurn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-g.refusing:
		g.endTurn()
		return ErrRefused
	default:
		return nil
	}
}

func (g *Graph) endTurn() { <-g.emitTurn }

func (g *Graph) emit(ctx context.Context, rb *RecordBatch, share *shared) error {
	if g.merger != nil {
		if err := g.merger.admit(ctx, g, rb.Partition); err != nil {
			return err
		}
	}
	if err := g.takeTurn(ctx); err != nil {
		return err
	}
	defer g.endTurn()
	if g.closed {
		return ErrStopped
	}
	f := g.newFlight()
	f.Seq = g.seq
	f.Records, f.share = rb, share
	switch f.next = rb.Next; {
	case f.next != 0:
	case len(rb.Records) > 0:
		f.next = rb.Records[len(rb.Records)-1].Offset + 1
	default: // dead letters alone, which say nothing of where the partition stands
		f.next = g.next[rb.Partition]
	}
	f.prev = g.tickets[rb.Partition]
	f.ticket = &ticket{sequenced: make(chan struct{})}
	// Both queues take the batch under the lock, so that workers start
	// batches in the order in which the sequencer waits for them: the oldest
	// unfinished batch is always being worked on, and Turn.Wait cannot deadlock.
	t := f.ticket
	select {
	case g.work <- f:
	case <-g.refusing:
		return ErrRefused
	case <-ctx.Done():
		return ctx.Err()
	case <-g.stopped:
		return ErrStopped
	}
	g.seq++
	g.tickets[rb.Partition], g.next[rb.Partition] = t, f.next
	select { // no way back now: a batch that is worked on must be sequenced
	case g.order <- f:
	case <-g.stopped:
		return ErrStopped
	}
	return nil
}

// Close says that no batch will be emitted any more. Run returns when
// everything emitted before was delivered.
func (g *Graph) Close() {
	g.emitTurn <- struct{}{}
	defer g.endTurn()
	if !g.closed {
		g.closed = true
		close(g.work)
		close(g.order)
	}
}

// Run runs the graph until Close and the end of what was emitted, until ctx
// is cancelled, or until Deliver fails.
func (g *Graph) Run(ctx context.Context) error {
	defer close(g.stopped)
	eg, ctx := errgroup.WithContext(ctx)
	for range g.opts.Workers {
		w := g.opts.NewWorker()
		eg.Go(func() error { return g.runWorker(ctx, w) })
	}
	eg.Go(func() error { return g.runSequencer(ctx) })
	for i, tasks := range g.tasks {
		shard := g.opts.NewShard(i)
		eg.Go(func() error { return g.runShard(ctx, i, shard, tasks) })
	}
	eg.Go(func() error { return g.runCollector(ctx) })
	lane := &alertLane{g: g}
	if g.opts.AlertLane {
		lane.shard = g.opts.NewShard(g.opts.Shards)
	}
	lane.encoder.shard, _ = lane.shard.(DurableShard)
	eg.Go(func() error { return g.runTail(ctx, lane) })
	err := eg.Wait() // which ends ctx, and with it the look-ups that nobody waits for any more
	g.lookUps.Wait()
	return err
}

func (g *Graph) runWorker(ctx context.Context, w Worker) error {
	for {
		f, err := receive(ctx, g.work)
		if f == nil {
			return err
		}
		w.Work(&f.Batch, &Turn{ctx, f.prev})
		close(f.worked)
	}
}

// receive returns nil and no error when the channel is closed.
func receive(ctx context.Context, c <-chan *flight) (*flight, error) {
	select {
	case f, ok := <-c:
		if !ok {
			return nil, nil
		}
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func send(ctx context.Context, c chan<- *flight, f *flight) error {
	select {
	case c <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *Graph) newFlight() *flight {
	f, _ := g.pool.Get().(*flight)
	if f == nil {
		f = &flight{
			shardPours: make([][]*Pour, g.opts.Shards+1),
			overflows:  make([][]Overflow, g.opts.Shards),
		}
	}
	f.worked, f.applied = make(chan struct{}), make(chan struct{})
	return f
}

// recycle ends a batch's life: whatever outlived it was copied.
func (g *Graph) recycle(f *flight) {
	for _, source := range f.merged {
		g.recycle(source)
	}
	clear(f.merged)
	f.merged = f.merged[:0]
	if f.share != nil {
		f.share.done()
	}
	f.share, f.Records, f.ticket, f.prev = nil, nil, nil, nil
	f.before, f.clock, f.through = time.Time{}, time.Time{}, nil // Outcome may keep through
	if g.opts.Poison {
		f.Arena.Poison()
	}
	f.Arena.Reset()
	clear(f.Pours)
	f.Pours, f.Steps = f.Pours[:0], f.Steps[:0]
	for i := range f.shardPours {
		clear(f.shardPours[i])
		f.shardPours[i] = f.shardPours[i][:0]
	}
	for i := range f.overflows {
		clear(f.overflows[i])
		f.overflows[i] = f.overflows[i][:0]
	}
	clear(f.pending)
	f.pending = f.pending[:0]
	f.Stats, f.Dead = BatchStats{}, nil // Outcome may keep Dead
	g.pool.Put(f)
}
