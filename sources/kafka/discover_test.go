package kafka

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/pipeline/kafkaconn"
	"sluice/sources"
)

// tickClock lets metadata_interval pass when tick is sent to.
type tickClock struct {
	hastyClock
	tick chan time.Time
}

// passes lets metadata_interval pass once, unless the source has ended: it may
// have found by the ticks before what this one was meant for.
func (c *tickClock) passes(ctx context.Context) {
	select {
	case c.tick <- epoch:
	case <-ctx.Done():
	}
}

func (c *tickClock) After(d time.Duration) <-chan time.Time {
	if d >= time.Minute {
		return c.tick
	}
	return c.hastyClock.After(d)
}

func addPartitions(t *testing.T, c *kfake.Cluster, topic string, count int32) {
	t.Helper()
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: topic, Count: count}}
	if _, err := req.RequestWith(t.Context(), franz(t, c)); err != nil {
		t.Error(err)
	}
}

func TestTopicsAndPartitionsThatAppearAreReadFromTheirBeginning(t *testing.T) {
	c := fake(t, 1, "logs-a", "other", "more-logs-a")
	produce(t, c, message("logs-a", 0, "before"))
	clock := &tickClock{tick: make(chan time.Time)}
	s := newSource(t, c, func(c *Config) { c.Topics, c.TopicRegexp, c.Start = nil, "logs-.*|audit", StartLatest })
	s.clock = clock
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var mu sync.Mutex
	var got []string
	var world sync.WaitGroup
	world.Go(func() {
		for placed := false; !placed && ctx.Err() == nil; {
			st := s.Stats()
			placed = len(st.Partitions) == 1 && st.Partitions[0].Next >= 0
			runtime.Gosched()
		}
		createTopic(t, c, "logs-b", 1)
		addPartitions(t, c, "logs-a", 2)
		produce(t, c, message("logs-a", 1, "a1"), message("logs-b", 0, "b0"), message("logs-a", 0, "a0"))
		clock.passes(ctx)
		createTopic(t, c, "audit", 1)
		produce(t, c, message("audit", 0, "c0"), message("other", 0, "no"))
		clock.passes(ctx)
	})
	err := s.Run(ctx, nil, func(_ context.Context, b *pipeline.RecordBatch) error {
		mu.Lock()
		defer mu.Unlock()
		defer b.Release()
		for _, r := range b.Records {
			if got = append(got, string(r.Value)); len(got) == 4 {
				cancel()
			}
		}
		return nil
	})
	cancel() // whatever it ended by: nobody hears a tick any more
	world.Wait()
	slices.Sort(got)
	if !errors.Is(err, context.Canceled) || strings.Join(got, " ") != "a0 a1 b0 c0" {
		t.Errorf("records %q, %v", got, err)
	}
}

func TestAPatternMatchesWholeNamesAndNoInternalTopics(t *testing.T) {
	config := Default()
	config.Brokers, config.Topics, config.TopicRegexp = []string{"a:1"}, []string{"__named"}, "logs|audit.*|__.*"
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]bool{"logs": true, "logs2": false, "my-logs": false, "audit-1": true, "__named": true, "other": false} {
		if config.wants(topic, topic == "__named") != want {
			t.Errorf("%s: wanted %v", topic, !want)
		}
	}
	if config.wants("__consumer_offsets", true) {
		t.Error("an internal topic is wanted")
	}
}

func TestTopicsThatAreThereAreReadWhileAnotherIsMissing(t *testing.T) {
	c := fake(t, 1, "logs")
	produce(t, c, message("logs", 0, "a"))
	expect(t, newSource(t, c, func(c *Config) { c.Topics, c.MissingTopic = []string{"logs", "later"}, missingWait }), nil, "logs/0@0:a")
}

func TestASourceSignsIn(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "logs"), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "u", "p"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	signIn := func(password kafkaconn.Secret) func(*Config) {
		return func(c *Config) {
			c.Group = "g"
			c.SASL = kafkaconn.SASL{Mechanism: kafkaconn.ScramSHA256, Username: "u", Password: password}
		}
	}
	s := newSource(t, c, signIn("p"))
	if err := s.Commit(t.Context(), sources.Positions{part("logs", 0): 7}); err != nil {
		t.Fatal(err)
	}
	if offset, err := s.committed(t.Context(), part("logs", 0)); offset != 7 || err != nil {
		t.Errorf("committed %d, %v", offset, err)
	}
	expectPlace(t, s, 7)
	_, err = read(t, newSource(t, c, signIn("wrong-secret")), nil, 1)
	if err == nil || !strings.Contains(err.Error(), "sasl") || strings.Contains(fmt.Sprint(err), "wrong-secret") {
		t.Errorf("error %v", err)
	}
}

func TestAShareIsRead(t *testing.T) {
	for text, want := range map[string]sources.Share{"{ordinal: auto, count: 3}": {Ordinal: sources.AutoOrdinal, Count: 3}, "{ordinal: 2, count: 3}": {Ordinal: 2, Count: 3}} {
		node, err := component.Parse([]byte("brokers: [a]\ntopics: [b]\nshare: " + text))
		if err != nil {
			t.Fatal(err)
		}
		c := Default()
		if err := component.Decode(node, &c); err != nil || c.Share != want {
			t.Errorf("%s: %+v, %v", text, c.Share, err)
		}
	}
}
