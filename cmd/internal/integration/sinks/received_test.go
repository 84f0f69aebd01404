//go:build integration

package sinks

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// received counts alerts, by the number of the line that made each and by its id. It may be
// used by any goroutine.
type received struct {
	mu     sync.Mutex
	counts map[string]int
}

func newReceived() *received { return &received{counts: make(map[string]int)} }

// add takes an alert in the format sluice; what is none counts as an alert of no line.
func (r *received) add(text []byte) {
	var a struct {
		UUID   string
		Source struct{ Value string }
	}
	_ = json.Unmarshal(text, &a) // the check below finds it
	r.count(a.Source.Value, a.UUID)
}

func (r *received) count(line, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[line+" "+id]++
}

func (r *received) distinct() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.counts)
}

// reading returns how many alerts a function finds.
func reading(read func() *received) func() int { return func() int { return read().distinct() } }

// arrive waits until n alerts have come.
func arrive(t *testing.T, f *rig.Feed, have func() int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err := rig.Poll(ctx, "all alerts to arrive", func() (bool, error) { return have() >= f.Lines, f.Ended() })
	if err != nil {
		t.Fatalf("%v: %d of %d are there", err, have(), f.Lines)
	}
}

// repeats fails the test unless there is one alert of each of n lines, under
// one id however often it came; it returns how often one came again.
func (r *received) repeats(t *testing.T, n int) (again int) {
	t.Helper()
	r.mu.Lock()
	counts := maps.Clone(r.counts)
	r.mu.Unlock()
	lines, total := make(map[string]bool), 0
	for key, count := range counts {
		line, id, _ := strings.Cut(key, " ")
		if line == "" || id == "" {
			t.Errorf("%d times what came is no alert", count)
		}
		lines[line] = true
		total += count
	}
	if len(lines) != n || len(counts) != n {
		t.Errorf("%d lines made %d alerts about %d of them", n, len(counts), len(lines))
	}
	return total - len(counts)
}

// kills is how often sluice is killed, for each sink.
func kills() int {
	if rig.Soak() {
		return 100
	}
	return 5
}

// midway fails the test when no kill was where it matters.
func midway(t *testing.T, during int) {
	t.Helper()
	if during == 0 {
		t.Errorf("none of %d kills was while alerts were on their way", kills())
	}
}
