package lapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sinks"
)

// resumed is how many alerts after a start may be there already: as many as
// the outbox gives at once, with room for one that gives more than by default.
const resumed = 1000

// Sink pushes alerts to APIs. See the package's comment.
type Sink struct {
	name   string
	config Config
	env    sinks.Env
	log    *slog.Logger
	begun  time.Time
	lanes  []*lane

	doubtful int // alerts that were given since the start, up to resumed
	ahead    int // how many of those to come may be known already, since they were given before

	alerts, decisions, expired, failed, rejected atomic.Uint64
}

// New makes the sink. It connects to nothing yet.
func New(name string, c Config, env sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	s := &Sink{name: name, config: c, env: env, log: env.Log.With("sink", name), begun: env.Now()}
	var targets []*target
	for _, address := range c.addresses() {
		t, err := newTarget(address, &s.config, env, s.log)
		if err != nil {
			return nil, fmt.Errorf("sink %s: %w", name, err)
		}
		targets = append(targets, t)
	}
	add := func(of ...*target) {
		s.lanes = append(s.lanes, &lane{targets: of, batch: c.Batch, env: env, log: s.log, done: make(map[string]settled)})
	}
	if c.Mode == Failover {
		add(targets...)
		return s, nil
	}
	for _, t := range targets {
		add(t)
	}
	return s, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	s.doubt(alerts)
	var all errgroup.Group
	errs := make([]error, len(s.lanes))
	for i, l := range s.lanes {
		all.Go(func() error {
			errs[i] = l.deliver(ctx, alerts)
			return nil // a lane that fails ends no other
		})
	}
	_ = all.Wait() // see above
	return s.outcome(alerts, errs)
}

// doubt makes the first alerts after a start ones that may have been delivered
// before it. An alert that is given again counts again, which does no harm.
func (s *Sink) doubt(alerts []pipeline.Alert) {
	n := min(len(alerts), resumed-s.doubtful)
	for _, l := range s.lanes {
		for _, t := range l.targets {
			for i := range alerts[:n] {
				if _, done := l.done[alerts[i].UUID]; !done {
					t.unsure[alerts[i].UUID] = true
				}
			}
		}
	}
}

// outcome tells the caller how far all lanes got, and counts it.
func (s *Sink) outcome(alerts []pipeline.Alert, errs []error) error {
	n := 0
	var rejected *sinks.RejectedError
	for ; n < len(alerts); n++ {
		refused, all := s.fate(alerts[n].UUID)
		if !all {
			break
		}
		if refused == nil {
			s.alerts.Add(1)
			continue
		}
		s.rejected.Add(1)
		rejected = rejected.With(n, refused)
	}
	s.doubtful = min(resumed, s.doubtful+n)
	s.ahead = max(s.ahead, len(alerts)) - n
	for _, l := range s.lanes {
		l.forget(alerts[:n], s.ahead <= 0)
	}
	if n == len(alerts) {
		return sinks.Outcome(n, rejected, nil)
	}
	s.failed.Add(1)
	return sinks.Outcome(n, rejected, fmt.Errorf("sink %s: %w", s.name, errors.Join(errs...)))
}

// fate tells whether an alert is settled at all lanes, and why one refused it.
func (s *Sink) fate(id string) (refused error, all bool) {
	for _, l := range s.lanes {
		what, ok := l.done[id]
		if !ok {
			return nil, false
		}
		if what.refused != nil && refused == nil {
			refused = what.refused
		}
	}
	first := s.lanes[0].done[id]
	s.decisions.Add(uint64(first.decisions))
	s.expired.Add(uint64(first.expired))
	return refused, true
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	out := sinks.Stats{
		Alerts: s.alerts.Load(), Decisions: s.decisions.Load(), Errors: s.failed.Load(), Rejected: s.rejected.Load(), Expired: s.expired.Load(),
	}
	for _, t := range s.targets() {
		out.Bytes += t.bytes.Load()
	}
	return out
}

func (s *Sink) targets() (out []*target) {
	for _, l := range s.lanes {
		out = append(out, l.targets...)
	}
	return out
}

// Close implements sinks.Sink.
func (s *Sink) Close() error {
	for _, t := range s.targets() {
		t.client.CloseIdleConnections()
	}
	return nil
}
