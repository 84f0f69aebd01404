package kinesis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"sluice/sources/sourcetest"
)

// fakeStream is a Kinesis of one stream. Its sequence numbers count through
// all shards; iterators are "shard position generation", where raising the
// generation makes all of them expire.
type fakeStream struct {
	mu         sync.Mutex
	clock      *sourcetest.Clock
	created    time.Time
	retention  time.Duration
	shards     []*fakeShard
	sequence   int
	generation int
	page       int                     // shards of an answer; 0 is all
	answers    int                     // most records of an answer; 0 is as many as asked for
	never      bool                    // say that a shard has ended, as some emulators do not
	fail       func(call string) error // by the name of the call, and the shard where there is one
	calls      map[string]int
}

type fakeShard struct {
	id        string
	low, high string
	parents   []string
	records   []types.Record
	trimmed   int // how many of records are gone
	closed    bool
	unlisted  bool
}

func newFakeStream(shards int) *fakeStream {
	f := &fakeStream{clock: sourcetest.NewClock(), retention: 24 * time.Hour, calls: make(map[string]int)}
	f.created = f.clock.Now().Add(-time.Hour)
	for i := range shards {
		f.add(quarter(4*i/shards), quarterEnd(4*(i+1)/shards))
	}
	return f
}

// quarter is where the n-th quarter of all hash keys begins, quarterEnd where the one before it ends.
func quarter(n int) string {
	return []string{"0", "85070591730234615865843651857942052864", "170141183460469231731687303715884105728", "255211775190703847597530955573826158592"}[n]
}

func quarterEnd(n int) string {
	return []string{"", "85070591730234615865843651857942052863", "170141183460469231731687303715884105727", "255211775190703847597530955573826158591", "340282366920938463463374607431768211455"}[n]
}

func (f *fakeStream) add(low, high string, parents ...string) string {
	id := fmt.Sprintf("shardId-%012d", len(f.shards))
	f.shards = append(f.shards, &fakeShard{id: id, low: low, high: high, parents: parents})
	return id
}

// put puts records into a shard.
func (f *fakeStream) put(shard int, values ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range values {
		f.sequence++
		at := f.clock.Now()
		f.shards[shard].records = append(f.shards[shard].records, types.Record{
			Data: []byte(v), PartitionKey: aws.String("key"), SequenceNumber: aws.String(strconv.Itoa(f.sequence)), ApproximateArrivalTimestamp: &at,
		})
	}
}

// close ends shards and begins children of theirs, which are returned.
func (f *fakeStream) close(shards []int, children int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var parents []string
	for _, i := range shards {
		f.shards[i].closed = true
		parents = append(parents, f.shards[i].id)
	}
	low, high := f.shards[shards[0]].low, f.shards[shards[len(shards)-1]].high
	for range children {
		f.add(low, high, parents...)
	}
}

func (f *fakeStream) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// called counts a call; the caller holds the lock.
func (f *fakeStream) called(ctx context.Context, call string) error {
	f.calls[call]++
	if f.fail != nil {
		if err := f.fail(call); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (f *fakeStream) DescribeStreamSummary(ctx context.Context, _ *kinesis.DescribeStreamSummaryInput, _ ...func(*kinesis.Options)) (*kinesis.DescribeStreamSummaryOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &kinesis.DescribeStreamSummaryOutput{StreamDescriptionSummary: &types.StreamDescriptionSummary{
		RetentionPeriodHours: aws.Int32(int32(f.retention / time.Hour)), StreamCreationTimestamp: aws.Time(f.created),
	}}, f.called(ctx, "describe")
}

func (f *fakeStream) ListShards(ctx context.Context, in *kinesis.ListShardsInput, _ ...func(*kinesis.Options)) (*kinesis.ListShardsOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.called(ctx, "list"); err != nil {
		return nil, err
	}
	from, _ := strconv.Atoi(aws.ToString(in.NextToken))
	out := &kinesis.ListShardsOutput{}
	for i, s := range f.shards[from:] {
		if f.page > 0 && i == f.page {
			out.NextToken = aws.String(strconv.Itoa(from + i))
			break
		}
		if s.unlisted {
			continue
		}
		listed := types.Shard{
			ShardId: aws.String(s.id), SequenceNumberRange: &types.SequenceNumberRange{StartingSequenceNumber: aws.String("0")},
			HashKeyRange: &types.HashKeyRange{StartingHashKey: aws.String(s.low), EndingHashKey: aws.String(s.high)},
		}
		for j, p := range s.parents {
			if j == 0 {
				listed.ParentShardId = aws.String(p)
			} else {
				listed.AdjacentParentShardId = aws.String(p)
			}
		}
		if s.closed {
			listed.SequenceNumberRange.EndingSequenceNumber = aws.String("9")
		}
		out.Shards = append(out.Shards, listed)
	}
	return out, nil
}

func (f *fakeStream) shard(id string) (*fakeShard, error) {
	for _, s := range f.shards {
		if s.id == id && !s.unlisted {
			return s, nil
		}
	}
	return nil, &types.ResourceNotFoundException{Message: aws.String("no shard " + id)}
}

func (f *fakeStream) GetShardIterator(ctx context.Context, in *kinesis.GetShardIteratorInput, _ ...func(*kinesis.Options)) (*kinesis.GetShardIteratorOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.called(ctx, "iterator "+string(in.ShardIteratorType)); err != nil {
		return nil, err
	}
	s, err := f.shard(aws.ToString(in.ShardId))
	if err != nil {
		return nil, err
	}
	at := s.trimmed
	for ; at < len(s.records); at++ {
		rec := &s.records[at]
		sequence, _ := strconv.Atoi(aws.ToString(rec.SequenceNumber))
		asked, _ := strconv.Atoi(aws.ToString(in.StartingSequenceNumber))
		if in.ShardIteratorType == types.ShardIteratorTypeTrimHorizon ||
			in.ShardIteratorType == types.ShardIteratorTypeAtTimestamp && !rec.ApproximateArrivalTimestamp.Before(*in.Timestamp) ||
			in.ShardIteratorType == types.ShardIteratorTypeAfterSequenceNumber && sequence > asked ||
			in.ShardIteratorType == types.ShardIteratorTypeAtSequenceNumber && sequence >= asked {
			break
		}
	}
	return &kinesis.GetShardIteratorOutput{ShardIterator: f.iterator(s, at)}, nil
}

func (f *fakeStream) iterator(s *fakeShard, at int) *string {
	return aws.String(fmt.Sprintf("%s %d %d", s.id, at, f.generation))
}

func (f *fakeStream) GetRecords(ctx context.Context, in *kinesis.GetRecordsInput, _ ...func(*kinesis.Options)) (*kinesis.GetRecordsOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	part := strings.Fields(aws.ToString(in.ShardIterator))
	if len(part) != 3 {
		return nil, errors.New("that is no iterator")
	}
	if err := f.called(ctx, "records "+part[0]); err != nil {
		return nil, err
	}
	if part[2] != strconv.Itoa(f.generation) {
		return nil, &types.ExpiredIteratorException{Message: aws.String("expired")}
	}
	s, err := f.shard(part[0])
	if err != nil {
		return nil, err
	}
	at, _ := strconv.Atoi(part[1])
	at = max(at, s.trimmed)
	most := int(aws.ToInt32(in.Limit))
	if f.answers > 0 {
		most = min(most, f.answers)
	}
	to := min(len(s.records), at+most)
	out := &kinesis.GetRecordsOutput{Records: s.records[at:to], MillisBehindLatest: aws.Int64(0)}
	if to < len(s.records) {
		out.MillisBehindLatest = aws.Int64(1 + f.clock.Now().Sub(*s.records[to].ApproximateArrivalTimestamp).Milliseconds())
	}
	if to < len(s.records) || !s.closed || f.never {
		out.NextShardIterator = f.iterator(s, to)
	}
	return out, nil
}
