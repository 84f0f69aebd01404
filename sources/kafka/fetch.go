package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"sluice/pipeline"
	"sluice/sources"
)

// fetcher reads one partition. Its goroutine alone uses it.
type fetcher struct {
	s      *Source
	part   pipeline.Partition
	out    sources.Emit
	next   int64 // offset to fetch next
	placed bool  // next is known
}

// run fetches until the context ends, Emit fails or a person is needed.
func (f *fetcher) run(ctx context.Context) error {
	wait := f.s.newBackoff()
	for {
		err := f.step(ctx)
		var final *finalError
		var emit *emitError
		switch {
		case err == nil:
			f.s.health.well(f.part.String())
			wait.reset()
			continue
		case errors.As(err, &emit):
			return emit.err
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &final):
			return final.err
		case refused(err):
			return f.where(err)
		}
		f.s.health.failed(f.part.String(), f.where(err))
		if err := wait.next(ctx); err != nil {
			return err
		}
	}
}

// finalError needs a person; emitError is the pipeline's.
type (
	finalError struct{ err error }
	emitError  struct{ err error }
)

func (e *finalError) Error() string { return e.err.Error() }
func (e *emitError) Error() string  { return e.err.Error() }

func (f *fetcher) where(err error) error {
	return fmt.Errorf("kafka: topic %q, partition %d: %w", f.part.Topic, f.part.ID, err)
}

// step finds the place to begin at, once, or fetches once and emits what came.
func (f *fetcher) step(ctx context.Context) error {
	if !f.placed {
		return f.place(ctx)
	}
	// The time that the broker waits comes on top of that for the request.
	rctx, cancel := context.WithTimeout(ctx, f.s.config.RequestTimeout+f.s.config.MaxWait)
	defer cancel()
	res, err := f.s.client.Fetch(rctx, &kafka.FetchRequest{
		Topic: f.part.Topic, Partition: int(f.part.ID), Offset: f.next,
		MinBytes: int64(f.s.config.MinBytes), MaxBytes: int64(f.s.config.MaxBytes), MaxWait: f.s.config.MaxWait,
	})
	if err == nil {
		err = res.Error
	}
	if errors.Is(err, kafka.OffsetOutOfRange) {
		return f.reset(ctx)
	}
	if err != nil {
		return err
	}
	return f.emitAll(ctx, res)
}

// emitAll emits the records of a response, in batches.
func (f *fetcher) emitAll(ctx context.Context, res *kafka.FetchResponse) error {
	begun := f.next
	for more := true; more; {
		b := f.s.mem.batch()
		var broken error
		more, broken = f.fill(b, res.Records)
		f.s.note(f.part, f.next, res.HighWatermark)
		if err := f.emit(ctx, b, res.HighWatermark); err != nil {
			return err
		}
		if broken != nil {
			return broken
		}
	}
	if f.next == begun && hasBatches(res.Records) {
		f.next++ // see the package's comment
		f.s.note(f.part, f.next, res.HighWatermark)
	}
	return nil
}

// emit hands a batch to the pipeline, unless it is empty.
func (f *fetcher) emit(ctx context.Context, b *batch, high int64) error {
	n, size := uint64(len(b.Records)), b.size
	if n == 0 {
		b.Release()
		return nil
	}
	b.Partition, b.Module, b.Labels, b.HighWatermark = f.part, "kafka", f.s.config.Labels, high
	if err := f.out(ctx, &b.RecordBatch); err != nil {
		return &emitError{err}
	}
	f.s.records.Add(n)
	f.s.bytes.Add(size)
	return nil
}

// fill copies records into a batch until it is full; more says that some are left.
func (f *fetcher) fill(b *batch, records kafka.RecordReader) (more bool, err error) {
	for len(b.Records) < f.s.config.BatchRecords {
		r, err := records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if err := f.take(b, r); err != nil {
			return false, err
		}
	}
	return true, nil
}

// take copies one record and lets go of the response's memory for it.
func (f *fetcher) take(b *batch, r *kafka.Record) error {
	defer closeBytes(r.Key)
	defer closeBytes(r.Value)
	if r.Offset < f.next {
		return nil // a batch begins before the offset asked for
	}
	if r.Value == nil || r.Value.Len() == 0 {
		f.next = r.Offset + 1
		f.s.skipped.Add(1)
		return nil
	}
	out := pipeline.Record{Offset: r.Offset, Time: r.Time}
	if out.Time.IsZero() || out.Time.UnixMilli() <= 0 {
		out.Time = f.s.clock.Now()
	}
	var err error
	if out.Value, err = b.copy(r.Value); err != nil {
		return err
	}
	if out.Key, err = b.copy(r.Key); err != nil {
		return err
	}
	out.Headers = b.copyHeaders(r.Headers)
	b.Records = append(b.Records, out)
	f.next = r.Offset + 1
	return nil
}

func closeBytes(b protocol.Bytes) {
	if b != nil {
		b.Close()
	}
}

// hasBatches tells whether a response held anything at all.
func hasBatches(r kafka.RecordReader) bool {
	stream, ok := r.(*protocol.RecordStream)
	return ok && len(stream.Records) > 0
}

// place finds where to begin: by Start, for partitions that no checkpoint has.
func (f *fetcher) place(ctx context.Context) error {
	start := f.s.config.Start
	if start == StartCommitted {
		offset, err := f.committed(ctx)
		if err != nil {
			return err
		}
		if offset >= 0 {
			f.begin(offset)
			return nil
		}
		if start = f.s.config.OnReset; start == "fail" {
			return &finalError{f.where(fmt.Errorf("group %q has committed no offset; set on_reset: earliest or latest to begin there", f.s.config.Group))}
		}
	}
	first, last, err := f.bounds(ctx)
	if err != nil {
		return err
	}
	switch start {
	case StartEarliest:
		f.begin(first)
	case StartLatest:
		f.begin(last)
	default:
		at, err := time.Parse(time.RFC3339, start)
		if err != nil {
			return &finalError{f.where(err)}
		}
		offset, err := f.offsetOf(ctx, at)
		if err != nil {
			return err
		}
		if offset < 0 { // nothing is that young yet
			offset = last
		}
		f.begin(offset)
	}
	return nil
}

func (f *fetcher) begin(offset int64) {
	f.next, f.placed = offset, true
	f.s.note(f.part, offset, -1)
}

// reset goes on where OnReset says after the offset asked for is not there.
func (f *fetcher) reset(ctx context.Context) error {
	first, last, err := f.bounds(ctx)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("offset %d is gone (earliest is %d)", f.next, first)
	if f.next > last {
		what = fmt.Sprintf("offset %d is past the end (latest is %d): the topic was made anew or cut back", f.next, last)
	} else if f.next >= first {
		return nil // it is there by now
	}
	f.s.gaps.Add(1)
	switch f.s.config.OnReset {
	case "fail":
		return &finalError{f.where(errors.New(what + "; set on_reset: earliest to go on from the earliest, or latest"))}
	case StartLatest:
		first = last
	}
	f.s.log.Warn("records are missing", "topic", f.part.Topic, "partition", f.part.ID, "why", what, "next", first)
	f.begin(first)
	return nil
}

// committed returns the offset that the group stands at, -1 when it stands nowhere.
func (f *fetcher) committed(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, f.s.config.RequestTimeout)
	defer cancel()
	res, err := f.s.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{
		GroupID: f.s.config.Group, Topics: map[string][]int{f.part.Topic: {int(f.part.ID)}},
	})
	if err == nil {
		err = res.Error
	}
	if errors.Is(err, kafka.GroupIdNotFound) {
		return -1, nil // some brokers say it of a group that never committed
	}
	if err != nil {
		return 0, err
	}
	for _, p := range res.Topics[f.part.Topic] {
		if p.Partition == int(f.part.ID) {
			return p.CommittedOffset, p.Error
		}
	}
	return -1, nil
}

// bounds returns the offsets of the first record and after the last.
func (f *fetcher) bounds(ctx context.Context) (first, last int64, err error) {
	id := int(f.part.ID)
	p, err := f.listOffsets(ctx, kafka.FirstOffsetOf(id), kafka.LastOffsetOf(id))
	return p.FirstOffset, p.LastOffset, err
}

// offsetOf returns the offset of the first record from a time on, -1 when there is none.
func (f *fetcher) offsetOf(ctx context.Context, at time.Time) (int64, error) {
	p, err := f.listOffsets(ctx, kafka.TimeOffsetOf(int(f.part.ID), at))
	for offset := range p.Offsets {
		return offset, err
	}
	return -1, err
}

func (f *fetcher) listOffsets(ctx context.Context, asked ...kafka.OffsetRequest) (kafka.PartitionOffsets, error) {
	ctx, cancel := context.WithTimeout(ctx, f.s.config.RequestTimeout)
	defer cancel()
	res, err := f.s.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{f.part.Topic: asked}})
	if err != nil {
		return kafka.PartitionOffsets{}, err
	}
	for _, p := range res.Topics[f.part.Topic] {
		if p.Partition == int(f.part.ID) {
			return p, p.Error
		}
	}
	return kafka.PartitionOffsets{}, errors.New("the broker's answer leaves the partition out")
}
