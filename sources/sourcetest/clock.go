package sourcetest

import (
	"sync"
	"time"
)

// Clock stands still until it is moved. Whoever waits for it waits shortly,
// however long he means to, so that tests of polling and backing off are quick.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at noon of 1 May 2024, UTC.
func NewClock() *Clock { return &Clock{now: time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)} }

// Now implements sources.Clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// After implements sources.Clock: a millisecond stands for any time.
func (c *Clock) After(time.Duration) <-chan time.Time { return time.After(time.Millisecond) }

// Move moves the clock on.
func (c *Clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
