package outbox

import "time"

// BreakerState is where a circuit breaker stands.
type BreakerState string

// The states of a breaker.
const (
	BreakerClosed   BreakerState = "closed"    // the place is given batches
	BreakerOpen     BreakerState = "open"      // it is left alone
	BreakerHalfOpen BreakerState = "half-open" // one alert is on its way to it
)

// breaker counts failures in a row. It tells no time: its owner waits.
type breaker struct {
	Breaker
	state  BreakerState
	failed int // attempts in a row
}

// begin is called before an attempt; probe says that it may hold one alert only.
func (b *breaker) begin() (probe bool) {
	if b.state == BreakerOpen {
		b.state = BreakerHalfOpen
	}
	return b.state == BreakerHalfOpen
}

// failure notes an attempt that failed; opened says that the breaker was closed before it.
func (b *breaker) failure() (opened bool) {
	b.failed++
	switch {
	case b.Failures == 0:
	case b.state == BreakerHalfOpen:
		b.state = BreakerOpen
	case b.failed >= b.Failures && b.state == BreakerClosed:
		b.state = BreakerOpen
		return true
	}
	return false
}

// success closes the breaker.
func (b *breaker) success() { b.state, b.failed = BreakerClosed, 0 }

// budget is a token bucket of retries. Deliveries and time put tokens in, a
// retry takes one. It may owe tokens: then the retry is made once they are there.
type budget struct {
	Budget
	tokens float64
	filled time.Time // when time put tokens in last
}

// room is how many tokens are kept: those of a second.
func (b *budget) room() float64 { return max(1, b.MinPerSecond) }

// delivered puts in what a delivery allows.
func (b *budget) delivered() { b.tokens = min(b.room(), b.tokens+b.Ratio) }

// take takes a token and returns how long to wait for it.
func (b *budget) take(now time.Time) time.Duration {
	if b.filled.IsZero() {
		b.tokens = b.room()
	} else {
		b.tokens = min(b.room(), b.tokens+b.MinPerSecond*now.Sub(b.filled).Seconds())
	}
	b.filled = now
	b.tokens--
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.MinPerSecond * float64(time.Second))
}
