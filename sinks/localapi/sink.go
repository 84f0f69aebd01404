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

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"

	"sluice/pipeline"
	"sluice/pipeline/allowlist"
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

	heldWait time.Duration // for whoever has the store
	// passwordCost is the store's; the tests' own is the least there is.
	passwordCost int
	opening      sync.Once
	opened       error
	store        *store.Store // once it is open

	proxies, registering []netip.Prefix
	guard, passwords     *guard // of keys and tokens, and of what machines sign in with
	lists                []*list
	secret               []byte // that tokens are signed with
	schemas              openapi3.Schemas

	alerts, decided, expired, failed, rejected atomic.Uint64
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
	s := &Sink{name: name, config: c, dir: dir, log: env.Log.With("sink", name), env: env, guard: newGuard(env.Now), passwords: newGuard(env.Now), heldWait: heldWait}
	doc, err := description()
	if err != nil {
		return nil, err
	}
	s.schemas = doc.Components.Schemas
	if s.proxies, err = prefixes(c.TrustedProxies); err != nil {
		return nil, err
	}
	if s.lists, err = newLists(c.Blocklists); err != nil {
		return nil, fmt.Errorf("sink %s: %w", name, err)
	}
	if s.registering, err = prefixes(c.AutoRegistration.AllowedRanges); err != nil {
		return nil, err
	}
	return s, nil
}

// Open opens the store, if it is not open yet.
func (s *Sink) Open() error {
	s.opening.Do(func() {
		db, err := store.Open(store.Options{
			Dir: s.dir, MaxAlerts: s.config.MaxAlerts, MaxWaiting: maxWaiting, Remember: s.config.Remember, Log: s.log,
			Now: s.env.Now, After: s.env.After, Wait: s.heldWait, PasswordCost: s.passwordCost,
			Condition: s.env.Condition, Allowlists: s.env.Allowlists,
		})
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
		n := &store.NewAlert{UUID: a.UUID, Machine: ownMachine, Alert: format.ToCrowdSec(a), View: a}
		err := error(nil)
		if n.Decisions, err = s.decisionsOf(a.Decisions, a.Sluice.StopTime); err != nil {
			s.rejected.Add(1)
			rejected = rejected.With(i, err)
			continue
		}
		_, allowed, err := s.store.AddAlert(n)
		if errors.Is(err, store.ErrTooLarge) { // it would be so at every try
			s.rejected.Add(1)
			rejected = rejected.With(i, err)
			continue
		}
		if err != nil {
			s.failed.Add(1)
			return &sinks.PartialError{Settled: i, Rejected: rejected, Err: fmt.Errorf("sink %s: %w", s.name, err)}
		}
		over := 0
		for i := range n.Decisions {
			if !n.Decisions[i].Until.After(s.store.Now()) {
				over++
			}
		}
		s.alerts.Add(1)
		s.decided.Add(uint64(max(0, len(n.Decisions)-allowed-over)))
		s.expired.Add(uint64(over))
	}
	return sinks.Outcome(len(alerts), rejected, nil)
}

var _ sinks.Allower = (*Sink)(nil)

// Allows implements sinks.Allower. A store that cannot be opened excepts
// nothing; Run, which opens it too, says why.
func (s *Sink) Allows(a *pipeline.Alert) (allowlist.Match, bool) {
	if s.Open() != nil {
		return allowlist.Match{}, false
	}
	return s.store.AllowsAlert(a)
}

// AllowlistsChanged implements sinks.Allower.
func (s *Sink) AllowlistsChanged() {
	if s.Open() == nil {
		s.withdrawAllowed()
	}
}

// withdrawAllowed withdraws what is excepted by now, as when the configuration's lists are others.
func (s *Sink) withdrawAllowed() {
	n, err := s.store.WithdrawAllowed()
	if err != nil {
		s.log.Error("what is on allow-lists could not be withdrawn", "error", err)
	}
	if n > 0 {
		s.log.Info("decisions on what is allowed are withdrawn", "withdrawn", n)
	}
}

// decisionsOf returns the decisions on an alert that ended at stop as they are kept.
func (s *Sink) decisionsOf(ds []pipeline.Decision, stop time.Time) ([]decisions.Decision, error) {
	out := make([]decisions.Decision, 0, len(ds))
	for i := range ds {
		d := &ds[i]
		until, err := endOf(d.Until, d.Duration, stop)
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

// endOf returns when a decision ends: at a time of its own, or a while after its alert's end.
func endOf(until, length string, stop time.Time) (time.Time, error) {
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
	return stop.Add(d), nil
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	return sinks.Stats{Alerts: s.alerts.Load(), Decisions: s.decided.Load(), Expired: s.expired.Load(), Errors: s.failed.Load(), Rejected: s.rejected.Load()}
}

// Close implements sinks.Sink.
func (s *Sink) Close() error {
	s.opening.Do(func() { s.opened = fmt.Errorf("sink %s: it is closed", s.name) })
	for _, l := range s.lists {
		l.fetch.Close()
	}
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

func parsePrefix(text string) (netip.Prefix, error) { return decisions.ParsePrefix(text) }
