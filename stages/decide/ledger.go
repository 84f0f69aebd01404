package decide

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"sluice/pipeline"
	"sluice/stages/decide/duration"
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
	values *simplelru.LRU[string, []entry] // by latest decision, for forgetting
}

type entry struct{ made, until time.Time }

const (
	ledgerValues   = 100_000
	ledgerPerValue = 1_000
)

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	values, _ := simplelru.NewLRU[string, []entry](ledgerValues, nil) // errs on a size below one only
	return &Ledger{values: values}
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
	list, _ := l.values.Peek(d.Value)
	if len(list) >= ledgerPerValue {
		list = list[1:]
	}
	l.values.Add(d.Value, append(list, entry{at, at.Add(length)}))
}

func (l *Ledger) count(value string, holds func(e entry, now time.Time) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	list, _ := l.values.Peek(value)
	n := 0
	for _, e := range list {
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
