//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/kafka"
)

// TestCommittedRecords writes in transactions that overlap, of which many are
// aborted, and holds what the Kafka source reads to what another client reads,
// from several offsets and with answers of every size: once as the topic was
// written, and once after compaction has left gaps in its batches and emptied some.
func TestCommittedRecords(t *testing.T) {
	rng := rand.New(rand.NewPCG(rig.Seed(t), 11))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	b := parts.broker
	topic := fmt.Sprintf("committed-%d", time.Now().UnixNano())
	if err := b.admin.CreateTopic(ctx, topic, 1, map[string]string{
		"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "1",
	}); err != nil {
		t.Fatal(err)
	}
	clients := b.transactional(t, topic, 3)
	last, err := transactions(ctx, rng, clients, 60)
	if err != nil {
		t.Fatal(err)
	}
	written := b.sameAsOthers(ctx, t, topic, last, rng)

	// A new segment closes the one before, which the cleaner then works on.
	if err := rig.Pause(ctx, 1100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if last, err = transactions(ctx, rng, clients, 3); err != nil {
		t.Fatal(err)
	}
	if err := rig.Poll(ctx, "compaction", func() (bool, error) {
		left, err := b.committed(ctx, topic, 0, last, 4<<20)
		return len(left) < written/2, err
	}); err != nil {
		t.Fatal(err)
	}
	b.sameAsOthers(ctx, t, topic, last, rng)
}

// transactional returns clients that write in transactions, and one more that does not.
func (b *broker) transactional(t *testing.T, topic string, n int) []*kgo.Client {
	t.Helper()
	var out []*kgo.Client
	for i := range n + 1 {
		opts := []kgo.Opt{kgo.SeedBrokers(b.Brokers()...), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0)}
		if i < n {
			opts = append(opts, kgo.TransactionalID(fmt.Sprint(topic, "-", i)))
		}
		c, err := kgo.NewClient(opts...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		out = append(out, c)
	}
	return out
}

// transactions has every client but the last hold one open at nearly all
// times, while records of all of them mix, ends all of them, and returns the
// offset of a last record behind them. Markers may come behind that.
func transactions(ctx context.Context, rng *rand.Rand, clients []*kgo.Client, rounds int) (last int64, err error) {
	plain := len(clients) - 1
	open := make([]bool, len(clients))
	end := func(i int) error {
		if !open[i] {
			return nil
		}
		open[i] = false
		return clients[i].EndTransaction(ctx, kgo.TransactionEndTry(rng.IntN(2) == 0))
	}
	for round := range rounds {
		for _, i := range rng.Perm(len(clients)) {
			if i != plain && !open[i] {
				if err := clients[i].BeginTransaction(); err != nil {
					return 0, err
				}
				open[i] = true
			}
			for n := range rng.IntN(4) {
				r := kgo.KeyStringRecord(fmt.Sprint("key-", rng.IntN(20)), fmt.Sprint(round, ".", i, ".", n))
				if err := clients[i].ProduceSync(ctx, r).FirstErr(); err != nil {
					return 0, err
				}
			}
			if rng.IntN(3) == 0 {
				if err := end(i); err != nil {
					return 0, err
				}
			}
		}
	}
	for i := range plain {
		if err := end(i); err != nil {
			return 0, err
		}
	}
	r, err := clients[plain].ProduceSync(ctx, kgo.KeyStringRecord("last", "last")).First()
	if err != nil {
		return 0, err
	}
	return r.Offset, nil
}

// sameAsOthers compares what both clients read, and returns how many records there are.
func (b *broker) sameAsOthers(ctx context.Context, t *testing.T, topic string, last int64, rng *rand.Rand) int {
	t.Helper()
	want, err := b.committedByFranz(ctx, topic, last)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []component.Bytes{1, 500, 4 << 20} {
		for _, from := range []int64{0, rng.Int64N(last), rng.Int64N(last), last} {
			got, err := b.committed(ctx, topic, from, last, size)
			if err != nil {
				t.Fatal(err)
			}
			rest := slices.DeleteFunc(slices.Clone(want), func(r readRecord) bool { return r.offset < from })
			if !slices.Equal(got, rest) {
				t.Fatalf("from offset %d with answers of %v: %d records, want %d\n%v\n%v", from, size, len(got), len(rest), got, rest)
			}
		}
	}
	return len(want)
}

// readRecord is a record as either client gives it.
type readRecord struct {
	offset     int64
	key, value string
}

// committed reads a topic of one partition with the Kafka source, from one offset to another.
func (b *broker) committed(ctx context.Context, topic string, from, last int64, maxBytes component.Bytes) ([]readRecord, error) {
	config := kafka.Default()
	config.Brokers, config.Topics, config.MaxBytes, config.OnReset = b.Brokers(), []string{topic}, maxBytes, sources.ResetEarliest
	s, err := kafka.New("k", config, sources.Env{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var out []readRecord
	enough := errors.New("all is read")
	err = s.Run(ctx, sources.Positions{{Source: "k", Topic: topic}: from}, func(_ context.Context, batch *pipeline.RecordBatch) error {
		defer batch.Release()
		for _, r := range batch.Records {
			out = append(out, readRecord{r.Offset, string(r.Key), string(r.Value)})
		}
		if out[len(out)-1].offset == last {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		return out, errors.Join(err, s.Close())
	}
	return out, s.Close()
}

// committedByFranz reads the same with franz-go.
func (b *broker) committedByFranz(ctx context.Context, topic string, last int64) ([]readRecord, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var out []readRecord
	for len(out) == 0 || out[len(out)-1].offset < last {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) { out = append(out, readRecord{r.Offset, string(r.Key), string(r.Value)}) })
	}
	return out, nil
}
