//go:build integration

package outbox

import (
	"testing"

	benchmark "sluice/benchmarks/outbox"
	"sluice/sinks"
	"sluice/sinks/kafka"
)

// BenchmarkKafka delivers to a topic of three partitions on a real Kafka of
// one node, with the acknowledgement of all replicas and zstd, as by default.
func BenchmarkKafka(b *testing.B) {
	cluster := startKafka(b, "bench")
	c := kafka.Default()
	c.Brokers, c.AlertsTopic = cluster.Brokers(), "bench"
	s, err := kafka.New("kafka", c, sinks.Env{})
	if err != nil {
		b.Fatal(err)
	}
	benchmark.Run(b, s)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
