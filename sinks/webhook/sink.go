package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
	"sluice/sinks/internal/outbound"
	"sluice/sinks/internal/rest"
	"sluice/sinks/internal/spread"
)

// Sink sends alerts to an endpoint. See the package's comment.
type Sink struct {
	name      string
	config    Config
	preset    preset
	templates *compiled
	values    map[string]string
	client    *http.Client
	spread    spread.Spread
	secrets   []string // that are not to be repeated in errors, beside what is in URLs
	now       func() time.Time
	after     func(time.Duration) <-chan time.Time

	rest                                        rest.Rest
	alerts, decisions, bytes, failed, rejectedN atomic.Uint64
}

// New makes the sink. It connects to nothing yet.
func New(name string, c Config, env sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	t, err := c.compile()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := c.TLS.Build()
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", name, err)
	}
	if c.Auth.BearerFile != "" {
		if _, err := readSecret(c.Auth.BearerFile); err != nil {
			return nil, fmt.Errorf("sink %s: auth.bearer_file: %w", name, err)
		}
	}
	env = env.Complete()
	s := &Sink{
		name: name, config: c, preset: presets()[c.Preset], templates: t, values: make(map[string]string),
		spread: spread.Spread{Parallel: c.Parallel, Batch: c.Batch}, now: env.Now, after: env.After,
	}
	for key, value := range c.Values {
		s.values[key] = value.Reveal()
		s.secrets = append(s.secrets, value.Reveal())
	}
	s.secrets = append(s.secrets, c.Auth.Bearer.Reveal(), c.Auth.Password.Reveal(), c.Sign.Secret.Reveal())
	s.client = &http.Client{
		Transport: c.transport(tlsConfig), Timeout: c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

func (c *Config) transport(tlsConfig *tls.Config) *http.Transport {
	return outbound.Transport(outbound.Options{
		Timeout: c.Timeout, TLS: tlsConfig, Proxy: c.Proxy.Reveal(), AllowLinkLocal: c.AllowLinkLocal, MaxIdle: c.Parallel,
	})
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	if err := s.rest.Wait(ctx, s.now, s.after); err != nil {
		return err
	}
	err := s.spread.Deliver(ctx, alerts, s.send)
	if sinks.Retryable(err) {
		s.failed.Add(1)
		return fmt.Errorf("sink %s: %w", s.name, err)
	}
	return err
}

// send sends one request. Where a server refuses several alerts at once, each
// is sent alone, so that one that it cannot take holds back no other.
func (s *Sink) send(ctx context.Context, alerts []pipeline.Alert) error {
	err := s.request(ctx, alerts)
	var refused *refusedError
	if len(alerts) == 1 || !errors.As(err, &refused) {
		return s.settle(alerts, err)
	}
	var all *sinks.RejectedError
	for i := range alerts {
		err := s.settle(alerts[i:i+1], s.request(ctx, alerts[i:i+1]))
		var partial *sinks.PartialError
		var rejected *sinks.RejectedError
		switch {
		case err == nil:
		case !errors.As(err, &partial) && errors.As(err, &rejected):
			all = all.With(i, rejected.Reason)
		default:
			return &sinks.PartialError{Settled: i, Rejected: all, Failed: 1, Err: err}
		}
	}
	return sinks.Outcome(len(alerts), all, nil)
}

// settle counts what an answer settled, and makes a refusal one for good.
func (s *Sink) settle(alerts []pipeline.Alert, err error) error {
	var refused *refusedError
	if errors.As(err, &refused) {
		err = &sinks.RejectedError{Alerts: []int{0}, Reason: refused}
	}
	s.count(alerts, err)
	return err
}

// count counts what an answer settled.
func (s *Sink) count(alerts []pipeline.Alert, err error) {
	var partial *sinks.PartialError
	var rejected *sinks.RejectedError
	switch {
	case errors.As(err, &partial):
		alerts, rejected = alerts[:partial.Settled], partial.Rejected
	case err != nil && !errors.As(err, &rejected):
		return
	}
	var not []int // ascending
	if rejected != nil {
		not = rejected.Alerts
	}
	for i := range alerts {
		if len(not) > 0 && not[0] == i {
			not = not[1:]
			s.rejectedN.Add(1)
			continue
		}
		s.alerts.Add(1)
		s.decisions.Add(uint64(len(alerts[i].Decisions)))
	}
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	return sinks.Stats{
		Alerts: s.alerts.Load(), Decisions: s.decisions.Load(), Bytes: s.bytes.Load(), Errors: s.failed.Load(), Rejected: s.rejectedN.Load(),
	}
}

// Close implements sinks.Sink.
func (s *Sink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}
