package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "sluice/sinks/email"
	_ "sluice/sinks/kafka"
	_ "sluice/sinks/lapi"
	_ "sluice/sinks/webhook"
	"sluice/sources/sourcetest"
)

// mute is the address of a remote that accepts connections and never answers;
// met gets one value for each.
func mute(t *testing.T) (address string, met <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 1000)
	var conns []net.Conn
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
			accepted <- struct{}{}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
		for _, c := range conns {
			_ = c.Close()
		}
	})
	return l.Addr().String(), accepted
}

// theDrain is a value of outbox.drain that nothing else waits for.
const theDrain = 1234 * time.Hour

// endClock stands still, and the test says when the time of the end is over.
type endClock struct {
	still
	drains chan chan<- time.Time
}

func (c endClock) After(d time.Duration) <-chan time.Time {
	if d != theDrain {
		return c.still.After(d)
	}
	over := make(chan time.Time, 1)
	c.drains <- over
	return over
}

// await returns the next value of a channel.
func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

func TestTheEndIsBoundedThoughARemoteHangs(t *testing.T) {
	const webhook = "{type: webhook, url: 'http://%s/'}"
	for _, tc := range []struct{ name, sink, state, want string }{
		{"webhook", webhook, "", "nothing keeps what is left; set state.dir"},
		{"kafka", "{type: kafka, brokers: ['%s'], alerts_topic: alerts}", "", "nothing keeps what is left; set state.dir"},
		{"lapi", "{type: lapi, url: 'http://%s/', machine_id: m, password: secret}", "", "nothing keeps what is left; set state.dir"},
		{"email", "{type: email, server: '%s', encryption: none, from: a@example.com, to: [b@example.com]}", "", "nothing keeps what is left; set state.dir"},
		{"webhook behind an outbox", webhook, stateHere + "}", "the rest is delivered at the next start"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			address, met := mute(t)
			r := newRig(t, fmt.Sprintf("outbox: {drain: %v}\n%s", theDrain, tc.state))
			r.edit(r.config, fmt.Sprintf("{type: fake, name: %s}]\n", r.sink.name)+"outbox", fmt.Sprintf(tc.sink, address)+"]\noutbox")
			clock, log := endClock{drains: make(chan chan<- time.Time, 1)}, &sourcetest.Log{}
			r.env = Env{Clock: clock, Log: slog.New(slog.NewTextHandler(log, nil))}
			r.start()
			if tc.state != "" {
				r.assign(0, -1)
			}
			r.fail(0, 0, 6)
			r.stop()
			over := await(t, "the end, which asks the clock", clock.drains)
			await(t, "a connection", met)
			over <- time.Time{}
			if err := await(t, "the end of the run", r.done); err != nil {
				t.Error(err)
			}
			if err := r.p.Close(); err != nil {
				t.Error(err)
			}
			said := linesWith(log.String(), tc.want)
			if len(said) != 1 || !slices.Contains(strings.Fields(said[0]), "alerts=1") {
				t.Errorf("want one line with %q and alerts=1, got %q in\n%s", tc.want, said, log)
			}
			if tc.state == "" && r.member.at(0) != 0 {
				t.Errorf("offset %d is committed, past an alert that is left", r.member.at(0))
			}
		})
	}
}

func TestTheEndIsBoundedWhenASourceFails(t *testing.T) {
	r := newRig(t, fmt.Sprintf("outbox: {drain: %v}", theDrain))
	r.member.over, r.sink.got = make(chan error), nil // the sink hangs
	clock := endClock{drains: make(chan chan<- time.Time, 1)}
	r.env = Env{Clock: clock}
	r.start()
	r.fail(0, 0, 6)
	broken := errors.New("the broker speaks another protocol")
	r.member.over <- broken
	await(t, "the end, which asks the clock", clock.drains) <- time.Time{}
	if err := await(t, "the end of the run", r.done); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if err := r.p.Close(); err != nil {
		t.Error(err)
	}
}

func TestSinksHaveAllTheTimeWhenSourcesEndByThemselves(t *testing.T) {
	r := newRig(t, fmt.Sprintf("outbox: {drain: %v}", theDrain))
	r.member.over, r.sink.asks = make(chan error), make(chan chan error)
	clock := endClock{drains: make(chan chan<- time.Time, 1)}
	r.env = Env{Clock: clock}
	r.start()
	r.fail(0, 0, 6)
	asked := await(t, "an alert", r.sink.asks)
	r.member.over <- nil
	asked <- nil
	if err := await(t, "the end of the run", r.done); err != nil {
		t.Error(err)
	}
	if err := r.p.Close(); err != nil {
		t.Error(err)
	}
	if got := r.alert(); got != "sluice/ssh-bf@5" || len(clock.drains) != 0 {
		t.Errorf("got alert %s and %d ends that are bounded, want sluice/ssh-bf@5 and none", got, len(clock.drains))
	}
}

// linesWith returns the lines of a text that hold another.
func linesWith(text, what string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, what) {
			lines = append(lines, line)
		}
	}
	return lines
}
