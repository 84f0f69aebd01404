package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"sluice/pipeline"
	"sluice/pipeline/natsconn"
	"sluice/sources"
)

// reader is where reading stands. It is one goroutine's: that of Run.
type reader struct {
	s   *Source
	out sources.Emit

	known  bool   // next is known: of the state, or since the first session
	held   bool   // durable state stood at next when the run began
	proven bool   // something was read in this run: what is there after a gap is newer than the state
	next   uint64 // the sequence to emit next; those before were emitted
	told   uint64 // the position that the pipeline was told of, which may be behind next
	// made is when the stream was made that next is a sequence of; zero when not known.
	made     time.Time
	said     bool // the partition was announced
	owned    bool // the consumer was this run's
	filtered bool

	// Of the session:
	stream     jetstream.Stream
	consumer   jetstream.Consumer
	all        bool   // acknowledging one acknowledges all before it
	replicated bool   // the stream has replicas
	last       uint64 // the stream's last sequence at the last look, where the position follows it
	limits     bool   // the stream deletes by limits, not by what is acknowledged
	delivery   uint64 // what the consumer's count of deliveries will be at the next
	jumped     uint64 // the first sequence that was jumped over since the last look; 0 for none
	left       int64  // messages that are left to read, as last heard; -1 when unknown
}

// errLost says that a delivery got lost on its way: the consumer is put back.
var errLost = errors.New("a delivery was lost")

// followInterval is how often the server is asked how much is left.
const followInterval = 2 * time.Second

// session connects and reads until something fails.
func (r *reader) session(ctx context.Context, backoff *sources.Backoff) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	end := func(err error) {
		select {
		case ended <- err:
		default: // the first counts
		}
	}
	conn, err := r.s.connect(ctx, end)
	if err != nil {
		return err
	}
	js, err := natsconn.JetStream(conn, r.s.config.Domain)
	if err != nil {
		conn.Close()
		return &finalError{err}
	}
	r.s.use(conn, js)
	limit := max(int(r.s.config.MaxBytes), int(conn.MaxPayload())+64<<10) // a larger message would never come
	if err := r.place(ctx, js); err != nil {
		return err
	}
	r.s.inPlace()
	messages := make(chan jetstream.Msg, r.s.config.BatchRecords)
	consuming, err := r.consumer.Consume(func(m jetstream.Msg) {
		select {
		case messages <- m:
		case <-ctx.Done():
		}
	}, jetstream.PullMaxMessagesWithBytesLimit(r.s.config.MaxMessages, limit), jetstream.PullExpiry(30*time.Second),
		jetstream.PullHeartbeat(5*time.Second),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { end(err) }))
	if err != nil {
		return fmt.Errorf("asking for messages: %w", err)
	}
	defer func() {
		cancel() // a handler that waits gives up
		consuming.Stop()
		<-consuming.Closed()
	}()
	r.s.health.Well("stream " + r.s.config.Stream)
	backoff.Reset()
	err = r.read(ctx, messages, ended)
	return r.blame(ctx, js, err)
}

// read emits what comes until ctx is done or the session has ended.
func (r *reader) read(ctx context.Context, messages <-chan jetstream.Msg, ended <-chan error) error {
	look := r.s.clock.After(0)
	for {
		select {
		case m := <-messages:
			if err := r.take(ctx, m, messages); err != nil {
				return err
			}
		case <-look:
			if err := r.follow(ctx, len(messages) == 0); err != nil {
				return err
			}
			look = r.s.clock.After(followInterval)
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take emits a message and those that are there behind it.
func (r *reader) take(ctx context.Context, m jetstream.Msg, messages <-chan jetstream.Msg) error {
	b := &pipeline.RecordBatch{Partition: r.s.part, Module: "nats", Labels: r.s.config.Labels}
	var last ack
	var size, skipped uint64
	next := r.next
	var lost error
fill:
	for {
		md, err := r.delivered(m)
		if err != nil {
			lost = err // those before it are good
			break
		}
		last = ack{md.Sequence.Stream, m.Reply()}
		r.remember(m, last)
		switch {
		case last.sequence < next: // emitted before the consumer was put back, or delivered again
		case len(m.Data()) == 0:
			skipped++
			next = last.sequence + 1
		default:
			rec := record(m, md)
			size += uint64(len(rec.Value))
			b.Records = append(b.Records, rec)
			r.jump(next, last.sequence)
			next = last.sequence + 1
		}
		if len(b.Records) >= r.s.config.BatchRecords {
			break
		}
		select {
		case m = <-messages:
		default:
			break fill
		}
	}
	if r.all && last.sequence > 0 {
		r.s.acks.add(last.sequence, last.reply)
	}
	if next > r.next {
		b.Next, b.HighWatermark = int64(next), int64(next)+max(r.left, 0)
		n := uint64(len(b.Records)) // the batch is the pipeline's once it is emitted
		if err := r.out(ctx, b); err != nil {
			return &emitError{err}
		}
		r.next, r.told, r.proven = next, next, true
		r.s.records.Add(n)
		r.s.bytes.Add(size)
		r.s.skipped.Add(skipped)
	}
	r.s.note(r.told, r.left)
	return lost
}

// delivered checks that no delivery is missing before this one.
func (r *reader) delivered(m jetstream.Msg) (*jetstream.MsgMetadata, error) {
	md, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("a message that is not of JetStream came: %w", err)
	}
	if md.Sequence.Consumer != r.delivery {
		return nil, errLost
	}
	r.delivery++
	r.left = int64(md.NumPending)
	return md, nil
}

// remember has Commit acknowledge a message. One that is through already is acknowledged at once.
func (r *reader) remember(m jetstream.Msg, a ack) {
	switch {
	case r.s.config.Consumer == "":
	case a.sequence < r.committed():
		_ = m.Ack() // should it get lost, it is delivered again
	case !r.all:
		r.s.acks.add(a.sequence, a.reply)
	}
}

// committed returns the sequence before which all was emitted and is through.
func (r *reader) committed() uint64 { return min(r.s.through(), r.next) }

// jump notes that sequences were left out, for follow to look into.
func (r *reader) jump(next, sequence uint64) {
	if sequence > next && r.limits && !r.filtered && r.jumped == 0 {
		r.jumped = next
	}
}

// follow asks how much is left, and tells the pipeline of a position behind
// messages of other subjects when all that is ours was read. idle says that nothing waits to be taken.
func (r *reader) follow(ctx context.Context, idle bool) error {
	ask, cancel := context.WithTimeout(ctx, r.s.config.RequestTimeout)
	defer cancel()
	before := r.last // so long ago that the consumer has heard of it, too
	if r.jumped > 0 || r.followed() {
		stream, err := r.stream.Info(ask)
		if err != nil {
			return fmt.Errorf("asking for the stream: %w", err)
		}
		r.lookBack(stream.State.FirstSeq)
		r.last = stream.State.LastSeq
	}
	info, err := r.consumer.Info(ask)
	if err != nil {
		return fmt.Errorf("asking how the consumer stands: %w", err)
	}
	underway := int64(info.Delivered.Consumer) - int64(r.delivery-1)
	if underway < 0 {
		return errLost // the server has forgotten deliveries, as after a crash
	}
	r.left = int64(info.NumPending) + underway
	position := r.next
	if idle && r.left == 0 && r.followed() {
		position = max(r.next, before+1)
	}
	if position > r.told {
		if err := r.tell(ctx, position); err != nil {
			return err
		}
	}
	r.s.note(max(position, r.told), r.left)
	return nil
}

// followed tells whether the position follows over other subjects' messages.
// With replicas, the one that the consumer reads may lag behind the one that is asked for the last sequence.
func (r *reader) followed() bool { return r.filtered && !r.replicated }

// tell says where reading stands without a record.
func (r *reader) tell(ctx context.Context, position uint64) error {
	err := r.out(ctx, &pipeline.RecordBatch{Partition: r.s.part, Module: "nats", Next: int64(position), HighWatermark: int64(position) + r.left})
	if err != nil {
		return &emitError{err}
	}
	r.told = position
	return nil
}

// lookBack tells whether messages that were jumped over had been dropped from
// the stream's beginning, which is at first. Those that were deleted one by one were never to be read.
func (r *reader) lookBack(first uint64) {
	if r.jumped > 0 && first > r.jumped {
		r.gap(fmt.Sprintf("the stream dropped messages from %d on before they were read (it begins at %d)", r.jumped, first), r.next)
	}
	r.jumped = 0
}

// blame finds out why a session ended: whether another process has taken the consumer.
func (r *reader) blame(ctx context.Context, js jetstream.JetStream, err error) error {
	if ctx.Err() != nil || r.s.config.Consumer == "" || !errors.Is(err, errLost) && !errors.Is(err, jetstream.ErrConsumerDeleted) {
		return err
	}
	ask, cancel := context.WithTimeout(ctx, r.s.config.RequestTimeout)
	defer cancel()
	consumer, look := js.Consumer(ask, r.s.config.Stream, r.s.config.Consumer)
	if look != nil {
		return err // it is gone, or cannot be asked for: the next session sees
	}
	if mark := consumer.CachedInfo().Config.Description; mark != r.s.mark {
		return r.taken()
	}
	return err
}
