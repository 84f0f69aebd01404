package sources

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Health says once that a source has trouble, however often it is met and by
// however many of its connections, and once that it is over. It counts every
// failure and every recovery, for Stats. Any goroutine may use it.
type Health struct {
	log *slog.Logger

	mu                 sync.Mutex // held while something is said, so that the counts and the log tell the same
	errors, recoveries uint64
	failing            map[string]bool // by what is failing
}

// NewHealth returns the health of a source that logs to log.
func NewHealth(log *slog.Logger) *Health {
	return &Health{log: log, failing: make(map[string]bool)}
}

// Failed says that something, such as a connection or a partition, does not work at the moment.
func (h *Health) Failed(what string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.errors++
	if len(h.failing) == 0 {
		h.log.Warn("reading is interrupted; it is tried again", "what", what, "error", err)
	}
	h.failing[what] = true
}

// Well says that it works.
func (h *Health) Well(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.failing[what] {
		return
	}
	delete(h.failing, what)
	if len(h.failing) == 0 {
		h.recoveries++
		h.log.Info("reading goes on")
	}
}

// Forget is for what will neither fail nor be well any more.
func (h *Health) Forget(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.failing, what)
}

// Fill puts the counts into a snapshot.
func (h *Health) Fill(s *Stats) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Errors, s.Reconnects = h.errors, h.recoveries
}

// Backoff waits longer after each failure in a row, up to Max, with a jitter
// of a quarter so that many do not come back at once. It is one goroutine's.
type Backoff struct {
	Clock    Clock
	Min, Max time.Duration

	wait time.Duration
}

// Wait waits; the error is the context's.
func (b *Backoff) Wait(ctx context.Context) error {
	b.wait = min(max(b.wait, b.Min), b.Max)
	jitter := time.Duration(rand.Int64N(int64(b.wait)/4 + 1))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-b.Clock.After(b.wait - jitter):
	}
	b.wait = min(2*b.wait, b.Max)
	return nil
}

// Reset says that it worked.
func (b *Backoff) Reset() { b.wait = b.Min }

// Until tries something until it succeeds, waiting in between, and tells the
// health how it goes. The error is the context's.
func (b *Backoff) Until(ctx context.Context, h *Health, what string, try func(context.Context) error) error {
	for {
		err := try(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			h.Well(what)
			b.Reset()
			return nil
		}
		h.Failed(what, err)
		if err := b.Wait(ctx); err != nil {
			return err
		}
	}
}

// Delays is how far the parts of a source are behind: how old, in each, the
// next record is, as last heard. The zero value works, for any goroutine.
type Delays struct {
	mu   sync.Mutex
	each map[string]time.Duration
}

// Note keeps how far a part is behind; a negative delay forgets the part.
func (d *Delays) Note(part string, behind time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if behind < 0 {
		delete(d.each, part)
		return
	}
	if d.each == nil {
		d.each = make(map[string]time.Duration)
	}
	d.each[part] = behind
}

// Fill puts the longest delay into a snapshot.
func (d *Delays) Fill(s *Stats) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, behind := range d.each {
		s.Behind = max(s.Behind, behind)
	}
}
