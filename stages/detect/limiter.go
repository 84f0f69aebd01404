package detect

import (
	"math"
	"time"
)

// instant is a time as bucket state holds it: 12 bytes, no pointer, the whole
// range of time.Time (dates without a year lie in year 0).
type instant struct {
	sec  int64 // since the Unix epoch
	nsec int32
}

func instantOf(t time.Time) instant { return instant{t.Unix(), int32(t.Nanosecond())} }

func (i instant) time() time.Time { return time.Unix(i.sec, int64(i.nsec)).UTC() }

// add saturates nowhere, as time.Time.Add.
func (i instant) add(d time.Duration) instant {
	sec, nsec := i.sec+int64(d/time.Second), i.nsec+int32(d%time.Second)
	if nsec >= 1e9 {
		return instant{sec + 1, nsec - 1e9}
	}
	if nsec < 0 {
		return instant{sec - 1, nsec + 1e9}
	}
	return instant{sec, nsec}
}

func (i instant) after(j instant) bool {
	return i.sec > j.sec || i.sec == j.sec && i.nsec > j.nsec
}

// sub saturates like time.Time.Sub.
func (i instant) sub(j instant) time.Duration {
	if d := i.sec - j.sec; -1<<32 < d && d < 1<<32 {
		return time.Duration(d)*time.Second + time.Duration(i.nsec-j.nsec)
	}
	return i.time().Sub(j.time())
}

// rate is the configuration of a limiter.
type rate struct {
	// perSecond is how many tokens come back in a second; +Inf lets everything pass.
	perSecond float64
	burst     int
}

// every returns the rate of one token an interval.
func every(interval time.Duration, burst int) rate {
	if interval <= 0 {
		return rate{math.Inf(1), burst}
	}
	return rate{1 / interval.Seconds(), burst}
}

// limiter is the state of a token bucket that equals golang.org/x/time/rate's
// to the bit (FIDELITY 16); TestLimiterEqualsReference holds them together.
// The explicit conversions keep compilers from fusing operations, so that
// every architecture rounds alike.
type limiter struct {
	tokens float64
	// last is the time of the last accepted event. It can go backward.
	last instant
}

// fill makes the limiter full. The first event then finds burst tokens, whatever its time.
func (l *limiter) fill(r rate) { *l = limiter{tokens: float64(r.burst)} }

// allow takes a token for an event at t, and tells whether there was one.
func (l *limiter) allow(r rate, t instant) bool {
	if math.IsInf(r.perSecond, 1) {
		return true
	}
	tokens := l.tokens
	if t.after(l.last) {
		tokens += float64(t.sub(l.last).Seconds() * r.perSecond)
	}
	tokens = min(tokens, float64(r.burst)) - 1
	if r.burst < 1 || tokens < 0 && waitFor(-tokens, r) > 0 {
		return false
	}
	l.tokens, l.last = tokens, t
	return true
}

// waitFor is how long it takes until so many tokens are there, cut to nanoseconds.
func waitFor(tokens float64, r rate) time.Duration {
	d := float64(tokens/r.perSecond) * float64(time.Second)
	if d > math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(d)
}
