package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDirectReturnsOnceAllHaveTakenTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logLines
		a, b, place := &fakeSink{name: "a", refuse: "2"}, &fakeSink{name: "b", down: true}, &fakeDead{down: true}
		d, err := NewDirect(Options{
			Sinks: []Target{{Sink: a, OnFull: Block}, {Sink: b, OnFull: Block}}, DeadLetters: place,
			Logger: slog.New(&lines), Jitter: func() float64 { return 1 },
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			done <- d.Deliver(t.Context(), []Item{alert("1"), alert("2"), letter("x", ""), alert("3", "a"), alert("4", "b")})
		}()
		time.Sleep(time.Second)
		expect(t, "a while the dead letters are down", a.taken(), "")
		place.set(false)
		time.Sleep(time.Second)
		expect(t, "a", a.taken(), "1 3")
		expect(t, "dead letters", place.taken(), "undecodable:x rejected:2@a")
		b.set(false)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		expect(t, "b", b.taken(), "1 2 4")
		expect(t, "log", strings.Join(lines.take(), "; "), strings.Join([]string{
			"a sink does not take alerts; reading waits for it", "the sink takes alerts again", // the dead letters
			"a sink refused alerts for good",
			"a sink does not take alerts; reading waits for it", "the sink takes alerts again", // b
		}, "; "))
	})
}

func TestDirectEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := NewDirect(Options{Sinks: []Target{{Sink: &fakeSink{name: "a", down: true}, OnFull: Block}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := d.Deliver(ctx, []Item{alert("1"), letter("x", "")}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDirectGivesUpOnceTheTimeOfTheEndIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		well, hangs, behind := &fakeSink{name: "well", refuse: "3"}, &fakeSink{name: "hangs", hold: make(chan struct{})}, &fakeSink{name: "behind"}
		place := &fakeDead{}
		d, err := NewDirect(Options{
			Sinks: []Target{{Sink: well}, {Sink: hangs}, {Sink: behind}}, DeadLetters: place,
		})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			d.Drain(t.Context(), 10*time.Second)
			close(ended)
		}()
		began := time.Now()
		if err := d.Deliver(t.Context(), []Item{letter("x", ""), alert("1"), alert("2", "well"), alert("3", "well", "behind")}); !errors.Is(err, ErrLeft) {
			t.Errorf("got %v, want ErrLeft", err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it took %v, and the end has 10s", took)
		}
		<-ended
		expect(t, "left", fmt.Sprint(d.Left()), "{3 0 hangs}") // 1 at hangs, 1 and 3 behind it
		if err := d.Deliver(t.Context(), []Item{letter("y", ""), alert("4", "well")}); !errors.Is(err, ErrLeft) {
			t.Errorf("what comes later: got %v, want ErrLeft", err)
		}
		if err := d.Deliver(t.Context(), nil); !errors.Is(err, ErrLeft) {
			t.Errorf("a position behind what is left: got %v, want ErrLeft", err)
		}
		expect(t, "left", fmt.Sprint(d.Left()), "{4 1 hangs}")
		expect(t, "well", well.taken(), "1 2")
		expect(t, "behind", behind.taken(), "")
		expect(t, "dead letters", place.taken(), "undecodable:x rejected:3@well")
	})
}

func TestDirectLeavesNothingThatWasTakenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fakeSink{name: "a"}
		d, err := NewDirect(Options{Sinks: []Target{{Sink: a}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Deliver(t.Context(), []Item{alert("1")}); err != nil {
			t.Error(err)
		}
		d.Drain(t.Context(), 10*time.Second)
		if err := d.Deliver(t.Context(), nil); err != nil || d.Left() != (Left{}) {
			t.Errorf("got %v and %v, and all was taken", err, d.Left())
		}
	})
}

func TestTheEndTriesAPlaceThatFailedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		retry := DefaultRetry()
		retry.InitialBackoff, retry.MaxBackoff = time.Hour, time.Hour
		a := &fakeSink{name: "a", down: true}
		d, err := NewDirect(Options{Sinks: []Target{{Sink: a, Retry: retry}}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- d.Deliver(t.Context(), []Item{alert("1")}) }()
		synctest.Wait()
		a.set(false)
		began := time.Now()
		go d.Drain(t.Context(), 10*time.Second)
		if err := <-done; err != nil || time.Since(began) != 0 {
			t.Errorf("got %v after %v, and the sink is well", err, time.Since(began))
		}
		expect(t, "a", a.taken(), "1")
	})
}
