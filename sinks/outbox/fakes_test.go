package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sinks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLog is a Log in memory that outlives Deliverers, as the store outlives processes.
type fakeLog struct {
	mu      sync.Mutex
	entries []Entry
	next    uint64
	cursors map[string]uint64
	longest int // of the answers
	fail    error
}

func newFakeLog() *fakeLog { return &fakeLog{next: 1, cursors: make(map[string]uint64)} }

// add stores items and returns the number after the last.
func (f *fakeLog) add(t *testing.T, items ...Item) uint64 {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range items {
		b, err := it.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		f.entries = append(f.entries, Entry{Seq: f.next, Payload: b})
		f.next++
	}
	return f.next
}

func (f *fakeLog) Outbox(from uint64, limit int) ([]Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Entry
	for _, e := range f.entries {
		if e.Seq >= from && len(out) < limit {
			out = append(out, e)
		}
	}
	f.longest = max(f.longest, len(out))
	return out, f.fail
}

func (f *fakeLog) Cursor(sink string) (uint64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seq, ok := f.cursors[sink]
	return seq, ok
}

func (f *fakeLog) Cursors() map[string]uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.cursors)
}

func (f *fakeLog) SetCursor(sink string, seq uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq >= f.next {
		return fmt.Errorf("the cursor of %s is %d, and there are no more than %d entries", sink, seq, f.next-1)
	}
	if seq < f.cursors[sink] {
		return fmt.Errorf("the cursor of %s goes back from %d to %d", sink, f.cursors[sink], seq)
	}
	f.cursors[sink] = seq
	return nil
}

func (f *fakeLog) RemoveCursor(sink string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.cursors, sink)
	return nil
}

func (f *fakeLog) Trim(below uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries = slices.DeleteFunc(f.entries, func(e Entry) bool { return e.Seq < below })
	return nil
}

func (f *fakeLog) kept() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.entries)
}

// fakeSink takes alerts as told.
type fakeSink struct {
	name string

	mu      sync.Mutex
	down    bool
	flaps   bool          // it takes every other attempt
	refuse  string        // the UUID of an alert that is never taken
	part    int           // when above 0, how many alerts a call takes at most
	poison  []string      // UUIDs of alerts with which no batch is taken
	points  bool          // it says which alert of the poison it was
	hold    chan struct{} // when set, every call waits for one value of it
	got     []string      // UUIDs
	batches []string      // the UUIDs of every attempt
}

func (s *fakeSink) Name() string       { return s.name }
func (s *fakeSink) Stats() sinks.Stats { return sinks.Stats{} }
func (s *fakeSink) Close() error       { return nil }

func (s *fakeSink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	rejected := &sinks.RejectedError{Reason: errors.New("too large")}
	for i, a := range alerts {
		if a.UUID == s.refuse {
			rejected.Alerts = append(rejected.Alerts, i)
			continue
		}
		ids = append(ids, a.UUID)
	}
	s.batches = append(s.batches, strings.Join(ids, " "))
	if s.down || s.flaps && len(s.batches)%2 == 1 {
		return errors.New("the server is down")
	}
	for i, a := range alerts {
		if !slices.Contains(s.poison, a.UUID) {
			continue
		}
		if !s.points {
			return errors.New("500 Internal Server Error")
		}
		s.got = append(s.got, ids[:i]...) // it refuses none
		return &sinks.PartialError{Settled: i, Failed: 1, Err: errors.New("exit status 1")}
	}
	if s.part > 0 && s.part < len(alerts) {
		p := &sinks.PartialError{Settled: s.part, Err: errors.New("the server went down")}
		for _, a := range alerts[:s.part] {
			if a.UUID != s.refuse {
				s.got = append(s.got, a.UUID)
			}
		}
		if rejected.Alerts = slices.DeleteFunc(rejected.Alerts, func(i int) bool { return i >= s.part }); len(rejected.Alerts) > 0 {
			p.Rejected = rejected
		}
		return p
	}
	s.got = append(s.got, ids...)
	if len(rejected.Alerts) > 0 {
		return rejected
	}
	return nil
}

// fakeBatcher is a sink that wants large batches.
type fakeBatcher struct {
	fakeSink
	want int
	wait time.Duration
}

func (s *fakeBatcher) Batch() (int, time.Duration) { return s.want, s.wait }

func (s *fakeSink) set(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// taken returns the UUIDs that were taken, and forgets them.
func (s *fakeSink) taken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.got, " ")
	s.got = nil
	return out
}

func (s *fakeSink) attempts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

// fakeDead is a place for dead letters.
type fakeDead struct {
	mu   sync.Mutex
	down bool
	got  []string
}

func (f *fakeDead) Close() error { return nil }

func (f *fakeDead) Write(_ context.Context, letters []pipeline.DeadLetter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return errors.New("the folder is gone")
	}
	rejected := &sinks.RejectedError{Reason: errors.New("larger than a record may be")}
	for i, l := range letters {
		if string(l.Value) == "enormous" {
			rejected.Alerts = append(rejected.Alerts, i)
			continue
		}
		text := string(l.Kind) + ":" + string(l.Key)
		if l.Sink != "" {
			text += "@" + l.Sink
		}
		f.got = append(f.got, text)
	}
	if len(rejected.Alerts) > 0 {
		return rejected
	}
	return nil
}

func (f *fakeDead) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *fakeDead) taken() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := strings.Join(f.got, " ")
	f.got = nil
	return out
}

// logLines keeps the messages of a log.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logLines) WithGroup(string) slog.Handler            { return l }
func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Message)
	return nil
}

func (l *logLines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.lines
	l.lines = nil
	return out
}

// alert is an alert of a UUID, for the sinks named or for all.
func alert(id string, to ...string) Item {
	return Item{To: to, At: time.Now(), Alert: &pipeline.Alert{UUID: id, Scenario: "test/s"}}
}

func alerts(from, to int) []Item {
	var out []Item
	for i := from; i <= to; i++ {
		out = append(out, alert(fmt.Sprint(i)))
	}
	return out
}

func ids(from, to int) string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return strings.Join(out, " ")
}

func letter(key, value string) Item {
	return Item{Dead: &pipeline.DeadLetter{Kind: pipeline.DeadUndecodable, Key: []byte(key), Value: []byte(value)}}
}
