package localapi

import (
	"net/http/httptest"
	"os"
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
