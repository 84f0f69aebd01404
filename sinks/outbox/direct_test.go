package outbox

import (
	"context"
	"errors"
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
			Sinks: []Target{{a, Block}, {b, Block}}, DeadLetters: place,
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
		d, err := NewDirect(Options{Sinks: []Target{{&fakeSink{name: "a", down: true}, Block}}})
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
