package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"sluice/pipeline/state"
)

// EpochStore makes epochs durable. *state.Store is one.
type EpochStore interface {
	// Commit returns once the epoch is durable.
	Commit(ctx context.Context, e *state.Epoch) (state.Committed, error)
	Dictionary() *state.Dictionary
}

// CheckpointClock is the time of a Checkpointer, so that tests decide it.
type CheckpointClock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// CheckpointOptions configure a Checkpointer.
type CheckpointOptions struct {
	Store EpochStore
	// Interval is how often state is made durable. An alert that waits asks
	// for it earlier, though not sooner than MinInterval after the last time.
	Interval, MinInterval time.Duration
	Clock                 CheckpointClock
	// Entries makes what sinks are to get of an outcome. It is called in the
	// order of the outcomes, by one goroutine.
	Entries func(out *Outcome) ([]CausedEntry, error)
	// Save, when set, adds what else belongs to the epoch. It is called where Entries is.
	Save func(w *state.Writer)
	// Durable is told of every epoch once it is durable. Its error ends Run.
	Durable func(ctx context.Context, e *DurableEpoch) error
}

// CausedEntry is an entry of the outbox, with the record that caused it.
type CausedEntry struct {
	state.Entry
	Cause Position
}

// DurableEpoch is an epoch that a crash no longer undoes.
type DurableEpoch struct {
	state.Committed
	// Positions are the offsets to read next.
	Positions map[Partition]int64
	// Causes are those of the epoch's outbox entries, from Committed.FirstSeq on.
	Causes []Position
}

// Checkpointer makes a graph's state durable again and again. Deliver is the
// graph's, Run the loop; Checkpoint does it at once.
//
// Everything that a record did is in the same epoch as the position behind
// it: buckets, clocks and stashes, and the alerts that it caused, as entries
// of the outbox. So a crash at any moment resumes from a state in which every
// record before the positions counted once, and none behind them.
type Checkpointer struct {
	opts CheckpointOptions

	hurry chan struct{} // an alert waits

	turn   chan struct{} // holds one token: one checkpoint at a time
	ending chan struct{} // closed when Run is told to end
	// Who has the token uses what follows.
	graph  *Graph
	stored uint64
	extra  []*state.Writer // for the next epoch

	savedMu sync.Mutex
	saved   map[Partition]*savedPartition

	epochMu sync.Mutex // guards what follows
	entries []CausedEntry
	closed  []CausedEntry // those before the barrier
}

// savedPartition is what the store holds of a partition.
type savedPartition struct {
	next              int64
	clock             time.Time
	nextSum, clockSum state.Sum
}

// NewCheckpointer returns a checkpointer without a graph.
func NewCheckpointer(o CheckpointOptions) *Checkpointer {
	c := &Checkpointer{
		opts: o, hurry: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		ending: make(chan struct{}), saved: make(map[Partition]*savedPartition),
	}
	c.turn <- struct{}{}
	return c
}

// Attach sets the graph whose state is made durable, made of the last epoch's
// state. A graph before it must have ended: what it delivered behind its last
// barrier is delivered again.
func (c *Checkpointer) Attach(g *Graph) {
	<-c.turn
	defer c.release()
	c.graph = g
	c.epochMu.Lock()
	defer c.epochMu.Unlock()
	c.entries = nil
}

// Add puts changes into the next epoch, such as the deletion of records
// whose owner is gone.
func (c *Checkpointer) Add(w *state.Writer) {
	<-c.turn
	defer c.release()
	if w.Len() > 0 {
		c.extra = append(c.extra, w)
	}
}

// Deliver is Options.Deliver of the graph.
func (c *Checkpointer) Deliver(_ context.Context, out *Outcome) error {
	if out.Barrier != nil {
		if c.opts.Save != nil {
			c.opts.Save(&out.Barrier.Own)
		}
		c.epochMu.Lock()
		defer c.epochMu.Unlock()
		c.closed = append(c.closed, c.entries...)
		c.entries = nil
		return nil
	}
	entries, err := c.opts.Entries(out)
	if err != nil || len(entries) == 0 {
		return err
	}
	c.epochMu.Lock()
	c.entries = append(c.entries, entries...)
	c.epochMu.Unlock()
	select {
	case c.hurry <- struct{}{}:
	default:
	}
	return nil
}

// Waiting is how many entries wait for the next epoch.
func (c *Checkpointer) Waiting() int {
	c.epochMu.Lock()
	defer c.epochMu.Unlock()
	return len(c.entries) + len(c.closed)
}

// Run makes checkpoints until ctx is done or one fails. It returns when none
// is under way any more, whoever asked for it. It is called once.
func (c *Checkpointer) Run(ctx context.Context) error {
	defer func() { // whoever has the token makes a checkpoint
		<-c.turn
		c.release()
	}()
	defer close(c.ending)
	last := c.opts.Clock.Now()
	due := c.opts.Clock.After(c.opts.Interval)
	hurry := c.hurry
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hurry:
			hurry = nil // the earlier date holds for all that come until then
			due = c.opts.Clock.After(max(0, c.opts.MinInterval-c.opts.Clock.Now().Sub(last)))
			continue
		case <-due:
		}
		last = c.opts.Clock.Now()
		err := c.Checkpoint(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, ErrStopped) { // another graph may follow one that stopped
			return err
		}
		hurry = c.hurry
		due = c.opts.Clock.After(max(0, c.opts.Interval-c.opts.Clock.Now().Sub(last)))
	}
}

func (c *Checkpointer) release() { c.turn <- struct{}{} }

// Checkpoint makes durable what was emitted so far, and drops the state of
// the partitions to forget. It is done when Durable has returned. When ctx
// ends before, it goes on by itself as far as it can, and the next one waits for it.
func (c *Checkpointer) Checkpoint(ctx context.Context, forget ...Partition) error {
	return c.wait(ctx, func() (*Snapshot, error) { return c.graph.Checkpoint(ctx, c.stored, forget...) })
}

// Settle is Checkpoint that waits for alerts that wait for look-ups: the last
// one before another graph's rules hold.
func (c *Checkpointer) Settle(ctx context.Context) error {
	return c.wait(ctx, func() (*Snapshot, error) { return c.graph.Settle(ctx, c.stored) })
}

func (c *Checkpointer) wait(ctx context.Context, barrier func() (*Snapshot, error)) error {
	select {
	case <-c.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() { // it ends with the graph at the latest; Run waits for it
		defer c.release()
		done <- c.checkpoint(ctx, barrier)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Checkpointer) checkpoint(ctx context.Context, barrier func() (*Snapshot, error)) error {
	snapshot, err := barrier()
	if err != nil {
		return err
	}
	c.savePartitions(snapshot)
	c.epochMu.Lock()
	closed := c.closed
	c.closed = nil
	c.epochMu.Unlock()
	e := &state.Epoch{Parts: append(c.extra, snapshot.Parts()...)}
	c.extra = nil
	if len(e.Parts) == 0 && len(closed) == 0 {
		return nil // nothing happened
	}
	d := &DurableEpoch{Positions: snapshot.Positions}
	for i := range closed {
		e.Outbox = append(e.Outbox, closed[i].Entry)
		d.Causes = append(d.Causes, closed[i].Cause)
	}
	if d.Committed, err = c.commit(ctx, e); err != nil {
		return fmt.Errorf("making state durable: %w", err)
	}
	c.stored = d.Epoch
	return c.opts.Durable(ctx, d)
}

// commit hands an epoch to the store. What is in it is not written down
// again, so that it is tried until there is room for it, or the process ends.
func (c *Checkpointer) commit(ctx context.Context, e *state.Epoch) (state.Committed, error) {
	ctx = context.WithoutCancel(ctx)
	for {
		done, err := c.opts.Store.Commit(ctx, e)
		var full *state.SpaceError
		if !errors.As(err, &full) {
			return done, err
		}
		select {
		case <-c.opts.Clock.After(c.opts.MinInterval):
		case <-c.ending:
			return done, err
		}
	}
}

// savePartitions writes down the positions and clocks that changed.
func (c *Checkpointer) savePartitions(s *Snapshot) {
	c.savedMu.Lock()
	defer c.savedMu.Unlock()
	d := c.opts.Store.Dictionary()
	for _, p := range s.Forgotten {
		if old := c.saved[p]; old != nil {
			s.Own.Delete(partitionKey(d, state.KindPosition, p), old.nextSum)
			s.Own.Delete(partitionKey(d, state.KindClock, p), old.clockSum)
			delete(c.saved, p)
		}
	}
	for p, next := range s.Positions {
		if old := c.of(p); old.nextSum == 0 || old.next != next {
			old.next = next
			old.nextSum = s.Own.Put(partitionKey(d, state.KindPosition, p), binary.AppendVarint([]byte{partitionVersion}, next), old.nextSum)
		}
	}
	for p, clock := range s.Clocks {
		if clock.IsZero() {
			continue
		}
		if old := c.of(p); old.clockSum == 0 || !old.clock.Equal(clock) {
			old.clock = clock
			value := binary.AppendVarint([]byte{partitionVersion}, clock.Unix())
			value = binary.AppendUvarint(value, uint64(clock.Nanosecond()))
			old.clockSum = s.Own.Put(partitionKey(d, state.KindClock, p), value, old.clockSum)
		}
	}
}

func (c *Checkpointer) of(p Partition) *savedPartition {
	s := c.saved[p]
	if s == nil {
		s = &savedPartition{}
		c.saved[p] = s
	}
	return s
}

// partitionVersion is the first byte of the records of positions and clocks.
const partitionVersion = 1

func partitionKey(d *state.Dictionary, kind state.Kind, p Partition) []byte {
	return binary.AppendUvarint([]byte{byte(kind)}, uint64(PartitionNumber(d, p)))
}

// ErrBadPartition says that the record of a position or a clock cannot be read.
var ErrBadPartition = errors.New("the record of a partition's position or clock is damaged, or a newer version wrote it")

// DecodePartition reads the record of a position or a clock: next, or clock, is set.
func DecodePartition(d *state.Dictionary, key, value []byte) (p Partition, next int64, clock time.Time, err error) {
	number, n := binary.Uvarint(key[1:])
	if n != len(key)-1 || len(value) < 2 || value[0] != partitionVersion {
		return p, 0, clock, ErrBadPartition
	}
	p, ok := PartitionOf(d, uint32(number))
	first, n := binary.Varint(value[1:])
	if !ok || n <= 0 {
		return p, 0, clock, ErrBadPartition
	}
	if state.Kind(key[0]) == state.KindPosition {
		return p, first, clock, nil
	}
	nsec, m := binary.Uvarint(value[1+n:])
	if m <= 0 || nsec >= 1e9 {
		return p, 0, clock, ErrBadPartition
	}
	return p, 0, time.Unix(first, int64(nsec)).UTC(), nil
}

// Load takes a record of a position or a clock. It comes before Attach.
func (c *Checkpointer) Load(key, value []byte, sum state.Sum) error {
	p, next, clock, err := DecodePartition(c.opts.Store.Dictionary(), key, value)
	if err != nil {
		return err
	}
	c.savedMu.Lock()
	defer c.savedMu.Unlock()
	s := c.of(p)
	if state.Kind(key[0]) == state.KindPosition {
		s.next, s.nextSum = next, sum
	} else {
		s.clock, s.clockSum = clock, sum
	}
	return nil
}

// Held returns where the state stands: the positions and clocks of all
// partitions that it holds.
func (c *Checkpointer) Held() (next map[Partition]int64, clocks map[Partition]time.Time) {
	c.savedMu.Lock()
	defer c.savedMu.Unlock()
	next, clocks = make(map[Partition]int64, len(c.saved)), make(map[Partition]time.Time, len(c.saved))
	for p, s := range maps.All(c.saved) {
		if s.nextSum != 0 {
			next[p] = s.next
		}
		if s.clockSum != 0 {
			clocks[p] = s.clock
		}
	}
	return next, clocks
}
