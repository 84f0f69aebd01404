package kafka

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"sluice/pipeline"
	"sluice/sources/kafka/recordbatch"
)

// logLine is a line as web servers write them, different for every i.
func logLine(i int) string {
	return fmt.Sprintf(`192.0.2.%d - - [01/May/2024:12:%02d:%02d +0000] "GET /products/%x?page=%d HTTP/1.1" 200 %d "-" "Mozilla/5.0 (X11; Linux x86_64)"`,
		i%256, i/60%60, i%60, i*2654435761, i%17, 1000+i*7919%90000)
}

// BenchmarkConsume reads a topic of two partitions off a broker in this
// process, and decodes its batches.
func BenchmarkConsume(b *testing.B) {
	for name, codec := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()} {
		b.Run(name, func(b *testing.B) {
			c := fake(b, 2, "logs")
			client := franz(b, c, kgo.DefaultProduceTopic("logs"), kgo.ProducerBatchCompression(codec))
			const n = 200_000
			size := 0
			for begin := 0; begin < n; begin += 10_000 {
				var all []*kgo.Record
				for i := begin; i < begin+10_000; i++ {
					line := logLine(i)
					size += len(line)
					all = append(all, kgo.StringRecord(line))
				}
				if err := client.ProduceSync(b.Context(), all...).FirstErr(); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				s := newSource(b, c, nil)
				s.mem.poison = false
				consume(b, s, n)
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// consume runs a source until n records have come.
func consume(b *testing.B, s *Source, n int) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var mu sync.Mutex
	got := 0
	_ = s.Run(ctx, nil, func(_ context.Context, rb *pipeline.RecordBatch) error {
		mu.Lock()
		if got += len(rb.Records); got >= n {
			cancel()
		}
		mu.Unlock()
		rb.Release()
		return nil
	})
	if got < n {
		b.Fatalf("%d records of %d", got, n)
	}
}

// answerOfBatches is an answer's records: count batches of each records.
func answerOfBatches(t testing.TB, count, each int) []byte {
	t.Helper()
	c := fake(t, 1, "logs")
	client := franz(t, c, kgo.DefaultProduceTopic("logs"))
	for i := range count {
		var all []*kgo.Record
		for j := range each {
			all = append(all, &kgo.Record{Value: []byte(logLine(i*each + j)), Headers: []kgo.RecordHeader{{Key: "host", Value: []byte("web-1")}}})
		}
		if err := client.ProduceSync(t.Context(), all...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s := newSource(t, c, nil)
	f := s.newFetcher(part("logs", 0), start{offset: 0}, nil)
	defer s.cluster.close()
	defer f.close()
	if err := f.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.ask(0); err != nil {
		t.Fatal(err)
	}
	body, err := f.receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.answer.parse(body.data[:body.used], f.version, "logs", 0); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(f.answer.records)
}

func TestARecordCostsNoAllocation(t *testing.T) {
	const batches, each = 20, 500
	s := newSource(t, fake(t, 1, "logs"), nil)
	s.mem.poison = false
	f := s.newFetcher(part("logs", 0), start{offset: 0}, func(_ context.Context, b *pipeline.RecordBatch) error {
		b.Release()
		return nil
	})
	defer f.close()
	f.answer.records = answerOfBatches(t, batches, each)
	perAnswer := testing.AllocsPerRun(20, func() {
		body := s.mem.block(len(f.answer.records))
		f.next = 0
		if err := f.emitAll(t.Context(), body, batches*each); err != nil || f.next != batches*each {
			t.Fatalf("next %d, %v", f.next, err)
		}
		body.drop()
	})
	// The race detector makes pools forget now and then.
	if perRecord := perAnswer / (batches * each); perRecord > 0.05 {
		t.Errorf("%v allocations an answer of %d records", perAnswer, batches*each)
	}
}

// TestRecordsAreGoodUntilTheyAreReleased holds batches back while the reader
// goes on, and sees that what is released is overwritten.
func TestRecordsAreGoodUntilTheyAreReleased(t *testing.T) {
	const batches, each = 6, 400
	s := newSource(t, fake(t, 1, "logs"), func(c *Config) { c.BatchRecords = 150 })
	var held []*pipeline.RecordBatch
	f := s.newFetcher(part("logs", 0), start{offset: 0}, func(_ context.Context, b *pipeline.RecordBatch) error {
		held = append(held, b)
		return nil
	})
	defer f.close()
	f.answer.records = answerOfBatches(t, batches, each)
	for round := range 3 {
		body := s.mem.block(len(f.answer.records))
		f.next = 0
		if err := f.emitAll(t.Context(), body, batches*each); err != nil {
			t.Fatal(err)
		}
		body.drop()
		i := 0
		for _, b := range held {
			for _, r := range b.Records {
				if string(r.Value) != logLine(i) || r.Headers[0].Key != "host" || string(r.Headers[0].Value) != "web-1" {
					t.Fatalf("round %d, record %d: %s %v", round, i, r.Value, r.Headers)
				}
				i++
			}
		}
		if i != batches*each {
			t.Fatalf("%d records", i)
		}
		value := held[0].Records[0].Value
		for _, b := range held {
			b.Release()
		}
		f.renew(1) // the arena is the fetcher's, too
		if !strings.Contains(string(value), "\xA5\xA5") {
			t.Fatalf("round %d: what was released still says %s", round, value)
		}
		held = nil
	}
}

func TestEndOfAnAnswer(t *testing.T) {
	data := append(recordBatch(7, "a", nil), recordBatch(8, "b", nil)...)
	for cut, want := range map[int]int64{0: 5, 20: 5, len(data) / 2: 8, len(data) - 1: 8, len(data): 9} {
		if got, err := endOf(data[:cut], 5); got != want || err != nil {
			t.Errorf("%d bytes: %d, %v, want %d", cut, got, err, want)
		}
	}
	if got, err := endOf(data, 100); got != 100 || err != nil {
		t.Errorf("end %d goes back, %v", got, err)
	}
	if b, _, ok, err := recordbatch.Split(data); !ok || err != nil || b.Check() != nil {
		t.Errorf("the test's own batch: %v %v", err, b.Check())
	}
}
