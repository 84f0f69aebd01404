package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
	"sluice/sources"
)

// fakes lends sources and sinks of type fake to configurations of tests, by name.
var fakes struct {
	sync.Mutex
	members map[string]*fakeMember
	sinks   map[string]*fakeSink
}

func init() {
	sources.Register(sources.Kind[struct{}]{
		Type: "fake", Summary: "A consumer group of tests.", Example: "{}",
		Default: func() struct{} { return struct{}{} },
		New: func(name string, _ struct{}, _ sources.Env) (sources.Source, error) {
			fakes.Lock()
			defer fakes.Unlock()
			return fakes.members[name], nil
		},
	})
	sinks.Register(sinks.Kind[struct{}]{
		Type: "fake", Summary: "A sink of tests.", Example: "{}",
		Default: func() struct{} { return struct{}{} },
		New: func(name string, _ struct{}, _ sinks.Env) (sinks.Sink, error) {
			fakes.Lock()
			defer fakes.Unlock()
			return fakes.sinks[name], nil
		},
	})
}

// fakeMember is a source whose partitions the test assigns and fills.
type fakeMember struct {
	name   string
	keeper sources.Keeper
	emit   chan sources.Emit // of the Run under way
	over   chan error        // when set, Run ends with a value of it

	mu        sync.Mutex
	refuse    error // of Commit
	committed sources.Positions
	rewound   int64
}

func (f *fakeMember) Name() string              { return f.name }
func (f *fakeMember) Keep(k sources.Keeper)     { f.keeper = k }
func (f *fakeMember) Stats() (st sources.Stats) { return st }
func (f *fakeMember) Close() error              { return nil }
func (f *fakeMember) part(id int32) pipeline.Partition {
	return pipeline.Partition{Source: f.name, Topic: "t", ID: id}
}

func (f *fakeMember) Run(ctx context.Context, _ sources.Positions, out sources.Emit) error {
	f.emit <- out
	select {
	case err := <-f.over:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fakeMember) Commit(_ context.Context, next sources.Positions) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return f.refuse
	}
	for p, offset := range next {
		f.committed[p] = offset
	}
	return nil
}

func (f *fakeMember) Rewind(_ context.Context, _ pipeline.Partition, offset int64, _ time.Duration) (int64, error) {
	return offset - f.rewound, nil
}

func (f *fakeMember) set(refuse error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

func (f *fakeMember) at(id int32) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.committed[f.part(id)]
}

// fakeSink keeps what it gets.
type fakeSink struct {
	name string
	got  chan string     // scenario and offset of the cause
	asks chan chan error // when set, every batch asks here what becomes of it
}

func (s *fakeSink) Name() string            { return s.name }
func (s *fakeSink) Stats() (st sinks.Stats) { return st }
func (s *fakeSink) Close() error            { return nil }

func (s *fakeSink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	if s.asks != nil {
		answer := make(chan error)
		s.asks <- answer
		if err := <-answer; err != nil {
			return err
		}
	}
	for _, a := range alerts {
		select {
		case s.got <- fmt.Sprintf("%s@%d", a.Scenario, a.Sluice.Cause.Offset):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// rig is a pipeline over a fake group, whose state outlives it.
type rig struct {
	t      *testing.T
	dir    string
	config string
	member *fakeMember
	sink   *fakeSink
	env    Env

	p    *Pipeline
	emit sources.Emit
	stop context.CancelFunc
	done chan error
}

func newRig(t *testing.T, extra string) *rig {
	t.Helper()
	rules, err := filepath.Abs("../../../configs/rules")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := strings.NewReplacer("/", "_", ",", "").Replace(t.Name())
	r := &rig{t: t, dir: dir, config: filepath.Join(dir, "c.yaml")}
	r.member = &fakeMember{name: name, emit: make(chan sources.Emit, 1), committed: make(sources.Positions)}
	r.sink = &fakeSink{name: name, got: make(chan string, 1000)}
	fakes.Lock()
	if fakes.members == nil {
		fakes.members, fakes.sinks = make(map[string]*fakeMember), make(map[string]*fakeSink)
	}
	fakes.members[name], fakes.sinks[name] = r.member, r.sink
	fakes.Unlock()
	text := fmt.Sprintf(`
rules: {roots: [%s], collections: [sluice/linux]}
pipeline: {workers: 2, shards: 2}
sources: [{type: fake, name: %s, decode: {type: syslog}}]
sinks: [{type: fake, name: %s}]
%s
`, rules, name, name, extra)
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// still is a clock that nobody moves: what is to be asked again after a while is
// not, so that a test finds what it has made, however long it takes.
type still struct{}

func (still) Now() time.Time                       { return time.Date(2024, time.March, 3, 11, 0, 0, 0, time.UTC) }
func (still) After(time.Duration) <-chan time.Time { return nil }

// start opens the pipeline and runs it.
func (r *rig) start() {
	r.t.Helper()
	c, err := Load(r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.env.Log == nil {
		r.env.Log = slog.New(slog.DiscardHandler)
	}
	if r.p, err = New(c, r.env); err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(r.t.Context())
	r.stop, r.done = stop, make(chan error, 1)
	go func() { r.done <- r.p.Run(ctx) }()
	select {
	case r.emit = <-r.member.emit:
	case err := <-r.done:
		r.t.Fatalf("the run ended before its source began: %v", err)
	}
}

// end stops the pipeline as SIGTERM does.
func (r *rig) end() {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
	if err := r.p.Close(); err != nil {
		r.t.Error(err)
	}
}

// fail emits failed log-ins of one address, a second and an offset apart.
func (r *rig) fail(id int32, from, to int64) {
	r.t.Helper()
	b := &pipeline.RecordBatch{Partition: r.member.part(id), Module: "kafka", HighWatermark: -1}
	for i := from; i < to; i++ {
		at := time.Date(2024, time.March, 3, 10, 0, int(i), 0, time.UTC)
		line := fmt.Sprintf("%s gate sshd[7]: Failed password for root from 192.0.2.1 port 4000 ssh2", at.Format(time.RFC3339))
		b.Records = append(b.Records, pipeline.Record{Value: []byte(line), Offset: i, Time: at})
	}
	if err := r.emit(r.t.Context(), b); err != nil {
		r.t.Fatal(err)
	}
}

// failFrom emits failed log-ins of so many addresses, each some times in a row, a
// second apart: the offset goes on from one address to the next.
func (r *rig) failFrom(id int32, offset int64, addresses, times int) {
	r.t.Helper()
	b := &pipeline.RecordBatch{Partition: r.member.part(id), Module: "kafka", HighWatermark: -1}
	for a := range addresses {
		for i := range times {
			at := time.Date(2024, time.March, 3, 10, 0, int(offset/int64(addresses))+i, 0, time.UTC)
			line := fmt.Sprintf("%s gate sshd[7]: Failed password for root from 10.0.%d.%d port 4000 ssh2", at.Format(time.RFC3339), a/250, a%250)
			b.Records = append(b.Records, pipeline.Record{Value: []byte(line), Offset: offset + int64(len(b.Records)), Time: at})
		}
	}
	if err := r.emit(r.t.Context(), b); err != nil {
		r.t.Fatal(err)
	}
}

// checkpoint makes durable what was emitted.
func (r *rig) checkpoint() {
	r.t.Helper()
	if err := r.p.durable.cp.Checkpoint(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// alert waits for the next alert.
func (r *rig) alert() string {
	r.t.Helper()
	select {
	case a := <-r.sink.got:
		return a
	case <-time.After(time.Minute):
		r.t.Fatal("no alert came")
		return ""
	}
}

// none checks that nothing was released: what is in doubt is told first.
func (r *rig) none(doubts int) {
	r.t.Helper()
	m := r.p.durable.members
	m.mu.Lock()
	got := len(m.doubts)
	m.mu.Unlock()
	if got != doubts {
		r.t.Errorf("%d alerts are in doubt, want %d", got, doubts)
	}
	select {
	case a := <-r.sink.got:
		r.t.Errorf("alert %s was released", a)
	default:
	}
}
