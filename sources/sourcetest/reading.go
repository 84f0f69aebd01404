package sourcetest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sources"
)

// Line is one record that a source emitted.
type Line struct {
	Text, Key string
	Topic     string            // its partition's
	Labels    map[string]string // its batch's
	Headers   map[string]string
	Offset    int64
}

// Reading is a source that runs, and its lines, to be looked at one after the
// other: where a test plays a broker's part by turns with the source. Run is
// for sources with several partitions, whose lines come in no order.
type Reading struct {
	Log *Log
	// Lines are those that nobody has asked for yet.
	Lines chan Line
	// Next is the offset behind the last line.
	Next atomic.Int64

	source sources.Source
	gate   <-chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done
	closed bool
}

// Read runs a source behind positions, and stops it with the test. With a gate
// it emits nothing before that is closed.
func Read(t testing.TB, s sources.Source, log *Log, from sources.Positions, gate <-chan struct{}) *Reading {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &Reading{Log: log, Lines: make(chan Line, 100_000), source: s, gate: gate, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = s.Run(ctx, from, r.emit)
	}()
	t.Cleanup(func() {
		r.Stop(t)
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return r
}

func (r *Reading) emit(ctx context.Context, b *pipeline.RecordBatch) error {
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, rec := range b.Records {
		l := Line{
			Text: string(rec.Value), Key: string(rec.Key), Topic: b.Partition.Topic, Labels: b.Labels,
			Headers: make(map[string]string), Offset: rec.Offset,
		}
		for _, h := range rec.Headers {
			l.Headers[h.Key] = string(h.Value)
		}
		r.Lines <- l
		r.Next.Store(rec.Offset + 1)
	}
	if b.Release != nil {
		b.Release()
	}
	return nil
}

// End ends the source's Run, which must say that it was told to.
func (r *Reading) End(t testing.TB) {
	t.Helper()
	r.cancel()
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Fatal("Run does not end")
	}
	if r.err != nil && !errors.Is(r.err, context.Canceled) {
		t.Errorf("Run gave %v", r.err)
	}
}

// Stop ends the source's Run and closes it.
func (r *Reading) Stop(t testing.TB) {
	t.Helper()
	if r.closed {
		return
	}
	r.closed = true
	r.End(t)
	if err := r.source.Close(); err != nil {
		t.Error(err)
	}
}

// Line waits for the next line.
func (r *Reading) Line(t testing.TB) Line {
	t.Helper()
	select {
	case l := <-r.Lines:
		return l
	case <-time.After(patience):
		t.Fatalf("no line came\n%s", r.Log)
		return Line{}
	}
}

// Expect waits for lines of these texts, in this order.
func (r *Reading) Expect(t testing.TB, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if got := r.Line(t); got.Text != want {
			t.Fatalf("got %q, want %q", got.Text, want)
		}
	}
}
