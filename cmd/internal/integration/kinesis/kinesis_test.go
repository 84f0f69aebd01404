//go:build integration

package kinesis

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"sluice/cmd/internal/integration/mototest"
	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// stream is a stream in moto and its only producer, which puts lines that are
// numbered through.
type stream struct {
	server *mototest.Server
	client *kinesis.Client
	put    int
}

const name = "logs"

func newStream(t *testing.T, shards int32) *stream {
	t.Helper()
	server := mototest.Need(t).Start(t)
	s := &stream{server: server, client: kinesis.NewFromConfig(server.Config())}
	if _, err := s.client.CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String(name), ShardCount: &shards}); err != nil {
		t.Fatal(err)
	}
	return s
}

// source is the configuration of sluice's source, which reads through an address.
func (s *stream) source(address string) rig.Config {
	return rig.Probing(s.server.Source("kinesis", address, map[string]any{
		"stream": name, "poll_interval": "200ms", "refresh_interval": "1s", "backoff_max": "500ms",
	}))
}

// produce puts the next n lines, spread over the shards.
func (s *stream) produce(ctx context.Context, n int) error {
	for n > 0 {
		batch := min(n, 100)
		in := &kinesis.PutRecordsInput{StreamName: aws.String(name)}
		for i := range batch {
			in.Records = append(in.Records, types.PutRecordsRequestEntry{
				Data: []byte(rig.Line(s.put + i)), PartitionKey: aws.String(strconv.Itoa(s.put + i)),
			})
		}
		out, err := s.client.PutRecords(ctx, in)
		if err != nil {
			return err
		}
		if failed := aws.ToInt32(out.FailedRecordCount); failed > 0 {
			return fmt.Errorf("%d records were refused", failed)
		}
		s.put += batch
		n -= batch
	}
	return nil
}

func (s *stream) mustProduce(t *testing.T, n int) {
	t.Helper()
	if err := s.produce(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

// open returns the shards that take records, by their ranges.
func (s *stream) open(t *testing.T) []types.Shard {
	t.Helper()
	out, err := s.client.ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: aws.String(name)})
	if err != nil {
		t.Fatal(err)
	}
	var open []types.Shard
	for _, shard := range out.Shards {
		if shard.SequenceNumberRange.EndingSequenceNumber == nil {
			open = append(open, shard)
		}
	}
	return open
}

// TestKilledWhileRecordsCome kills sluice again and again under load.
func TestKilledWhileRecordsCome(t *testing.T) {
	s := newStream(t, 3)
	in := rig.New(t, "one", s.source(s.server.Address))
	kills := in.KillUnder(t, rig.Load{
		Kills: 6, Rounds: 8, Pause: 50 * time.Millisecond,
		Produce: func(ctx context.Context) error { return s.produce(ctx, 100) },
	})
	in.Drained(t, s.put)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, s.put)
	t.Logf("%d records, %d kills", s.put, kills)
}

// TestShardsAreSplitAndMerged reshards a stream while it is read, with a kill
// between: each shard's records come after those of its parents.
func TestShardsAreSplitAndMerged(t *testing.T) {
	s := newStream(t, 2)
	in := rig.New(t, "one", s.source(s.server.Address))
	in.Start(t)
	// An end is said behind the records, and after it is durable, so that a kill may come between.
	ended := func(n int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := rig.Poll(ctx, "the ends of the shards that were split or merged", func() (bool, error) {
			return in.Said("a shard has ended") >= n, in.Ended()
		}); err != nil {
			t.Fatalf("%d shards have ended, want %d: %v", in.Said("a shard has ended"), n, err)
		}
	}
	s.mustProduce(t, 300)
	for round := range 3 {
		first := s.open(t)[0]
		low, high := aws.ToString(first.HashKeyRange.StartingHashKey), aws.ToString(first.HashKeyRange.EndingHashKey)
		if _, err := s.client.SplitShard(t.Context(), &kinesis.SplitShardInput{
			StreamName: aws.String(name), ShardToSplit: first.ShardId, NewStartingHashKey: aws.String(middle(t, low, high)),
		}); err != nil {
			t.Fatal(err)
		}
		s.mustProduce(t, 300)
		if round == 1 {
			ended(4)
			s.mustProduce(t, 300)
			in.Kill(t)
			s.mustProduce(t, 300)
			in.Start(t)
		}
		left, right := adjacent(t, s.open(t))
		if _, err := s.client.MergeShards(t.Context(), &kinesis.MergeShardsInput{
			StreamName: aws.String(name), ShardToMerge: left.ShardId, AdjacentShardToMerge: right.ShardId,
		}); err != nil {
			t.Fatal(err)
		}
		s.mustProduce(t, 300)
	}
	in.Drained(t, s.put)
	ended(9)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, s.put)
	t.Logf("%d records, 3 splits and 3 merges", s.put)
}

// TestAWSGoesAwayAndComesBack takes moto away for a while, during which records come.
func TestAWSGoesAwayAndComesBack(t *testing.T) {
	s := newStream(t, 2)
	proxy := mototest.NewProxy(t, s.server.Address)
	in := rig.New(t, "one", s.source(proxy.Address))
	in.Start(t)
	s.mustProduce(t, 500)
	in.Drained(t, s.put)
	proxy.Down()
	s.mustProduce(t, 500)
	if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
		t.Fatal(err)
	}
	proxy.Up()
	s.mustProduce(t, 500)
	in.Drained(t, s.put)
	in.WaitFor(t, "reading goes on")
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, s.put)
	if lost, back := in.Said("reading is interrupted"), in.Said("reading goes on"); lost != 1 || back != 1 {
		t.Errorf("the outage was told %d times and its end %d times, want once each", lost, back)
	}
}
