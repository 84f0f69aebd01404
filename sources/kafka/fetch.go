package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	fetchapi "github.com/segmentio/kafka-go/protocol/fetch"

	"sluice/pipeline"
	"sluice/pipeline/kafkaconn"
	"sluice/sources"
	"sluice/sources/kafka/recordbatch"
)

// fetcher reads one partition: newFetcher, then run, which its context stops.
// One goroutine uses it. It has a connection of its own to the partition's
// leader, since a broker answers one request of a connection after the other
// and a fetch may wait.
type fetcher struct {
	s     *Source
	part  pipeline.Partition
	out   sources.Emit
	start start
	// onPlace, when not nil, hears where the configuration's place is before anything is read there.
	onPlace func(ctx context.Context, offset int64) error
	next    int64 // offset of the next record to emit
	// placed says that next is known; proven, that the broker had it.
	placed, proven bool

	conn    *kafkaconn.Conn
	version int16 // of Fetch on this connection
	leader  leadership
	asked   bool  // an answer is under way
	id      int32 // of the last request

	told bool // the pipeline knows where reading begins

	decoder
	quiet   time.Time // since when nothing comes although there is more; zero when something does
	stalled bool      // quiet has lasted too long, and does still
	missing int       // answers in a row that did not know the partition
	corrupt int       // fetches in a row that brought a broken batch
}

// tell says where reading begins: a partition that has no record yet then has
// a place in a checkpoint, from which its first one is read however late that is.
func (f *fetcher) tell(ctx context.Context) error {
	if f.told = true; f.next == 0 || f.start.resumed {
		return nil // without a place it begins there, or the checkpoint told us
	}
	b := f.s.mem.batch()
	b.Partition, b.Module, b.Next, b.HighWatermark = f.part, "kafka", f.next, -1
	if err := f.out(ctx, &b.RecordBatch); err != nil {
		return &emitError{err}
	}
	return nil
}

// start is where a fetcher begins.
type start struct {
	offset  int64 // -1: where the configuration says
	resumed bool  // offset is where durable state stands
	late    bool  // the partition appeared while others were read already
}

func (s *Source) newFetcher(part pipeline.Partition, at start, out sources.Emit) *fetcher {
	f := &fetcher{s: s, part: part, out: out, start: at, next: at.offset, placed: at.offset >= 0}
	f.decoder = newDecoder(s)
	s.note(part, at.offset, -1)
	return f
}

// The tries that a person is spared before an error ends the run.
const (
	missingTries = 5
	corruptTries = 5
)

// run fetches until the context ends, Emit fails, the partition is gone (nil,
// for a topic that was found by topic_regexp) or a person is needed.
func (f *fetcher) run(ctx context.Context) error {
	defer f.close()
	wait := f.s.newBackoff()
	for {
		err := f.step(ctx)
		if err == nil {
			if !f.stalled {
				f.s.health.Well(f.part.String())
				wait.Reset()
			}
			continue
		}
		f.disconnect()
		if done, err := f.final(ctx, err); done {
			return err
		}
		f.s.health.Failed(f.part.String(), f.where(err))
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// final tells whether an error ends the run, and with what.
func (f *fetcher) final(ctx context.Context, err error) (bool, error) {
	var final *finalError
	var emit *emitError
	switch {
	case errors.As(err, &emit):
		return true, emit.err
	case ctx.Err() != nil:
		return true, ctx.Err()
	case errors.As(err, &final):
		return true, f.where(final.err)
	case f.s.refused(err):
		return true, f.where(err)
	case errors.Is(err, errMissing):
		if f.missing++; f.missing < missingTries {
			return false, nil
		}
		if !f.s.config.named(f.part.Topic) {
			f.s.log.Warn("a topic is gone", "topic", f.part.Topic, "partition", f.part.ID)
			f.s.forget(f.part)
			return true, nil
		}
		if f.s.config.MissingTopic == missingFail {
			return true, f.where(errors.New("it was deleted; make it anew or set missing_topic: wait"))
		}
	case errors.Is(err, recordbatch.ErrOldFormat), errors.Is(err, recordbatch.ErrTooLarge):
		return true, f.where(fmt.Errorf("at offset %d: %w%s", f.next, err, remedy(err)))
	case errors.Is(err, recordbatch.ErrCorrupt):
		if f.corrupt++; f.corrupt >= corruptTries {
			return true, f.where(fmt.Errorf("at offset %d, fetched %d times: %w; delete the records up to its end and set on_reset: earliest, or begin behind it", f.next, f.corrupt, err))
		}
	}
	return false, nil
}

func remedy(err error) string {
	if errors.Is(err, recordbatch.ErrTooLarge) {
		return "; raise max_batch_bytes"
	}
	return ""
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

// step does the next thing: connect, find the place to begin at, or fetch
// once and emit what came.
func (f *fetcher) step(ctx context.Context) error {
	if f.conn != nil && !f.asked && f.conn.Expired(f.s.clock.Now()) {
		f.disconnect()
	}
	if f.conn == nil {
		if err := f.connect(ctx); err != nil {
			return err
		}
	}
	if !f.placed {
		err := f.place(ctx)
		if err == nil && f.onPlace != nil {
			err = f.onPlace(ctx, f.next)
			f.placed = err == nil
		}
		return err
	}
	if !f.told {
		if err := f.tell(ctx); err != nil {
			return err
		}
	}
	if !f.asked {
		if err := f.ask(f.next); err != nil {
			return err
		}
	}
	body, err := f.receive(ctx)
	if err != nil {
		return err
	}
	defer body.drop()
	return f.take(ctx, body)
}

// connect goes to the partition's leader, by metadata newer than what led to
// the connection before.
func (f *fetcher) connect(ctx context.Context) error {
	leader, err := f.s.cluster.leader(ctx, f.part, f.leader.version)
	if leader.version > 0 {
		f.leader = leader
	}
	if err != nil {
		return err
	}
	if f.missing >= missingTries {
		if err := f.anew(); err != nil {
			return err
		}
	}
	f.missing = 0
	conn, err := f.s.connector.Connect(ctx, leader.address)
	if err != nil {
		return err
	}
	if f.version, err = conn.Version(protocol.Fetch, minFetchVersion, maxFetchVersion); err != nil {
		_ = conn.Close()
		return err
	}
	f.conn = conn
	return nil
}

// disconnect gives up the connection and the answer that may be under way.
func (f *fetcher) disconnect() {
	if f.conn != nil {
		_ = f.conn.Close()
	}
	f.conn, f.asked, f.quiet = nil, false, time.Time{}
}

func (f *fetcher) close() {
	f.disconnect()
	f.decoder.close()
}

// ask sends a request for what is at an offset and behind it.
func (f *fetcher) ask(offset int64) error {
	c := &f.s.config
	f.id++
	_ = f.conn.SetWriteDeadline(time.Now().Add(c.RequestTimeout))
	err := protocol.WriteRequest(f.conn, f.version, f.id, c.ClientID, &fetchapi.Request{
		ReplicaID: -1, SessionEpoch: -1, IsolationLevel: c.isolation(),
		MinBytes: int32(c.MinBytes), MaxBytes: int32(c.MaxBytes), MaxWaitTime: int32(c.MaxWait.Milliseconds()),
		Topics: []fetchapi.RequestTopic{{Topic: f.part.Topic, Partitions: []fetchapi.RequestPartition{{
			Partition: f.part.ID, FetchOffset: offset, LogStartOffset: -1, PartitionMaxBytes: int32(c.MaxBytes),
			CurrentLeaderEpoch: f.leader.epoch, // so that a leader of the past refuses
		}}}},
	})
	f.asked = err == nil
	return err
}

// receive waits for the answer and returns its body. A broker that does not
// answer within the time it may wait and the time for a request is given up.
func (f *fetcher) receive(ctx context.Context) (*block, error) {
	release := f.conn.Bound(ctx, f.s.config.RequestTimeout+f.s.config.MaxWait)
	defer release()
	var head [8]byte
	if _, err := io.ReadFull(f.conn, head[:]); err != nil {
		return nil, fmt.Errorf("broker %s: no answer: %w", f.leader.address, err)
	}
	size := int64(int32(binary.BigEndian.Uint32(head[:]))) - 4
	if limit := f.s.config.answerLimit(); size < 0 || size > limit {
		return nil, fmt.Errorf("broker %s: its answer claims %d bytes, which is not up to %d", f.leader.address, size, limit)
	}
	if id := int32(binary.BigEndian.Uint32(head[4:])); id != f.id {
		return nil, fmt.Errorf("broker %s: an answer to request %d came for request %d", f.leader.address, id, f.id)
	}
	body := f.s.mem.block(int(size))
	body.used = int(size)
	if _, err := io.ReadFull(f.conn, body.data[:size]); err != nil {
		body.drop()
		return nil, fmt.Errorf("broker %s: the answer ends early: %w", f.leader.address, err)
	}
	f.asked = false
	return body, nil
}

// take acts on an answer. The next request is sent before its records are
// decoded and emitted, so that the broker works meanwhile.
func (f *fetcher) take(ctx context.Context, body *block) error {
	a := &f.answer
	if err := a.parse(body.data[:body.used], f.version, f.part.Topic, f.part.ID); err != nil {
		return err
	}
	switch {
	case errors.Is(a.err, kafka.OffsetOutOfRange):
		return f.reset(ctx)
	case a.err != nil:
		return a.err // of no leader or a fenced one too: connect asks for a newer one
	}
	f.proven = true
	end := a.end(f.s.config.isolation() == readCommitted)
	after, broken := endOf(a.records, f.next)
	if after == f.next && broken == nil {
		f.s.note(f.part, f.next, end)
		return f.watch(end)
	}
	f.quiet, f.stalled = time.Time{}, false
	if broken == nil && !f.conn.Expired(f.s.clock.Now()) {
		if err := f.ask(after); err != nil {
			return err
		}
	}
	if err := f.emitAll(ctx, body, end); err != nil {
		return err
	}
	f.corrupt = 0
	return nil
}

// watch gives up a broker that has more and sends nothing for too long.
func (f *fetcher) watch(end int64) error {
	now := f.s.clock.Now()
	switch {
	case end <= f.next:
		f.quiet, f.stalled = time.Time{}, false
	case f.quiet.IsZero():
		f.quiet = now
	case now.Sub(f.quiet) >= f.s.config.StallTimeout:
		f.stalled = true
		return fmt.Errorf("broker %s has records up to offset %d and has sent none from %d on for %v", f.leader.address, end, f.next, f.s.config.StallTimeout)
	}
	return nil
}

// endOf returns the offset after the last whole batch, next when there is
// none, and what is wrong with the batch behind it.
func endOf(records []byte, next int64) (int64, error) {
	for {
		b, rest, ok, err := recordbatch.Split(records)
		if err != nil || !ok {
			return next, err
		}
		records, next = rest, max(next, b.LastOffset+1)
	}
}
