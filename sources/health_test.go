package sources_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/sources"
)

func TestTroubleIsSaidOnceAndCountedEveryTime(t *testing.T) {
	var out bytes.Buffer
	h := sources.NewHealth(slog.New(slog.NewTextHandler(&out, nil)))
	for range 5 {
		h.Failed("a", errors.New("refused"))
		h.Failed("b", errors.New("refused"))
	}
	h.Well("a")
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d lines while one is failing, want 1:\n%s", n, out.String())
	}
	h.Well("b")
	h.Well("b")
	h.Failed("c", errors.New("refused"))
	h.Forget("c")
	h.Failed("d", errors.New("refused"))
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d lines, want 4:\n%s", n, out.String())
	}
	var s sources.Stats
	h.Fill(&s)
	if s.Errors != 12 || s.Reconnects != 1 {
		t.Errorf("stats = %+v", s)
	}
}

// yielding is a log that lets others go on before it takes a line.
type yielding struct {
	bytes.Buffer
	looking <-chan struct{}
}

func (y *yielding) Write(p []byte) (int, error) {
	<-y.looking
	for range 1000 {
		runtime.Gosched()
	}
	return y.Buffer.Write(p)
}

// TestWhatIsCountedIsSaid: who sees a failure or a recovery in the counts finds it in the log.
func TestWhatIsCountedIsSaid(t *testing.T) {
	looking := make(chan struct{})
	out := &yielding{looking: looking}
	h := sources.NewHealth(slog.New(slog.NewTextHandler(out, nil)))
	for _, step := range []struct {
		say  func()
		want sources.Stats
		text string
	}{
		{func() { h.Failed("a", errors.New("refused")) }, sources.Stats{Errors: 1}, "reading is interrupted"},
		{func() { h.Well("a") }, sources.Stats{Errors: 1, Reconnects: 1}, "reading goes on"},
	} {
		var said sync.WaitGroup
		said.Go(step.say)
		looking <- struct{}{} // it is about to be written
		for st := (sources.Stats{}); st.Errors != step.want.Errors || st.Reconnects != step.want.Reconnects; h.Fill(&st) {
			runtime.Gosched()
		}
		if !strings.Contains(out.String(), step.text) {
			t.Errorf("it is counted, and the log does not say %q yet", step.text)
		}
		said.Wait()
	}
}

// steppingClock notes how long was waited, and waits for nothing.
type steppingClock struct{ waits []time.Duration }

func (c *steppingClock) Now() time.Time { return time.Time{} }
func (c *steppingClock) After(d time.Duration) <-chan time.Time {
	c.waits = append(c.waits, d)
	ch := make(chan time.Time, 1)
	ch <- time.Time{}
	return ch
}

func TestBackoffGrowsToItsMaximumAndBeginsAgain(t *testing.T) {
	clock := &steppingClock{}
	b := sources.Backoff{Clock: clock, Min: 100 * time.Millisecond, Max: 400 * time.Millisecond}
	for range 4 {
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.Reset()
	_ = b.Wait(t.Context())
	for i, want := range []time.Duration{100, 200, 400, 400, 100} {
		want *= time.Millisecond
		if got := clock.waits[i]; got > want || got < want*3/4-1 {
			t.Errorf("wait %d is %v, want %v less a quarter at most", i, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Clock = stuckClock{}
	if err := b.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

type stuckClock struct{}

func (stuckClock) Now() time.Time                       { return time.Time{} }
func (stuckClock) After(time.Duration) <-chan time.Time { return nil }

func TestUntilTriesUntilItWorks(t *testing.T) {
	clock := &steppingClock{}
	b := sources.Backoff{Clock: clock, Min: 100 * time.Millisecond, Max: 400 * time.Millisecond}
	h := sources.NewHealth(slog.New(slog.DiscardHandler))
	tries := 0
	try := func(context.Context) error {
		if tries++; tries < 3 {
			return errors.New("refused")
		}
		return nil
	}
	if err := b.Until(t.Context(), h, "a", try); err != nil || tries != 3 || len(clock.waits) != 2 {
		t.Errorf("%v after %d tries and the waits %v", err, tries, clock.waits)
	}
	var s sources.Stats
	h.Fill(&s)
	if s.Errors != 2 || s.Reconnects != 1 {
		t.Errorf("stats = %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := b.Until(ctx, h, "a", func(context.Context) error { cancel(); return errors.New("refused") })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's error", err)
	}
	if h.Fill(&s); s.Errors != 2 {
		t.Errorf("the end of the run was counted as an error: %+v", s)
	}
}

func TestDelaysAreThoseOfTheSlowestPart(t *testing.T) {
	var d sources.Delays
	behind := func() time.Duration {
		var s sources.Stats
		d.Fill(&s)
		return s.Behind
	}
	d.Note("a", time.Second)
	d.Note("b", time.Minute)
	if got := behind(); got != time.Minute {
		t.Errorf("%v behind, want 1m", got)
	}
	d.Note("b", -1)
	if got := behind(); got != time.Second {
		t.Errorf("%v behind once b is forgotten, want 1s", got)
	}
}
