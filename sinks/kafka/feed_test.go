package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice/pipeline/decisions"
	"sluice/sinks"
)

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// feed keeps decisions in memory, as a sink of type local_api does on disk.
type feed struct {
	id, name string
	index    decisions.Index

	mu      sync.Mutex
	now     time.Time
	places  map[string][]byte
	changed chan struct{}
}

func newFeed(id string) *feed {
	return &feed{id: id, name: "local_api", now: begin, places: make(map[string][]byte), changed: make(chan struct{})}
}

func (f *feed) Name() string        { return f.name }
func (f *feed) Open() error         { return nil }
func (f *feed) ID() (string, error) { return f.id, nil }

func (f *feed) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *feed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *feed) ring() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *feed) Touched(since int64, limit int) (decisions.Touched, bool, error) {
	t, known := f.index.Touched(since, limit, f.clock())
	return t, known, nil
}

func (f *feed) States(keys []decisions.Key) ([]decisions.State, error) {
	return f.index.States(keys, f.clock()), nil
}

func (f *feed) Keys(page func([]decisions.Key) error) (int64, error) {
	seq := f.index.Seq()
	_, err := f.index.Startup(&decisions.Filter{}, f.clock(), false, func(ds []decisions.Decision) error {
		for i := range ds {
			if err := page([]decisions.Key{{Scope: ds[i].Scope, Value: ds[i].Value}}); err != nil {
				return err
			}
		}
		return nil
	})
	return seq, err
}

func (f *feed) Place(follower string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.places[follower], nil
}

func (f *feed) SetPlace(follower string, place []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.places[follower] = place
	return nil
}

func (f *feed) add(t testing.TB, value, typ, scenario string, d time.Duration) {
	t.Helper()
	scope := "Ip"
	if strings.Contains(value, "/") {
		scope = "Range"
	}
	if _, err := f.index.Add(&decisions.Decision{Scope: scope, Value: value, Type: typ, Origin: "crowdsec", Scenario: scenario, Until: f.clock().Add(d)}); err != nil {
		t.Fatal(err)
	}
	f.ring()
}

func (f *feed) remove(filter decisions.Filter) {
	f.index.Remove(&filter, decisions.Deleted, f.clock())
	f.ring()
}

func (f *feed) pass(d time.Duration) {
	f.mu.Lock()
	f.now = f.now.Add(d)
	f.mu.Unlock()
	for len(f.index.Expire(f.clock(), 100)) > 0 {
	}
	f.ring()
}

// inForce returns what holds of every key, in a line each.
func (f *feed) inForce() map[string]string {
	out := make(map[string]string)
	var keys []decisions.Key
	f.index.Select(&decisions.Filter{}, f.clock(), func(d *decisions.Decision) bool {
		keys = append(keys, decisions.Key{Scope: d.Scope, Value: d.Value})
		return true
	})
	for _, s := range f.index.States(keys, f.clock()) {
		out[s.String()] = lines(standingOf(&s, f.clock()))
	}
	return out
}

func lines(s *Standing) string {
	var out []string
	for _, d := range s.Decisions {
		out = append(out, fmt.Sprint(d.ID, d.Type, d.Origin, d.Scenario, d.Until.UTC(), d.Simulated))
	}
	return strings.Join(out, "; ")
}

// mortal is a feed whose process dies: from then on nothing is read or kept.
type mortal struct {
	*feed
	mu   sync.Mutex
	left int // calls; below 0 for ever
	dead bool
}

var errDead = errors.New("the process is dead")

func (m *mortal) call() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == 0 {
		m.dead = true
	}
	if m.left--; m.dead {
		return errDead
	}
	return nil
}

func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

func (m *mortal) killed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// spare lets it live, unless it is dead.
func (m *mortal) spare() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = -1
}

func (m *mortal) Touched(since int64, limit int) (decisions.Touched, bool, error) {
	if err := m.call(); err != nil {
		return decisions.Touched{}, false, err
	}
	return m.feed.Touched(since, limit)
}

func (m *mortal) States(keys []decisions.Key) ([]decisions.State, error) {
	if err := m.call(); err != nil {
		return nil, err
	}
	return m.feed.States(keys)
}

func (m *mortal) SetPlace(follower string, place []byte) error {
	if err := m.call(); err != nil {
		return err
	}
	return m.feed.SetPlace(follower, place)
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// runner is a publisher that runs.
type runner struct {
	*publisher
	cancel context.CancelFunc
	done   chan error
}

// publish runs a publisher of the topic decisions.
func publish(t testing.TB, c *kfake.Cluster, f sinks.DecisionFeed, now func() time.Time, edit func(*publisher)) *runner {
	t.Helper()
	config := Default()
	config.Brokers, config.DecisionsTopic, config.RequestTimeout = c.ListenAddrs(), "decisions", patience
	soon := func(d time.Duration) <-chan time.Time {
		if d == lastTime { // what changed last is written, however long a busy machine takes
			return time.After(patience)
		}
		return time.After(min(d, 5*time.Millisecond))
	}
	s, err := New("out", config, sinks.Env{Now: now, After: soon})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Follow([]sinks.DecisionFeed{f}); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(s.publisher)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &runner{publisher: s.publisher, cancel: cancel, done: make(chan error, 1)}
	go func() {
		r.done <- s.Run(ctx)
		close(r.done)
	}()
	t.Cleanup(func() {
		r.stop()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// stop ends it in good order and returns what it says.
func (r *runner) stop() error {
	r.cancel()
	return <-r.done
}

// reader folds the topic, as a consumer does that reads it from the start.
type reader struct {
	client *kgo.Client
	keys   map[string]string
	last   map[string]*kgo.Record
	n      int
}

func newReader(t testing.TB, c *kfake.Cluster) *reader {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("decisions"), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &reader{client: client, keys: make(map[string]string), last: make(map[string]*kgo.Record)}
}

// until reads until the view is as wanted.
func (r *reader) until(t testing.TB, what string, want func() map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !maps.Equal(r.keys, want()) {
		if ctx.Err() != nil {
			t.Fatalf("%s: a consumer has\n%v\nwant\n%v", what, r.keys, want())
		}
		r.poll(ctx)
	}
}

// records reads until there have been n of them.
func (r *reader) records(t testing.TB, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for r.n < n {
		if ctx.Err() != nil {
			t.Fatalf("there are %d records, want %d", r.n, n)
		}
		r.poll(ctx)
	}
}

// poll reads what there is, or waits a moment.
func (r *reader) poll(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, 100*time.Millisecond)
	defer done()
	r.client.PollFetches(ctx).EachRecord(r.add)
}

func (r *reader) add(rec *kgo.Record) {
	r.n++
	key := string(rec.Key)
	r.last[key] = rec
	if rec.Value == nil {
		delete(r.keys, key)
		return
	}
	if s := readStanding(rec.Value); s == nil {
		r.keys[key] = string(rec.Value)
	} else {
		r.keys[key] = lines(s)
	}
}

// compacted returns a cluster whose topic of decisions is compacted.
func compacted(t testing.TB, partitions int) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	create(t, c, partitions, "compact")
	return c
}

func create(t testing.TB, c *kfake.Cluster, partitions int, policy string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "decisions", int32(partitions), 1
	setting := kmsg.NewCreateTopicsRequestTopicConfig()
	setting.Name, setting.Value = "cleanup.policy", &policy
	topic.Configs = append(topic.Configs, setting)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, topic)
	if _, err := req.RequestWith(t.Context(), client); err != nil {
		t.Fatal(err)
	}
}

// write writes a record as another program would.
func write(t testing.TB, c *kfake.Cluster, key, value string, sign *signature) {
	t.Helper()
	writeTo(t, c, -1, key, value, sign)
}

// writeTo writes it to a partition; below 0 to that where it belongs.
func writeTo(t testing.TB, c *kfake.Cluster, partition int, key, value string, sign *signature) {
	t.Helper()
	tp := topic{name: "decisions", client: &kafka.Client{Addr: kafka.TCP(c.ListenAddrs()...), Transport: &kafka.Transport{Context: t.Context()}}}
	defer tp.client.Transport.(*kafka.Transport).CloseIdleConnections()
	_, spans, err := tp.layout(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := make([]int, len(spans))
	for i := range all {
		all[i] = i
	}
	r := outRecord{key: []byte(key)}
	if value != "" {
		r.value = []byte(value)
	}
	if sign != nil {
		r.headers = sign.headers()
	}
	if partition < 0 {
		partition = place(r.key, all)
	}
	if _, err := tp.write(t.Context(), partition, []outRecord{r}); err != nil {
		t.Fatal(err)
	}
}

// book is a log that a test reads.
type book struct {
	mu  sync.Mutex
	all strings.Builder
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *book) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.all.String(), text)
}

func (b *book) logger() *slog.Logger { return slog.New(slog.NewTextHandler(io.Writer(b), nil)) }

// eventually waits for what another goroutine does.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("it did not come to pass that %s", what)
		}
	}
}
