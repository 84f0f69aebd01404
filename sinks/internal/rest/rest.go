package rest

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Longest bounds how long a server can have itself left alone.
const Longest = 10 * time.Minute

// Rest is until when a server asked to be left alone. The zero value is never.
// It may be used by several goroutines.
type Rest struct {
	notBefore atomic.Int64 // Unix nanoseconds
}

// Heed notes what the header Retry-After says; one that says nothing changes nothing.
func (r *Rest) Heed(header string, now time.Time) {
	if d, ok := read(header, now); ok {
		r.notBefore.Store(now.Add(d).UnixNano())
	}
}

// Left is how long the server is to be left alone from now on; nothing or less when it may be asked.
func (r *Rest) Left(now time.Time) time.Duration {
	return time.Duration(r.notBefore.Load() - now.UnixNano())
}

// Wait waits until the server may be asked. An error is ctx's.
func (r *Rest) Wait(ctx context.Context, now func() time.Time, after func(time.Duration) <-chan time.Time) error {
	for {
		left := r.Left(now())
		if left <= 0 {
			return nil
		}
		select {
		case <-after(left):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// read reads the header: seconds, or a date.
func read(header string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 {
		return min(time.Duration(min(seconds, 86400))*time.Second, Longest), true
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, min(at.Sub(now), Longest)), true
	}
	return 0, false
}
