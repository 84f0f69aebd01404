//go:build integration

package kafkatest_test

import (
	"context"
	"maps"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"sluice/cmd/internal/integration/kafkatest"
)

// kafka is set once, by TestMain.
var kafka *kafkatest.Kafka

func TestMain(m *testing.M) {
	os.Exit(kafkatest.Main(os.Stdout, func(k *kafkatest.Kafka) int {
		kafka = k
		return m.Run()
	}))
}

// start returns a cluster with a topic "t" of two partitions and ten records in each.
func start(t *testing.T, nodes int) (*kafkatest.Cluster, *kafkatest.Admin) {
	t.Helper()
	c, admin := kafka.StartFor(t, kafkatest.Options{Nodes: nodes})
	ctx, cancel := context.WithTimeout(t.Context(), kafkatest.Starting)
	defer cancel()
	if err := admin.CreateTopic(ctx, "t", 2, nil); err != nil {
		t.Fatal(err)
	}
	produce(ctx, t, c)
	return c, admin
}

func produce(ctx context.Context, t *testing.T, c *kafkatest.Cluster) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 20 {
		r := &kgo.Record{Topic: "t", Partition: int32(i % 2), Value: []byte("line")}
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func offsets(t *testing.T, a *kafkatest.Admin, which int64, want map[int32]int64) {
	t.Helper()
	got, err := a.Offsets(t.Context(), "t", 2, which)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("offsets %v, want %v", got, want)
	}
}

func TestOneNode(t *testing.T) {
	_, admin := start(t, 1)
	offsets(t, admin, kafkatest.Latest, map[int32]int64{0: 10, 1: 10})
	if err := admin.DeleteRecords(t.Context(), "t", 1, 4); err != nil {
		t.Fatal(err)
	}
	offsets(t, admin, kafkatest.Earliest, map[int32]int64{0: 0, 1: 4})
	committed, err := admin.Committed(t.Context(), "none", "t", 2)
	if err != nil || len(committed) > 0 {
		t.Errorf("a group that never was has committed %v, %v", committed, err)
	}
}

func TestThreeNodesOutliveOne(t *testing.T) {
	c, admin := start(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), kafkatest.Starting)
	defer cancel()
	leader, err := admin.Leader(ctx, "t", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(leader); err != nil {
		t.Fatal(err)
	}
	produce(ctx, t, c)
	offsets(t, admin, kafkatest.Latest, map[int32]int64{0: 20, 1: 20})
	if err := c.Restart(ctx, leader); err != nil {
		t.Fatal(err)
	}
	produce(ctx, t, c)
	offsets(t, admin, kafkatest.Latest, map[int32]int64{0: 30, 1: 30})
}
