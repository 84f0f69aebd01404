package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"sluice/pipeline"
	"sluice/sources"
)

// Source reads one stream. See the package's comment.
type Source struct {
	name   string
	config Config
	log    *slog.Logger
	clock  sources.Clock
	health *sources.Health
	part   pipeline.Partition
	// mark is what this run writes into the consumer's description.
	mark     string
	identity identity
	announce func(partitions ...pipeline.Partition) // nil when nobody asked
	acks     acks

	records, bytes, skipped, gaps atomic.Uint64

	mu        sync.Mutex // guards what follows
	conn      *nats.Conn // of the session, or of the last one; nil before the first
	acked     *nats.Conn // the connection under which acks were taken; nil while the consumer is not in place
	stream    jetstream.JetStream
	committed uint64 // the sequence before which all is through and durable
	stats     sources.PartitionStats
}

// New makes the source. It reads the files that the configuration names;
// nothing is connected before Run.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if _, err := c.options(); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	env = env.Complete()
	s := &Source{
		name: name, config: c, log: env.Log.With("source", name), clock: env.Clock,
		part: pipeline.Partition{Source: name, Topic: c.Stream}, mark: "sluice " + nuid.Next(), identity: newIdentity(env.Dir, name),
	}
	s.health = sources.NewHealth(s.log)
	s.stats = sources.PartitionStats{Partition: s.part, Next: -1, HighWatermark: -1}
	return s, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Announce implements sources.Announcer.
func (s *Source) Announce(tell func(partitions ...pipeline.Partition)) { s.announce = tell }

// finalError is one that no retry mends.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// emitError says that the pipeline is stopping.
type emitError struct{ err error }

func (e *emitError) Error() string { return e.err.Error() }
func (e *emitError) Unwrap() error { return e.err }

// Run implements sources.Source. It ends with the context, with an error of
// Emit, or with a sentence: a stream or messages that are not there and that
// the configuration gives no way around, or a consumer that another process has taken.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	r := &reader{s: s, out: out}
	if next, ok := from[s.part]; ok {
		r.known, r.held, r.next = true, true, uint64(max(next, 1))
		r.told = r.next
		s.commit(r.next)
	}
	backoff := sources.Backoff{Clock: s.clock, Min: s.config.BackoffMin, Max: s.config.BackoffMax}
	for {
		err := r.session(ctx, &backoff)
		var final *finalError
		var emit *emitError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &emit):
			return emit.err
		case errors.As(err, &final):
			return fmt.Errorf("nats: stream %s: %w", s.config.Stream, final.err)
		case errors.Is(err, errLost):
			s.log.Debug("deliveries were lost; the consumer is put back", "next", r.next)
			continue
		}
		s.health.Failed("stream "+s.config.Stream, err)
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// commit moves what is through forward.
func (s *Source) commit(next uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed = max(s.committed, next)
}

// Commit implements sources.Source: it acknowledges what is through. While
// there is no connection it only remembers how far that is: the next session puts the consumer there.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	offset, ok := next[s.part]
	if !ok || offset < 1 || s.config.Consumer == "" {
		return nil
	}
	s.mu.Lock()
	s.committed = max(s.committed, uint64(offset))
	conn := s.acked
	s.mu.Unlock()
	if conn == nil || conn.IsClosed() {
		return nil
	}
	replies := s.acks.before(uint64(offset))
	if len(replies) == 0 {
		return nil
	}
	for _, reply := range replies {
		if err := conn.Publish(reply, ackPayload()); err != nil {
			return fmt.Errorf("nats: acknowledging: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.RequestTimeout)
	defer cancel()
	if err := conn.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("nats: acknowledging: %w", err)
	}
	return nil
}

func ackPayload() []byte { return []byte("+ACK") }

// Committed returns the sequence behind the last that the consumer acknowledged,
// -1 when it does not exist or has acknowledged nothing. It is for the runtime to notice a state that is missing.
func (s *Source) Committed(ctx context.Context, part pipeline.Partition) (int64, error) {
	js := s.jetStream()
	if js == nil || part != s.part || s.config.Consumer == "" {
		return -1, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.RequestTimeout)
	defer cancel()
	consumer, err := js.Consumer(ctx, s.config.Stream, s.config.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return -1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("nats: asking for consumer %s: %w", s.config.Consumer, err)
	}
	floor := consumer.CachedInfo().AckFloor
	if floor.Consumer == 0 {
		return -1, nil
	}
	return int64(floor.Stream) + 1, nil
}

// Stats implements sources.Source. HighWatermark is as far behind Next as there
// are messages left to read: sequence numbers between belong to other subjects or are deleted.
func (s *Source) Stats() sources.Stats {
	st := sources.Stats{
		Records: s.records.Load(), Bytes: s.bytes.Load(), Skipped: s.skipped.Load(), Gaps: s.gaps.Load(),
	}
	s.health.Fill(&st)
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Partitions = []sources.PartitionStats{s.stats}
	return st
}

// note remembers how far the stream was read; left is how many messages are left.
func (s *Source) note(next uint64, left int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Next, s.stats.HighWatermark = int64(next), -1
	if left >= 0 {
		s.stats.HighWatermark = int64(next) + left
	}
}

// use makes a connection the session's; the one before is closed.
func (s *Source) use(conn *nats.Conn, js jetstream.JetStream) {
	s.mu.Lock()
	before := s.conn
	s.conn, s.stream, s.acked = conn, js, nil
	s.mu.Unlock()
	if before != nil {
		before.Close()
	}
}

// jetStream returns the session's JetStream, nil before the first.
func (s *Source) jetStream() jetstream.JetStream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream
}

// inPlace says that the consumer is where reading goes on: acknowledgements count from here on.
func (s *Source) inPlace() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = s.conn
}

// through returns the sequence before which all is through.
func (s *Source) through() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed
}

// Close implements sources.Source. The last connection stays until here, for
// what is committed after Run.
func (s *Source) Close() error {
	s.use(nil, nil)
	return nil
}
