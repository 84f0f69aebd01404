//go:build integration

package integration

import (
	"bufio"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"sluice/benchmarks/workload"
	"sluice/cmd/internal/integration/rig"
)

// wholeHub are all rules of CrowdSec's hub.
func wholeHub(t *testing.T) map[string]any {
	t.Helper()
	return map[string]any{"roots": []string{hub(t)}}
}

// hub returns the folder of CrowdSec's hub, or skips the test.
func hub(t *testing.T) string {
	t.Helper()
	dir, ok := rig.Hub(parts.root)
	if !ok {
		t.Skip("integration: skipped 1 part: no hub (set SLUICE_HUB to a clone of it)")
	}
	return dir
}

// hubBegin is before all dates in the hub's logs. So they count as lines of the
// future: they do not move the clock, and their buckets stay until the end.
var hubBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// hubLogs returns n lines: those of the hub's own tests, over and over, among
// those of a fleet, whose dates do move the clock.
func hubLogs(t *testing.T, seed uint64, n, partitions int, place placement) []record {
	t.Helper()
	tests := hubTests(t)
	rng := rand.New(rand.NewPCG(seed, 4))
	stream := workload.New(workload.Options{Seed: seed, Start: hubBegin, Step: 50 * time.Millisecond, Attacks: 0.3, Visitors: 300})
	next := make([]int, len(tests))
	out := make([]record, 0, n+partitions)
	for i := range n {
		l := stream.Next()
		if rng.IntN(2) == 0 {
			now := l.Time
			k := rng.IntN(len(tests))
			l = tests[k][next[k]%len(tests[k])]
			l.Time, next[k] = now, next[k]+1
		}
		out = append(out, record{place(l, i, partitions), l.Key, l.Kind, l.Text, l.Time})
	}
	// Lines of the future take the clock max_future ahead; this is later still,
	// so that merged lines need not wait for a partition that has no more.
	return closing(out, partitions, 24*time.Hour)
}

// hubTests returns the lines of each of the hub's tests, in order.
func hubTests(t *testing.T) [][]workload.Line {
	t.Helper()
	configs, err := filepath.Glob(filepath.Join(hub(t), "tests", "*", "config.yaml"))
	if err != nil || len(configs) == 0 {
		t.Fatalf("no tests in the hub: %v", err)
	}
	var out [][]workload.Line
	for _, file := range configs {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			LogFile string `yaml:"log_file"`
			LogType string `yaml:"log_type"`
		}
		if err := yaml.Unmarshal(text, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if lines := readLines(t, filepath.Join(filepath.Dir(file), c.LogFile), c.LogType); len(lines) > 0 {
			out = append(out, lines)
		}
	}
	return out
}

func readLines(t *testing.T, file, kind string) []workload.Line {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []workload.Line
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if text := lines.Text(); text != "" {
			out = append(out, workload.Line{Kind: workload.Kind(kind), Text: text, Key: filepath.Base(file)})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return out
}
