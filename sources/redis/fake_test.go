package redis

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a server in the process. It knows neither how many entries were
// added nor which is the first, so trimming is tested on a real one.
type broker struct {
	t      testing.TB
	s      *miniredis.Miniredis
	client *redis.Client
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	s := miniredis.RunT(t)
	b := &broker{t: t, s: s, client: redis.NewClient(&redis.Options{Addr: s.Addr()})}
	t.Cleanup(func() { _ = b.client.Close() })
	return b
}

func (b *broker) config(change ...func(*Config)) Config {
	c := Default()
	c.Addresses, c.Streams, c.Group, c.Field = []string{"redis://" + b.s.Addr()}, []string{"logs"}, "sluice", "message"
	c.Block, c.BackoffMin, c.BackoffMax = 20*time.Millisecond, 5*time.Millisecond, 50*time.Millisecond
	for _, f := range change {
		f(&c)
	}
	return c
}

// add writes lines by number, as entries 1-1, 2-1, ….
func (b *broker) add(key string, from, to int) {
	b.t.Helper()
	for i := from; i < to; i++ {
		err := b.client.XAdd(b.t.Context(), &redis.XAddArgs{Stream: key, ID: fmt.Sprint(i+1, "-1"), Values: []string{"message", fmt.Sprint("line ", i), "host", "web"}}).Err()
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// at is the position behind the line of a number.
func at(line int) int64 { return int64(line+1)<<sequenceBits + 2 }

func (b *broker) pending() int64 {
	b.t.Helper()
	p, err := b.client.XPending(b.t.Context(), "logs", "sluice").Result()
	if err != nil {
		b.t.Fatal(err)
	}
	return p.Count
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
	values  map[string][]string // by stream
	offsets map[string][]int64
	next    sources.Positions
	dead    []pipeline.DeadLetter
	told    []pipeline.Partition
	fail    error // of Emit
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

// begin runs a source from the positions of its first stream; 0 is none.
func begin(t testing.TB, c Config, position int64) *run {
	t.Helper()
	return beginAt(t, c, position, nil)
}

// beginAt is begin with a clock; nil is the wall's.
func beginAt(t testing.TB, c Config, position int64, clock sources.Clock) *run {
	t.Helper()
	r := &run{t: t, log: &lines{}, changed: make(chan struct{}), done: make(chan error, 1),
		values: make(map[string][]string), offsets: make(map[string][]int64), next: sources.Positions{}}
	var err error
	r.s, err = New("redis", c, sources.Env{Log: slog.New(slog.NewTextHandler(r.log, nil)), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	r.s.Announce(func(parts ...pipeline.Partition) { r.told = append(r.told, parts...) })
	from := sources.Positions{}
	if position > 0 {
		from[r.s.streams[0].part] = position
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

func (r *run) emit(_ context.Context, b *pipeline.RecordBatch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	key := b.Partition.Topic
	for _, rec := range b.Records {
		r.values[key], r.offsets[key] = append(r.values[key], string(rec.Value)), append(r.offsets[key], rec.Offset)
		if rec.Time.IsZero() {
			r.t.Errorf("record %d has no time", rec.Offset)
		}
	}
	r.dead = append(r.dead, b.Dead...)
	r.next[b.Partition] = b.Next
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

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
		case <-time.After(10 * time.Millisecond):
		case err := <-r.done:
			r.done <- err
			r.t.Fatalf("the source ended while waiting for %s: %v\n%s", what, err, r.log)
		case <-deadline:
			r.t.Fatalf("waiting for %s in vain\n%s", what, r.log)
		}
	}
}

func (r *run) awaitRecords(n int) {
	r.t.Helper()
	r.await(fmt.Sprint(n, " records"), func() bool { return len(r.values["logs"]) >= n })
}

func (r *run) commit() {
	r.t.Helper()
	r.mu.Lock()
	next := sources.Positions{}
	for p, n := range r.next {
		next[p] = n
	}
	r.mu.Unlock()
	if err := r.s.Commit(r.t.Context(), next); err != nil {
		r.t.Fatal(err)
	}
}

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

func (r *run) stop() {
	r.t.Helper()
	r.cancel()
	_ = r.ended()
}

func (r *run) end() {
	r.t.Helper()
	r.stop()
	_ = r.s.Close() // a second time is an error of the client's
}

// want checks that the values are the lines of a range, once each, in order.
func (r *run) want(key string, from, to int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var want []string
	for i := from; i < to; i++ {
		want = append(want, fmt.Sprint("line ", i))
	}
	if !slices.Equal(r.values[key], want) {
		r.t.Errorf("%d records of %s, want %d: %v", len(r.values[key]), key, len(want), r.values[key][:min(len(r.values[key]), 40)])
	}
	if !slices.IsSorted(r.offsets[key]) {
		r.t.Errorf("offsets are not in order: %v", r.offsets[key])
	}
}

// proxy stands between the source and the server, and breaks connections.
type proxy struct {
	l      net.Listener
	limit  atomic.Int64 // how many bytes of answers a connection passes on; 0 is all
	broken atomic.Bool  // a connection was broken since this was reset
}

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			all.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			all.Go(func() { p.answers(in, out); _ = in.Close(); _ = out.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return p
}

// answers passes on what the server says, up to the limit.
func (p *proxy) answers(in, out net.Conn) {
	block, passed := make([]byte, 512), int64(0)
	for {
		n, err := out.Read(block)
		if err != nil {
			return
		}
		if passed += int64(n); p.limit.Load() > 0 && passed > p.limit.Load() {
			p.broken.Store(true)
			return
		}
		if _, err := in.Write(block[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) address() string { return p.l.Addr().String() }
func (p *proxy) cut() bool       { return p.broken.Load() }
