package kafka

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"sluice/pipeline"
	"sluice/sources"
)

func TestRewindFindsTheRecordsOfALookBack(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	now := time.Date(2024, time.March, 3, 12, 0, 0, 0, time.UTC)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("t"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 { // one an hour, the last now
		r := &kgo.Record{Value: []byte("x"), Timestamp: now.Add(time.Duration(i-9) * time.Hour)}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	c := Default()
	c.Brokers, c.Topics, c.Group = cluster.ListenAddrs(), []string{"t"}, "g"
	g, err := NewGroup("logs", c, sources.Env{Clock: stillClock(now)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	part := pipeline.Partition{Source: "logs", Topic: "t"}
	for _, tc := range []struct {
		name     string
		offset   int64
		lookback time.Duration
		want     int64
	}{
		{"records of the last hours", 10, 3 * time.Hour, 6},
		{"all records when it goes back before the first", 10, 100 * time.Hour, 0},
		{"no record behind the offset", 4, 2 * time.Hour, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := g.Rewind(t.Context(), part, tc.offset, tc.lookback)
			if err != nil || got != tc.want {
				t.Errorf("offset %d, %v; want %d", got, err, tc.want)
			}
		})
	}
}

// stillClock is a clock that stands still.
type stillClock time.Time

func (c stillClock) Now() time.Time                       { return time.Time(c) }
func (c stillClock) After(time.Duration) <-chan time.Time { return nil }
