//go:build integration

package kafka

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice/sources"
)

// BenchmarkRealKafka reads the same topic with this source and with a bare
// partition reader of kafka-go, side by side, for every compression. The
// broker is that of SLUICE_KAFKA_BOOTSTRAP: `make kafka` starts one.
func BenchmarkRealKafka(b *testing.B) {
	bootstrap := os.Getenv("SLUICE_KAFKA_BOOTSTRAP")
	if bootstrap == "" {
		b.Skip("SLUICE_KAFKA_BOOTSTRAP names no broker; start one with make kafka and give its address")
	}
	brokers := strings.Split(bootstrap, ",")
	const n = 1_000_000
	for _, codec := range []struct {
		name string
		with kgo.CompressionCodec
	}{
		{"none", kgo.NoCompression()}, {"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()}, {"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()},
	} {
		b.Run(codec.name, func(b *testing.B) {
			topic, size := fillTopic(b, brokers, codec.with, n)
			b.Run("sluice", func(b *testing.B) {
				measure(b, n, size, func() {
					config := Default()
					config.Brokers, config.Topics = brokers, []string{topic}
					s, err := New("k", config, sources.Env{})
					if err != nil {
						b.Fatal(err)
					}
					defer s.Close()
					consume(b, s, n)
				})
			})
			b.Run("bare", func(b *testing.B) {
				measure(b, n, size, func() {
					r := kafka.NewReader(kafka.ReaderConfig{Brokers: brokers, Topic: topic, Partition: 0, MinBytes: 1, MaxBytes: 10e6, QueueCapacity: 1000})
					defer r.Close()
					for i := range n {
						if _, err := r.ReadMessage(b.Context()); err != nil {
							b.Fatal(i, err)
						}
					}
				})
			})
		})
	}
}

func measure(b *testing.B, n int, size int64, read func()) {
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		read()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// fillTopic makes a topic of one partition with n lines of a log in batches of about 100 KB.
func fillTopic(b *testing.B, brokers []string, codec kgo.CompressionCodec, n int) (topic string, size int64) {
	topic = fmt.Sprintf("consume-%d", time.Now().UnixNano())
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(100_000), kgo.MaxBufferedRecords(50_000))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}}
	if _, err := req.RequestWith(b.Context(), client); err != nil {
		b.Fatal(err)
	}
	failed := make(chan error, 1)
	for i := range n {
		line := logLine(i)
		size += int64(len(line))
		client.Produce(b.Context(), kgo.StringRecord(line), func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := client.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	select {
	case err := <-failed:
		b.Fatal(err)
	default:
	}
	return topic, size
}
