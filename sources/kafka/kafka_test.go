package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// hastyClock waits for nothing: every backoff is over at once. What is done
// once a minute is not done again.
type hastyClock struct{}

func (hastyClock) Now() time.Time { return epoch }

func (hastyClock) After(d time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	if d < time.Minute {
		c <- epoch
	}
	return c
}

func fake(t testing.TB, partitions int32, topics ...string) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// produce writes messages; each names its topic and partition.
func produce(t testing.TB, c *kfake.Cluster, messages ...kafka.Message) {
	t.Helper()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	w := &kafka.Writer{
		Addr: kafka.TCP(c.ListenAddrs()...), Transport: transport, RequiredAcks: kafka.RequireAll, Compression: kafka.Zstd,
		BatchTimeout: time.Millisecond, Balancer: kafka.BalancerFunc(func(m kafka.Message, _ ...int) int { return m.Partition }),
	}
	defer w.Close()
	if err := w.WriteMessages(t.Context(), messages...); err != nil {
		t.Fatal(err)
	}
}

func message(topic string, partition int, value string) kafka.Message {
	return kafka.Message{Topic: topic, Partition: partition, Value: []byte(value), Time: epoch}
}

func newSource(t testing.TB, c *kfake.Cluster, edit func(*Config)) *Source {
	t.Helper()
	config := Default()
	config.Brokers, config.Topics = c.ListenAddrs(), []string{"logs"}
	config.MaxWait = 20 * time.Millisecond
	if edit != nil {
		edit(&config)
	}
	s, err := New("k", config, sources.Env{Clock: hastyClock{}})
	if err != nil {
		t.Fatal(err)
	}
	s.mem.poison = true
	t.Cleanup(func() { s.Close() })
	return s
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// await returns what a channel gives.
func await[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("this does not happen: %s", what)
	}
	return v
}

// read runs the source until n records have come, and returns them as
// "topic/partition@offset:value", sorted by partition, in order within each.
func read(t testing.TB, s *Source, from sources.Positions, n int) ([]string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var mu sync.Mutex
	got := make(map[pipeline.Partition][]string)
	count := 0
	err := s.Run(ctx, from, func(_ context.Context, b *pipeline.RecordBatch) error {
		mu.Lock()
		defer mu.Unlock()
		defer b.Release()
		for _, r := range b.Records {
			got[b.Partition] = append(got[b.Partition], fmt.Sprintf("%s/%d@%d:%s", b.Partition.Topic, b.Partition.ID, r.Offset, r.Value))
		}
		if count += len(b.Records); count >= n {
			cancel()
		}
		return nil
	})
	if errors.Is(err, context.Canceled) && t.Context().Err() == nil {
		err = nil
	}
	var parts []pipeline.Partition
	for p := range got {
		parts = append(parts, p)
	}
	slices.SortFunc(parts, comparePartitions)
	var out []string
	for _, p := range parts {
		out = append(out, got[p]...)
	}
	return out, err
}

func expect(t *testing.T, s *Source, from sources.Positions, want ...string) {
	t.Helper()
	got, err := read(t, s, from, len(want))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("records %q, %v\nwant    %q", got, err, want)
	}
}

// at is a checkpoint of the partition logs/0.
func at(offset int64) sources.Positions { return sources.Positions{part("logs", 0): offset} }

// offsetIn returns the offset of a record as read describes it.
func offsetIn(t *testing.T, record string) (offset int64) {
	t.Helper()
	if _, err := fmt.Sscanf(record[strings.Index(record, "@"):], "@%d:", &offset); err != nil {
		t.Fatal(err)
	}
	return offset
}

func part(topic string, id int32) pipeline.Partition {
	return pipeline.Partition{Source: "k", Topic: topic, ID: id}
}

func TestEveryPartitionIsReadInOrder(t *testing.T) {
	c := fake(t, 2, "logs", "more", "empty")
	produce(t, c, message("logs", 0, "a"), message("logs", 1, "b"), message("logs", 0, "c"), message("more", 1, "d"))
	s := newSource(t, c, func(c *Config) { c.Topics = []string{"logs", "more", "empty"}; c.BatchRecords = 1 })
	expect(t, s, nil, "logs/0@0:a", "logs/0@1:c", "logs/1@0:b", "more/1@0:d")
	st := s.Stats()
	if st.Records != 4 || st.Bytes != 4 || len(st.Partitions) != 6 {
		t.Errorf("stats %+v", st)
	}
	if p := st.Partitions[2]; p.Partition != part("logs", 0) || p.Next != 2 || p.Lag() != 0 {
		t.Errorf("partition %+v", p)
	}
}

func TestRecordsCarryAllThatTheBrokerHas(t *testing.T) {
	c := fake(t, 1, "logs")
	m := message("logs", 0, "value")
	m.Key, m.Headers = []byte("key"), []kafka.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}}
	tombstone := kafka.Message{Topic: "logs", Key: []byte("key")}
	produce(t, c, tombstone, m)
	s := newSource(t, c, func(c *Config) { c.Labels = map[string]string{"a": "b"} })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := s.Run(ctx, nil, func(_ context.Context, b *pipeline.RecordBatch) error {
		defer cancel()
		defer b.Release()
		r := b.Records[0]
		if string(r.Value) != "value" || string(r.Key) != "key" || r.Offset != 1 || !r.Time.Equal(epoch) || len(r.Headers) != 2 ||
			r.Headers[0].Key != "h" || string(r.Headers[0].Value) != "1" || b.Module != "kafka" || b.Labels["a"] != "b" || b.HighWatermark != 2 {
			t.Errorf("record %+v of batch %+v", r, b)
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || s.Stats().Skipped != 1 {
		t.Errorf("error %v, stats %+v", err, s.Stats())
	}
}

func TestWhereReadingBegins(t *testing.T) {
	c := fake(t, 1, "logs")
	for i := range 5 {
		m := message("logs", 0, fmt.Sprint(i))
		m.Time = epoch.Add(time.Duration(i) * time.Minute)
		produce(t, c, m) // one batch each: kfake finds times by batch
	}
	committer := newSource(t, c, func(c *Config) { c.Group = "g" })
	if err := committer.Commit(t.Context(), sources.Positions{part("logs", 0): 3}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		edit func(*Config)
		from sources.Positions
		want string
	}{
		{"at the earliest", nil, nil, "logs/0@0:0"},
		{"where the checkpoint says", func(c *Config) { c.Group = "g" }, sources.Positions{part("logs", 0): 2}, "logs/0@2:2"},
		{"where the group stands", func(c *Config) { c.Group = "g" }, nil, "logs/0@3:3"},
		{"at the earliest for a group that stands nowhere", func(c *Config) { c.Group = "other" }, nil, "logs/0@0:0"},
		{"at the earliest in spite of the group", func(c *Config) { c.Group = "g"; c.Start = StartEarliest }, nil, "logs/0@0:0"},
		{"at a time", func(c *Config) { c.Start = "2024-05-01T12:00:30Z" }, nil, "logs/0@1:1"},
		{"at the latest for a group that stands nowhere", func(c *Config) { c.Group = "other"; c.OnReset = sources.ResetLatest }, nil, "logs/0@5:new"},
		{"at the latest", func(c *Config) { c.Start = StartLatest }, nil, "logs/0@5:new"},
		{"at the latest for a time to come", func(c *Config) { c.Start = "2099-01-01T00:00:00Z" }, nil, "logs/0@5:new"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSource(t, c, tc.edit)
			if strings.HasSuffix(tc.want, "new") {
				expectPlace(t, s, 5)
				return
			}
			got, err := read(t, s, tc.from, 1)
			if err != nil || len(got) == 0 || got[0] != tc.want {
				t.Errorf("records %q, %v, want first %q", got, err, tc.want)
			}
		})
	}
}

// expectPlace checks where a fetcher begins, without waiting for a record.
func expectPlace(t *testing.T, s *Source, want int64) {
	t.Helper()
	f := s.newFetcher(part("logs", 0), start{offset: -1}, nil)
	defer f.close()
	if err := f.step(t.Context()); err != nil || f.next != want {
		t.Errorf("place %d, %v, want %d", f.next, err, want)
	}
}

func TestCommittedOffsetsAreWhereTheNextRunBegins(t *testing.T) {
	c := fake(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"), message("logs", 0, "b"), message("logs", 0, "c"))
	grouped := func(c *Config) { c.Group = "g" }
	s := newSource(t, c, grouped)
	expect(t, s, nil, "logs/0@0:a", "logs/0@1:b", "logs/0@2:c")
	for _, offset := range []int64{1, 2} { // again and again, as checkpoints do
		if err := s.Commit(t.Context(), sources.Positions{part("logs", 0): offset}); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, newSource(t, c, grouped), nil, "logs/0@2:c")
	if err := newSource(t, c, nil).Commit(t.Context(), sources.Positions{part("logs", 0): 1}); err != nil {
		t.Errorf("without a group: %v", err)
	}
}

func TestARefusedCommitIsAnError(t *testing.T) {
	c := fake(t, 1, "logs")
	c.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		res := req.ResponseKind().(*kmsg.OffsetCommitResponse)
		res.Topics = []kmsg.OffsetCommitResponseTopic{{Topic: "logs", Partitions: []kmsg.OffsetCommitResponseTopicPartition{{ErrorCode: kerr.IllegalGeneration.Code}}}}
		return res, nil, true
	})
	s := newSource(t, c, func(c *Config) { c.Group = "g" })
	err := s.Commit(t.Context(), sources.Positions{part("logs", 0): 1})
	if !errors.Is(err, kafka.IllegalGeneration) || !strings.Contains(err.Error(), `topic "logs", partition 0`) {
		t.Errorf("error %v", err)
	}
}

func TestProcessesShareThePartitions(t *testing.T) {
	c := fake(t, 5, "logs")
	for _, tc := range []struct {
		name string
		edit func(*Config)
		want string
	}{
		{"all", nil, "[0 1 2 3 4]"},
		{"a list", func(c *Config) { c.Partitions = []int32{3, 1, 9} }, "[1 3]"},
		{"a share", func(c *Config) { c.Share = sources.Share{Ordinal: 1, Count: 2} }, "[1 3]"},
		{"a share of a list", func(c *Config) { c.Partitions = []int32{0, 1, 2}; c.Share = sources.Share{Ordinal: 0, Count: 2} }, "[0 2]"},
	} {
		s := newSource(t, c, tc.edit)
		parts, _, err := s.lookUp(t.Context())
		s.cluster.close()
		var ids []int32
		for _, p := range parts {
			ids = append(ids, p.ID)
		}
		if err != nil || fmt.Sprint(ids) != tc.want {
			t.Errorf("%s: %v, %v, want %s", tc.name, ids, err, tc.want)
		}
	}
	s := newSource(t, c, func(c *Config) { c.Partitions = []int32{9} })
	if _, err := read(t, s, nil, 1); err == nil || !strings.Contains(err.Error(), "none of the partitions") {
		t.Errorf("error %v", err)
	}
}

func TestATopicThatDoesNotExist(t *testing.T) {
	c := fake(t, 1, "other")
	s := newSource(t, c, nil)
	_, err := read(t, s, nil, 1)
	want := fmt.Sprintf(`kafka: topic "logs" does not exist at %s; create it or set missing_topic: wait`, c.ListenAddrs()[0])
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
	s = newSource(t, c, func(c *Config) { c.MissingTopic = "wait" })
	s.log = slog.New(slog.DiscardHandler)
	waited := make(chan struct{})
	s.clock = &onceClock{waited: waited}
	var late sync.WaitGroup
	late.Go(func() {
		await(t, "the source waits", waited)
		client := &kafka.Client{Addr: kafka.TCP(c.ListenAddrs()...), Transport: s.transport}
		if _, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: "logs", NumPartitions: 1, ReplicationFactor: 1}}}); err != nil {
			t.Error(err)
		}
		produce(t, c, message("logs", 0, "late"))
	})
	expect(t, s, nil, "logs/0@0:late")
	late.Wait()
}

// onceClock tells of the first wait.
type onceClock struct {
	hastyClock
	once   sync.Once
	waited chan struct{}
}

func (c *onceClock) After(d time.Duration) <-chan time.Time {
	c.once.Do(func() { close(c.waited) })
	return c.hastyClock.After(d)
}

func TestAnOffsetThatIsGone(t *testing.T) {
	c := fake(t, 1, "logs")
	var all []kafka.Message
	for i := range 10 {
		all = append(all, message("logs", 0, fmt.Sprint(i)))
	}
	produce(t, c, all...)
	deleteBefore(t, c, 6)

	rest := []string{"logs/0@6:6", "logs/0@7:7", "logs/0@8:8", "logs/0@9:9"}
	onReset := func(policy sources.Reset) func(*Config) { return func(c *Config) { c.OnReset = policy } }
	grouped := func(c *Config) { c.Group = "behind" }
	if err := newSource(t, c, grouped).Commit(t.Context(), at(2)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		edit func(*Config)
		from sources.Positions
		want string // an error, or "" for the rest of the records
	}{
		{"of a checkpoint is not given up", nil, at(2),
			"offset 2 is gone (earliest is 6), and the state stands there; give its state up with `sluice state reset --partition k/logs/0`, or set on_reset"},
		{"past the end of one that was made anew neither", nil, at(99), "offset 99 is past the end (latest is 10)"},
		{"of a checkpoint is given up on demand", onReset(sources.ResetEarliest), at(2), ""},
		{"past the end too", onReset(sources.ResetEarliest), at(99), ""},
		{"of a group is given up", grouped, nil, ""},
		{"of a group is not given up on demand", func(c *Config) { c.Group, c.OnReset = "behind", "fail" }, nil,
			`kafka: topic "logs", partition 0: offset 2 is gone (earliest is 6); set on_reset: earliest to go on from the earliest, or latest`},
		{"was never committed", func(c *Config) { c.Group, c.OnReset = "none", "fail" }, nil, "has committed no offset"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSource(t, c, tc.edit)
			if tc.want == "" {
				expect(t, s, tc.from, rest...)
				if s.Stats().Gaps != 1 {
					t.Errorf("stats %+v", s.Stats())
				}
				return
			}
			if _, err := read(t, s, tc.from, 1); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v\nwant  %s", err, tc.want)
			}
		})
	}
}

func TestFallingBehindWhatIsKeptIsAGap(t *testing.T) {
	c := fake(t, 1, "logs")
	produce(t, c, message("logs", 0, "0"))
	s := newSource(t, c, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	err := s.Run(ctx, sources.Positions{part("logs", 0): 0}, func(_ context.Context, b *pipeline.RecordBatch) error {
		defer b.Release()
		for _, r := range b.Records {
			got = append(got, string(r.Value))
		}
		if len(got) == 1 { // the reader stands still meanwhile
			for i := 1; i < 4; i++ {
				produce(t, c, message("logs", 0, fmt.Sprint(i)))
			}
			deleteBefore(t, c, 3)
		}
		if got[len(got)-1] == "3" {
			cancel()
		}
		return nil
	})
	// The answer that was under way may hold some of what is gone by now.
	if !errors.Is(err, context.Canceled) || s.Stats().Gaps != uint64(min(1, 4-len(got))) || s.Stats().Partitions[0].Next != 4 {
		t.Errorf("records %q, %v, stats %+v", got, err, s.Stats())
	}
}

func franz(t testing.TB, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(c.ListenAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func deleteBefore(t testing.TB, c *kfake.Cluster, offset int64) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "logs", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: offset}}}}
	if _, err := req.RequestWith(t.Context(), franz(t, c)); err != nil {
		t.Fatal(err)
	}
}

func TestTheErrorOfEmitEndsTheRun(t *testing.T) {
	c := fake(t, 3, "logs")
	produce(t, c, message("logs", 1, "a"))
	full := errors.New("the pipeline is stopping")
	err := newSource(t, c, nil).Run(t.Context(), nil, func(_ context.Context, b *pipeline.RecordBatch) error {
		b.Release()
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
}

func TestARecordOfTenMebibytes(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "logs"), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000000"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	client := franz(t, c, kgo.DefaultProduceTopic("logs"), kgo.ProducerBatchMaxBytes(16<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err := client.ProduceSync(t.Context(), kgo.StringRecord(strings.Repeat("x", 10<<20)), kgo.StringRecord("next")).FirstErr(); err != nil {
		t.Skipf("the fake broker refuses it: %v", err)
	}
	got, err := read(t, newSource(t, c, nil), nil, 2)
	if err != nil || len(got) != 2 || len(got[0]) < 10<<20 || got[1] != "logs/0@1:next" {
		t.Errorf("%d records, %v", len(got), err)
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"no brokers", "topics: [a]", "brokers: name at least one"},
		{"no topics", "brokers: [a]", "topics: name at least one"},
		{"an unknown start", "brokers: [a]\ntopics: [b]\nstart: middle", "none of committed"},
		{"committed without a group", "brokers: [a]\ntopics: [b]\nstart: committed", "needs a group"},
		{"an unknown reset", "brokers: [a]\ntopics: [b]\non_reset: never", "none of earliest, latest, fail"},
		{"a share past the end", "brokers: [a]\ntopics: [b]\nshare: {ordinal: 2, count: 2}", "counts from 0"},
		{"more at least than at most", "brokers: [a]\ntopics: [b]\nmin_bytes: 8MiB", "min_bytes ≤ max_bytes"},
		{"an unknown key", "brokers: [a]\ntopic: [b]", `did you mean "topics"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, err := component.Parse([]byte("type: kafka\n" + c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sources.New(node, sources.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
