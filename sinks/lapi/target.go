package lapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"sluice/sinks"
	"sluice/sinks/internal/rest"
)

// target is one API. Its alerts come from one goroutine at a time; signing in
// is shared with the heartbeat's.
type target struct {
	name   string // for messages
	base   string
	config *Config
	client *http.Client
	env    sinks.Env
	log    *slog.Logger

	// unsure are alerts, by id, that may be there already.
	unsure map[string]bool

	rest  rest.Rest
	bytes atomic.Uint64

	session session
}

// session is what signing in has given. Whoever has the turn uses it.
type session struct {
	turn   chan struct{} // of one
	failed atomic.Pointer[failure]

	token      string
	renew      time.Time // when another is to be asked for
	expires    time.Time
	registered bool // it was tried since the last success
}

// failure is the end of an attempt to sign in that came to nothing.
type failure struct{ err error }

func newTarget(address string, c *Config, env sinks.Env, log *slog.Logger) (*target, error) {
	base, socket, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	tlsConfig, err := c.TLS.Build()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: c.Timeout, KeepAlive: 30 * time.Second}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true, TLSHandshakeTimeout: c.Timeout,
		MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
	}
	if socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	return &target{
		name: address, base: base, config: c, env: env, log: log.With("lapi", address), unsure: make(map[string]bool),
		session: session{turn: make(chan struct{}, 1)},
		client: &http.Client{
			Transport: transport, Timeout: c.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// statusError is an answer that is not 2xx.
type statusError struct {
	status int
	text   string // with the API's name and words
	words  string
}

func (e *statusError) Error() string { return e.text }

// unsentError is a request that has not reached the API.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// do makes a request and hands the answer's body to read. Without a token it
// goes unsigned. Errors name the API, and hold nothing that was sent.
func (t *target) do(ctx context.Context, method, path, token string, body any, read func(io.Reader) error) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s: writing a request: %w", t.name, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, t.base+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: its address is none", t.name)
	}
	req.Header.Set("User-Agent", "sluice/"+version()) // CrowdSec signs in no one whose agent is not of this form
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := t.client.Do(req)
	if err != nil {
		return t.lost(err)
	}
	defer res.Body.Close()
	t.bytes.Add(uint64(len(text)))
	if res.StatusCode/100 != 2 {
		return t.refusal(res, method+" "+strings.SplitN(path, "?", 2)[0])
	}
	if read == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // the status has said it; the connection can be used again
		return nil
	}
	if err := read(res.Body); err != nil {
		return fmt.Errorf("%s: reading its answer: %w", t.name, err)
	}
	return nil
}

// maxAnswer is how much is read of an answer that is not a list of alerts.
const maxAnswer = 1 << 20

// lost explains why there is no answer.
func (t *target) lost(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	out := fmt.Errorf("%s: %w", t.name, err)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return &unsentError{out}
	}
	return out
}

// refusal reads an answer that is not 2xx.
func (t *target) refusal(res *http.Response, what string) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		body = nil // the status says enough
	}
	if res.StatusCode == http.StatusTooManyRequests || res.StatusCode/100 == 5 {
		t.rest.Heed(res.Header.Get("Retry-After"), t.env.Now())
	}
	said := words(body)
	return &statusError{res.StatusCode, fmt.Sprintf("%s answers %s with %s: %s", t.name, what, res.Status, said), said}
}

// words returns what an API says in an answer, on one line.
func words(body []byte) string {
	var answer struct{ Message, Errors string }
	text := string(body)
	if json.Unmarshal(body, &answer) == nil && answer.Message != "" {
		text = strings.TrimSuffix(answer.Message+"; "+answer.Errors, "; ")
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text[:min(len(text), 500)], "?")), " ")
	if text == "" {
		return "(no words)"
	}
	return text
}
