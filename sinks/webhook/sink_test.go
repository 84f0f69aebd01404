package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// endpoint answers as told, and keeps what it got.
type endpoint struct {
	*httptest.Server
	mu       sync.Mutex
	answer   func(n int, r *http.Request, body []byte) (status int, text string)
	requests []request
}

type request struct {
	header http.Header
	path   string
	host   string
	method string
	body   []byte
}

func newEndpoint(t *testing.T, answer func(n int, r *http.Request, body []byte) (int, string)) *endpoint {
	e := &endpoint{answer: answer}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.requests = append(e.requests, request{r.Header, r.URL.String(), r.Host, r.Method, body})
		status, text := e.answer(len(e.requests), r, body)
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "7")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(e.Close)
	return e
}

func always(status int, text string) func(int, *http.Request, []byte) (int, string) {
	return func(int, *http.Request, []byte) (int, string) { return status, text }
}

func alerts(n int) []pipeline.Alert {
	out := make([]pipeline.Alert, n)
	for i := range out {
		out[i] = pipeline.Alert{
			UUID: fmt.Sprintf("00000000-0000-5000-8000-%012d", i), Scenario: "sluice/ssh-bf", Message: "Ip 192.0.2.7 <b>&", EventsCount: 6,
			StartAt: "2026-03-01T11:59:50Z", StopAt: "2026-03-01T12:00:01.25Z", Remediation: i == 0, Events: []pipeline.AlertEvent{},
			Source:    &pipeline.Source{Scope: "Ip", Value: fmt.Sprint("192.0.2.", i%3), IP: fmt.Sprint("192.0.2.", i%3)},
			Decisions: []pipeline.Decision{{Type: "ban", Scope: "Ip", Value: "192.0.2.7", Duration: "4h"}},
		}
	}
	return out
}

func newSink(t *testing.T, url string, change func(*Config)) *Sink {
	t.Helper()
	c := Default()
	c.URL = url
	if change != nil {
		change(&c)
	}
	s, err := New("hook", c, sinks.Env{Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestPresetsAreAsTheReceiversAskFor writes the requests of every preset down.
func TestPresetsAreAsTheReceiversAskFor(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(presets())) {
		bulk := `{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":409}}]}`
		e := newEndpoint(t, always(200, bulk))
		s := newSink(t, e.URL+"/in/{{ .Alert.Scenario | urlquery }}", func(c *Config) {
			c.Preset, c.Values = name, map[string]component.Secret{"routing_key": "route", "token": "secret"}
			if !presets()[name].single {
				c.Batch = 2
			}
		})
		if err := s.Alerts(t.Context(), alerts(2)); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, r := range e.requests {
			for _, h := range []string{"Authorization", "Content-Type", "Idempotency-Key"} {
				r.header.Del("User-Agent")
				if v := r.header.Get(h); v != "" {
					fmt.Fprintf(&got, "%s: %s\n", h, v)
				}
			}
			fmt.Fprintf(&got, "%s %s\n%s\n", r.method, r.path, r.body)
			for line := range bytes.Lines(r.body) {
				if !json.Valid(line) {
					t.Errorf("%s: %s is no JSON", name, line)
				}
			}
		}
		path := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s sends\n%s\nwant\n%s", name, got.Bytes(), want)
		}
		if st := s.Stats(); st.Alerts != 2 || st.Decisions != 2 || st.Errors+st.Rejected != 0 {
			t.Errorf("%s: stats %+v", name, st)
		}
	}
}

func TestWhatAnAnswerMeans(t *testing.T) {
	for status, want := range map[int]string{
		200: "taken", 204: "taken", 302: "again", 400: "refused", 401: "again", 407: "again", 404: "refused", 413: "refused", 422: "refused",
		408: "again", 425: "again", 429: "again", 500: "again", 503: "again",
	} {
		e := newEndpoint(t, always(status, "its own\n words"))
		s := newSink(t, e.URL, nil)
		err := s.Alerts(t.Context(), alerts(1))
		var rejected *sinks.RejectedError
		got := "taken"
		switch {
		case errors.As(err, &rejected):
			got = "refused"
		case err != nil:
			got = "again"
		}
		if got != want || err != nil && !strings.Contains(err.Error(), "its own words") && status != 204 {
			t.Errorf("%d is %s (%v), want %s", status, got, err, want)
		}
		if asked := s.rest.Left(s.now()) == 7*time.Second; asked != (status == 429) {
			t.Errorf("%d: to be left alone: %v", status, asked)
		}
	}
}

func TestAServerThatAsksForItIsLeftAlone(t *testing.T) {
	e := newEndpoint(t, always(429, ""))
	s := newSink(t, e.URL, nil)
	if err := s.Alerts(t.Context(), alerts(1)); err == nil {
		t.Fatal("no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // what waits ends at once
	if err := s.Alerts(ctx, alerts(1)); !errors.Is(err, ctx.Err()) || len(e.requests) != 1 {
		t.Errorf("%v after %d requests", err, len(e.requests))
	}
	s.now = func() time.Time { return time.Unix(1_700_000_007, 0) }
	if _ = s.Alerts(t.Context(), alerts(1)); len(e.requests) != 2 {
		t.Errorf("%d requests once the time is over, want 2", len(e.requests))
	}
}

func TestOneThatIsRefusedHoldsBackNoOther(t *testing.T) {
	e := newEndpoint(t, func(_ int, _ *http.Request, body []byte) (int, string) {
		if bytes.Contains(body, []byte("-000000000002")) {
			return 400, "poison"
		}
		return 200, ""
	})
	s := newSink(t, e.URL, func(c *Config) { c.Batch = 10 })
	err := s.Alerts(t.Context(), alerts(5))
	var rejected *sinks.RejectedError
	if !errors.As(err, &rejected) || !slices.Equal(rejected.Alerts, []int{2}) || !strings.Contains(err.Error(), "poison") {
		t.Errorf("error = %v", err)
	}
	if st := s.Stats(); st.Alerts != 4 || st.Rejected != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestRequestsAreSignedAndNamed(t *testing.T) {
	e := newEndpoint(t, always(200, ""))
	s := newSink(t, e.URL, func(c *Config) {
		c.Sign.Secret, c.Auth.Username, c.Auth.Password = "key", "me", "pass"
		c.Headers = map[string]string{"X-Scenario": "{{ .Alert.Scenario }}"}
	})
	if err := s.Alerts(t.Context(), alerts(1)); err != nil {
		t.Fatal(err)
	}
	r := e.requests[0]
	mac := hmac.New(sha256.New, []byte("key"))
	fmt.Fprintf(mac, "1700000000.%s", r.body)
	if got, want := r.header.Get("Sluice-Signature"), "t=1700000000,v1="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("the signature is %s, want %s", got, want)
	}
	if r.header.Get("Idempotency-Key") != alerts(1)[0].UUID || r.header.Get("X-Scenario") != "sluice/ssh-bf" ||
		r.header.Get("Authorization") != "Basic bWU6cGFzcw==" {
		t.Errorf("headers %v", r.header)
	}
}

// TestNoSecretIsSaid fails in every way that has an error to show.
func TestNoSecretIsSaid(t *testing.T) {
	for name, url := range map[string]string{
		"a refused connection": "http://127.0.0.1:1/hunter2", "an address that is none": "http://[::1%25{{ \"hunter2\" }}]:x/hunter2",
		"a host that is not there": "http://nobody.invalid/hunter2",
	} {
		s := newSink(t, url+"{{ .Values.token }}", func(c *Config) { c.Values = map[string]component.Secret{"token": "hunter2"} })
		if err := s.Alerts(t.Context(), alerts(1)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAddressesWithCredentialsAreRefused(t *testing.T) {
	s := newSink(t, `http://{{ "169.254.169.254" }}/latest/meta-data`, nil)
	if err := s.Alerts(t.Context(), alerts(1)); err == nil || !strings.Contains(err.Error(), "allow_link_local") {
		t.Errorf("error = %v", err)
	}
}

func TestABulkAnswerSpeaksOfEachDocument(t *testing.T) {
	for _, c := range []struct {
		answer   string
		settled  int // -1 for all
		rejected []int
	}{
		{`{"items":[{"create":{"status":201}},{"create":{"status":409}},{"create":{"status":201}}]}`, -1, nil},
		{`{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":400,"error":{"type":"mapper"}}},{"create":{"status":201}}]}`, -1, []int{1}},
		{`{"errors":true,"items":[{"create":{"status":400}},{"create":{"status":429}},{"create":{"status":201}}]}`, 1, []int{0}},
		{`{"items":[]}`, 0, nil},
		{`<html>`, 0, nil},
	} {
		e := newEndpoint(t, always(200, c.answer))
		s := newSink(t, e.URL+"/_bulk", func(c *Config) { c.Preset, c.Batch = "elasticsearch_bulk", 10 })
		err := s.Alerts(t.Context(), alerts(3))
		settled, rejected := -1, (*sinks.RejectedError)(nil)
		var partial *sinks.PartialError
		if errors.As(err, &partial) {
			settled, rejected = partial.Settled, partial.Rejected
		} else if err != nil && !errors.As(err, &rejected) {
			settled = 0
		}
		var indexes []int
		if rejected != nil {
			indexes = rejected.Alerts
		}
		if settled != c.settled || !slices.Equal(indexes, c.rejected) {
			t.Errorf("%s settles %d and rejects %v (%v), want %d and %v", c.answer, settled, indexes, err, c.settled, c.rejected)
		}
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"batch: 1", "name the endpoint"}, {"url: ftp://x", "no address"}, {"url: https://x\npreset: irc", "no preset"},
		{"url: https://x\nformat: cef", "no JSON"}, {"url: https://x\npreset: slack\nbatch: 2", "one alert"},
		{"url: https://x\nbody: '{{ .Alert'", "no template"},
		{"url: https://x\npreset: pagerduty", "values.routing_key"}, {"url: https://x\npreset: splunk_hec\nauth: {bearer: a}", "values.token"}, {"url: https://x\nbody: '{{ env \"HOME\" }}'", "no template"},
		{"url: https://x\nauth: {bearer: a, username: b}", "one of"}, {"url: https://x\nproxy: ':'", "no URL"}, {"url: https://x\nmethod: post", "capitals"},
		{"url: https://x\nmethod: 'P T'", "one word"}, {"url: https://x\nproxy: 'ftp://x'", "no URL of http"}, {"url: https://x\nauth: {password: a}", "needs one"},
		{"url: https://x\nsign: {header: X-Sum}", "nothing would be signed"}, {"url: http://x\ntls: {insecure_skip_verify: true}", "url of https"},
		{"url: https://x/logs\npreset: elasticsearch_bulk", "ends in /INDEX/_bulk"}, {"url: 'http://169.254.169.254/x'", "allow_link_local"},
		{"url: 'http://metadata.google.internal/x'", "allow_link_local"}, {"url: https://x\nauth: {bearer_file: /nowhere/token}", "bearer_file: open /nowhere/token"},
		{"url: 'https://x/{{ .Alert.Nope }}'", "url: its template fails on every alert"}, {"url: https://x\nheaders: {X-A: '{{ .Values.b }}'}", "headers: its template fails"},
		{"url: https://x\nbody: '{{ .Alert.Scenarioo }}'", "body: its template fails on every alert: \"body\" at <.Alert.Scenarioo>: can't evaluate field Scenarioo"},
	} {
		node, err := component.Parse([]byte("type: webhook\n" + c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = sinks.New(node, sinks.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.yaml, err, c.want)
		}
	}
}
