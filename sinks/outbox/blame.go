package outbox

import (
	"fmt"

	"sluice/pipeline"
)

// blame finds the alert that makes a batch fail, where retries are bounded: a
// batch that was tried often or long enough is given in halves, the half that
// fails in halves again, until one alert fails alone. That one is given up, so
// that one which no server can take holds back the others no longer than that.
type blame struct {
	retry Retry
	// tries is how often the alerts that are given again have failed, at least.
	tries int
	// among is how many of the first of them hold the one at fault, as far as
	// is known; 0 while nobody looks for it.
	among int
	// gone is how many were given up one after the other, with none taken in
	// between: above 1 it is the place that is at fault, and no alert.
	gone int
}

// next returns how many of n alerts the next attempt holds.
func (b *blame) next(n int) int {
	switch {
	case b.among == 0:
		return n
	case b.gone > 0:
		return 1
	}
	return min(n, (b.among+1)/2)
}

// failed notes that an attempt at n alerts failed, the first of which is too
// old or not, and tells whether that one is to be given up.
func (b *blame) failed(n int, old bool) (giveUp bool) {
	b.tries++
	if !old && (b.retry.MaxAttempts == 0 || b.tries < b.retry.MaxAttempts) {
		return false
	}
	if n > 1 {
		b.among = n
		return false
	}
	b.gone++
	b.among = 0 // the others are tried together once more
	return true
}

// taken notes that the place took n alerts.
func (b *blame) taken(n int) {
	b.gone = 0
	if b.among = max(0, b.among-n); b.among == 0 {
		b.tries = 0
	}
}

// passed notes that none is left of those that failed.
func (b *blame) passed() { b.tries, b.among = 0, 0 }

// undelivered makes the dead letters of alerts that are given up.
func undelivered(sink string, items []Item, why error) []pipeline.DeadLetter {
	letters := make([]pipeline.DeadLetter, len(items))
	for i, it := range items {
		letters[i] = alertLetter(pipeline.DeadUndelivered, fmt.Sprintf("the sink failed too often or too long: %v", why), sink, it.Alert)
	}
	return letters
}
