package syslog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/sources"
)

func TestDropsAreSaidOnceAndWhenTheyAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := Default()
		c.Listen = []string{"udp://127.0.0.1:0"}
		s, err := New("syslog", c, sources.Env{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.watch(ctx) }()
		drops := &s.counters.drops[dropKernel]
		pass := func(times time.Duration) {
			time.Sleep(times * watchEvery)
			synctest.Wait() // until the last one was looked at
		}
		pass(2)
		drops.Add(7)
		pass(1)
		drops.Add(3)
		pass(quietAfter) // one less without a drop: not long enough
		drops.Add(1)
		pass(quietAfter + 1)
		drops.Add(1)
		pass(1)
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
	})
}
