package email

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
	"sluice/sinks/internal/spread"
)

// Sink mails alerts. See the package's comment.
type Sink struct {
	name      string
	config    Config
	from      *mail.Address
	to        []string // bare addresses
	templates *compiled
	tls       *tls.Config
	spread    spread.Spread
	session   *session // while a batch is under way
	last      time.Time
	refused   []string // recipients that the last message passed over
	log       *slog.Logger
	now       func() time.Time
	after     func(time.Duration) <-chan time.Time

	alerts, decisions, bytes, failed, rejected atomic.Uint64
}

// New makes the sink. It connects to nothing yet.
func New(name string, c Config, env sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	s := &Sink{name: name, config: c, log: env.Log, now: env.Now, after: env.After, spread: spread.Spread{Parallel: 1, Batch: c.Digest}}
	var err error
	if s.templates, err = c.compile(); err != nil {
		return nil, err
	}
	if s.from, err = mail.ParseAddress(c.From); err != nil {
		return nil, err
	}
	if s.to, err = addresses(c.To); err != nil {
		return nil, err
	}
	if s.tls, err = c.TLS.Build(); err != nil {
		return nil, fmt.Errorf("sink %s: %w", name, err)
	}
	return s, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	if !s.last.IsZero() && !wait(ctx.Done(), s.config.Interval-s.now().Sub(s.last), s.after) {
		return ctx.Err()
	}
	err := s.spread.Deliver(ctx, alerts, s.send)
	if s.session != nil {
		s.session.close()
		s.session = nil
	}
	if sinks.Retryable(err) {
		s.failed.Add(1)
		return fmt.Errorf("sink %s: %s: %w", s.name, s.config.Server, err)
	}
	s.last = s.now()
	return err
}

// send sends one message. One that is refused for what is in it, such as its
// size, is divided, so that an alert that cannot be mailed holds back no other.
func (s *Sink) send(ctx context.Context, alerts []pipeline.Alert) error {
	text, err := s.message(alerts)
	if err != nil {
		return s.reject(alerts, err)
	}
	if s.session == nil {
		if s.session, err = s.open(ctx); err != nil {
			return ended(ctx, err)
		}
	}
	refused, err := s.session.mail(ctx, s.from.Address, s.to, text, s.config.Timeout)
	var final refusedError
	switch {
	case errors.As(err, &final):
		if !s.session.reset() {
			s.drop()
		}
		if len(alerts) > 1 {
			return s.divide(ctx, alerts)
		}
		return s.reject(alerts, final.error)
	case err != nil:
		s.drop()
		return ended(ctx, err)
	}
	if len(refused) > 0 && !slices.Equal(refused, s.refused) {
		s.log.Warn("recipients are refused, and passed over", "sink", s.name, "refused", strings.Join(refused, ", "))
	}
	s.refused = refused
	s.bytes.Add(uint64(len(text)))
	for i := range alerts {
		s.alerts.Add(1)
		s.decisions.Add(uint64(len(alerts[i].Decisions)))
	}
	return nil
}

// divide sends two messages in place of one.
func (s *Sink) divide(ctx context.Context, alerts []pipeline.Alert) error {
	var rejected *sinks.RejectedError
	add := func(r *sinks.RejectedError, offset int) {
		if r == nil {
			return
		}
		for _, i := range r.Alerts {
			rejected = rejected.With(offset+i, r.Reason)
		}
	}
	half := len(alerts) / 2
	for _, offset := range [...]int{0, half} {
		part := alerts[offset:]
		if offset == 0 {
			part = alerts[:half]
		}
		err := s.send(ctx, part)
		var partial *sinks.PartialError
		var refused *sinks.RejectedError
		switch {
		case err == nil:
		case errors.As(err, &partial):
			add(partial.Rejected, offset)
			return &sinks.PartialError{Settled: offset + partial.Settled, Rejected: rejected, Err: partial.Err}
		case errors.As(err, &refused):
			add(refused, offset)
		case offset == 0:
			return err
		default:
			return &sinks.PartialError{Settled: offset, Rejected: rejected, Err: err}
		}
	}
	if rejected != nil {
		return rejected
	}
	return nil
}

// ended says that it was ctx that ended something.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *Sink) drop() {
	_ = s.session.conn.Close()
	s.session = nil
}

func (s *Sink) reject(alerts []pipeline.Alert, reason error) error {
	out := &sinks.RejectedError{Reason: reason}
	for i := range alerts {
		out.Alerts = append(out.Alerts, i)
	}
	s.rejected.Add(uint64(len(alerts)))
	return out
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	return sinks.Stats{
		Alerts: s.alerts.Load(), Decisions: s.decisions.Load(), Bytes: s.bytes.Load(), Errors: s.failed.Load(), Rejected: s.rejected.Load(),
	}
}

// Close implements sinks.Sink.
func (s *Sink) Close() error { return nil }
