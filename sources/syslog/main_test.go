package syslog

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world runs a source and keeps the lines that it emitted.
type world struct {
	t      testing.TB
	source *Source
	log    *sourcetest.Log
	stop   context.CancelFunc
	ended  chan error

	mu      sync.Mutex
	lines   []string
	topics  map[string]bool
	labels  map[string]string // of the last batch
	changed chan struct{}     // closed and made anew with every batch
	gate    chan struct{}     // when not nil, what is emitted waits for it
	keep    bool              // keep the lines, not only their number
	count   int
}

// newWorld makes a source of the given addresses, which does not run yet.
func newWorld(t testing.TB, change func(*Config), listen ...string) *world {
	t.Helper()
	w := &world{
		t: t, log: &sourcetest.Log{}, ended: make(chan error, 1),
		topics: make(map[string]bool), changed: make(chan struct{}), keep: true,
	}
	c := Default()
	c.Listen = listen
	if change != nil {
		change(&c)
	}
	var err error
	w.source, err = New("syslog", c, sources.Env{Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	w.source.batches.poison = true
	return w
}

// listening runs a source that listens on the given addresses until the test ends.
func listening(t testing.TB, change func(*Config), listen ...string) *world {
	t.Helper()
	w := newWorld(t, change, listen...)
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() { w.ended <- w.source.Run(ctx, nil, w.emit) }()
	t.Cleanup(func() { w.end() })
	w.until("it listens", func() bool {
		w.source.mu.Lock()
		defer w.source.mu.Unlock()
		return len(w.source.listeners) == len(listen)
	})
	return w
}

// piped runs a source that serves one connection, a pipe: within a bubble its
// deadlines go by the bubble's clock.
func piped(t testing.TB, change func(*Config)) (*world, net.Conn) {
	t.Helper()
	w := newWorld(t, change, "tcp://127.0.0.1:0")
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	client, server := net.Pipe()
	serve := func(ctx context.Context) error {
		return w.source.serve(ctx, &listener{address: w.source.places[0]}, server, netip.MustParseAddr("192.0.2.1"))
	}
	go func() { w.ended <- w.source.in.Run(ctx, nil, w.emit, serve) }()
	t.Cleanup(func() {
		client.Close()
		w.end()
	})
	return w, client
}

// end stops the source and waits for it.
func (w *world) end() {
	w.stop()
	select {
	case err, ok := <-w.ended:
		if ok && err != nil && err != context.Canceled {
			w.t.Errorf("Run: %v", err)
		}
		if ok {
			close(w.ended)
			if err := w.source.Close(); err != nil {
				w.t.Error(err)
			}
		}
	case <-time.After(20 * time.Second):
		w.t.Error("Run does not end")
	}
}

func (w *world) emit(ctx context.Context, b *pipeline.RecordBatch) error {
	w.mu.Lock()
	gate := w.gate
	w.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			b.Release()
			return ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count += len(b.Records)
	w.topics[b.Partition.Topic], w.labels = true, b.Labels
	if w.keep {
		for _, r := range b.Records {
			w.lines = append(w.lines, string(r.Value))
		}
	}
	b.Release()
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

// until waits for a condition, looking after every batch and now and then.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.After(3 * time.Minute)
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-time.After(5 * time.Millisecond):
		case err := <-w.ended:
			w.t.Fatalf("Run ended: %v", err)
		case <-deadline:
			w.t.Fatalf("%s: it never does; %+v\n%s", what, w.source.Stats(), w.log)
		}
	}
}

// got waits for so many records and returns the lines.
func (w *world) got(n int) []string {
	w.t.Helper()
	w.until("the records come", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.count >= n
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines)
}

// drops waits until something was dropped so often.
func (w *world) drops(r reason, n uint64) {
	w.t.Helper()
	w.until(r.String(), func() bool { return w.source.Stats().Drops[r.String()] >= n })
	if got := w.source.Stats().Drops[r.String()]; got != n {
		w.t.Errorf("%s: %d times, want %d", r, got, n)
	}
}

// place is where a listener listens.
func (w *world) place(i int) string {
	w.source.mu.Lock()
	defer w.source.mu.Unlock()
	return w.source.listeners[i].addr().String()
}

// dial connects to a listener.
func (w *world) dial(i int) net.Conn {
	w.t.Helper()
	w.source.mu.Lock()
	addr := w.source.listeners[i].addr()
	w.source.mu.Unlock()
	conn, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

func (w *world) send(conn net.Conn, text string) {
	w.t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

// closed waits until the other side has closed a connection.
func closed(t testing.TB, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, conn) // a TLS alert may come before the end
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatalf("the connection is not closed: %v", err)
	}
}
