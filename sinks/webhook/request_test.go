package webhook

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/component"
	"sluice/sinks"
)

// TestValuesWriteNoHeaders has an attacker's words in a header: they stay one
// value, and the alert is delivered all the same.
func TestValuesWriteNoHeaders(t *testing.T) {
	e := newEndpoint(t, always(200, ""))
	s := newSink(t, e.URL, func(c *Config) {
		c.Headers = map[string]string{"X-User": "{{ .Alert.GetValue }}", "host": "hooks.example.com"}
	})
	given := alerts(1)
	given[0].Source.Value = "bob\r\nX-Admin: 1\x00\x7fé"
	if err := s.Alerts(t.Context(), given); err != nil {
		t.Fatal(err)
	}
	h := e.requests[0].header
	if got := h.Get("X-User"); got != "bob  X-Admin: 1  é" || h.Get("X-Admin") != "" || e.requests[0].host != "hooks.example.com" {
		t.Errorf("headers %q, host %s", h, e.requests[0].host)
	}
}

// TestARefusedDocumentOfADividedBulkHoldsBackNoOther: the server takes no
// bulk of several, and of those of one it refuses one.
func TestARefusedDocumentOfADividedBulkHoldsBackNoOther(t *testing.T) {
	e := newEndpoint(t, func(_ int, _ *http.Request, body []byte) (int, string) {
		switch {
		case strings.Count(string(body), `{"create"`) > 1:
			return 413, "too much"
		case strings.Contains(string(body), "-000000000001"):
			return 200, `{"errors":true,"items":[{"create":{"status":400,"error":{"type":"mapper"}}}]}`
		}
		return 200, `{"items":[{"create":{"status":201}}]}`
	})
	s := newSink(t, e.URL+"/_bulk", func(c *Config) { c.Preset, c.Batch = "elasticsearch_bulk", 10 })
	err := s.Alerts(t.Context(), alerts(3))
	var rejected *sinks.RejectedError
	if sinks.Retryable(err) || !errors.As(err, &rejected) || !slices.Equal(rejected.Alerts, []int{1}) {
		t.Errorf("error = %v", err)
	}
	if st := s.Stats(); st.Alerts != 2 || st.Rejected != 1 {
		t.Errorf("stats %+v", st)
	}
}

// TestTheOneThatFailedIsNamed: so that, where attempts are bounded, no other is given up for it.
func TestTheOneThatFailedIsNamed(t *testing.T) {
	for preset, want := range map[string]int{"json": 2, "elasticsearch_bulk": 1} {
		e := newEndpoint(t, func(_ int, _ *http.Request, body []byte) (int, string) {
			switch {
			case preset != "json":
				return 200, `{"items":[{"create":{"status":201}},{"create":{"status":503}},{"create":{"status":201}},{"create":{"status":201}}]}`
			case strings.Count(string(body), `"uuid"`) > 1:
				return 413, ""
			case strings.Contains(string(body), "-000000000002"):
				return 500, ""
			}
			return 200, ""
		})
		s := newSink(t, e.URL+"/_bulk", func(c *Config) { c.Preset, c.Batch = preset, 10 })
		err := s.Alerts(t.Context(), alerts(4))
		var partial *sinks.PartialError
		if !errors.As(err, &partial) || partial.Settled != want || partial.Failed != 1 {
			t.Errorf("%s: error = %+v, want %d settled and one that failed", preset, err, want)
		}
	}
}

// TestA2xxIsAnAcknowledgementWhateverFollows: the answer's text breaks off,
// and an alert that was taken must not be sent again for that.
func TestA2xxIsAnAcknowledgementWhateverFollows(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "half of it")
	}))
	defer server.Close()
	if err := newSink(t, server.URL, nil).Alerts(t.Context(), alerts(1)); err != nil {
		t.Error(err)
	}
}

// TestAnswersHoldNoSecrets: many servers repeat the path that they were asked
// for, and some receivers have their token in it.
func TestAnswersHoldNoSecrets(t *testing.T) {
	const token = "T0000000000/B0000000/hunter2hunter2hunter2"
	for _, said := range []string{
		"Cannot POST /services/" + token, "no such hook: hunter2hunter2hunter2", "routing key R0UT1NG is unknown",
		strings.Repeat("x", 290) + " hunter2hunter2hunter2", "who is bearer-of-news?",
	} {
		for _, status := range []int{404, 500} {
			e := newEndpoint(t, always(status, said))
			s := newSink(t, e.URL+"/services/"+token, func(c *Config) {
				c.Values, c.Auth.Bearer = map[string]component.Secret{"key": "R0UT1NG"}, "bearer-of-news"
			})
			err := s.Alerts(t.Context(), alerts(1))
			if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "R0UT1NG") || strings.Contains(err.Error(), "bearer-of") {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
}

// TestAnswersRepeatNoHeaders: receivers have their token in headers of many names, and servers echo them.
func TestAnswersRepeatNoHeaders(t *testing.T) {
	const token = "hunter2\"hunter2&"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"a header":        func(c *Config) { c.Headers = map[string]string{"x-api-key": token} },
		"a scheme":        func(c *Config) { c.Headers = map[string]string{"Authorization": "GenieKey " + token} },
		"a preset's":      func(c *Config) { c.Preset, c.Values = "splunk_hec", map[string]component.Secret{"token": token} },
		"a file's":        func(c *Config) { c.Auth.BearerFile = file },
		"a user's":        func(c *Config) { c.Auth.Username, c.Auth.Password = "u", token },
		"one of the url":  func(c *Config) { c.URL = strings.Replace(c.URL, "http://", "http://u:hunter2%22hunter2&@", 1) },
		"one of a cookie": func(c *Config) { c.Headers = map[string]string{"Cookie": token} },
	} {
		e := newEndpoint(t, func(_ int, r *http.Request, _ []byte) (int, string) {
			_, basic, _ := r.BasicAuth()
			_, scheme, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			said, err := json.Marshal([]string{r.Header.Get("X-Api-Key"), r.Header.Get("Authorization"), scheme, basic, r.Header.Get("Cookie"), token, url.QueryEscape(token)})
			if err != nil {
				t.Error(err)
			}
			return 400, strings.ReplaceAll(string(said), `\u0026`, "&") + " no text/plain here"
		})
		s := newSink(t, e.URL, change)
		for _, escaped := range []string{base64.StdEncoding.EncodeToString([]byte("u:" + token))[:12], "hunter2"} {
			err := s.Alerts(t.Context(), alerts(1))
			if err == nil || strings.Contains(err.Error(), escaped) || !strings.Contains(err.Error(), "no text/plain here") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestAnIndexThatIsNotThereRefusesNoAlert: what a person mends at the server keeps alerts waiting.
func TestAnIndexThatIsNotThereRefusesNoAlert(t *testing.T) {
	for status, again := range map[int]bool{400: false, 401: true, 403: true, 404: true, 413: false, 429: true, 503: true} {
		answer := fmt.Sprintf(`{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":%d,"error":{"type":"x"}}}]}`, status)
		e := newEndpoint(t, always(200, answer))
		err := newSink(t, e.URL+"/alerts/_bulk", func(c *Config) { c.Preset, c.Batch = "elasticsearch_bulk", 2 }).Alerts(t.Context(), alerts(2))
		if err == nil || sinks.Retryable(err) != again {
			t.Errorf("%d: %v, want it sent again: %v", status, err, again)
		}
	}
}

// TestNoRequestGoesToAServerThatAskedToBeLeftAlone: another request of the
// same batch may have been told.
func TestNoRequestGoesToAServerThatAskedToBeLeftAlone(t *testing.T) {
	e := newEndpoint(t, always(200, ""))
	s := newSink(t, e.URL, nil)
	s.rest.Heed("60", s.now())
	if err := s.send(t.Context(), alerts(1)); err == nil || !strings.Contains(err.Error(), "left alone") || len(e.requests) != 0 {
		t.Errorf("error = %v after %d requests", err, len(e.requests))
	}
}

// TestStatusesThatAPersonMends are sent again where they do not depend on the alert.
func TestStatusesThatAPersonMends(t *testing.T) {
	for _, c := range []struct {
		status int
		change func(*Config)
		again  bool
	}{
		{401, nil, true}, {407, nil, true}, {301, nil, true}, {403, nil, false}, {409, nil, false},
		{403, func(c *Config) { c.Preset, c.Values = "splunk_hec", map[string]component.Secret{"token": "x"} }, true},
		{409, func(c *Config) { c.RetryStatuses = []int{409} }, true},
	} {
		e := newEndpoint(t, always(c.status, ""))
		err := newSink(t, e.URL, c.change).Alerts(t.Context(), alerts(1))
		if err == nil || sinks.Retryable(err) != c.again {
			t.Errorf("%d: %v, want it sent again: %v", c.status, err, c.again)
		}
	}
}

func TestARedirectionSaysWhereToWithoutItsPath(t *testing.T) {
	server := httptest.NewServer(http.RedirectHandler("https://new.example.com/services/hunter2", http.StatusMovedPermanently))
	defer server.Close()
	err := newSink(t, server.URL, nil).Alerts(t.Context(), alerts(1))
	if err == nil || !strings.Contains(err.Error(), "https://new.example.com") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error = %v", err)
	}
}

// TestAReceiverIsAskedForNoMoreThanItTakes gives presets an alert of great length.
func TestAReceiverIsAskedForNoMoreThanItTakes(t *testing.T) {
	limits := map[string]int{"slack": 40_000, "discord": 2_100, "teams": 28_000, "pagerduty": 512_000}
	for name, limit := range limits {
		e := newEndpoint(t, always(200, ""))
		s := newSink(t, e.URL, func(c *Config) { c.Preset, c.Values = name, map[string]component.Secret{"routing_key": "r"} })
		given := alerts(1)
		given[0].Source.Value = strings.Repeat("`<x>", 200_000)
		if err := s.Alerts(t.Context(), given); err != nil {
			t.Fatal(err)
		}
		if n := len(e.requests[0].body); n > limit {
			t.Errorf("%s gets %d bytes, and takes %d", name, n, limit)
		}
	}
}

// TestWordsOfAttackersAreNotFormatted: receivers that read Markdown would make links of them.
func TestWordsOfAttackersAreNotFormatted(t *testing.T) {
	for name, want := range map[string]string{
		"discord": "{\"content\":\"`2026-03-01T12:00:01.25Z  sluice/ssh-bf  user [log in](https://example.com) '@everyone'  6 events  ban 4h of Ip 192.0.2.7`\"",
		"teams":   `{"type":"TextRun","text":"2026-03-01T12:00:01.25Z  sluice/ssh-bf  user [log in](https://example.com)`,
		"slack":   "&lt;!channel&gt;",
	} {
		e := newEndpoint(t, always(200, ""))
		s := newSink(t, e.URL, func(c *Config) { c.Preset = name })
		given := alerts(1)
		given[0].Source.Scope, given[0].Source.Value = "user", "[log in](https://example.com) `@everyone`"
		if name == "slack" {
			given[0].Source.Value = "<!channel>"
		}
		if err := s.Alerts(t.Context(), given); err != nil {
			t.Fatal(err)
		}
		if got := string(e.requests[0].body); !strings.Contains(got, want) {
			t.Errorf("%s gets %s, want %s in it", name, got, want)
		}
	}
}

// TestBatchesAreCutTheSameWayAgain has one request of a batch fail: the same
// alerts come again under the same key.
func TestBatchesAreCutTheSameWayAgain(t *testing.T) {
	var keys []string
	e := newEndpoint(t, func(n int, r *http.Request, _ []byte) (int, string) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		return []int{200, 500, 200, 200}[n-1], ""
	})
	s := newSink(t, e.URL, func(c *Config) { c.Batch = 2 })
	given := alerts(6)
	err := s.Alerts(t.Context(), given)
	var partial *sinks.PartialError
	if !errors.As(err, &partial) || partial.Settled != 2 {
		t.Fatalf("error = %v", err)
	}
	if err := s.Alerts(t.Context(), given[2:]); err != nil {
		t.Fatal(err)
	}
	if len(keys) != 4 || keys[1] != keys[2] || keys[0] == keys[1] || keys[2] == keys[3] {
		t.Errorf("keys %v", keys)
	}
}

// TestAHeaderIsOneHoweverItIsWritten: what is set beside a preset wins.
func TestAHeaderIsOneHoweverItIsWritten(t *testing.T) {
	e := newEndpoint(t, always(200, ""))
	for range 20 { // a map has no order
		s := newSink(t, e.URL, func(c *Config) {
			c.Preset, c.Headers = "splunk_hec", map[string]string{"content-type": "text/x", "authorization": "Splunk mine"}
		})
		if err := s.Alerts(t.Context(), alerts(1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range e.requests {
		if got := r.header.Get("Content-Type") + ", " + r.header.Get("Authorization"); got != "text/x, Splunk mine" {
			t.Errorf("headers %s", got)
		}
	}
}

func TestHeaderNamesAreChecked(t *testing.T) {
	for _, name := range []string{"X Y", "", "X:", "X\r\nY", "é"} {
		c := Default()
		c.URL, c.Headers = "https://x", map[string]string{name: "v"}
		if err := c.Validate(); err == nil || !strings.Contains(fmt.Sprint(err), "header") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// FuzzAnswer: whatever a server says, no secret of the request is repeated.
func FuzzAnswer(f *testing.F) {
	f.Add("Cannot POST /services/hunter2hunter2hunter2")
	f.Add("\xff\x00hunter2hunter2hunter2")
	s, err := New("hook", Config{URL: "http://x/services/hunter2hunter2hunter2", Preset: "json", Format: "sluice", Batch: 1, Parallel: 1, Timeout: time.Second}, sinks.Env{})
	if err != nil {
		f.Fatal(err)
	}
	req, err := s.render(f.Context(), alerts(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		if got := s.words(req, []byte(answer)); strings.Contains(got, "hunter2hunter2hunter2") || len(got) > 1000 || strings.ContainsAny(got, "\n\r") {
			t.Errorf("%q gives %q", answer, got)
		}
		_ = checkBulk([]byte(answer), alerts(1)) // must not panic
	})
}
