//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkAlertLatency measures how long an alert takes from the moment its
// record is produced to the moment the broker has the alert, at a checkpoint
// interval of a second:
//
//	make integration PKG=./cmd/internal/integration RUN='^$' TESTFLAGS='-bench AlertLatency -benchtime 1x'
func BenchmarkAlertLatency(b *testing.B) {
	for _, durable := range []bool{false, true} {
		b.Run(fmt.Sprintf("durable=%t", durable), func(b *testing.B) {
			var all []time.Duration
			for range b.N {
				all = append(all, latencies(b, durable)...)
			}
			slices.Sort(all)
			for _, q := range []int{0, 50, 99, 100} {
				at := all[min(len(all)-1, len(all)*q/100)]
				b.ReportMetric(float64(at.Microseconds())/1000, fmt.Sprintf("p%d-ms", q))
			}
			b.ReportMetric(float64(len(all)), "alerts")
		})
	}
}

// latencies produces 500 lines a second for ten seconds, every tenth of which
// makes an alert.
func latencies(b *testing.B, durable bool) []time.Duration {
	ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
	defer cancel()
	const rate, seconds = 500, 10
	s := parts.broker.newSetup(b, 4, counting())
	s.durable, s.state = durable, map[string]any{"interval": "1s"}
	// What happens while it starts is not what is measured.
	in := s.startAll(b, 1)[0]
	warm := time.Now()
	first := []record{{0, "warm", "counted", countedLine(0, "warm", warm), warm}}
	for p := range int32(4) {
		first = append(first, record{p, "warm", "counted", countedLine(1, "warm", warm), warm})
	}
	s.produce(ctx, b, first, 0)
	if err := s.caughtUp(ctx, []*instance{in}); err != nil {
		b.Fatal(err)
	}
	var records []record
	start := time.Now()
	for i := range rate * seconds {
		due := start.Add(time.Duration(i) * time.Second / rate)
		key := fmt.Sprintf("key-%d", i%100)
		records = append(records, record{int32(i % 4), key, "counted", countedLine(1000+i, key, due), time.Time{}}) // the client says when
	}
	s.produce(ctx, b, records, rate)
	if err := s.caughtUp(ctx, []*instance{in}); err != nil {
		b.Fatal(err)
	}
	if err := in.Stop(); err != nil {
		b.Fatal(err)
	}
	return s.latencies(ctx, b)
}

// latencies joins each-tenth's alerts with the records that caused them.
func (s *setup) latencies(ctx context.Context, b *testing.B) []time.Duration {
	type place struct {
		Partition int32
		Offset    int64
	}
	logs, err := s.broker.readAll(ctx, s.topic, s.partitions)
	if err != nil {
		b.Fatal(err)
	}
	produced := make(map[place]time.Time)
	for _, r := range logs {
		produced[place{r.partition, r.offset}] = r.time
	}
	alerts, err := s.broker.readAll(ctx, s.alerts, 1)
	if err != nil {
		b.Fatal(err)
	}
	var out []time.Duration
	for _, r := range alerts {
		var a struct {
			Scenario string
			Sluice   struct{ Cause place }
		}
		if err := json.Unmarshal([]byte(r.value), &a); err != nil {
			b.Fatal(err)
		}
		if a.Scenario == "test/each-tenth" {
			out = append(out, r.time.Sub(produced[a.Sluice.Cause]))
		}
	}
	return out
}
