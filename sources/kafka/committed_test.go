package kafka

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// transaction writes values in one and ends it.
func transaction(t *testing.T, client *kgo.Client, end kgo.TransactionEndTry, values ...string) {
	t.Helper()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, value := range values {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.EndTransaction(t.Context(), end); err != nil {
		t.Fatal(err)
	}
}

// producers are two with transactions and one without, on one topic.
func producers(t *testing.T, c *kfake.Cluster) (one, two, plain *kgo.Client) {
	t.Helper()
	topic := kgo.DefaultProduceTopic("logs")
	return franz(t, c, topic, kgo.TransactionalID("one")), franz(t, c, topic, kgo.TransactionalID("two")), franz(t, c, topic)
}

func TestMarkersOfTransactionsAreSteppedOver(t *testing.T) {
	c := fake(t, 1, "logs")
	client, _, _ := producers(t, c)
	for _, value := range []string{"a", "b"} {
		transaction(t, client, kgo.TryCommit, value)
	}
	for _, level := range []string{"read_committed", "read_uncommitted"} {
		s := newSource(t, c, func(c *Config) { c.MaxBytes, c.IsolationLevel = 1, level }) // one batch an answer
		expect(t, s, nil, "logs/0@0:a", "logs/0@2:b")
	}
}

func TestWhatATransactionAbortedIsNotRead(t *testing.T) {
	c := fake(t, 1, "logs")
	one, two, plain := producers(t, c)
	transaction(t, one, kgo.TryAbort, "bad", "bad") // 0, 1, marker 2
	transaction(t, two, kgo.TryCommit, "a", "b")    // 3, 4, marker 5
	if err := two.BeginTransaction(); err != nil {  // 6 to the end: two, between what others write
		t.Fatal(err)
	}
	if err := two.ProduceSync(t.Context(), kgo.StringRecord("bad")).FirstErr(); err != nil { // 6
		t.Fatal(err)
	}
	transaction(t, one, kgo.TryCommit, "c")                                                  // 7, marker 8
	if err := plain.ProduceSync(t.Context(), kgo.StringRecord("d")).FirstErr(); err != nil { // 9
		t.Fatal(err)
	}
	if err := two.EndTransaction(t.Context(), kgo.TryAbort); err != nil { // marker 10
		t.Fatal(err)
	}
	transaction(t, two, kgo.TryCommit, "e") // 11, marker 12

	committed := []string{"logs/0@3:a", "logs/0@4:b", "logs/0@7:c", "logs/0@9:d", "logs/0@11:e"}
	// All in one answer: the fake leaves its list of aborted transactions out
	// when max_bytes cuts an answer. Reading from every offset stands in for that,
	// and the integration tests cut answers of a real broker.
	s := newSource(t, c, nil)
	expect(t, s, nil, committed...)
	if p := s.Stats().Partitions[0]; p.HighWatermark != 13 {
		t.Errorf("partition %+v", p)
	}
	for from := range int64(11) {
		rest := slices.DeleteFunc(slices.Clone(committed), func(r string) bool { return offsetIn(t, r) < from })
		expect(t, newSource(t, c, nil), at(from), rest...)
	}
	all := newSource(t, c, func(c *Config) { c.IsolationLevel = "read_uncommitted" })
	got, err := read(t, all, nil, 8)
	if err != nil || strings.Join(got, " ") != "logs/0@0:bad logs/0@1:bad logs/0@3:a logs/0@4:b logs/0@6:bad logs/0@7:c logs/0@9:d logs/0@11:e" {
		t.Errorf("records %q, %v", got, err)
	}
}

func TestAnOpenTransactionIsNoLag(t *testing.T) {
	c := fake(t, 1, "logs")
	one, _, plain := producers(t, c)
	if err := plain.ProduceSync(t.Context(), kgo.StringRecord("a")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := one.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := one.ProduceSync(t.Context(), kgo.StringRecord("b"), kgo.StringRecord("c")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s := newSource(t, c, nil)
	expect(t, s, nil, "logs/0@0:a")
	if p := s.Stats().Partitions[0]; p.Next != 1 || p.Lag() != 0 {
		t.Errorf("partition %+v", p)
	}
	s = newSource(t, c, func(c *Config) { c.Start = StartLatest })
	expectPlace(t, s, 1) // the records of the transaction may still come
	if err := one.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	expect(t, newSource(t, c, nil), at(1), "logs/0@1:b", "logs/0@2:c")
}

func TestEveryCompressionIsRead(t *testing.T) {
	line := strings.Repeat("a line ", 30)
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		c := fake(t, 1, "logs")
		client := franz(t, c, kgo.DefaultProduceTopic("logs"), kgo.ProducerBatchCompression(codec))
		const n = 2500
		var want []string
		for begin := 0; begin < n; begin += n / 5 { // five batches of the topic's
			var all []*kgo.Record
			for i := begin; i < begin+n/5; i++ {
				all = append(all, kgo.StringRecord(fmt.Sprint(i, " ", line)))
				want = append(want, fmt.Sprintf("logs/0@%d:%d %s", i, i, line))
			}
			if err := client.ProduceSync(t.Context(), all...).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		got, err := read(t, newSource(t, c, func(c *Config) { c.BatchRecords = 300 }), nil, n)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %d records, %v", name, len(got), err)
		}
	}
	// The library frames snappy as snappy-java does.
	c := fake(t, 1, "logs")
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	w := &kafka.Writer{Addr: kafka.TCP(c.ListenAddrs()...), Transport: transport, Topic: "logs", Compression: kafka.Snappy}
	defer w.Close()
	if err := w.WriteMessages(t.Context(), kafka.Message{Value: []byte(line)}); err != nil {
		t.Fatal(err)
	}
	expect(t, newSource(t, c, nil), nil, "logs/0@0:"+line)
}
