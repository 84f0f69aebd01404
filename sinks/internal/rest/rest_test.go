package rest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestWhatTheHeaderSays(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0": 0, "Sun, 01 Mar 2026 12:00:30 GMT": 30 * time.Second, "Sun, 01 Mar 2026 11:00:00 GMT": 0,
		"86400": Longest, "9223372036854775807": Longest, "Mon, 01 Mar 2027 12:00:00 GMT": Longest,
		"": -time.Hour, "soon": -time.Hour, "-1": -time.Hour, "1.5": -time.Hour,
	} {
		var r Rest
		r.notBefore.Store(begin.Add(-time.Hour).UnixNano()) // what stays when it says nothing
		r.Heed(header, begin)
		if got := r.Left(begin); got != want {
			t.Errorf("%q leaves %v, want %v", header, got, want)
		}
	}
}

// TestWaitingGoesOnUntilTheTimeIsOver has timers that end too early.
func TestWaitingGoesOnUntilTheTimeIsOver(t *testing.T) {
	var r Rest
	now := begin
	r.Heed("10", now)
	var waits []time.Duration
	after := func(d time.Duration) <-chan time.Time {
		waits = append(waits, d)
		now = now.Add(max(d/2, 3*time.Second))
		out := make(chan time.Time, 1)
		out <- now
		return out
	}
	if err := r.Wait(t.Context(), func() time.Time { return now }, after); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(waits, []time.Duration{10 * time.Second, 5 * time.Second, 2 * time.Second}) {
		t.Errorf("it waits %v", waits)
	}
	r.Heed("10", now)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	never := func(time.Duration) <-chan time.Time { return nil }
	if err := r.Wait(ctx, func() time.Time { return now }, never); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

func FuzzHeed(f *testing.F) {
	for _, text := range []string{"", "17", "Sun, 01 Mar 2026 12:00:30 GMT", "99999999999999999999"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, header string) {
		var r Rest
		r.Heed(header, begin)
		if left := r.Left(begin); left > Longest {
			t.Errorf("%q leaves %v", header, left)
		}
	})
}
