package mqtt

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
	"sluice/sources/sourcetest"
)

// reading is a source that runs, and what it emitted.
type reading struct {
	source *Source
	log    *sourcetest.Log
	lines  chan line
	next   atomic.Int64  // the offset behind the last line
	gate   chan struct{} // nil, or closed to let Emit go on
	cancel context.CancelFunc
	done   chan error
	ended  bool
}

type line struct {
	text, topic string
	labels      map[string]string
	offset      int64
}

// config returns one for a broker with short waits.
func config(broker string, change ...func(*Config)) Config {
	c := Default()
	c.Brokers, c.ClientID = []string{broker}, "test"
	c.Subscriptions = []Subscription{{Filter: "logs/#", QoS: 1}}
	c.BackoffMin, c.BackoffMax = time.Millisecond, 20*time.Millisecond
	c.Intake, c.Ack = intake.Direct, intake.AckAccepted
	for _, f := range change {
		f(&c)
	}
	return c
}

// read starts a source with the state in dir, and stops it with the test.
func read(t *testing.T, c Config, dir string, gate chan struct{}) *reading {
	t.Helper()
	return readFrom(t, c, dir, gate, nil)
}

// again starts a source of the same configuration where this one's checkpoint
// would stand: behind all that it emitted.
func (r *reading) again(t *testing.T, c Config, dir string) *reading {
	t.Helper()
	r.stop(t)
	return readFrom(t, c, dir, nil, sources.Positions{{Source: "mqtt"}: r.next.Load()})
}

func readFrom(t *testing.T, c Config, dir string, gate chan struct{}, from sources.Positions) *reading {
	t.Helper()
	r := &reading{log: &sourcetest.Log{}, lines: make(chan line, 100_000), gate: gate, done: make(chan error, 1)}
	var err error
	r.source, err = New("mqtt", c, sources.Env{Log: slog.New(slog.NewTextHandler(r.log, nil)), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r.source.farewell = 50 * time.Millisecond // most scripted brokers never close
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() { r.done <- r.source.Run(ctx, from, r.emit) }()
	t.Cleanup(func() {
		r.stop(t)
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

func (r *reading) emit(ctx context.Context, b *pipeline.RecordBatch) error {
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, rec := range b.Records {
		l := line{text: string(rec.Value), labels: b.Labels, offset: rec.Offset}
		for _, h := range rec.Headers {
			if h.Key == headerTopic {
				l.topic = string(h.Value)
			}
		}
		r.lines <- l
		r.next.Store(l.offset + 1)
	}
	if b.Release != nil {
		b.Release()
	}
	return nil
}

// stop ends the source and closes it.
func (r *reading) stop(t *testing.T) {
	t.Helper()
	if r.ended {
		return
	}
	r.ended = true
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil && err != context.Canceled {
			t.Errorf("Run gave %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Run does not end")
	}
	if err := r.source.Close(); err != nil {
		t.Error(err)
	}
}

// next waits for a line.
func (r *reading) line(t *testing.T) line {
	t.Helper()
	select {
	case l := <-r.lines:
		return l
	case <-time.After(20 * time.Second):
		t.Fatalf("no line came\n%s", r.log)
		return line{}
	}
}

// expect waits for lines of these texts, in this order.
func (r *reading) expect(t *testing.T, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if got := r.line(t); got.text != want {
			t.Fatalf("got %q, want %q", got.text, want)
		}
	}
}

// none fails the test when a line is there.
func (r *reading) none(t *testing.T) {
	t.Helper()
	select {
	case l := <-r.lines:
		t.Errorf("%q came", l.text)
	default:
	}
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(limit) {
			t.Fatalf("waiting for %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func texts(format string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

// journaled has the source keep a journal.
func journaled(c *Config) { c.Intake = intake.Journal }
