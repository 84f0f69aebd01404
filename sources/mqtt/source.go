package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// Source reads topics of an MQTT broker. See the package's comment.
type Source struct {
	name    string
	config  Config
	brokers []broker
	tls     *tls.Config
	router  *router
	in      *intake.Intake
	health  *sources.Health
	log     *slog.Logger
	clock   sources.Clock
	// farewell is how long the broker may be silent in the end before it closes the connection.
	farewell time.Duration

	skipped, cut, redelivered, gaps atomic.Uint64

	mu        sync.Mutex
	drops     map[string]uint64
	connected string   // the broker that was connected to last
	open      *session // left by Run for the last acknowledgements and the goodbye
}

// New makes the source. It reads the files that the configuration names, and connects to nothing.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	s := &Source{name: name, config: c, log: env.Log.With("source", name), clock: env.Clock, drops: make(map[string]uint64)}
	s.health, s.farewell = sources.NewHealth(s.log), 2*time.Second
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
	if s.router, err = newRouter(&c); err != nil {
		return nil, err
	}
	if s.in, err = intake.New(name, "mqtt", c.Config, env); err != nil {
		return nil, err
	}
	return s, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Announce implements sources.Announcer: all topics are one stream.
func (s *Source) Announce(tell func(...pipeline.Partition)) { s.in.Announce(tell) }

// Commit implements sources.Source.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	return s.in.Commit(ctx, next)
}

// Run implements sources.Source.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	s.warn()
	return s.in.Run(ctx, from, out, s.receive)
}

// warn says which filters may have messages delivered twice, or not at all.
func (s *Source) warn() {
	for i, a := range s.router.patterns {
		if a.qos == 0 && !s.config.CleanSession {
			s.log.Info("a subscription has qos 0: what is published while there is no connection is lost, and what a crash interrupts", "filter", a.wire)
		}
		for _, b := range s.router.patterns[i+1:] {
			if overlaps(a.levels, b.levels) {
				s.log.Warn("two subscriptions overlap: the broker may deliver what both match twice", "filter", a.wire, "other", b.wire)
			}
		}
	}
}

// receive keeps connected to one of the brokers until ctx is done.
func (s *Source) receive(ctx context.Context) error {
	durable := s.config.Intake == "journal" && !s.config.CleanSession
	memories, stale := remember(s.brokers, s.config.ClientID, durable, s.in.Marks())
	backoff := sources.Backoff{Clock: s.clock, Min: s.config.BackoffMin, Max: s.config.BackoffMax}
	backoff.Reset()
	at := 0
	for {
		for range s.brokers {
			began := s.clock.Now()
			c, present, err := s.connect(ctx, &s.brokers[at], memories[at])
			if err == nil {
				c.next.forget(memories[at], stale)
				stale = nil
				err = c.serve(ctx, present)
				if ctx.Err() == nil && !errors.As(err, new(putError)) {
					c.out.close()
				} else {
					s.leave(c)
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.As(err, new(putError)) {
				return err
			}
			if c != nil {
				// Two clients with one id take the connection from each other for ever, each after its wait.
				if s.clock.Now().Sub(began) >= 3*s.config.BackoffMax {
					backoff.Reset()
				} else {
					err = fmt.Errorf("%w; if this comes again and again, another client may use the client_id %q", err, s.config.ClientID)
				}
				s.health.Failed("broker", err)
				break // the same broker first: it has the session
			}
			s.health.Failed("broker", err)
			at = (at + 1) % len(s.brokers)
		}
		if err := backoff.Wait(ctx); err != nil {
			return err
		}
	}
}

// leave keeps a connection for what is acknowledged until Close.
func (s *Source) leave(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = c
}

// well says that a broker sends what is subscribed to.
func (s *Source) well(broker string) {
	s.mu.Lock()
	other := s.connected != broker
	s.connected = broker
	s.mu.Unlock()
	if other {
		s.log.Info("subscribed", "broker", broker)
	}
	s.health.Well("broker")
}

func (s *Source) drop(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drops[reason]++
}

// Stats implements sources.Source.
func (s *Source) Stats() sources.Stats {
	var st sources.Stats
	s.in.Fill(&st)
	s.health.Fill(&st)
	st.Skipped, st.Cut, st.Redelivered = s.skipped.Load(), s.cut.Load(), s.redelivered.Load()
	st.Gaps += s.gaps.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	for reason, n := range s.drops {
		if st.Drops == nil {
			st.Drops = make(map[string]uint64)
		}
		st.Drops[reason] += n
	}
	return st
}

// Close implements sources.Source: what is safe is acknowledged, and the broker told that this is the end.
func (s *Source) Close() error {
	s.mu.Lock()
	c := s.open
	s.open = nil
	s.mu.Unlock()
	if c != nil {
		c.goodbye()
	}
	return s.in.Close()
}

var _ interface {
	sources.Source
	sources.Announcer
} = (*Source)(nil)
