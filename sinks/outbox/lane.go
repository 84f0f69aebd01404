package outbox

import (
	"context"
	"fmt"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
)

// lane delivers to one place. Its goroutine does one thing at a time: make
// room, settle what the place refused, wait after a failure, or give the next
// batch. What waits is in the log: between attempts the heap holds none of it.
type lane struct {
	d      *Deliverer
	name   string
	policy Policy
	place  place
	full   int           // alerts of a batch, at most
	gather *gatherer     // nil for a place that takes what there is
	whole  bool          // batches are given, and given up, as a whole
	wake   chan struct{} // of one: there may be something to do

	// Its own goroutine's.
	limit    int         // entries to read at once
	again    uint64      // where the batch that failed ended: the same is given again
	settling *settlement // a batch that was taken but for what was refused
	pace     pace
	blame    blame
	drain    <-chan struct{}

	// Under d.mu.
	pos     uint64 // the next entry to take
	waiting int
	bytes   int64
	blocks  bool // the sources wait
	stuck   bool // over quota, and the dead letters do not take what is too much
	stats   Stats
}

// settlement is a batch that the place has taken, but for what it refused.
type settlement struct {
	batch   *batch
	refused int                   // of it
	gaveUp  bool                  // all of it was given up
	letters []pipeline.DeadLetter // the refused or given up, where they go to the dead letters
	// why, when set, is the error behind which the rest, up to an entry, was
	// not taken: failed alerts failed together.
	why    error
	failed int
	upTo   uint64
}

func newLane(d *Deliverer, name string, t Target, p place) *lane {
	l := &lane{
		d: d, name: name, policy: t.OnFull, place: p, wake: make(chan struct{}, 1),
		full: t.Batching.Alerts, limit: min(16, t.Batching.Alerts), drain: d.draining,
		pace: newPace(name, "they wait in the outbox", t.Retry, &d.opts), blame: blame{retry: t.Retry},
	}
	if t.Batching.Wait > 0 {
		l.gather = &gatherer{sink: t.Batching}
	}
	if p, ok := p.(alertPlace); ok {
		if sink, ok := p.Sink.(sinks.Batcher); ok {
			l.gather, l.whole = &gatherer{sink: sink}, true
		}
	}
	l.stats.Breaker = BreakerClosed
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
				timer = l.pace.after()
			}
		}
		if timer == nil {
			idle, failed, err := l.step(ctx)
			if err != nil {
				return l.explain(err)
			}
			if failed {
				timer = l.pace.after()
			}
			if !idle {
				continue
			}
		}
		select {
		case <-timer:
			timer = nil
		case <-l.gather.patience():
			l.gather.over = true
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

// step settles or gives one batch. idle means that nothing waits, or not long
// enough, failed that it is to be tried again later.
func (l *lane) step(ctx context.Context) (idle, failed bool, err error) {
	if l.settling != nil {
		return l.settle(ctx)
	}
	end, gathers := l.gathers()
	if gathers {
		return true, false, nil
	}
	b, err := l.read(end)
	if err != nil || b == nil {
		return err == nil, false, err
	}
	upTo := b.next
	n := l.blame.next(len(b.items))
	if l.pace.begin() {
		n = 1
	}
	l.note()
	if !l.whole {
		b.cut(n)
	}
	taken, refused, bad, why := l.place.give(ctx, b.items)
	if why != nil && taken == 0 {
		l.again = upTo
		return l.untaken(ctx, b, bad, why)
	}
	if why == nil && l.again == 0 {
		upTo = b.next
	}
	l.settling = &settlement{batch: b, refused: len(refused), why: why, failed: bad, upTo: upTo}
	b.cut(taken)
	if len(refused) > 0 {
		l.pace.refused(refused)
		l.bury(refused)
	}
	return l.settle(ctx)
}

// bury leaves letters of what is being settled to the dead letters, if there is a place for them.
func (l *lane) bury(letters []pipeline.DeadLetter) {
	if l.place.forwards() && l.d.dead.to != nil {
		l.settling.letters = letters
	}
}

// untaken follows an attempt of which nothing was taken: bad alerts failed together.
func (l *lane) untaken(ctx context.Context, b *batch, bad int, why error) (idle, failed bool, err error) {
	if ctx.Err() != nil {
		return false, true, nil // the end of the run is no failure of the place
	}
	l.failed(why)
	return l.judge(ctx, b, bad, why)
}

// judge follows a failure of bad alerts, those that a batch begins with: it
// gives up the first, if it has failed alone and often or long enough.
func (l *lane) judge(ctx context.Context, b *batch, bad int, why error) (idle, failed bool, err error) {
	if l.whole {
		bad = 1
	}
	if !l.retry().Bounded() || !l.blame.failed(bad, l.old(&b.items[0])) {
		return false, true, nil
	}
	if !l.whole {
		b.cut(1)
	}
	return l.giveUp(ctx, b, why)
}

// giveUp leaves a batch to the dead letters. Where it is the place that is at
// fault, all that are too old follow.
func (l *lane) giveUp(ctx context.Context, b *batch, why error) (idle, failed bool, err error) {
	for {
		letters := undelivered(l.name, b.items, why)
		l.pace.gaveUp(letters)
		l.settling = &settlement{batch: b, gaveUp: true, upTo: l.again}
		l.bury(letters)
		if _, failed, err := l.settle(ctx); failed || err != nil {
			return false, failed, err
		}
		if l.blame.gone < 2 || l.retry().MaxAge == 0 || ctx.Err() != nil {
			return false, true, nil
		}
		if b, err = l.read(0); err != nil || b == nil {
			return false, true, err
		}
		n := 0
		for n < len(b.items) && l.old(&b.items[n]) {
			n++
		}
		if n == 0 {
			return false, true, nil
		}
		b.cut(n)
	}
}

func (l *lane) retry() *Retry { return &l.pace.retry }

// old tells whether an alert has waited for longer than alerts may. One of
// which it is not known waits since the start.
func (l *lane) old(it *Item) bool {
	age, at := l.retry().MaxAge, it.At
	if at.IsZero() {
		at = l.d.began
	}
	return age > 0 && l.d.opts.Clock.Now().Sub(at) >= age
}

// settle writes down what was refused or given up and moves the cursor past the batch.
func (l *lane) settle(ctx context.Context) (idle, failed bool, err error) {
	s := l.settling
	written := 0
	if len(s.letters) > 0 {
		if written, err = l.d.dead.write(ctx, s.letters, l.d.opts.Logger); err != nil {
			l.setStuck(true)
			l.stalled(ctx, err)
			return false, true, nil
		}
	}
	l.again, l.settling = s.upTo, nil
	l.setStuck(false)
	n := len(s.batch.items)
	switch {
	case s.gaveUp:
	case s.why == nil:
		l.pace.succeeded()
		l.blame.taken(n)
	default:
		l.pace.progressed()
		l.blame.taken(n)
	}
	err = l.advance(s.batch, func(st *Stats) {
		st.DeadLetters += uint64(written)
		if s.gaveUp {
			st.GivenUp += uint64(n)
			return
		}
		st.Delivered += uint64(n - s.refused)
		st.Rejected += uint64(s.refused)
		st.Failing = false
	})
	if s.why == nil || err != nil || ctx.Err() != nil {
		l.note()
		return false, false, err
	}
	l.failed(s.why)
	if l.retry().Bounded() && s.failed > 0 {
		b, err := l.read(l.again)
		if err != nil || b == nil {
			return false, true, err
		}
		return l.judge(ctx, b, s.failed, s.why)
	}
	return false, true, nil
}

// failed notes an attempt that the place failed.
func (l *lane) failed(why error) {
	l.pace.failed(why)
	l.note()
	l.setFailing()
}

// stalled notes that the dead letters do not take what the lane has for them.
func (l *lane) stalled(ctx context.Context, why error) {
	if ctx.Err() == nil {
		l.pace.stalled(why)
		l.setFailing()
	}
}

func (l *lane) setFailing() {
	l.d.mu.Lock()
	l.stats.Failing = true
	l.d.mu.Unlock()
}

// note shows the breaker in Stats.
func (l *lane) note() {
	l.d.mu.Lock()
	l.stats.Breaker, l.stats.Retries = l.pace.breaker.state, l.pace.retries
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
		if err == nil && len(b.items) > 0 {
			err = l.fill(b, end)
		}
		if err != nil || len(b.items) > 0 {
			return b, err
		}
		from = b.next
		l.stepOver(b)
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
		l.limit = min(2*l.limit, l.full)
	}
	return b, nil
}

// stepOver passes entries that are for others. No cursor is written for that:
// after a restart they are stepped over again, or are gone.
func (l *lane) stepOver(b *batch) {
	l.d.mu.Lock()
	l.pos = b.next
	l.d.change()
	l.d.mu.Unlock()
	wake(l.d.taken)
}

// advance moves the cursor past a batch whose entries are settled.
func (l *lane) advance(b *batch, count func(*Stats)) error {
	if err := l.d.opts.Log.SetCursor(l.name, b.next-1); err != nil {
		return fmt.Errorf("setting its cursor: %w", err)
	}
	if l.again <= b.next {
		l.again = 0
		l.blame.passed()
	}
	l.d.mu.Lock()
	l.pos = b.next
	l.waiting -= len(b.items)
	l.bytes -= b.bytes
	count(&l.stats)
	l.d.change()
	l.d.mu.Unlock()
	wake(l.d.taken)
	return nil
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
	if l.blocks {
		limit -= limit / 10
	}
	full := l.bytes > limit && (l.policy == Block || l.policy == DeadLetter && l.stuck)
	if full != l.blocks {
		l.blocks = full
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
			l.pace.withinQuota()
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
			l.stalled(ctx, err)
			return true, nil
		}
		l.setStuck(false)
		l.pace.overQuota(l.policy)
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
