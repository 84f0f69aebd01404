package kinesis

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"sluice/pipeline"
)

// taker turns an answer's records into entries of the intake. One record of
// Kinesis's may hold many: an entry that ends among them says so in its mark.
type taker struct {
	*reader
	records []pipeline.Record // that go into the next entry
	bytes   int

	sequence string // of the record that is taken apart
	part     int    // how many have come out of it
	skip     int    // how many of those an entry holds already

	users []userRecord // scratch
}

// take puts an answer's records into the intake and moves the mark behind
// them. It blocks while the pipeline is full. It returns the answer's size.
func (r *reader) take(ctx context.Context, out *kinesis.GetRecordsOutput) (size int, err error) {
	t := taker{reader: r}
	for i := range out.Records {
		rec := &out.Records[i]
		size += len(rec.Data) + len(aws.ToString(rec.PartitionKey))
		if err := t.record(ctx, rec); err != nil {
			return 0, err
		}
	}
	if aws.ToInt64(out.MillisBehindLatest) == 0 {
		r.mark.seen = r.clock.Now()
	}
	return size, t.flush(ctx)
}

// record takes one record apart.
func (t *taker) record(ctx context.Context, rec *types.Record) error {
	received := aws.ToTime(rec.ApproximateArrivalTimestamp)
	if received.IsZero() {
		received = t.clock.Now()
	}
	t.sequence, t.part, t.skip = aws.ToString(rec.SequenceNumber), 0, 0
	if t.mark.place == placeWithin && t.mark.sequence == t.sequence {
		t.skip = t.mark.part
	}
	users, aggregated := deaggregate(rec.Data, t.users[:0])
	if !aggregated {
		users = append(t.users[:0], userRecord{key: []byte(aws.ToString(rec.PartitionKey)), data: rec.Data})
	}
	t.users = users
	for _, u := range users {
		if aggregated && t.config.CheckHashRange && t.shard.keys.low != nil && !t.shard.keys.has(u) {
			t.foreign.Add(1)
			continue
		}
		if err := t.user(ctx, u, received); err != nil {
			return err
		}
	}
	t.mark.place, t.mark.sequence, t.mark.seen = placeAfter, t.sequence, received
	t.moved = true
	return nil
}

// user adds one record as its producer put it, or the events of the envelope that it is.
func (t *taker) user(ctx context.Context, u userRecord, received time.Time) error {
	whole := pipeline.Record{Value: u.data, Key: u.key, Time: received}
	if t.config.Unwrap != unwrapCloudWatch {
		return t.add(ctx, whole)
	}
	e, err := openEnvelope(u.data)
	if err != nil {
		// It goes on as it is: what becomes of it is for decoding and parsing to say.
		return t.add(ctx, whole)
	}
	if e.MessageType == controlMessage {
		t.skipped.Add(1)
		return nil
	}
	headers := []pipeline.Header{{Key: "log_group", Value: []byte(e.LogGroup)}, {Key: "log_stream", Value: []byte(e.LogStream)}}
	for i := range e.LogEvents {
		event := &e.LogEvents[i]
		r := pipeline.Record{Value: []byte(event.Message), Key: []byte(event.ID), Headers: headers, Time: event.time(received)}
		if err := t.add(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// add adds a record to the entry, or to the next one where that is full.
func (t *taker) add(ctx context.Context, r pipeline.Record) error {
	if t.part++; t.part <= t.skip {
		return nil
	}
	if len(t.records) == entryRecords || t.bytes > entryBytes {
		if t.part > 1 {
			t.mark.place, t.mark.sequence, t.mark.part = placeWithin, t.sequence, t.part-1
		}
		if err := t.flush(ctx); err != nil {
			return err
		}
	}
	if len(r.Value) == 0 {
		t.skipped.Add(1)
		return nil
	}
	t.records = append(t.records, r)
	t.bytes += len(r.Value) + len(r.Key)
	return nil
}

// flush puts the entry into the intake, with the mark as it is. Where nothing
// came out of the records, the mark alone is put.
func (t *taker) flush(ctx context.Context) error {
	if len(t.records) == 0 && !t.moved {
		return nil
	}
	entry := t.entry()
	entry.Records = t.records
	t.records, t.bytes = nil, 0
	t.moved, t.written = false, t.clock.Now()
	return t.intake.Put(ctx, entry, nil)
}
