package detect

import (
	"math"
	"time"
)

// limiter is a token bucket as golang.org/x/time/rate computes it, to the bit
// (FIDELITY 16), as plain data: tests hold the two together.
type limiter struct {
	tokens float64
	last   int64 // nanoseconds since 1970 of the last accepted event; valid when used
	used   bool
}

// rate is what all buckets of a document share.
type rate struct {
	perSecond float64
	burst     int
}

func newRate(leakSpeed time.Duration, capacity int) rate {
	return rate{1 / leakSpeed.Seconds(), capacity}
}

// allow takes a token at time t, if there is one. Only an accepted event
// moves the limiter, backward in time too.
func (l *limiter) allow(r rate, t int64) bool {
	tokens := float64(r.burst)
	if l.used {
		last := min(l.last, t)
		tokens = min(float64(r.burst), l.tokens+elapsed(last, t).Seconds()*r.perSecond)
	}
	tokens--
	var wait time.Duration
	if tokens < 0 {
		seconds := -tokens / r.perSecond * float64(time.Second)
		if seconds > math.MaxInt64 {
			seconds = math.MaxInt64
		}
		wait = time.Duration(seconds)
	}
	if r.burst < 1 || wait > 0 {
		return false
	}
	l.tokens, l.last, l.used = tokens, t, true
	return true
}

func elapsed(from, to int64) time.Duration {
	d := to - from
	if d < 0 && to > from {
		return math.MaxInt64
	}
	return time.Duration(d)
}

// nanos is a time as a bucket keeps it, cut to the years 1678 to 2262.
func nanos(t time.Time) int64 {
	const most = math.MaxInt64 / int64(time.Second)
	switch s := t.Unix(); {
	case s < -most:
		return math.MinInt64
	case s >= most:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// plus adds without running over.
func plus(t int64, d time.Duration) int64 {
	s := t + int64(d)
	switch {
	case d > 0 && s < t:
		return math.MaxInt64
	case d < 0 && s > t:
		return math.MinInt64
	}
	return s
}
