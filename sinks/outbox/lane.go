package outbox

import (
	"context"
	"fmt"
	"time"

	"sluice/pipeline"
)

// lane delivers to one place. Its goroutine does one thing at a time: make
// room, settle what the place refused, wait after a failure, or give the next
// batch. What waits is in the log: between attempts the heap holds none of it.
type lane struct {
	d      *Deliverer
	name   string
	policy Policy
	place  place
	wake   chan struct{} // of one: there may be something to do

	// Its own goroutine's.
	limit    int         // entries to read at once
	again    uint64      // where the batch that failed ended: the same is given again
	settling *settlement // a batch that was taken but for what was refused
	retry    retry
	drain    <-chan struct{}

	// Under d.mu.
	pos     uint64 // the next entry to take
	waiting int
	bytes   int64
	full    bool // the sources wait
	stuck   bool // over quota, and the dead letters do not take what is too much
	stats   Stats
}

// settlement is a batch that the place has taken, but for what it refused.
type settlement struct {
	batch   *batch
	refused int
	letters []pipeline.DeadLetter // the refused, where they go to the dead letters
	// why, when set, is the error behind which the rest, up to an entry, was not taken.
	why  error
	upTo uint64
}

// batch is a run of entries: those for the place, and where the next begins.
type batch struct {
	items []Item
	seqs  []uint64 // of items
	sizes []int64  // of their entries, in bytes
	next  uint64
	bytes int64
}

// cut leaves the first n items.
func (b *batch) cut(n int) {
	if n >= len(b.items) {
		return
	}
	b.next, b.items = b.seqs[n], b.items[:n]
	b.bytes = 0
	for _, size := range b.sizes[:n] {
		b.bytes += size
	}
}

// cutTo leaves the oldest items: as few as hold so many bytes.
func (b *batch) cutTo(bytes int64) {
	var sum int64
	for i, size := range b.sizes {
		if sum >= bytes {
			b.cut(i)
			return
		}
		sum += size
	}
}

func newLane(d *Deliverer, name string, policy Policy, p place) *lane {
	l := &lane{
		d: d, name: name, policy: policy, place: p, wake: make(chan struct{}, 1),
		limit: min(16, d.opts.Batch), drain: d.draining,
		retry: retry{name: name, log: d.opts.Logger, clock: d.opts.Clock, jitter: d.opts.Jitter, waits: "they wait in the outbox"},
	}
	taken, _ := d.opts.Log.Cursor(name) // none for a new one: it begins at the oldest there is
	l.pos = taken + 1
	return l
}

func (l *lane) run(ctx context.Context) error {
	var timer <-chan time.Time // runs after a failure
	for ctx.Err() == nil {
		if l.policy != Block && l.tooMuch() > 0 && (timer == nil || !l.stuck) {
			failed, err := l.makeRoom(ctx)
			if err != nil {
				return l.explain(err)
			}
			if failed {
				timer = l.retry.after()
			}
		}
		if timer == nil {
			idle, failed, err := l.step(ctx)
			if err != nil {
				return l.explain(err)
			}
			if failed {
				timer = l.retry.after()
			}
			if !idle {
				continue
			}
		}
		select {
		case <-timer:
			timer = nil
		case <-l.drain:
			timer, l.drain = nil, nil // once: a closed channel never blocks
		case <-l.wake:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

func (l *lane) explain(err error) error {
	return fmt.Errorf("outbox: %s: %w", l.name, err)
}

// step settles or gives one batch. idle means that nothing waits, failed that
// it is to be tried again later.
func (l *lane) step(ctx context.Context) (idle, failed bool, err error) {
	if l.settling == nil {
		b, err := l.read(l.again)
		if err != nil || b == nil {
			return err == nil, false, err
		}
		taken, refused, why := l.place.give(ctx, b.items)
		if why != nil && taken == 0 {
			l.again = b.next
			l.failed(ctx, why)
			return false, true, nil
		}
		l.settling = &settlement{batch: b, refused: len(refused), why: why, upTo: b.next}
		b.cut(taken)
		if len(refused) > 0 {
			l.retry.refused(refused)
			if l.place.forwards() && l.d.dead.to != nil {
				l.settling.letters = refused
			}
		}
	}
	return l.settle(ctx)
}

// settle writes down what was refused and moves the cursor past the batch.
func (l *lane) settle(ctx context.Context) (idle, failed bool, err error) {
	s := l.settling
	written := 0
	if len(s.letters) > 0 {
		if written, err = l.d.dead.write(ctx, s.letters, l.d.opts.Logger); err != nil {
			l.setStuck(true)
			l.failed(ctx, err)
			return false, true, nil
		}
	}
	l.again, l.settling = 0, nil
	l.setStuck(false)
	if s.why == nil {
		l.retry.succeeded()
	}
	err = l.advance(s.batch, func(st *Stats) {
		st.Delivered += uint64(len(s.batch.items) - s.refused)
		st.Rejected += uint64(s.refused)
		st.DeadLetters += uint64(written)
		st.Failing = false
	})
	if s.why != nil && err == nil {
		l.again = s.upTo
		l.retry.progressed()
		l.failed(ctx, s.why)
		return false, true, nil
	}
	return false, false, err
}

// failed notes an attempt that came to nothing.
func (l *lane) failed(ctx context.Context, why error) {
	if ctx.Err() != nil {
		return // the end of the run is no failure of the place
	}
	l.retry.failed(why)
	l.d.mu.Lock()
	l.stats.Failing = true
	l.d.mu.Unlock()
}

// batchBytes is about how much of the log a lane holds at once.
const batchBytes = 8 << 20

// read returns the next entries for the place, below end if that is ahead, or
// nil when none wait. Entries for others are stepped over.
func (l *lane) read(end uint64) (*batch, error) {
	l.d.mu.Lock()
	from, counted := l.pos, l.d.counted
	l.d.mu.Unlock()
	if end <= from || end > counted {
		end = counted // also when what is to be given again was let go
	}
	for from < end {
		b, err := l.readFrom(from, end)
		if err != nil || len(b.items) > 0 {
			return b, err
		}
		from = b.next
		if err := l.stepOver(b); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (l *lane) readFrom(from, end uint64) (*batch, error) {
	entries, err := l.d.opts.Log.Outbox(from, l.limit)
	if err != nil {
		return nil, err
	}
	b := &batch{next: end}
	if len(entries) == l.limit {
		b.next = min(end, entries[len(entries)-1].Seq+1)
	}
	read := 0
	for _, e := range entries {
		if e.Seq >= b.next {
			break
		}
		if len(e.Payload) == 0 {
			continue
		}
		read += len(e.Payload)
		to, err := readAddress(e.Payload)
		if err == nil && l.place.takes(&to, l.name) {
			var it Item
			it, err = Decode(e.Payload)
			b.items, b.seqs = append(b.items, it), append(b.seqs, e.Seq)
			b.sizes = append(b.sizes, int64(len(e.Payload)))
			b.bytes += int64(len(e.Payload))
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
		}
	}
	switch {
	case read > batchBytes:
		l.limit = max(1, l.limit/2)
	case read < batchBytes/4 && len(entries) == l.limit:
		l.limit = min(2*l.limit, l.d.opts.Batch)
	}
	return b, nil
}

// stepOver passes entries that are for others. No cursor is written for that:
// after a restart they are stepped over again, or are gone.
func (l *lane) stepOver(b *batch) error {
	l.d.mu.Lock()
	l.pos = b.next
	l.d.change()
	l.d.mu.Unlock()
	return l.d.trim()
}

// advance moves the cursor past a batch whose entries are settled.
func (l *lane) advance(b *batch, count func(*Stats)) error {
	if err := l.d.opts.Log.SetCursor(l.name, b.next-1); err != nil {
		return fmt.Errorf("setting its cursor: %w", err)
	}
	l.d.mu.Lock()
	l.pos = b.next
	l.waiting -= len(b.items)
	l.bytes -= b.bytes
	count(&l.stats)
	l.d.change()
	l.d.mu.Unlock()
	return l.d.trim()
}

// tooMuch is how far over the quota the place is, in bytes.
func (l *lane) tooMuch() int64 {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	return max(0, l.bytes-l.d.opts.Quota)
}

// updateFull tells whether the sources must wait: over the quota, and, once
// they wait, until a tenth of it is free. d.mu is held.
func (l *lane) updateFull() bool {
	limit := l.d.opts.Quota
	if l.full {
		limit -= limit / 10
	}
	full := l.bytes > limit && (l.policy == Block || l.policy == DeadLetter && l.stuck)
	if full != l.full {
		l.full = full
		if full {
			l.d.opts.Logger.Warn("too much waits for a sink; reading waits for it", "sink", l.name, "bytes", l.bytes, "quota", l.d.opts.Quota)
		} else {
			l.d.opts.Logger.Info("reading goes on: the sink has caught up", "sink", l.name)
		}
	}
	return full
}

// makeRoom lets go of the oldest entries until the quota holds. failed means
// that the dead letters do not take them.
func (l *lane) makeRoom(ctx context.Context) (failed bool, err error) {
	if l.settling != nil {
		if l.policy == DropOldest {
			l.settling.letters = nil // those that the sink refused go first
		}
		if _, failed, err := l.settle(ctx); failed || err != nil {
			return failed, err
		}
	}
	for ctx.Err() == nil {
		excess := l.tooMuch()
		if excess == 0 {
			l.retry.withinQuota()
			return false, nil
		}
		b, err := l.read(0)
		if err != nil || b == nil {
			return false, err
		}
		b.cutTo(excess)
		written, err := l.letGo(ctx, b)
		if err != nil {
			l.setStuck(true)
			l.failed(ctx, err)
			return true, nil
		}
		l.setStuck(false)
		l.retry.overQuota(l.policy)
		if err := l.advance(b, func(st *Stats) {
			st.OverQuota += uint64(len(b.items))
			st.DeadLetters += uint64(written)
		}); err != nil {
			return false, err
		}
	}
	return false, nil
}

// letGo moves entries to the dead letters, if that is the policy.
func (l *lane) letGo(ctx context.Context, b *batch) (written int, err error) {
	if l.policy != DeadLetter {
		return 0, nil
	}
	letters := make([]pipeline.DeadLetter, len(b.items))
	for i, it := range b.items {
		letters[i] = alertLetter(pipeline.DeadOverQuota, "more waits for the sink than its quota allows", l.name, it.Alert)
	}
	return l.d.dead.write(ctx, letters, l.d.opts.Logger)
}

// setStuck notes whether the dead letters take what the lane has for them.
func (l *lane) setStuck(stuck bool) {
	if l.stuck == stuck {
		return
	}
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.stuck = stuck
	l.d.change()
}
