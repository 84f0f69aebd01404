package engine_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/engine"
	"sluice/stages/rules"
)

var (
	logFile = regexp.MustCompile(`(?m)^log_file: *["']?([^"'\r\n]+?)["']? *\r?$`)
	logType = regexp.MustCompile(`(?m)^log_type: *["']?([^"'\r\n]+?)["']? *\r?$`)
)

// hubLog puts every nth log of the hub's tests behind each other as one
// partition, each line in an envelope with its type.
func hubLog(t *testing.T, hub string, nth, batch int) []*pipeline.RecordBatch {
	t.Helper()
	configs, err := filepath.Glob(filepath.Join(hub, "tests", "*", "config.yaml"))
	if err != nil || len(configs) == 0 {
		t.Fatalf("no tests in %s: %v", hub, err)
	}
	received := time.Date(2026, time.December, 31, 12, 0, 0, 0, time.UTC) // dates without a year come out the same
	var records []pipeline.Record
	for i, path := range configs {
		if i%nth != 0 {
			continue
		}
		config, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, kind := logFile.FindSubmatch(config), logType.FindSubmatch(config)
		if file == nil || kind == nil {
			continue // a test without a log or a type
		}
		log, err := os.ReadFile(filepath.Join(filepath.Dir(path), string(file[1])))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(log) {
			if text := bytes.TrimRight(line, "\r\n"); len(text) > 0 {
				records = append(records, record(string(kind[1]), string(text), int64(len(records)), received))
			}
		}
	}
	var out []*pipeline.RecordBatch
	for len(records) > 0 {
		n := min(batch, len(records))
		out = append(out, &pipeline.RecordBatch{
			Partition: pipeline.Partition{Source: "test", Topic: "hub"}, Module: "file", HighWatermark: -1, Records: records[:n],
		})
		records = records[n:]
	}
	return out
}

func wholeHub(t *testing.T, hub string, o engine.Options) *engine.Engine {
	t.Helper()
	set, err := rules.Load(rules.Options{Roots: []string{hub}, TestData: true})
	if err != nil {
		t.Fatal(err)
	}
	eng, errs := engine.Compile(set, o)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return eng
}

func needHub(t *testing.T) string {
	t.Helper()
	dir := hubDir()
	if dir == "" {
		t.Skip("hub not found: set SLUICE_HUB to a clone of it")
	}
	return dir
}

// TestTheWholeHubIsTheSameForAnyWorkersAndShards runs all rules of the hub on
// all of its logs; under the race detector and in short mode on a part.
func TestTheWholeHubIsTheSameForAnyWorkersAndShards(t *testing.T) {
	hub := needHub(t)
	nth := 1
	if raceEnabled || testing.Short() {
		nth = 16
	}
	eng := wholeHub(t, hub, engine.Options{})
	want := alerts(t, eng, hubLog(t, hub, nth, 1000), run{workers: 1, shards: 1, batch: 1000, mayLose: true})
	n := bytes.Count(want, []byte("\n"))
	if n < 200/nth {
		t.Fatalf("only %d alerts: too few to show anything", n)
	}
	t.Logf("%d alerts", n)
	batches := hubLog(t, hub, nth, 77)
	for _, workers := range []int{1, 4} {
		for _, shards := range []int{1, 8} {
			t.Run(fmt.Sprintf("%d workers %d shards", workers, shards), func(t *testing.T) {
				compareLines(t, alerts(t, eng, batches, run{workers: workers, shards: shards, batch: 33, poison: true, mayLose: true}), want)
			})
		}
	}
}

// TestTheFastPathsEqualTheReference on the mixed log with the starter rules,
// and on the hub's logs with all of its rules; under
// the race detector and in short mode on a part of either.
func TestTheFastPathsEqualTheReference(t *testing.T) {
	shape := run{workers: 2, shards: 2, batch: 100, poison: true, mayLose: true}
	t.Run("starter rules", func(t *testing.T) {
		lines := 4000
		if raceEnabled || testing.Short() {
			lines = 1000
		}
		o := rules.Options{Roots: []string{filepath.FromSlash("../../configs/rules")}, Collections: []string{"sluice/demo"}, Strict: true}
		set, err := rules.Load(o)
		if err != nil {
			t.Fatal(err)
		}
		plain, errs := engine.Compile(set, engine.Options{Reference: true})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		batches := mixed(lines, 500)
		want := alerts(t, plain, batches, shape)
		if len(want) == 0 {
			t.Fatal("no alerts: too few to show anything")
		}
		compareLines(t, alerts(t, starter(t, "sluice/demo"), batches, shape), want)
	})
	t.Run("whole hub", func(t *testing.T) {
		hub, nth := needHub(t), 1
		if raceEnabled || testing.Short() {
			nth = 100
		}
		batches := hubLog(t, hub, nth, 100)
		want := alerts(t, wholeHub(t, hub, engine.Options{Reference: true}), batches, shape)
		t.Logf("%d alerts", bytes.Count(want, []byte("\n")))
		if len(want) == 0 {
			t.Fatal("no alerts: too few to show anything")
		}
		compareLines(t, alerts(t, wholeHub(t, hub, engine.Options{}), batches, shape), want)
	})
}
