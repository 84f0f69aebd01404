package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice/pipeline"
	"sluice/pipeline/kafkaconn"
	"sluice/pipeline/porttest"
)

func newRaw(t *testing.T, c *kfake.Cluster, log *slog.Logger, edit func(*RawConfig)) *RawWriter {
	t.Helper()
	config := DefaultRaw()
	config.Brokers, config.Topic, config.RequestTimeout = c.ListenAddrs(), "dead", patience
	if edit != nil {
		edit(&config)
	}
	w, err := NewRawWriter(config, log)
	if err != nil {
		t.Fatal(err)
	}
	w.writer.kafka.WriteBackoffMin, w.writer.kafka.WriteBackoffMax = time.Millisecond, time.Millisecond
	t.Cleanup(func() { w.Close() })
	return w
}

// readBack returns the n records of a topic, in order for each partition.
func readBack(t *testing.T, c *kfake.Cluster, topic string, n int, opts ...kgo.Opt) []*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var out []*kgo.Record
	for len(out) < n {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		out = append(out, fetches.Records()...)
	}
	return out
}

func TestRawRecordsAreWrittenAsTheyAre(t *testing.T) {
	c := cluster(t, "dead")
	w := newRaw(t, c, nil, nil)
	record := RawRecord{Key: []byte("k"), Value: []byte("not json"), Headers: []pipeline.Header{
		{Key: "reason", Value: []byte("decode")}, {Key: "reason", Value: nil}, {Key: "offset", Value: []byte("7")},
	}}
	if err := w.Write(t.Context(), []RawRecord{record, {Value: []byte("no key")}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), nil); err != nil {
		t.Errorf("no records: %v", err)
	}
	for _, r := range readBack(t, c, "dead", 2) {
		if string(r.Value) == "no key" {
			if r.Key != nil || len(r.Headers) != 0 {
				t.Errorf("record %+v", r)
			}
			continue
		}
		if string(r.Key) != "k" || string(r.Value) != "not json" || len(r.Headers) != 3 || r.Headers[2].Key != "offset" || string(r.Headers[2].Value) != "7" {
			t.Errorf("record %+v", r)
		}
	}
}

func TestARawRecordThatIsTooLargeIsRefusedAndOthersAreNot(t *testing.T) {
	c := cluster(t, "dead")
	w := newRaw(t, c, nil, func(c *RawConfig) { c.MaxMessageBytes = 2000 })
	large := RawRecord{Value: make([]byte, 3000)}
	err := w.Write(t.Context(), []RawRecord{large, {Value: []byte("a")}, large, {Value: []byte("b")}})
	var rejected *RejectedError
	if !errors.As(err, &rejected) || !slices.Equal(rejected.Records, []int{0, 2}) || !strings.Contains(err.Error(), "over max_message_bytes") {
		t.Errorf("error %v", err)
	}
	readBack(t, c, "dead", 2)
}

// produceFails makes the broker answer the n-th produce requests from first on with an error.
func produceFails(c *kfake.Cluster, code int16, fails func(n int, req *kmsg.ProduceRequest) bool) {
	n := 0
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		n++
		req := r.(*kmsg.ProduceRequest)
		if !fails(n, req) {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.Topics {
			rt := kmsg.ProduceResponseTopic{Topic: topic.Topic}
			for _, p := range topic.Partitions {
				rt.Partitions = append(rt.Partitions, kmsg.ProduceResponseTopicPartition{Partition: p.Partition, ErrorCode: code})
			}
			res.Topics = append(res.Topics, rt)
		}
		return res, nil, true
	})
}

func TestARefusalForABatchsSizeIsNotOneOfItsRecords(t *testing.T) {
	c := cluster(t, "dead")
	produceFails(c, kerr.MessageTooLarge.Code, func(_ int, req *kmsg.ProduceRequest) bool { return len(req.Topics[0].Partitions[0].Records) > 600 })
	w := newRaw(t, c, nil, func(c *RawConfig) { c.Compression = "none" })
	var all []RawRecord
	for _, size := range []int{300, 400, 700, 100} {
		all = append(all, RawRecord{Key: []byte("k"), Value: bytes.Repeat([]byte("x"), size)})
	}
	var rejected *RejectedError
	if err := w.Write(t.Context(), all); !errors.As(err, &rejected) || !slices.Equal(rejected.Records, []int{2}) {
		t.Errorf("error %v", err)
	}
	if got := readBack(t, c, "dead", 3); len(got[0].Value) != 300 || len(got[2].Value) != 100 {
		t.Errorf("records %v", got)
	}
}

func TestNothingOvertakesARecordThatFailed(t *testing.T) {
	c := cluster(t, "dead")
	const attempts = 3
	produceFails(c, kerr.NotEnoughReplicas.Code, func(n int, _ *kmsg.ProduceRequest) bool { return n > 1 && n <= 1+attempts })
	var log bytes.Buffer
	w := newRaw(t, c, slog.New(slog.NewTextHandler(&log, nil)), func(c *RawConfig) { c.MaxMessageBytes = 1000 })
	var all []RawRecord
	for i := range 5 {
		all = append(all, RawRecord{Key: []byte("k"), Value: fmt.Append(nil, i, strings.Repeat("x", 600))})
	}
	if err := w.Write(t.Context(), all); !errors.Is(err, kafka.NotEnoughReplicas) || !strings.Contains(err.Error(), `the writer of topic "dead"`) {
		t.Errorf("error %v", err)
	}
	if err := w.Write(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	var got string
	for _, r := range readBack(t, c, "dead", 6) {
		got += string(r.Value[0])
	}
	if got != "001234" {
		t.Errorf("records %s, want the first once more, then all in order", got)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "written again") {
		t.Errorf("log:\n%s", &log)
	}
}

func TestABrokerThatGoesAndComesIsLoggedOnce(t *testing.T) {
	var port int
	if _, err := fmt.Sscanf(porttest.Keep(t), "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	begin := func() *kfake.Cluster {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(3, "dead"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	c := begin()
	var log bytes.Buffer
	w := newRaw(t, c, slog.New(slog.NewTextHandler(&log, nil)), nil)
	one := []RawRecord{{Key: []byte("k"), Value: []byte("v")}}
	if err := w.Write(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	c.Close()
	for range 3 {
		if err := w.Write(t.Context(), one); err == nil {
			t.Error("a broker that is gone takes records")
		}
	}
	begin()
	for w.Write(t.Context(), one) != nil { // the library notices the new broker by and by
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("log:\n%s", &log)
	}
}

func TestRecordsAreWrittenOverSignedInConnections(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "dead"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "u", "p"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := newRaw(t, c, nil, func(c *RawConfig) {
		c.SASL = kafkaconn.SASL{Mechanism: kafkaconn.ScramSHA512, Username: "u", Password: "p"}
	})
	if err := w.Write(t.Context(), []RawRecord{{Value: []byte("v")}}); err != nil {
		t.Fatal(err)
	}
}

func TestTheConfigurationOfARawWriterIsChecked(t *testing.T) {
	for _, tc := range []struct {
		edit func(*RawConfig)
		want string
	}{
		{func(c *RawConfig) { c.Brokers = nil }, "brokers: name at least one"},
		{func(c *RawConfig) { c.Topic = "" }, "topic: name one"},
		{func(c *RawConfig) { c.Compression = "rar" }, "none of none, gzip"},
		{func(c *RawConfig) { c.TLS.CAFile = "x" }, "tls: set enabled"},
	} {
		config := DefaultRaw()
		config.Brokers, config.Topic = []string{"a:1"}, "dead"
		tc.edit(&config)
		if _, err := NewRawWriter(config, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("error %v, want %q", err, tc.want)
		}
	}
}
