package engine_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/benchmarks/workload"
	"sluice/pipeline"
	"sluice/stages/decode"
	"sluice/stages/engine"
	"sluice/stages/rules"
)

// hubDir is where a clone of the hub is, or "".
func hubDir() string {
	dir := os.Getenv("SLUICE_HUB")
	if dir == "" {
		dir = filepath.FromSlash("../../../shared/hub")
	}
	if _, err := os.Stat(filepath.Join(dir, "parsers")); err != nil {
		return ""
	}
	return dir
}

// accessLog is n lines of an nginx access log of everyday visitors.
func accessLog(n int) []pipeline.Record {
	s := workload.New(workload.Options{
		Seed: 3, Start: time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC), Step: 5 * time.Millisecond, Syslog: 0.0001,
	})
	var out []pipeline.Record
	for len(out) < n {
		l := s.Next()
		if l.Kind == workload.Nginx && !strings.Contains(l.Text, "203.0.113.") && !strings.Contains(l.Text, "198.51.100.") {
			out = append(out, pipeline.Record{Value: []byte(l.Text), Offset: int64(len(out)), Time: l.Time})
		}
	}
	return out
}

// runBatches sends records through a graph of one worker and one shard.
func runBatches(b *testing.B, eng *engine.Engine, records []pipeline.Record, lines int, alerts *int) {
	decoding := decode.Default()
	decoding.Type = "nginx"
	g, err := eng.Graph(engine.GraphOptions{
		Workers: 1, Shards: 1, Decode: map[string]decode.Config{"bench": decoding},
		Deliver: func(_ context.Context, o *pipeline.Outcome) error {
			*alerts += len(o.Alerts)
			return nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	eg, ctx := errgroup.WithContext(context.Background())
	eg.Go(func() error { return g.Run(ctx) })
	eg.Go(func() error {
		defer g.Close()
		for sent := 0; sent < lines; {
			n := min(512, lines-sent, len(records)-sent%len(records))
			at := sent % len(records)
			rb := &pipeline.RecordBatch{
				Partition: pipeline.Partition{Source: "bench", Topic: "access.log"}, Module: "file",
				Records: records[at : at+n], HighWatermark: -1,
			}
			if err := g.Emit(ctx, rb); err != nil {
				return err
			}
			sent += n
		}
		return nil
	})
	if err := eg.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkNginxLine is a line of an nginx access log from raw text to its
// buckets. Run it with -cpu 1: one core for everything.
func BenchmarkNginxLine(b *testing.B) {
	hub := hubDir()
	cases := []struct {
		name string
		load func(b *testing.B) rules.Options
	}{
		{"starter", func(*testing.B) rules.Options {
			return rules.Options{Roots: []string{filepath.FromSlash("../../configs/rules")}, Collections: []string{"sluice/demo"}, Strict: true}
		}},
		{"nginx+linux+http-cve", func(*testing.B) rules.Options {
			return rules.Options{Roots: []string{hub}, Collections: []string{
				"crowdsecurity/nginx", "crowdsecurity/linux", "crowdsecurity/http-cve",
			}, TestData: true, Strict: true}
		}},
		{"whole hub", func(*testing.B) rules.Options { return rules.Options{Roots: []string{hub}, TestData: true} }},
	}
	records := accessLog(20_000)
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			if hub == "" && c.name != "starter" {
				b.Skip("hub not found: set SLUICE_HUB to a clone of it")
			}
			set, err := rules.Load(c.load(b))
			if err != nil {
				b.Fatal(err)
			}
			eng, _ := engine.Compile(set, engine.Options{Free: true})
			alerts := 0
			runBatches(b, eng, records, min(b.N, len(records)), &alerts) // caches and pools fill
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			runBatches(b, eng, records, b.N, &alerts)
			// Time on the processor: what a busy machine does not distort.
			b.ReportMetric(float64(b.N)/(cpuTime(b)-before).Seconds(), "lines/cpu-s")
		})
	}
}

// cpuTime is the time that the process spent on processors.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLoadHub loads and compiles the whole hub.
func BenchmarkLoadHub(b *testing.B) {
	hub := hubDir()
	if hub == "" {
		b.Skip("hub not found: set SLUICE_HUB to a clone of it")
	}
	for b.Loop() {
		set, err := rules.Load(rules.Options{Roots: []string{hub}, TestData: true})
		if err != nil {
			b.Fatal(err)
		}
		if eng, _ := engine.Compile(set, engine.Options{}); eng == nil {
			b.Fatal("the hub did not compile")
		}
	}
}
