package decide

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"sluice/pipeline"
	"sluice/pipeline/duration"
	"sluice/pipeline/state"
)

// Ledger remembers the decisions this process made, for GetDecisionsCount and
// its kin. Its clock is event time: the latest alert's. It holds at most
// ledgerPerValue decisions of a value and forgets the values that were decided
// on longest ago beyond ledgerValues.
//
// It is safe for concurrent use.
type Ledger struct {
	mu     sync.Mutex
	now    time.Time
	values *simplelru.LRU[string, *decided] // by latest decision, for forgetting
	// decisions counts those recorded.
	decisions uint64
	saving    *ledgerSaving // nil when nobody saves it
}

// decided is what the ledger knows of a value.
type decided struct {
	entries []entry
	// order is that of the latest decision among all.
	order   uint64
	changed bool      // it is listed to be saved
	sum     state.Sum // of its record in the store
}

type entry struct{ made, until time.Time }

const (
	ledgerValues   = 100_000
	ledgerPerValue = 1_000
)

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return newLedger(ledgerValues)
}

func newLedger(size int) *Ledger {
	l := &Ledger{}
	l.values, _ = simplelru.NewLRU(size, l.forgot) // errs on a size below one only
	return l
}

func (l *Ledger) record(d *pipeline.Decision, at time.Time) {
	length, err := duration.Parse(d.Duration)
	if err != nil || d.Simulated {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.After(l.now) {
		l.now = at
	}
	v, known := l.values.Peek(d.Value)
	if !known {
		v = &decided{}
	}
	if len(v.entries) >= ledgerPerValue {
		v.entries = v.entries[1:]
	}
	v.entries = append(v.entries, entry{at, at.Add(length)})
	l.decisions++
	v.order = l.decisions
	l.values.Add(d.Value, v)
	l.mark(d.Value, v)
}

func (l *Ledger) count(value string, holds func(e entry, now time.Time) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, known := l.values.Peek(value)
	if !known {
		return 0
	}
	n := 0
	for _, e := range v.entries {
		if holds(e, l.now) {
			n++
		}
	}
	return n
}

// Count returns how many decisions were made about a value.
func (l *Ledger) Count(value string) (int, error) {
	return l.count(value, func(entry, time.Time) bool { return true }), nil
}

// SinceCount returns how many were made in the last while.
func (l *Ledger) SinceCount(value string, since time.Duration) (int, error) {
	return l.count(value, func(e entry, now time.Time) bool { return !e.made.Before(now.Add(-since)) }), nil
}

// ActiveCount returns how many have not run out.
func (l *Ledger) ActiveCount(value string) (int, error) {
	return l.count(value, func(e entry, now time.Time) bool { return e.until.After(now) }), nil
}

// ActiveTimeLeft returns the longest time that a decision about a value has left.
func (l *Ledger) ActiveTimeLeft(value string) (time.Duration, error) {
	var left time.Duration
	l.count(value, func(e entry, now time.Time) bool {
		left = max(left, e.until.Sub(now))
		return false
	})
	return left, nil
}
