package nats

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/porttest"
	"sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a server in the process, which can be ended and started again on its port and folder.
type broker struct {
	t    testing.TB
	opts *server.Options
	s    *server.Server
	conn *nats.Conn
	js   jetstream.JetStream
}

func newBroker(t testing.TB, change ...func(*server.Options)) *broker {
	t.Helper()
	port := netip.MustParseAddrPort(porttest.Keep(t)).Port() // the same when it starts again
	b := &broker{t: t, opts: &server.Options{
		Host: "127.0.0.1", Port: int(port), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		AuthTimeout: 20, // seconds, for a busy machine
	}}
	for _, f := range change {
		f(b.opts)
	}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	s, err := server.NewServer(b.opts)
	if err != nil {
		b.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		b.t.Fatal("the server does not get ready")
	}
	b.s = s
}

// connect opens the test's own connection.
func (b *broker) connect(opts ...nats.Option) jetstream.JetStream {
	b.t.Helper()
	if b.js != nil {
		return b.js
	}
	var err error
	if b.conn, err = nats.Connect(b.s.ClientURL(), append(opts, nats.Timeout(20*time.Second), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))...); err != nil {
		b.t.Fatal(err)
	}
	if b.js, err = jetstream.New(b.conn, jetstream.WithDefaultTimeout(20*time.Second)); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(b.conn.Close)
	return b.js
}

func (b *broker) stop() {
	b.s.Shutdown()
	b.s.WaitForShutdown()
}

// logs is the configuration of a stream, of the tests' name and subjects where it has none of its own.
func logs(c jetstream.StreamConfig) jetstream.StreamConfig {
	if c.Name == "" {
		c.Name = "LOGS"
	}
	if c.Subjects == nil {
		c.Subjects = []string{"logs.>"}
	}
	return c
}

func (b *broker) stream(c jetstream.StreamConfig) jetstream.Stream {
	b.t.Helper()
	s, err := b.connect().CreateStream(b.t.Context(), logs(c))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// publish sends messages named by their number.
func (b *broker) publish(subject string, from, to int) {
	b.t.Helper()
	for i := from; i < to; i++ {
		// The library allows a server 200 ms to take one of thousands that wait.
		if _, err := b.connect().PublishAsync(subject, fmt.Appendf(nil, "line %d", i), jetstream.WithStallWait(20*time.Second)); err != nil {
			b.t.Fatal(err)
		}
	}
	select {
	case <-b.js.PublishAsyncComplete():
	case <-time.After(20 * time.Second):
		b.t.Fatal("messages are not taken")
	}
}

func (b *broker) consumer(name string) *jetstream.ConsumerInfo {
	b.t.Helper()
	c, err := b.connect().Consumer(b.t.Context(), "LOGS", name)
	if err != nil {
		b.t.Fatal(err)
	}
	return c.CachedInfo()
}

func (b *broker) state() jetstream.StreamState {
	b.t.Helper()
	s, err := b.connect().Stream(b.t.Context(), "LOGS")
	if err != nil {
		b.t.Fatal(err)
	}
	return s.CachedInfo().State
}

// await waits for what the server does by itself: it acknowledges in the background.
func (b *broker) await(what string, ok func() bool) {
	b.t.Helper()
	for limit := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(limit) {
			b.t.Fatalf("waiting for %s in vain", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (b *broker) config(change ...func(*Config)) Config {
	c := Default()
	c.Servers, c.Stream, c.Consumer = []string{b.s.ClientURL()}, "LOGS", "sluice"
	c.BackoffMin, c.BackoffMax, c.RequestTimeout = 5*time.Millisecond, 50*time.Millisecond, 20*time.Second
	for _, f := range change {
		f(&c)
	}
	return c
}

// run is a source that runs, and what it emitted.
type run struct {
	t      testing.TB
	s      *Source
	cancel context.CancelFunc
	done   chan error
	log    *lines

	mu      sync.Mutex
	changed chan struct{}
	values  []string
	keys    []string
	headers [][]pipeline.Header
	offsets []int64
	next    int64
	told    []pipeline.Partition
	gate    chan struct{} // when set, Emit waits for it
	asked   int           // how often Emit was called
}

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// begin runs a source from a position; 0 is none.
func begin(t testing.TB, c Config, dir string, position int64) *run {
	t.Helper()
	return beginWith(t, c, dir, position, nil)
}

// beginWith is begin with an Emit that waits for a gate, if there is one.
func beginWith(t testing.TB, c Config, dir string, position int64, gate chan struct{}) *run {
	t.Helper()
	r := &run{t: t, gate: gate, log: &lines{}, changed: make(chan struct{}), done: make(chan error, 1)}
	var err error
	r.s, err = New("nats", c, sources.Env{Log: slog.New(slog.NewTextHandler(r.log, nil)), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r.s.Announce(func(parts ...pipeline.Partition) { r.told = append(r.told, parts...) })
	from := sources.Positions{}
	if position > 0 {
		from[r.s.part] = position
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() { r.done <- r.s.Run(ctx, from, r.emit) }()
	t.Cleanup(func() {
		r.end()
		if t.Failed() {
			t.Logf("the log:\n%s", r.log)
		}
	})
	return r
}

func (r *run) emit(ctx context.Context, b *pipeline.RecordBatch) error {
	r.mu.Lock()
	r.asked++
	r.mu.Unlock()
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range b.Records {
		r.values, r.keys = append(r.values, string(rec.Value)), append(r.keys, string(rec.Key))
		r.headers, r.offsets = append(r.headers, rec.Headers), append(r.offsets, rec.Offset)
		if rec.Time.IsZero() {
			r.t.Errorf("record %d has no time", rec.Offset)
		}
	}
	r.next = b.Next
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// await waits until what was emitted is as wanted.
func (r *run) await(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		good, changed := ok(), r.changed
		r.mu.Unlock()
		if good {
			return
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond): // what is asked of the broker changes by itself
		case err := <-r.done:
			r.done <- err
			r.t.Fatalf("the source ended while waiting for %s: %v\n%s", what, err, r.log)
		case <-deadline:
			r.t.Fatalf("waiting for %s: %d records, next %d\n%s", what, len(r.values), r.next, r.log)
		}
	}
}

func (r *run) awaitRecords(n int) {
	r.t.Helper()
	r.await(fmt.Sprint(n, " records"), func() bool { return len(r.values) >= n })
}

// commit tells the source that all that was emitted is through.
func (r *run) commit() {
	r.t.Helper()
	r.mu.Lock()
	next := r.next
	r.mu.Unlock()
	if err := r.s.Commit(r.t.Context(), sources.Positions{r.s.part: next}); err != nil {
		r.t.Fatal(err)
	}
}

// pass lets one Emit go on that waits for the gate.
func (r *run) pass() {
	r.t.Helper()
	select {
	case r.gate <- struct{}{}:
	case err := <-r.done:
		r.done <- err
		r.t.Fatalf("the source ended before it emitted anything: %v\n%s", err, r.log)
	case <-time.After(20 * time.Second):
		r.t.Fatalf("nothing is emitted\n%s", r.log)
	}
}

// ended waits for the end of Run and returns its error.
func (r *run) ended() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(20 * time.Second):
		r.t.Fatalf("the source does not end\n%s", r.log)
		return nil
	}
}

// end stops the source and closes it.
func (r *run) end() {
	r.t.Helper()
	r.cancel()
	_ = r.ended()
	if err := r.s.Close(); err != nil {
		r.t.Error(err)
	}
}

// kill stops the source without anything being committed, and returns where it stood.
func (r *run) kill() int64 {
	r.t.Helper()
	r.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// want checks that the values are the lines of a range, once each, in order.
func (r *run) want(from, to int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	wantLines(r.t, r.values, from, to)
	if !slices.IsSorted(r.offsets) {
		r.t.Errorf("offsets are not in order: %v", r.offsets)
	}
}

func wantLines(t testing.TB, values []string, from, to int) {
	t.Helper()
	count := make(map[string]int)
	for i, v := range values {
		count[v]++
		if want := fmt.Sprint("line ", from+i); v != want && !t.Failed() {
			t.Errorf("record %d is %q, want %q", i, v, want)
		}
	}
	if len(values) != to-from {
		t.Errorf("%d records, want %d", len(values), to-from)
	}
	for _, v := range slices.Sorted(maps.Keys(count)) {
		if count[v] > 1 {
			t.Errorf("%q came %d times", v, count[v])
		}
	}
}
