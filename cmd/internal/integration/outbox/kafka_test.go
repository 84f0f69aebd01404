//go:build integration

package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/kafkatest"
)

// startKafka starts a Kafka of one node with a topic of three partitions, and
// skips the test where there can be none.
func startKafka(t testing.TB, topic string) *kafkatest.Cluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	k, err := kafkatest.Install(ctx)
	var missing *kafkatest.MissingError
	if errors.As(err, &missing) {
		t.Skipf("integration: skipped 1 part: %v", missing)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, admin := k.StartFor(t, kafkatest.Options{})
	made, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	if err := admin.CreateTopic(made, topic, 3, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// reader reads a topic from the start. A record's run is that which had begun
// last at the record's time, which the sink gives it.
type reader struct {
	*place

	mu     sync.Mutex
	starts []int64 // of runs, in Unix milliseconds
}

func (r *reader) run(at time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, found := slices.BinarySearch(r.starts, at.UnixMilli())
	if found {
		i++
	}
	return i
}

func (r *reader) read(ctx context.Context, client *kgo.Client) error {
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil && ctx.Err() == nil {
			return err
		}
		for record := range fetches.RecordsAll() {
			var a arrived
			if err := json.Unmarshal(record.Value, &a); err != nil {
				return err
			}
			line, err := a.line()
			if err != nil {
				return err
			}
			r.add(delivery{id: a.UUID, line: line, run: r.run(record.Timestamp)})
		}
	}
	return nil
}

// TestKilledWhileItDeliversToKafka kills sluice between the broker's acknowledgement and its own.
func TestKilledWhileItDeliversToKafka(t *testing.T) {
	c := startKafka(t, "alerts")
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.ConsumeTopics("alerts"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := &reader{place: newPlace()}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var reading errgroup.Group
	reading.Go(func() error { return r.read(ctx, client) })
	killed(t, r.place, 2000, func(int) map[string]any {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.starts = append(r.starts, time.Now().UnixMilli())
		return map[string]any{"type": "kafka", "brokers": c.Brokers(), "alerts_topic": "alerts", "alert_key": "uuid"}
	})
	stop()
	if err := reading.Wait(); err != nil {
		t.Error(err)
	}
}
