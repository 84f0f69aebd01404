package kinesis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"sluice/sources"
	"sluice/sources/intake"
)

// Limits of an entry of the intake, so that one answer of 10 MiB becomes several.
const (
	entryRecords = 1000
	entryBytes   = 1 << 20
)

// seenEvery is how often the mark of a shard without records is renewed. It is
// far less than the day that a stream keeps records at least.
const seenEvery = 10 * time.Minute

// How many reads in a row may fail before it counts as trouble: by being too
// many, since consumers of a shard get in each other's way, or otherwise,
// since endpoints close connections that were idle.
const (
	patience      = 5
	otherPatience = 2
)

// quietEnd is how many answers in a row must say of a closed shard that there
// is nothing left, where its end is not told otherwise.
const quietEnd = 3

// reader reads one shard from its mark to its end. Its fields are its own
// goroutine's, but for those that the supervisor renews.
type reader struct {
	*supervisor
	shard     shard
	closed    atomic.Bool // Kinesis lists the shard as closed
	retention atomic.Int64

	mark     mark      // behind what was put into the intake
	moved    bool      // the mark is not written yet
	written  time.Time // when it was, last
	iterator *string
	watch    gapWatch
	backoff  sources.Backoff
	fails    int // reads in a row
	quiet    int // answers of a closed shard without records, in a row
}

func newReader(v *supervisor, s shard, m mark, retention time.Duration) *reader {
	r := &reader{
		supervisor: v, shard: s, mark: m, written: v.clock.Now(),
		backoff: sources.Backoff{Clock: v.clock, Min: v.config.BackoffMin, Max: v.config.BackoffMax},
	}
	r.closed.Store(s.closed)
	r.retention.Store(int64(retention))
	return r
}

// run reads until the shard ends (nil), ctx is done, the intake fails, or
// records are gone that the configuration wants to be told of.
func (r *reader) run(ctx context.Context) error {
	for {
		pause, err := r.turn(ctx)
		switch {
		case errors.Is(err, errEnded):
			select {
			case r.ended <- r.shard.id:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		case pause < 0:
			err = r.backoff.Wait(ctx)
		case pause > 0:
			select {
			case <-r.clock.After(pause):
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			return err
		}
	}
}

// errEnded says that the shard has no more records and never will.
var errEnded = errors.New("the shard has ended")

// turn reads once, while it holds one of the slots. It returns how long to
// wait before the next time; below 0 is for as long as the backoff says.
func (r *reader) turn(ctx context.Context) (pause time.Duration, err error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	began := r.clock.Now()
	if r.watch.check(r.mark.seen, began, time.Duration(r.retention.Load())) {
		why := fmt.Sprintf("what arrived after %s was not read, and is older than the stream keeps records", r.mark.seen.Format(time.RFC3339))
		if err := r.gap(r.shard.id, why); err != nil {
			return 0, err
		}
		r.mark.seen = began.Add(-time.Duration(r.retention.Load()))
	}
	closed := r.closed.Load() // before the read: what a closed shard has not got by then it never will
	out, err := r.read(ctx)
	if err != nil {
		return r.failed(ctx, err)
	}
	r.health.Well(r.shard.id)
	r.backoff.Reset()
	r.fails = 0
	size, err := r.take(ctx, out)
	if err != nil {
		return 0, err
	}
	return r.next(ctx, out, size, began, closed)
}

// next decides what follows an answer that was put into the intake.
func (r *reader) next(ctx context.Context, out *kinesis.GetRecordsOutput, size int, began time.Time, closed bool) (time.Duration, error) {
	behind := time.Duration(aws.ToInt64(out.MillisBehindLatest)) * time.Millisecond
	r.delays.Note(r.shard.id, behind)
	r.iterator = out.NextShardIterator
	if r.quiet++; !closed || len(out.Records) > 0 || behind > 0 {
		r.quiet = 0
	}
	// Kinesis says with an absent iterator that a closed shard has no more. Not
	// all that speak its protocol do.
	if r.iterator == nil || r.quiet == quietEnd {
		r.mark.place = placeEnd
		if err := r.write(ctx); err != nil {
			return 0, err
		}
		return 0, errEnded
	}
	if len(out.Records) == 0 && began.Sub(r.written) > seenEvery {
		if err := r.write(ctx); err != nil {
			return 0, err
		}
	}
	pause := time.Duration(size) * time.Second / bytesPerSecond
	if behind == 0 && len(out.Records) < int(r.config.MaxRecords) {
		pause = max(pause, r.config.PollInterval)
	} else {
		pause = max(pause, time.Second/readsPerSecond)
	}
	return max(0, pause-r.clock.Now().Sub(began)), nil
}

// write puts the mark alone into the intake.
func (r *reader) write(ctx context.Context) error {
	r.written = r.clock.Now()
	return r.intake.Put(ctx, r.entry(), nil)
}

// entry returns an entry of the shard's partition with the mark as it is now.
func (r *reader) entry() intake.Entry {
	return intake.Entry{
		Topic: r.config.streamName(), ID: r.shard.number, Labels: r.config.Labels,
		Marks: map[string]string{shardPrefix + r.shard.id: r.mark.String()},
	}
}

// read asks for the next records; the iterator is made when there is none.
func (r *reader) read(ctx context.Context) (*kinesis.GetRecordsOutput, error) {
	arn, name := r.stream()
	if r.iterator == nil {
		in := &kinesis.GetShardIteratorInput{StreamARN: arn, StreamName: name, ShardId: &r.shard.id}
		switch r.mark.place {
		case placeOldest:
			in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
		case placeTime:
			in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, &r.mark.at
		case placeWithin:
			in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeAtSequenceNumber, &r.mark.sequence
		default:
			in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeAfterSequenceNumber, &r.mark.sequence
		}
		out, err := r.client.GetShardIterator(ctx, in)
		if err != nil {
			return nil, err
		}
		if r.iterator = out.ShardIterator; r.iterator == nil {
			return nil, errors.New("the answer holds no shard iterator")
		}
	}
	return r.client.GetRecords(ctx, &kinesis.GetRecordsInput{
		StreamARN: arn, ShardIterator: r.iterator, Limit: aws.Int32(r.config.MaxRecords),
	}, once)
}

// once leaves trying again to the reader, which keeps to the shard's pace.
func once(o *kinesis.Options) { o.Retryer = aws.NopRetryer{} }

// failed decides what follows an error. An iterator that expired, five minutes
// after it was made, is no trouble: the next one is made from the mark.
func (r *reader) failed(ctx context.Context, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	var expired *types.ExpiredIteratorException
	if errors.As(err, &expired) {
		r.iterator = nil
		return time.Second / readsPerSecond, nil
	}
	limit := otherPatience
	if throttled(err) {
		limit = patience
	}
	if r.fails++; r.fails >= limit {
		r.health.Failed(r.shard.id, err)
	}
	return -1, nil
}

// throttled tells whether an error says that too much was asked for.
func throttled(err error) bool {
	var (
		throughput *types.ProvisionedThroughputExceededException
		limit      *types.LimitExceededException
		kms        *types.KMSThrottlingException
	)
	return errors.As(err, &throughput) || errors.As(err, &limit) || errors.As(err, &kms)
}
