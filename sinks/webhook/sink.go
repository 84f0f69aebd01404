package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"text/template"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
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
	now       func() time.Time

	notBefore                                   atomic.Int64 // Unix nanoseconds: the server asked to be left alone until then
	alerts, decisions, bytes, failed, rejectedN atomic.Uint64
}

// New makes the sink. It connects to nothing yet.
func New(name string, c Config, _ sinks.Env) (*Sink, error) {
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
	s := &Sink{
		name: name, config: c, preset: presets()[c.Preset], templates: t, values: make(map[string]string),
		spread: spread.Spread{Parallel: c.Parallel, Batch: c.Batch}, now: time.Now,
	}
	for key, value := range c.Values {
		s.values[key] = value.Reveal()
	}
	s.client = &http.Client{
		Transport: c.transport(tlsConfig), Timeout: c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

func (c *Config) transport(tlsConfig *tls.Config) *http.Transport {
	t := &http.Transport{
		DialContext: c.dialer().DialContext, TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: c.Parallel, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
	}
	if c.Proxy != "" {
		if u, err := url.Parse(c.Proxy.Reveal()); err == nil { // Validate has read it
			t.Proxy = http.ProxyURL(u)
		}
	}
	return t
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	err := s.spread.Deliver(ctx, alerts, s.send)
	if sinks.Retryable(err) {
		s.failed.Add(1)
		return fmt.Errorf("sink %s: %w", s.name, err)
	}
	return err
}

// wait waits until the time that the server named, if it is still to come.
func (s *Sink) wait(ctx context.Context) error {
	left := time.Duration(s.notBefore.Load() - s.now().UnixNano())
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send sends one request. Where a server refuses several alerts at once, each
// is sent alone, so that one that it cannot take holds back no other.
func (s *Sink) send(ctx context.Context, alerts []pipeline.Alert) error {
	err := s.request(ctx, alerts)
	var refused *refusedError
	switch {
	case !errors.As(err, &refused):
		s.count(alerts, err)
		return err
	case len(alerts) == 1:
		s.rejectedN.Add(1)
		return &sinks.RejectedError{Alerts: []int{0}, Reason: err}
	}
	var rejected *sinks.RejectedError
	for i := range alerts {
		err := s.request(ctx, alerts[i:i+1])
		switch {
		case err == nil:
			s.count(alerts[i:i+1], nil)
		case errors.As(err, &refused):
			s.rejectedN.Add(1)
			if rejected == nil {
				rejected = &sinks.RejectedError{Reason: err}
			}
			rejected.Alerts = append(rejected.Alerts, i)
		default:
			return &sinks.PartialError{Settled: i, Rejected: rejected, Err: err}
		}
	}
	if rejected != nil {
		return rejected
	}
	return nil
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
	for i := range alerts {
		if rejected != nil && slices.Contains(rejected.Alerts, i) {
			s.rejectedN.Add(1)
			continue
		}
		s.alerts.Add(1)
		s.decisions.Add(uint64(len(alerts[i].Decisions)))
	}
}

// refusedError is an answer that will not change.
type refusedError struct{ why string }

func (e *refusedError) Error() string { return e.why }

// request renders and sends a request, and reads what the answer means.
func (s *Sink) request(ctx context.Context, alerts []pipeline.Alert) error {
	req, err := s.render(ctx, alerts)
	if err != nil {
		return err
	}
	res, err := s.client.Do(req)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) { // it holds the URL, which may hold a secret
			err = of.Err
		}
		return fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: reading its answer: %w", req.URL.Host, err)
	}
	return s.judge(req.URL.Host, res, answer, alerts)
}

// maxAnswer is how much of an answer is read: that to a bulk request says something of every alert.
const maxAnswer = 8 << 20

func (s *Sink) judge(host string, res *http.Response, answer []byte, alerts []pipeline.Alert) error {
	status := res.StatusCode
	switch {
	case status/100 == 2:
		if s.preset.check != nil {
			return s.preset.check(answer, alerts)
		}
		return nil
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status/100 == 5:
		if d, ok := retryAfter(res.Header.Get("Retry-After"), s.now()); ok {
			s.notBefore.Store(s.now().Add(d).UnixNano())
		}
		return fmt.Errorf("%s answers %s: %s", host, res.Status, words(answer))
	}
	return &refusedError{fmt.Sprintf("%s answers %s: %s", host, res.Status, words(answer))}
}

// longestAfter bounds how long a server can have itself left alone.
const longestAfter = 10 * time.Minute

// retryAfter reads the header of RFC 9110, section 10.2.3: seconds or a date.
func retryAfter(header string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.Atoi(header); err == nil && seconds >= 0 {
		return min(time.Duration(min(seconds, 86400))*time.Second, longestAfter), true
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, min(at.Sub(now), longestAfter)), true
	}
	return 0, false
}

// words returns the beginning of an answer on one line.
func words(answer []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(answer[:min(len(answer), 300)]), "?")), " ")
	if text == "" {
		return "(no words)"
	}
	return text
}

func (s *Sink) render(ctx context.Context, alerts []pipeline.Alert) (*http.Request, error) {
	d := data{Alert: &alerts[0], ID: requestID(alerts), Values: s.values}
	for i := range alerts {
		d.Alerts = append(d.Alerts, &alerts[i])
	}
	var failed error
	text := func(t *template.Template) []byte {
		var out bytes.Buffer
		if err := t.Execute(&out, d); err != nil && failed == nil {
			failed = &refusedError{fmt.Sprintf("its template %s fails on it: %v", t.Name(), err)}
		}
		return out.Bytes()
	}
	body := text(s.templates.body)
	req, err := http.NewRequestWithContext(ctx, s.config.method(), string(text(s.templates.url)), bytes.NewReader(body))
	if err != nil {
		return nil, &refusedError{"its template url gives no address"}
	}
	req.Header.Set("User-Agent", "sluice")
	req.Header.Set("Idempotency-Key", d.ID)
	for name, t := range s.templates.headers {
		req.Header.Set(name, string(text(t)))
	}
	if failed != nil {
		return nil, failed
	}
	s.bytes.Add(uint64(len(body)))
	return req, s.sign(req, body)
}

// sign adds what proves who sends it.
func (s *Sink) sign(req *http.Request, body []byte) error {
	auth := &s.config.Auth
	switch {
	case auth.Username != "":
		req.SetBasicAuth(auth.Username, auth.Password.Reveal())
	case auth.Bearer != "":
		req.Header.Set("Authorization", "Bearer "+auth.Bearer.Reveal())
	case auth.BearerFile != "":
		token, err := readSecret(auth.BearerFile)
		if err != nil {
			return fmt.Errorf("auth.bearer_file: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if s.config.Sign.Secret != "" {
		at := strconv.FormatInt(s.now().Unix(), 10)
		mac := hmac.New(sha256.New, []byte(s.config.Sign.Secret.Reveal()))
		_, _ = io.WriteString(mac, at+".") // a hash takes all
		_, _ = mac.Write(body)
		req.Header.Set(s.config.Sign.Header, "t="+at+",v1="+hex.EncodeToString(mac.Sum(nil)))
	}
	return nil
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
