package lapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/lapi"
	"sluice/sinks"
	"sluice/sinks/format"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// answer is what a script makes of a request to push alerts.
type answer struct {
	keep   int // of the request's alerts, before the answer
	status int // 0 loses the answer
	words  string
	after  string // Retry-After
}

// fake is an API as CrowdSec's is: it keeps every alert that it is sent, also
// one that it has already, and finds alerts by their sources.
type fake struct {
	*httptest.Server
	mu       sync.Mutex
	kept     []lapi.Alert
	asked    map[string]int
	sessions int
	last     string // the token that counts
	// script answers the nth request to push; nil keeps all.
	script func(n int, alerts []lapi.Alert) answer
	// denies, when it returns a status, answers any other request.
	denies func(r *http.Request) int
}

func newFake(t *testing.T) *fake {
	f := &fake{asked: make(map[string]int)}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what := r.Method + " " + r.URL.Path
	f.asked[what]++
	if f.denies != nil {
		if status := f.denies(r); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	if name, version, ok := strings.Cut(r.UserAgent(), "/"); !ok || name != "sluice" || version == "" || strings.Contains(version, "/") {
		w.WriteHeader(http.StatusUnauthorized) // as CrowdSec does
		return
	}
	if what == "POST /v1/watchers/login" {
		f.sessions++
		f.last = fmt.Sprintf("token-%d", f.sessions)
		fmt.Fprintf(w, `{"code":200,"token":%q,"expire":%q}`, f.last, begin.Add(time.Hour).Format(time.RFC3339))
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+f.last {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch what {
	case "POST /v1/alerts":
		f.push(w, r)
	case "GET /v1/alerts":
		found := []lapi.Alert{}
		for _, a := range f.kept {
			q := r.URL.Query()
			if (!q.Has("scope") || a.Source.Scope == q.Get("scope")) && (!q.Has("value") || a.Source.Value == q.Get("value")) {
				found = append(found, a)
			}
		}
		_ = json.NewEncoder(w).Encode(found) // the client tells if it is cut
	case "GET /v1/heartbeat":
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (f *fake) push(w http.ResponseWriter, r *http.Request) {
	var alerts []lapi.Alert
	if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for i := range alerts {
		if strings.EqualFold(alerts[i].Source.Scope, "country") {
			alerts[i].Source.Scope = "Country" // as CrowdSec does
		}
	}
	a := answer{keep: len(alerts), status: http.StatusCreated, words: "[]"}
	if f.script != nil {
		a = f.script(f.asked["POST /v1/alerts"], alerts)
	}
	f.kept = append(f.kept, alerts[:a.keep]...)
	if a.status == 0 {
		panic(http.ErrAbortHandler)
	}
	if a.after != "" {
		w.Header().Set("Retry-After", a.after)
	}
	w.WriteHeader(a.status)
	fmt.Fprint(w, a.words)
}

// ids are those of the alerts that were kept, in order.
func (f *fake) ids() (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.kept {
		for _, m := range *a.Meta {
			if *m.Key == format.MetaID {
				out = append(out, *m.Value)
			}
		}
	}
	return out
}

func (f *fake) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[what]
}

// clock is a wall clock that stands still until it is waited for.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	waits []time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = append(c.waits, d)
	c.now = c.now.Add(d)
	out := make(chan time.Time, 1)
	out <- c.now
	return out
}

func newSink(t *testing.T, change func(*Config), urls ...string) (*Sink, *clock) {
	t.Helper()
	c := Default()
	c.URLs, c.MachineID, c.Password = urls, "sluice", "hunter2"
	c.Timeout = 10 * time.Minute // our own API hashes a password, which takes a busy machine the half of one with the race detector
	if change != nil {
		change(&c)
	}
	clk := &clock{now: begin}
	s, err := New("up", c, sinks.Env{Now: clk.Now, After: clk.After})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.doubtful = resumed // tests of a start set it to 0
	return s, clk
}

func alerts(n int) []pipeline.Alert {
	out := make([]pipeline.Alert, n)
	for i := range out {
		value := fmt.Sprintf("192.0.2.%d", i%7)
		out[i] = pipeline.Alert{
			UUID: fmt.Sprintf("id-%03d", i), Scenario: "sluice/ssh-bf", Message: "m", EventsCount: 1, Leakspeed: "10s",
			StartAt: begin.Add(-2 * time.Minute).Format(time.RFC3339Nano), StopAt: begin.Add(-time.Minute).Format(time.RFC3339Nano), Remediation: true,
			Source: &pipeline.Source{Scope: "Ip", Value: value, IP: value}, Events: []pipeline.AlertEvent{},
			Decisions: []pipeline.Decision{{
				Origin: "crowdsec", Type: "ban", Scope: "Ip", Value: value, Duration: "4h", Scenario: "sluice/ssh-bf", Until: begin.Add(time.Hour).Format(time.RFC3339),
			}},
		}
	}
	return out
}

func idsOf(alerts []pipeline.Alert) (out []string) {
	for i := range alerts {
		out = append(out, alerts[i].UUID)
	}
	return out
}

func has(a *lapi.Alert, id string) bool {
	text, err := json.Marshal(a.Meta)
	return err == nil && strings.Contains(string(text), `"`+id+`"`)
}
