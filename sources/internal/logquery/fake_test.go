package logquery

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/sources"
	"sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database is a fake one, whose language is JSON.
type database struct {
	t      *testing.T
	server *httptest.Server
	clock  *sourcetest.Clock

	mu        sync.Mutex
	lines     []Line
	most      int  // a larger limit is refused
	inclusive bool // the end of a window belongs to it
	down      bool
	notReady  bool
	queries   int
	requests  []string // "path authorization x-test"
}

func newDatabase(t *testing.T) *database {
	d := &database{t: t, clock: sourcetest.NewClock(), most: 5000}
	d.server = httptest.NewServer(http.HandlerFunc(d.serve))
	t.Cleanup(d.server.Close)
	return d
}

// base is the time of the first lines: the clock's.
var base = sourcetest.NewClock().Now()

// add makes lines turn up that have a time behind base.
func (d *database) add(after time.Duration, texts ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, text := range texts {
		d.lines = append(d.lines, Line{At: base.Add(after).UnixNano(), Stream: "s", Text: []byte(text)})
	}
	slices.SortStableFunc(d.lines, func(a, b Line) int { return compare(a.At, b.At) })
}

func (d *database) set(how func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	how()
}

func (d *database) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries
}

func (d *database) serve(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests = append(d.requests, fmt.Sprint(r.URL.Path, " ", r.Header.Get("Authorization"), " ", r.Header.Get("X-Test")))
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	switch {
	case d.down:
		http.Error(w, "try later", http.StatusServiceUnavailable)
		return
	case r.URL.Path == "/db/ready":
		if d.notReady {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
		return
	case limit > d.most:
		http.Error(w, "limit too high", http.StatusBadRequest)
		return
	}
	d.queries++
	from, _ := strconv.ParseInt(q.Get("from"), 10, 64)
	to, _ := strconv.ParseInt(q.Get("to"), 10, 64)
	var out []Line
	for _, l := range d.lines {
		if l.At >= from && (l.At < to || d.inclusive && l.At == to) && len(out) < limit {
			out = append(out, l)
		}
	}
	_ = json.NewEncoder(w).Encode(out) // whoever asked may be gone
}

// jsonBackend speaks the fake's language.
type jsonBackend struct{}

func (jsonBackend) Ready() string       { return "/ready" }
func (jsonBackend) Header() http.Header { return http.Header{"X-Test": {"1"}} }

func (jsonBackend) Request(_ string, from, to int64, limit int) (string, url.Values) {
	return "/query", url.Values{"from": {strconv.FormatInt(from, 10)}, "to": {strconv.FormatInt(to, 10)}, "limit": {strconv.Itoa(limit)}}
}

func (jsonBackend) Decode(answer []byte) (lines []Line, err error) {
	err = json.Unmarshal(answer, &lines)
	return lines, err
}

func (d *database) config() Config {
	c := Default()
	c.URL, c.Prefix, c.Query, c.Since = d.server.URL, "db/", "all", base.Add(-time.Hour).Format(time.RFC3339)
	return c
}

// read runs a source on the fake, with its journal in dir.
func (d *database) read(dir string, from sources.Positions, edit func(*Config)) (*sourcetest.Run, *Source) {
	d.t.Helper()
	c := d.config()
	if edit != nil {
		edit(&c)
	}
	if err := c.Validate("all"); err != nil {
		d.t.Fatal(err)
	}
	env, log := sourcetest.Env(d.clock, dir)
	s, err := New("logs", "test", c, jsonBackend{}, env)
	if err != nil {
		d.t.Fatal(err)
	}
	return sourcetest.Start(d.t, s, log, from), s
}
