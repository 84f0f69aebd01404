package syslog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sluice/sources"
)

// turns is a clock whose time passes when the test says so.
type turns chan time.Time

func (turns) Now() time.Time                           { return time.Time{} }
func (c turns) After(d time.Duration) <-chan time.Time { return c }

func TestDropsAreSaidOnceAndWhenTheyAreOver(t *testing.T) {
	var log bytes.Buffer
	clock := make(turns)
	c := Default()
	c.Listen = []string{"udp://127.0.0.1:0"}
	s, err := New("syslog", c, sources.Env{Log: slog.New(slog.NewTextHandler(&log, nil)), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.watch(ctx) }()
	drops := &s.counters.drops[dropKernel]
	pass := func(times int) {
		for range times {
			clock <- time.Time{}
		}
	}
	pass(2)
	drops.Add(7)
	pass(2) // the second one shows that the first was looked at
	drops.Add(3)
	pass(quietAfter) // not long enough
	drops.Add(1)
	pass(quietAfter + 3)
	drops.Add(1)
	pass(2)
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	if begun, over := strings.Count(log.String(), "faster than"), strings.Count(log.String(), "no messages any more"); begun != 2 || over != 1 {
		t.Errorf("its beginning was said %d times, want 2, its end %d times, want 1:\n%s", begun, over, log.String())
	}
	if !strings.Contains(log.String(), "dropped=7") || !strings.Contains(log.String(), "dropped_in_all=11") {
		t.Errorf("the numbers are wrong:\n%s", log.String())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
