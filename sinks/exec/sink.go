package exec

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
	"sluice/sinks/internal/spread"
)

// Sink runs a command. See the package's comment.
type Sink struct {
	name      string
	config    Config
	templates *compiled
	spread    spread.Spread
	log       *slog.Logger
	now       func() time.Time

	alerts, decisions, bytes, failed, rejected, expired atomic.Uint64
}

// New makes the sink. It runs nothing yet.
func New(name string, c Config, env sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	t, err := c.compile()
	if err != nil {
		return nil, err
	}
	if _, err := exec.LookPath(c.Command); err != nil { // it may come yet
		env.Log.Warn("a sink's command is not there; install it, or give its path", "sink", name, "error", err)
	}
	return &Sink{
		name: name, config: c, templates: t, log: env.Log, now: env.Now,
		spread: spread.Spread{Parallel: c.Parallel, Batch: 1},
	}, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	err := s.spread.Deliver(ctx, alerts, s.one)
	if sinks.Retryable(err) {
		s.failed.Add(1)
		return fmt.Errorf("sink %s: %w", s.name, err)
	}
	return err
}

// refusedError is of what will not be otherwise the next time.
type refusedError struct{ error }

// one runs what an alert asks for. Where one decision is refused the others are run all the same.
func (s *Sink) one(ctx context.Context, alerts []pipeline.Alert) error {
	a := &alerts[0]
	var refused error
	runs, expired := s.runs(a)
	for _, d := range runs {
		err := s.run(ctx, &d)
		if r, ok := err.(refusedError); ok {
			refused = r.error
		} else if err != nil {
			return err
		} else if d.Decision != nil {
			s.decisions.Add(1)
		}
	}
	s.expired.Add(uint64(expired))
	if refused != nil {
		s.rejected.Add(1)
		return &sinks.RejectedError{Alerts: []int{0}, Reason: refused}
	}
	s.alerts.Add(1)
	return nil
}

// runs are those that an alert asks for. expired counts decisions that hold no more.
func (s *Sink) runs(a *pipeline.Alert) (out []data, expired int) {
	if a.Simulated && !s.config.Simulated {
		return nil, 0
	}
	if s.config.Per == perAlert {
		return []data{{Alert: a}}, 0
	}
	for i := range a.Decisions {
		d := &a.Decisions[i]
		seconds, holds := left(d, s.now())
		switch {
		case d.Simulated && !s.config.Simulated:
		case !holds:
			expired++
			s.log.Info("a decision ran out before its command was run", "sink", s.name, "alert", a.UUID, "value", d.Value, "until", d.Until)
		default:
			out = append(out, data{a, d, seconds})
		}
	}
	return out, expired
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	return sinks.Stats{
		Alerts: s.alerts.Load(), Decisions: s.decisions.Load(), Bytes: s.bytes.Load(), Errors: s.failed.Load(), Rejected: s.rejected.Load(),
		Expired: s.expired.Load(),
	}
}

// Close implements sinks.Sink.
func (s *Sink) Close() error { return nil }
