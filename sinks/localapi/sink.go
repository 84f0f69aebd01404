package localapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"sluice/pipeline"
	"sluice/pipeline/decisions"
	"sluice/pipeline/duration"
	"sluice/sinks"
	"sluice/sinks/format"
	"sluice/sinks/localapi/store"
)

// ownMachine is the machine that the pipeline's own alerts come from.
const ownMachine = "sluice"

// Sink keeps decisions and serves them. See the package's comment.
type Sink struct {
	name   string
	config Config
	log    *slog.Logger
	env    sinks.Env
	dir    string

	opening sync.Once
	opened  error
	store   *store.Store // once it is open

	proxies, registering []netip.Prefix
	guard                *guard
	secret               []byte // that tokens are signed with

	alerts, decided, failed, rejected atomic.Uint64
}

// New makes the sink. The store is opened by Open, Run, or the first Alerts.
func New(name string, c Config, env sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	dir := c.folder(env, name)
	if dir == "" {
		return nil, fmt.Errorf("sink %s: there is no folder for decisions; set state.dir, or dir", name)
	}
	s := &Sink{name: name, config: c, dir: dir, log: env.Log.With("sink", name), env: env, guard: newGuard()}
	var err error
	if s.proxies, err = prefixes(c.TrustedProxies); err != nil {
		return nil, err
	}
	if s.registering, err = prefixes(c.AutoRegistration.AllowedRanges); err != nil {
		return nil, err
	}
	return s, nil
}

// Open opens the store, if it is not open yet.
func (s *Sink) Open() error {
	s.opening.Do(func() {
		db, err := store.Open(store.Options{Dir: s.dir, MaxAlerts: s.config.MaxAlerts, Remember: s.config.Remember, Now: s.env.Now, Log: s.log})
		if err == nil {
			if s.secret, err = db.SigningKey(); err != nil {
				err = errors.Join(err, db.Close())
			}
		}
		if err != nil {
			s.opened = fmt.Errorf("sink %s: %w", s.name, err)
			return
		}
		s.store = db
	})
	return s.opened
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Alerts implements sinks.Sink. An alert that came before is known by its id.
func (s *Sink) Alerts(_ context.Context, alerts []pipeline.Alert) error {
	if err := s.Open(); err != nil {
		return err
	}
	var rejected *sinks.RejectedError
	for i := range alerts {
		a := &alerts[i]
		n := &store.NewAlert{UUID: a.UUID, Machine: ownMachine, Alert: format.ToCrowdSec(a)}
		err := error(nil)
		if n.Decisions, err = s.decisionsOf(a.Decisions); err != nil {
			s.rejected.Add(1)
			if rejected == nil {
				rejected = &sinks.RejectedError{Reason: err}
			}
			rejected.Alerts = append(rejected.Alerts, i)
			continue
		}
		_, allowed, err := s.store.AddAlert(n)
		if err != nil {
			s.failed.Add(1)
			return &sinks.PartialError{Settled: i, Rejected: rejected, Err: fmt.Errorf("sink %s: %w", s.name, err)}
		}
		s.alerts.Add(1)
		s.decided.Add(uint64(len(n.Decisions) - allowed))
	}
	if rejected != nil {
		return rejected
	}
	return nil
}

// decisionsOf returns a pipeline's decisions as they are kept.
func (s *Sink) decisionsOf(ds []pipeline.Decision) ([]decisions.Decision, error) {
	out := make([]decisions.Decision, 0, len(ds))
	for i := range ds {
		d := &ds[i]
		until, err := endOf(d.Until, d.Duration, s.store.Now())
		if err != nil {
			return nil, err
		}
		id, _ := uuid.Parse(d.UUID) // one without gets one
		kept, err := decisions.Canonical(decisions.Decision{
			UUID: id, Origin: d.Origin, Type: d.Type, Scope: d.Scope, Value: d.Value, Scenario: d.Scenario, Until: until, Simulated: d.Simulated,
		})
		if err != nil {
			return nil, err
		}
		out = append(out, kept)
	}
	return out, nil
}

// endOf returns when a decision ends: at a time of its own, or after a while from now.
func endOf(until, length string, now time.Time) (time.Time, error) {
	if until != "" {
		at, err := time.Parse(time.RFC3339Nano, until)
		if err != nil {
			return at, fmt.Errorf("until %q is no time such as 2026-03-01T12:00:00Z", until)
		}
		return at, nil
	}
	d, err := duration.Parse(length)
	if err != nil {
		return time.Time{}, err
	}
	return now.Add(d), nil
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	return sinks.Stats{Alerts: s.alerts.Load(), Decisions: s.decided.Load(), Errors: s.failed.Load(), Rejected: s.rejected.Load()}
}

// Close implements sinks.Sink.
func (s *Sink) Close() error {
	s.opening.Do(func() { s.opened = fmt.Errorf("sink %s: it is closed", s.name) })
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

func parsePrefix(text string) (netip.Prefix, error) { return decisions.ParsePrefix(text) }
