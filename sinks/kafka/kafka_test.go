package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
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
	"sluice/sinks"
	"sluice/sinks/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Kafka's own test vectors of its murmur2, before the sign is cut off.
var vectors = map[string]int32{
	"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
	"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
}

func TestKeysAreHashedAsKafkaDoes(t *testing.T) {
	for _, n := range []int{1, 2, 12, 1000} {
		partitions := make([]int, n)
		for i := range partitions {
			partitions[i] = i
		}
		theirs := kgo.StickyKeyPartitioner(nil).ForTopic("t")
		for key, hash := range vectors {
			got := partitioner.Balance(kafka.Message{Key: []byte(key)}, partitions...)
			if want := int(hash&0x7fffffff) % n; got != want {
				t.Errorf("%q of %d: partition %d, want %d", key, n, got, want)
			}
			if want := theirs.Partition(kgo.KeyStringRecord(key, ""), n); got != want {
				t.Errorf("%q of %d: partition %d, another client has %d", key, n, got, want)
			}
		}
	}
}

func cluster(t *testing.T, topics ...string) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newSink(t *testing.T, c *kfake.Cluster, edit func(*Config)) *Sink {
	t.Helper()
	config := Default()
	config.Brokers, config.AlertsTopic = c.ListenAddrs(), "alerts"
	config.BatchTimeout, config.RequestTimeout = time.Millisecond, patience
	if edit != nil {
		edit(&config)
	}
	s, err := New("out", config, sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func alert(uuid, value string, decisions ...string) pipeline.Alert {
	a := pipeline.Alert{UUID: uuid, Scenario: "sluice/ssh-bf", Source: &pipeline.Source{Scope: "Ip", Value: value}}
	for _, typ := range decisions {
		a.Decisions = append(a.Decisions, pipeline.Decision{Origin: "sluice", Type: typ, Scope: "Ip", Value: value, Duration: "4h", Scenario: a.Scenario})
	}
	return a
}

// consume returns n records as "topic/partition key headers", sorted, and their values by that.
func consume(t *testing.T, c *kfake.Cluster, n int) ([]string, map[string]string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("alerts", "decisions"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var out []string
	values := make(map[string]string)
	for len(out) < n {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			line := fmt.Sprintf("%s/%d %s", r.Topic, r.Partition, r.Key)
			for _, h := range r.Headers {
				line += fmt.Sprintf(" %s=%s", h.Key, h.Value)
			}
			out = append(out, line)
			values[line] = string(r.Value)
		})
	}
	slices.Sort(out)
	return out, values
}

func partitionOf(key string) int {
	return partitioner.Balance(kafka.Message{Key: []byte(key)}, 0, 1, 2)
}

func TestAlertsAreRecords(t *testing.T) {
	c := cluster(t, "alerts", "decisions")
	s := newSink(t, c, nil)
	if err := s.Alerts(t.Context(), []pipeline.Alert{alert("u1", "192.0.2.1", "ban", "captcha"), alert("u2", "2001:db8::1")}); err != nil {
		t.Fatal(err)
	}
	got, values := consume(t, c, 2)
	p1, p2 := partitionOf("Ip:192.0.2.1"), partitionOf("Ip:2001:db8::1")
	want := []string{
		fmt.Sprintf("alerts/%d Ip:192.0.2.1 sluice-alert=u1", p1),
		fmt.Sprintf("alerts/%d Ip:2001:db8::1 sluice-alert=u2", p2),
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("records\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var back pipeline.Alert
	if err := json.Unmarshal([]byte(values[fmt.Sprintf("alerts/%d Ip:192.0.2.1 sluice-alert=u1", p1)]), &back); err != nil || back.UUID != "u1" || len(back.Decisions) != 2 {
		t.Errorf("alert %+v, %v", back, err)
	}
	if st := s.Stats(); st.Alerts != 2 || st.Decisions != 2 || st.Bytes == 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestAlertsHaveTheFormatThatIsAskedFor(t *testing.T) {
	for f, want := range map[format.Format]string{format.OCSF: `"class_uid":2004`, format.ECS: `"event":{`, format.CEF: "CEF:0|", format.CrowdSec: `"source":{`} {
		t.Run(string(f), func(t *testing.T) {
			c := cluster(t, "alerts", "decisions")
			s := newSink(t, c, func(c *Config) { c.AlertsFormat = f })
			if err := s.Alerts(t.Context(), []pipeline.Alert{alert("u1", "192.0.2.1", "ban")}); err != nil {
				t.Fatal(err)
			}
			keys, values := consume(t, c, 1)
			if got := values[keys[0]]; !strings.Contains(got, want) {
				t.Errorf("the record is %s", got)
			}
		})
	}
}

func TestAlertsAreNothingToADecisionsTopic(t *testing.T) {
	config := Default()
	config.Brokers, config.DecisionsTopic = []string{"127.0.0.1:1"}, "decisions" // nobody is there
	s, err := New("out", config, sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Alerts(t.Context(), []pipeline.Alert{alert("u1", "192.0.2.1", "ban")}); err != nil {
		t.Error(err)
	}
}

func TestAlertsCanBeKeyedByTheirUUID(t *testing.T) {
	c := cluster(t, "alerts", "decisions")
	s := newSink(t, c, func(c *Config) { c.AlertKey = KeyUUID })
	if err := s.Alerts(t.Context(), []pipeline.Alert{alert("u1", "192.0.2.1", "ban")}); err != nil {
		t.Fatal(err)
	}
	got, _ := consume(t, c, 1)
	if want := fmt.Sprintf("alerts/%d u1 sluice-alert=u1", partitionOf("u1")); len(got) != 1 || got[0] != want {
		t.Errorf("records %q, want %q", got, want)
	}
}

func TestAnAlertThatCannotBeWrittenIsRefusedAndOthersAreNot(t *testing.T) {
	c := cluster(t, "alerts", "decisions")
	s := newSink(t, c, func(c *Config) { c.MaxMessageBytes = 4000 })
	large, bad := alert("u1", "192.0.2.1", "ban"), alert("u3", "192.0.2.3")
	large.Message = strings.Repeat("x", 5000)
	bad.Sluice.Labels = map[string]any{"x": math.NaN()}
	err := s.Alerts(t.Context(), []pipeline.Alert{large, alert("u2", "192.0.2.2"), bad})
	var rejected *sinks.RejectedError
	if !errors.As(err, &rejected) || !slices.Equal(rejected.Alerts, []int{0, 2}) || sinks.Retryable(err) || !strings.Contains(err.Error(), "over max_message_bytes") {
		t.Errorf("error %v", err)
	}
	if got, _ := consume(t, c, 1); len(got) != 1 || !strings.HasSuffix(got[0], "sluice-alert=u2") {
		t.Errorf("records %q", got)
	}
	if st := s.Stats(); st.Alerts != 1 || st.Rejected != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestAMissingTopicIsNamedAndTriedAgain(t *testing.T) {
	c := cluster(t, "decisions")
	s := newSink(t, c, func(c *Config) { c.MaxAttempts = 1 })
	err := s.Alerts(t.Context(), []pipeline.Alert{alert("u1", "192.0.2.1", "ban")})
	if !sinks.Retryable(err) || !strings.Contains(err.Error(), "does not exist at "+c.ListenAddrs()[0]) {
		t.Errorf("error %v", err)
	}
}

func TestTroubleThatPassesIsNoError(t *testing.T) {
	c := cluster(t, "alerts", "decisions")
	failed := false
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		failed = true
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.ProduceResponseTopic{Topic: topic.Topic}
			for _, p := range topic.Partitions {
				rt.Partitions = append(rt.Partitions, kmsg.ProduceResponseTopicPartition{Partition: p.Partition, ErrorCode: kerr.NotLeaderForPartition.Code})
			}
			res.Topics = append(res.Topics, rt)
		}
		return res, nil, true
	})
	s := newSink(t, c, nil)
	if err := s.Alerts(t.Context(), []pipeline.Alert{alert("u1", "192.0.2.1")}); err != nil || !failed {
		t.Errorf("error %v, failed %v", err, failed)
	}
}

func TestTheContextEndsAWait(t *testing.T) {
	c := cluster(t, "alerts", "decisions")
	s := newSink(t, c, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Alerts(ctx, []pipeline.Alert{alert("u1", "192.0.2.1")}); !errors.Is(err, context.Canceled) || !sinks.Retryable(err) {
		t.Errorf("error %v", err)
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"no brokers", "alerts_topic: a", "brokers: name at least one"},
		{"no topics", "brokers: [a]", "name an alerts_topic, a decisions_topic, or both"},
		{"one topic for both", "brokers: [a]\nalerts_topic: b\ndecisions_topic: b", "decisions need a topic of their own"},
		{"decisions of a sink to nowhere", "brokers: [a]\nalerts_topic: b\ndecisions_of: c", "it is for a decisions_topic"},
		{"nothing to take over", "brokers: [a]\nalerts_topic: b\ntake_over: true", "it is for a decisions_topic"},
		{"an unknown format", "brokers: [a]\nalerts_topic: b\nalerts_format: xml", "is no format"},
		{"an unknown compression", "brokers: [a]\nalerts_topic: b\ncompression: rar", "none of none, gzip"},
		{"an unknown key of alerts", "brokers: [a]\nalerts_topic: b\nalert_key: ip", "neither source nor uuid"},
		{"no attempts", "brokers: [a]\nalerts_topic: b\nmax_attempts: 0", "at least 1"},
		{"a URL in place of an address", "brokers: ['kafka://a:9092']\nalerts_topic: b", "an address is host:port"},
		{"no name of a topic", "brokers: [a]\nalerts_topic: logs/alerts", "no topic's name"},
		{"no name of a topic of decisions", "brokers: [a]\ndecisions_topic: '..'", "no topic's name"},
		{"an unknown key", "brokers: [a]\nalert_topic: b", `did you mean "alerts_topic"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, err := component.Parse([]byte("type: kafka\n" + c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sinks.New(node, sinks.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// While one partition has no leader, what the others acknowledged is not written to them again at every attempt.
func TestWhatAPartitionHasAcknowledgedIsNotWrittenAgain(t *testing.T) {
	c := cluster(t, "alerts", "decisions")
	down := int32(partitionOf("Ip:192.0.2.1"))
	broken := true
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := r.(*kmsg.ProduceRequest)
		if p := req.Topics[0].Partitions[0].Partition; !broken || p != down {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		res.Topics = []kmsg.ProduceResponseTopic{{Topic: req.Topics[0].Topic, Partitions: []kmsg.ProduceResponseTopicPartition{{Partition: down, ErrorCode: kerr.NotEnoughReplicas.Code}}}}
		return res, nil, true
	})
	s := newSink(t, c, func(c *Config) { c.MaxAttempts, c.MaxMessageBytes = 1, 4000 })
	var batch []pipeline.Alert
	var want []string
	for i := range 20 {
		a := alert(fmt.Sprintf("u%02d", i), fmt.Sprintf("192.0.2.%d", i+1), "ban")
		if i == 3 {
			a.Message = strings.Repeat("x", 5000)
		} else {
			want = append(want, fmt.Sprintf("alerts/%d Ip:%s sluice-alert=%s", partitionOf("Ip:"+a.Source.Value), a.Source.Value, a.UUID))
		}
		batch = append(batch, a)
	}
	for range 3 { // the first alert is of the partition that is down
		var partial *sinks.PartialError
		if err := s.Alerts(t.Context(), batch); !errors.As(err, &partial) || partial.Settled != 0 || !errors.Is(err, kafka.NotEnoughReplicas) {
			t.Fatalf("error %v", err)
		}
	}
	broken = false
	if err := s.Alerts(t.Context(), batch[:1]); err != nil { // a probe
		t.Fatal(err)
	}
	var rejected *sinks.RejectedError
	if err := s.Alerts(t.Context(), batch[1:]); !errors.As(err, &rejected) || !slices.Equal(rejected.Alerts, []int{2}) {
		t.Fatalf("error %v", err)
	}
	if err := s.Alerts(t.Context(), []pipeline.Alert{alert("end", "192.0.2.1")}); err != nil {
		t.Fatal(err)
	}
	want = append(want, fmt.Sprintf("alerts/%d Ip:192.0.2.1 sluice-alert=end", down))
	slices.Sort(want)
	if got, _ := consume(t, c, len(want)); !slices.Equal(got, want) {
		t.Errorf("records\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if st := s.Stats(); st.Alerts != 20 || st.Rejected != 1 || st.Errors != 3 || st.Decisions != 19 {
		t.Errorf("stats %+v", st)
	}
}
