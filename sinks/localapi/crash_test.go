package localapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// killed is the server that a start finds after the one before was killed.
func (s *server) killed() *server {
	s.t.Helper()
	c := s.config
	c.Dir = s.t.TempDir()
	if err := os.CopyFS(c.Dir, os.DirFS(s.dir)); err != nil {
		s.t.Fatal(err)
	}
	again := &server{t: s.t, now: s.now, key: s.key, token: s.token, specs: s.specs}
	var err error
	if again.Sink, err = New("api", c, s.env); err == nil {
		err = again.Open()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { again.Sink.Close() })
	again.http = httptest.NewServer(again.Handler())
	s.t.Cleanup(again.http.Close)
	return again
}

// TestACrashBehindABouncersFirstAnswer: that it may have got it is all that is known of it.
func TestACrashBehindABouncersFirstAnswer(t *testing.T) {
	for name, path := range map[string]string{
		"and it goes on":              "/v1/decisions/stream",
		"and it begins anew, as well": "/v1/decisions/stream?startup=true",
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil, nil)
			push := func(s *server, value string) {
				s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", value, decisionJSON("ban", value, "4h"))+"]")
			}
			push(s, "192.0.2.1")
			push(s, "192.0.2.2")
			s.want(200, machine, "DELETE", "/v1/decisions/1", "")
			s.want(200, bouncer, "GET", "/v1/decisions/stream?startup=true", "", `"deleted":[]`, `"192.0.2.2"`, `!"192.0.2.1"`)
			s = s.killed()
			s.want(200, machine, "DELETE", "/v1/decisions/2", "")
			push(s, "192.0.2.3")
			s.want(200, bouncer, "GET", path, "", `"deleted":[{"id":2,`, `"new":[{"id":5,`, `!"192.0.2.1"`)
			s = s.killed()
			s.want(200, machine, "DELETE", "/v1/decisions/5", "")
			s.want(200, bouncer, "GET", "/v1/decisions/stream", "", `"192.0.2.3"`, `"new":[]`)
			s.want(200, bouncer, "GET", "/v1/decisions/stream", "", `{"deleted":[],"new":[]}`)
		})
	}
}

// TestWhatABouncerDidNotWaitForIsToldAgain has a bouncer go away before it has its answer,
// a first one, that of all there is, or that of what has changed: it may have got it or not.
func TestWhatABouncerDidNotWaitForIsToldAgain(t *testing.T) {
	s := newServer(t, nil, nil)
	goes := func(path string) {
		t.Helper()
		ctx, gone := context.WithCancel(t.Context())
		gone()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		r.Header.Set("X-Api-Key", s.key)
		w := httptest.NewRecorder()
		if s.Handler().ServeHTTP(w, r); w.Code != 200 {
			t.Fatal(w.Code, w.Body)
		}
	}
	const pull = "/v1/decisions/stream"
	ban := func(value string) {
		t.Helper()
		s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", value, decisionJSON("ban", value, "4h"))+"]")
	}
	ban("192.0.2.1")
	goes(pull)
	s.want(200, machine, "DELETE", "/v1/decisions?ip=192.0.2.1", "")
	ban("192.0.2.2")
	s.want(200, bouncer, "GET", pull, "", `"deleted":[{"id":1,`, `"value":"192.0.2.2"`)
	for _, path := range []string{pull, pull + "?startup=true"} {
		ban("192.0.2.3")
		ban("192.0.2.4")
		goes(path)
		goes(path)
		s.want(200, machine, "DELETE", "/v1/decisions?ip=192.0.2.3", "")
		removed, added, _ := strings.Cut(s.want(200, bouncer, "GET", pull, ""), `"new":`)
		if !strings.Contains(removed, "192.0.2.3") || strings.Contains(added, "192.0.2.3") || !strings.Contains(added, "192.0.2.4") || strings.Contains(added, "192.0.2.2") {
			t.Errorf("%s: it is told to remove %s and to add %s", path, removed, added)
		}
		s.want(200, bouncer, "GET", pull, "", `{"deleted":[],"new":[]}`)
		s.want(200, machine, "DELETE", "/v1/decisions?ip=192.0.2.4", "")
		s.want(200, bouncer, "GET", pull, "", `"new":[]`)
	}
}
