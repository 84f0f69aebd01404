package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline/state"
	"sluice/sinks"
)

// Entry is one entry of the log. Its payload is an Item, or empty when the
// entry was discarded. Numbers ascend from 1 and may have gaps.
type Entry = state.StoredEntry

// Log is the durable outbox: a *state.Store. Its methods may be called from any goroutine.
type Log interface {
	// Outbox returns up to limit entries from a number on, ascending. Fewer
	// than limit means that there are no more yet.
	Outbox(from uint64, limit int) ([]Entry, error)
	// Cursor returns up to which number a sink has taken all; ok is false for
	// one that has never taken any. Cursors returns those of all sinks.
	Cursor(sink string) (seq uint64, ok bool)
	Cursors() map[string]uint64
	// SetCursor makes a cursor durable; RemoveCursor forgets a sink.
	SetCursor(sink string, seq uint64) error
	RemoveCursor(sink string) error
	// Trim removes the entries below a number.
	Trim(below uint64) error
}

// Clock is the time, so that tests decide it.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Target is a sink with how alerts are delivered to it.
type Target struct {
	Sink sinks.Sink
	// OnFull is what happens when too much waits for the sink; Block when empty.
	OnFull Policy
	// Retry says how the sink is asked again; DefaultRetry when zero.
	Retry Retry
	// Batching says how large its batches are. A Direct knows no waits for them.
	Batching Batching
}

func (t *Target) complete(o *Options) {
	if t.OnFull == "" {
		t.OnFull = Block
	}
	if t.Retry == (Retry{}) {
		t.Retry = DefaultRetry()
	}
	if t.Batching.Alerts == 0 {
		t.Batching.Alerts = o.Batch
	}
}

// Options configure a Deliverer or a Direct.
type Options struct {
	// Log is the durable outbox; a Direct has none.
	Log Log
	// Sinks are the places for alerts, with different names.
	Sinks []Target
	// DeadLetters, when set, is the place for dead letters.
	DeadLetters sinks.DeadLetters
	// DeadOnFull is what happens when too many dead letters wait: Block (when empty) or DropOldest.
	DeadOnFull Policy
	// Quota is how much may wait for one sink, in bytes of entries; 1 GiB when 0.
	Quota int64
	// Batch is how many alerts a sink is given at once, at most; 500 when 0.
	Batch int
	// Logger gets what the person on call should know; nil discards.
	Logger *slog.Logger
	// Clock is the wall clock when nil.
	Clock Clock
	// Jitter spreads waits: numbers in [0,1); random when nil.
	Jitter func() float64
}

func (o Options) complete() (Options, error) {
	if o.Quota == 0 {
		o.Quota = 1 << 30
	}
	if o.Batch == 0 {
		o.Batch = 500
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = wallClock{}
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.DeadOnFull == "" {
		o.DeadOnFull = Block
	}
	if o.DeadOnFull == DeadLetter {
		return o, errors.New("dead_letters: on_full cannot be dead_letter; it can be block or drop_oldest")
	}
	names := map[string]bool{DeadLettersName: true}
	o.Sinks = slices.Clone(o.Sinks)
	for i := range o.Sinks {
		t := &o.Sinks[i]
		t.complete(&o)
		name := t.Sink.Name()
		if names[name] {
			return o, fmt.Errorf("two sinks are called %q; give one a name: of its own", name)
		}
		names[name] = true
		if t.OnFull == DeadLetter && o.DeadLetters == nil {
			return o, fmt.Errorf("sink %s: on_full is dead_letter, and there are no dead_letters; say where they go", name)
		}
		if t.Retry.Bounded() && o.DeadLetters == nil {
			return o, fmt.Errorf("sink %s: retry bounds how often or how long an alert is tried, and there are no dead_letters; say where they go", name)
		}
	}
	return o, nil
}

// DeadLettersName is what the place for dead letters is called beside the
// sinks, in cursors and in Stats. No sink may have it.
const DeadLettersName = "dead letters"

// Deliverer gives the released entries of a log to the sinks, each at its own
// pace, in the order of their numbers and again until they are taken: at least
// once. New, then Run; the other methods may be called from any goroutine.
type Deliverer struct {
	opts  Options
	lanes []*lane
	dead  deadWriter
	count chan struct{} // wakes the tally; of one
	began time.Time

	taken   chan struct{} // wakes who trims; of one
	trimmed uint64        // its own

	mu        sync.Mutex // guards what follows, and the counts of lanes
	released  uint64     // entries below may be delivered
	counted   uint64     // entries below are in the lanes' counts: so far lanes read
	orphans   uint64     // dead letters that no place is configured for
	draining  chan struct{}
	blocked   bool
	unblocked chan struct{} // closed while nothing blocks
	changed   chan struct{} // closed, and made anew, at every change of counts
}

// New makes the deliverer and drops the cursors of sinks that are no longer
// configured. Nothing is delivered before Run and Release.
func New(o Options) (*Deliverer, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	d := &Deliverer{
		opts: o, count: make(chan struct{}, 1), taken: make(chan struct{}, 1), draining: make(chan struct{}),
		unblocked: make(chan struct{}), changed: make(chan struct{}),
		dead: newDeadWriter(o.DeadLetters), began: o.Clock.Now(),
	}
	close(d.unblocked)
	for _, t := range o.Sinks {
		d.lanes = append(d.lanes, newLane(d, t.Sink.Name(), t, alertPlace{t.Sink}))
	}
	if o.DeadLetters != nil {
		t := Target{OnFull: o.DeadOnFull}
		t.complete(&o)
		d.lanes = append(d.lanes, newLane(d, DeadLettersName, t, deadPlace{&d.dead}))
	}
	if err := d.dropRemoved(); err != nil {
		return nil, err
	}
	first := d.firstPos()
	d.counted, d.trimmed = first, first
	return d, nil
}

// dropRemoved lets go what waits only for sinks that are gone.
func (d *Deliverer) dropRemoved() error {
	for name, at := range d.opts.Log.Cursors() {
		if slices.ContainsFunc(d.lanes, func(l *lane) bool { return l.name == name }) {
			continue
		}
		if err := d.opts.Log.RemoveCursor(name); err != nil {
			return fmt.Errorf("outbox: forgetting the sink %s: %w", name, err)
		}
		d.opts.Logger.Warn("a sink is no longer configured; what waited for it is let go", "sink", name, "taken_up_to", at)
	}
	return nil
}

// firstPos is the smallest number that a sink has yet to take.
func (d *Deliverer) firstPos() uint64 {
	if len(d.lanes) == 0 {
		return 0
	}
	first := d.lanes[0].pos
	for _, l := range d.lanes[1:] {
		first = min(first, l.pos)
	}
	return first
}

// Release says that the entries below a number may be delivered. Only the
// highest call counts.
func (d *Deliverer) Release(below uint64) {
	d.mu.Lock()
	d.released = max(d.released, below)
	d.mu.Unlock()
	wake(d.count)
}

// wake tells the one reader of a channel of one to look again.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has not looked since the last time
	}
}

// Run delivers until ctx is done (nil) or the log fails.
func (d *Deliverer) Run(ctx context.Context) error {
	lanes, ctx := errgroup.WithContext(ctx)
	lanes.Go(func() error { return d.runTally(ctx) })
	lanes.Go(func() error { return d.runTrim(ctx) })
	for _, l := range d.lanes {
		lanes.Go(func() error { return l.run(ctx) })
	}
	err := lanes.Wait()
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return d.trim() // what was taken last
	}
	return err
}

// runTrim removes what all sinks have taken, out of the way of lanes.
func (d *Deliverer) runTrim(ctx context.Context) error {
	for {
		select {
		case <-d.taken:
			if err := d.trim(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tallyEntries is how many entries are looked at together.
const tallyEntries = 100

// runTally counts what waits for whom as entries are released.
func (d *Deliverer) runTally(ctx context.Context) error {
	for {
		more, err := d.tally()
		if err != nil {
			return fmt.Errorf("outbox: %w", err)
		}
		if more {
			wake(d.taken)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		select {
		case <-d.count:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tally counts the next entries; more is false when all that is released is counted.
func (d *Deliverer) tally() (more bool, err error) {
	d.mu.Lock()
	from, released := d.counted, d.released
	d.mu.Unlock()
	if from >= released {
		return false, nil
	}
	entries, err := d.opts.Log.Outbox(from, tallyEntries)
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := released
	if len(entries) == tallyEntries {
		next = min(released, entries[len(entries)-1].Seq+1)
	}
	for _, e := range entries {
		if e.Seq >= released {
			break
		}
		if len(e.Payload) == 0 {
			continue
		}
		to, err := readAddress(e.Payload)
		if err != nil {
			return false, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		d.countEntry(&e, &to)
	}
	d.counted = next
	for _, l := range d.lanes {
		wake(l.wake)
	}
	d.change()
	return true, nil
}

func (d *Deliverer) countEntry(e *Entry, to *address) {
	if to.dead && d.opts.DeadLetters == nil {
		if d.orphans++; d.orphans == 1 {
			d.opts.Logger.Warn("dead letters are stored and there is no place for them any more; they are dropped", "sink", DeadLettersName)
		}
	}
	for _, l := range d.lanes {
		if e.Seq >= l.pos && l.place.takes(to, l.name) {
			l.waiting++
			l.bytes += int64(len(e.Payload))
		}
	}
}

// change follows a change of counts: who is over its quota, and who waits for
// a change. d.mu is held.
func (d *Deliverer) change() {
	blocked := false
	for _, l := range d.lanes {
		blocked = l.updateFull() || blocked
	}
	if blocked != d.blocked {
		d.blocked = blocked
		if blocked {
			d.unblocked = make(chan struct{})
		} else {
			close(d.unblocked)
		}
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// Blocked tells whether the sources must wait for a sink.
func (d *Deliverer) Blocked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.blocked
}

// Unblocked returns a channel that is closed once the sources need not wait
// for any sink; it is closed already when they need not now.
func (d *Deliverer) Unblocked() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unblocked
}

// Drain waits until the sinks have taken all that is released, for as long as
// bound, and returns how many entries, counted once a sink, are left. Sinks
// that failed are tried again at once. It comes before the end of Run's context.
func (d *Deliverer) Drain(ctx context.Context, bound time.Duration) (left int) {
	d.mu.Lock()
	select {
	case <-d.draining:
	default:
		close(d.draining)
	}
	d.mu.Unlock()
	timeout := d.opts.Clock.After(bound)
	for {
		d.mu.Lock()
		left = 0
		for _, l := range d.lanes {
			left += l.waiting
		}
		done, changed := left == 0 && d.counted >= d.released, d.changed
		d.mu.Unlock()
		if done {
			return 0
		}
		select {
		case <-changed:
		case <-timeout:
			return left
		case <-ctx.Done():
			return left
		}
	}
}

// trimEntries is how many entries are removed together, unless nothing waits at all.
const trimEntries = 256

// trim removes what every sink has taken.
func (d *Deliverer) trim() error {
	d.mu.Lock()
	below := d.counted
	for _, l := range d.lanes {
		below = min(below, l.pos)
	}
	all := below == d.released
	d.mu.Unlock()
	if below <= d.trimmed || !all && below-d.trimmed < trimEntries {
		return nil
	}
	if err := d.opts.Log.Trim(below); err != nil {
		return fmt.Errorf("outbox: removing what was delivered: %w", err)
	}
	d.trimmed = below
	return nil
}

// Stats is what the outbox has done for one sink, or for the dead letters.
type Stats struct {
	Sink   string
	OnFull Policy
	// Cursor is the number of the next entry that the sink is to take.
	Cursor uint64
	// Waiting and WaitingBytes are what is released and not yet taken.
	Waiting      int
	WaitingBytes int64
	// Delivered entries were taken; Rejected ones the sink refused for good;
	// OverQuota ones waited too long, and went to the dead letters or were dropped.
	Delivered, Rejected, OverQuota uint64
	// GivenUp ones were tried as often or as long as the sink's retry allows.
	GivenUp uint64
	// DeadLetters of those went to the dead letters; the others are gone.
	DeadLetters uint64
	// Retries are the attempts that followed a failure.
	Retries uint64
	// Breaker is where the sink's circuit breaker stands.
	Breaker BreakerState
	// Failing says that the last attempt failed; Blocking that the sources wait for this sink.
	Failing, Blocking bool
}

// Stats returns a snapshot, sinks in the order of the configuration, dead letters last.
func (d *Deliverer) Stats() []Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Stats, len(d.lanes))
	for i, l := range d.lanes {
		out[i] = l.stats
		out[i].Sink, out[i].OnFull, out[i].Cursor = l.name, l.policy, l.pos
		out[i].Waiting, out[i].WaitingBytes = l.waiting, l.bytes
		out[i].Blocking = l.blocks
	}
	return out
}
