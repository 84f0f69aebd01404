package sourcetest

import (
	"bytes"
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

	"sluice/pipeline"
	"sluice/sources"
)

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

// Log is what a source said.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns all of it.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Said counts how often a text was said.
func (l *Log) Said(text string) int { return strings.Count(l.String(), text) }

// Env returns an environment with a clock and a folder for journals, and the
// log that the source will write to.
func Env(clock sources.Clock, dir string) (sources.Env, *Log) {
	log := &Log{}
	return sources.Env{Log: slog.New(slog.NewTextHandler(log, nil)), Clock: clock, Dir: dir}, log
}

// Record is what is kept of a partition's last record.
type Record struct {
	Labels  map[string]string // its batch's
	Headers []pipeline.Header
	Time    time.Time
}

// Run is a source that runs, and what came out of it.
type Run struct {
	*Log
	t      testing.TB
	source sources.Source
	cancel context.CancelFunc

	mu      sync.Mutex
	ended   bool
	err     error
	changed chan struct{} // closed and made anew at each change
	lines   map[string][]string
	last    map[string]Record
	next    sources.Positions
}

// Start runs a source behind positions. It is stopped with the test.
func Start(t testing.TB, s sources.Source, log *Log, from sources.Positions) *Run {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &Run{
		Log: log, t: t, source: s, cancel: cancel, changed: make(chan struct{}),
		lines: make(map[string][]string), last: make(map[string]Record), next: make(sources.Positions),
	}
	maps.Copy(r.next, from)
	go func() {
		err := s.Run(ctx, maps.Clone(from), r.emit)
		r.change(func() { r.ended, r.err = true, err })
	}()
	t.Cleanup(func() { r.Stop() })
	return r
}

// change changes what was seen, and wakes those who wait for it.
func (r *Run) change(how func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	how()
	close(r.changed)
	r.changed = make(chan struct{})
}

// name returns a partition as tests write it.
func name(p pipeline.Partition) string { return fmt.Sprintf("%s/%d", p.Topic, p.ID) }

func (r *Run) emit(_ context.Context, b *pipeline.RecordBatch) error {
	r.change(func() { r.note(b) })
	if b.Release != nil {
		b.Release()
	}
	return nil
}

func (r *Run) note(b *pipeline.RecordBatch) {
	part := name(b.Partition)
	for i := range b.Records {
		rec := &b.Records[i]
		if rec.Time.IsZero() {
			r.t.Errorf("%s: %q has no time", part, rec.Value)
		}
		if rec.Offset < r.next[b.Partition] {
			r.t.Errorf("%s: %q has the offset %d after %d", part, rec.Value, rec.Offset, r.next[b.Partition]-1)
		}
		r.next[b.Partition] = rec.Offset + 1
		r.lines[part] = append(r.lines[part], string(rec.Value))
		r.last[part] = Record{Labels: maps.Clone(b.Labels), Headers: slices.Clone(rec.Headers), Time: rec.Time}
	}
	if b.Next > 0 {
		r.next[b.Partition] = b.Next
	}
}

// Wait waits until a condition holds of the lines, by partition as "topic/id".
func (r *Run) Wait(what string, holds func(lines map[string][]string) bool) {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		r.mu.Lock()
		ok, ended, err, changed := holds(r.lines), r.ended, r.err, r.changed
		r.mu.Unlock()
		if ok {
			return
		}
		if ended {
			r.t.Fatalf("the source ended with %v before %s\n%s", err, what, r.Log)
		}
		select {
		case <-changed:
		case <-timeout:
			r.t.Fatalf("%s did not happen; there are %v\n%s", what, r.Lines(), r.Log)
		}
	}
}

// Lines returns what was emitted so far, by partition as "topic/id".
func (r *Run) Lines() map[string][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string][]string)
	for part, lines := range r.lines {
		out[part] = slices.Clone(lines)
	}
	return out
}

// Last returns a partition's last record, with its batch's labels.
func (r *Run) Last(part string) Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[part]
}

// Expect waits for lines of partitions, such as "logs/0:a,b", sorted by
// partition, and fails the test when there are others.
func (r *Run) Expect(want ...string) {
	r.t.Helper()
	enough := func(lines map[string][]string) bool {
		for _, w := range want {
			part, list, _ := strings.Cut(w, ":")
			if len(lines[part]) < len(strings.Split(list, ",")) {
				return false
			}
		}
		return true
	}
	r.Wait(fmt.Sprintf("%.200q", want), enough)
	lines := r.Lines()
	var got []string
	for _, part := range slices.Sorted(maps.Keys(lines)) {
		got = append(got, part+":"+strings.Join(lines[part], ","))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("got %.1000q, want %.1000q", got, want)
	}
}

// Eventually waits until a condition holds that no record tells of.
func (r *Run) Eventually(what string, holds func() bool) {
	r.t.Helper()
	timeout, tick := time.After(patience), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			r.t.Fatalf("%s did not happen\n%s", what, r.Log)
		}
	}
}

// Ended waits until the source ends by itself, closes it, and returns its error.
func (r *Run) Ended() error {
	r.t.Helper()
	r.Eventually("the source's end", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.ended
	})
	r.mu.Lock()
	err := r.err
	r.err = nil // it is told
	r.mu.Unlock()
	r.Stop()
	return err
}

// Fails waits until the source ends by itself with an error that says something.
func (r *Run) Fails(want string) {
	r.t.Helper()
	if err := r.Ended(); err == nil || !strings.Contains(err.Error(), want) {
		r.t.Errorf("error %v, want %q", err, want)
	}
}

// Stop ends the source, closes it, and returns the positions behind what it emitted.
func (r *Run) Stop() sources.Positions {
	r.t.Helper()
	r.cancel()
	r.Eventually("the source's end", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.ended
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil && !errors.Is(r.err, context.Canceled) {
		r.t.Errorf("it ended with %v", r.err)
		r.err = nil
	}
	if err := r.source.Close(); err != nil {
		r.t.Errorf("closing: %v", err)
	}
	return maps.Clone(r.next)
}
