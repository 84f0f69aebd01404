package amqp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// whatBroker is what fails when there is no connection.
const whatBroker = "broker"

// closeTimeout bounds telling the broker that this is the end.
const closeTimeout = 2 * time.Second

// Source reads queues of an AMQP broker. See the package's comment.
type Source struct {
	name    string
	config  Config
	brokers []broker
	tls     *tls.Config
	in      *intake.Intake
	health  *sources.Health
	log     *slog.Logger
	clock   sources.Clock
	durable bool // marks outlive the process

	skipped, cut, redelivered atomic.Uint64

	mu        sync.Mutex
	consumers []*consumer
	open      *amqp091.Connection // left by Run for the last acknowledgements
}

// New makes the source. It reads the files that the configuration names, and connects to nothing.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	s := &Source{name: name, config: c, log: env.Log.With("source", name), clock: env.Clock, durable: c.Intake == "journal"}
	s.health = sources.NewHealth(s.log)
	for _, text := range c.Brokers {
		b, err := parseBroker(text)
		if err != nil {
			return nil, err
		}
		s.brokers = append(s.brokers, b)
	}
	var err error
	if s.tls, err = c.TLS.Build(); err != nil {
		return nil, err
	}
	if s.in, err = intake.New(name, "amqp", c.Config, env); err != nil {
		return nil, err
	}
	return s, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Announce implements sources.Announcer: each queue is a partition.
func (s *Source) Announce(tell func(...pipeline.Partition)) {
	parts := make([]pipeline.Partition, len(s.config.Queues))
	for i, q := range s.config.Queues {
		parts[i] = pipeline.Partition{Source: s.name, Topic: q}
	}
	tell(parts...)
}

// Commit implements sources.Source.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	return s.in.Commit(ctx, next)
}

// Run implements sources.Source.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	return s.in.Run(ctx, from, out, s.receive)
}

// receive keeps connected to one of the brokers until ctx is done.
func (s *Source) receive(ctx context.Context) error {
	s.prepare()
	backoff := sources.Backoff{Clock: s.clock, Min: s.config.BackoffMin, Max: s.config.BackoffMax}
	backoff.Reset()
	at, connected := 0, -1
	for {
		for range s.brokers {
			began := s.clock.Now()
			conn, err := s.connect(ctx, &s.brokers[at])
			if err == nil {
				if connected != at {
					s.log.Info("connected", "broker", s.brokers[at].name())
				}
				connected = at
				err = s.consume(ctx, conn, &s.brokers[at])
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.As(err, new(putError)) {
				return err
			}
			s.health.Failed(whatBroker, err)
			if conn != nil {
				if s.clock.Now().Sub(began) >= s.config.BackoffMax {
					backoff.Reset() // it was no connection that fails at once, again and again
				}
				break // the same broker first
			}
			at = (at + 1) % len(s.brokers)
		}
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// prepare makes the consumers, with what the marks say of their messages.
func (s *Source) prepare() {
	marks := s.in.Marks()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.config.Queues {
		c := &consumer{source: s, queue: q}
		if s.config.UniqueMessageID {
			c.ids, c.stale = restoreIDs(q, 2*s.config.Prefetch, marks)
		}
		s.consumers = append(s.consumers, c)
	}
}

// consume reads all queues over a connection until it is lost. When ctx is
// done or the intake refuses, it leaves the connection open.
func (s *Source) consume(ctx context.Context, conn *amqp091.Connection, b *broker) error {
	closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	all, inner := errgroup.WithContext(ctx)
	for _, c := range s.consumers {
		all.Go(func() error { return c.run(inner, ctx, conn) })
	}
	err := all.Wait()
	if ctx.Err() != nil || errors.As(err, new(putError)) {
		s.mu.Lock()
		s.open = conn
		s.mu.Unlock()
		return err
	}
	select {
	case why, ok := <-closed:
		if ok && why != nil {
			err = why
		}
	default:
	}
	_ = conn.CloseDeadline(time.Now().Add(closeTimeout))
	return fmt.Errorf("%s: the connection is lost: %w", b.name(), err)
}

// Stats implements sources.Source.
func (s *Source) Stats() sources.Stats {
	var st sources.Stats
	s.in.Fill(&st)
	s.health.Fill(&st)
	st.Skipped, st.Cut, st.Redelivered = s.skipped.Load(), s.cut.Load(), s.redelivered.Load()
	return st
}

// Close implements sources.Source: what is safe is acknowledged, and the broker told that this is the end.
func (s *Source) Close() error {
	s.mu.Lock()
	conn := s.open
	s.open = nil
	s.mu.Unlock()
	if conn != nil {
		s.goodbye(conn)
	}
	return s.in.Close()
}

func (s *Source) goodbye(conn *amqp091.Connection) {
	for _, c := range s.consumers {
		c.mu.Lock()
		a := c.acks
		c.mu.Unlock()
		if a == nil {
			continue
		}
		if err := a.flush(); err != nil {
			s.log.Debug("the last messages were not acknowledged", "queue", c.queue, "error", err)
		}
	}
	if err := conn.CloseDeadline(time.Now().Add(closeTimeout)); err != nil {
		s.log.Debug("the broker was not told of the end", "error", err)
	}
}

var _ interface {
	sources.Source
	sources.Announcer
} = (*Source)(nil)
