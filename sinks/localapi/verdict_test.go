package localapi

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/pipeline/allowlist"
	"sluice/sinks"
)

func TestVerdictsForReverseProxies(t *testing.T) {
	s := newServer(t, nil, func(c *Config) { c.TrustedProxies = []string{"127.0.0.0/8"} })
	s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.9",
		decisionJSON("ban", "192.0.2.1", "4h"), decisionJSON("ban", "198.51.100.0/24", "4h"), decisionJSON("captcha", "198.51.100.7", "2h"),
		decisionJSON("throttle", "2001:db8::/32", "1h"), decisionJSON("tarpit", "203.0.113.5", "1h"))+"]")
	for _, c := range []struct {
		address, verdict string
		status           int
	}{
		{"192.0.2.1", "ban", 403}, {"::ffff:192.0.2.1", "ban", 403}, {"192.0.2.2", "allow", 200}, {"198.51.100.1", "ban", 403},
		{"198.51.100.7", "captcha", 401}, {"2001:db8::5", "throttle", 429}, {"2001:db9::5", "allow", 200}, {"203.0.113.5", "ban", 403},
	} {
		for _, header := range []string{"X-Real-IP", "X-Forwarded-For"} {
			req := s.request(nobody, "GET", "/v1/verdict", "")
			req.Header.Set(header, c.address)
			res, err := s.http.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != c.status || res.Header.Get("X-Sluice-Verdict") != c.verdict {
				t.Errorf("%s (%s) is answered %d %s, want %d %s", c.address, header, res.StatusCode, res.Header.Get("X-Sluice-Verdict"), c.status, c.verdict)
			}
		}
	}
	s.want(403, nobody, "GET", "/v1/verdict?ip=192.0.2.1", "")
	s.want(400, nobody, "GET", "/v1/verdict?ip=nowhere", "", "names no address that can be trusted")
	s.want(200, nobody, "GET", "/health", "", "up")

	closed := newServer(t, nil, func(c *Config) { c.Verdict.Key, c.Verdict.AddressHeader = "a key of its own", "X-Client" })
	closed.want(403, nobody, "GET", "/v1/verdict", "")
	closed.want(400, bouncer, "GET", "/v1/verdict", "", "X-Client")
}

// verdictOf sends a request as a proxy makes it. A header that is there twice
// is two lines, as some proxies write them.
func (s *server) verdictOf(method, path, body string, header http.Header) (*http.Response, string) {
	s.t.Helper()
	req := s.request(nobody, method, path, body)
	for name, values := range header {
		req.Header[name] = values
	}
	client := *s.http.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(text)
}

// TestProxiesAskInTheirOwnWays sends what Traefik, Caddy, Envoy, HAProxy and
// nginx are documented to send, from clients that try to pass for another.
func TestProxiesAskInTheirOwnWays(t *testing.T) {
	s := newServer(t, nil, func(c *Config) { c.TrustedProxies = []string{"127.0.0.0/8", "10.0.0.0/8"} })
	s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.1", decisionJSON("ban", "192.0.2.1", "4h"))+"]")
	traefik := func(address string) http.Header {
		return http.Header{"X-Forwarded-For": {address}, "X-Forwarded-Uri": {"/shop?ip=198.51.100.1"}, "X-Forwarded-Method": {"POST"},
			"X-Forwarded-Host": {"shop.example"}, "X-Forwarded-Proto": {"https"}, "Authorization": {"Bearer of the shop"}}
	}
	with := func(h http.Header, name, value string) http.Header { h.Set(name, value); return h }
	for name, c := range map[string]struct {
		method, path, body string
		header             http.Header
		status             int
	}{
		"Traefik, of somebody":                     {"GET", "/v1/verdict", "", traefik("198.51.100.1"), 200},
		"Traefik, of a banned":                     {"GET", "/v1/verdict", "", traefik("192.0.2.1"), 403},
		"Traefik, of a banned that sends gzip":     {"GET", "/v1/verdict", "", with(traefik("192.0.2.1"), "Content-Encoding", "gzip"), 403},
		"Traefik, of somebody that sends gzip":     {"GET", "/v1/verdict", "", with(traefik("198.51.100.1"), "Content-Encoding", "gzip"), 200},
		"Traefik behind another proxy":             {"GET", "/v1/verdict", "", traefik("192.0.2.1, 10.1.2.3"), 403},
		"Caddy, of a banned":                       {"GET", "/v1/verdict", "", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Method": {"DELETE"}, "X-Forwarded-Uri": {"/x"}}, 403},
		"Caddy, of a banned that names another":    {"GET", "/v1/verdict?ip=198.51.100.1", "", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Uri": {"/x?ip=198.51.100.1"}}, 400},
		"Envoy, of somebody":                       {"POST", "/v1/verdict/shop/cart?x=1", "", http.Header{"X-Forwarded-For": {"198.51.100.1"}}, 200},
		"Envoy, of a banned":                       {"POST", "/v1/verdict/shop/cart?x=1", "", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, 403},
		"Envoy, of a banned with a body":           {"PUT", "/v1/verdict/upload", "a part of the body", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, 403},
		"Envoy, of the root":                       {"GET", "/v1/verdict/", "", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, 403},
		"Envoy, of a banned that names another":    {"GET", "/v1/verdict/?ip=198.51.100.1", "", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, 403},
		"Envoy, of a path that is not clean":       {"OPTIONS", "/v1/verdict//a/../b//", "", http.Header{"X-Forwarded-For": {"198.51.100.1"}}, 200},
		"Envoy, of a path that would leave":        {"GET", "/v1/verdict/../decisions", "", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, 403},
		"Envoy, of a method of its own":            {"PROPFIND", "/v1/verdict/%2e%2e/%00", "", http.Header{"X-Forwarded-For": {"198.51.100.1"}}, 200},
		"HAProxy, whose header is a second line":   {"GET", "/v1/verdict", "", http.Header{"X-Forwarded-For": {"198.51.100.1", "192.0.2.1"}}, 403},
		"a proxy that adds the port":               {"GET", "/v1/verdict", "", http.Header{"X-Forwarded-For": {"192.0.2.1:4242"}}, 403},
		"a proxy that adds brackets":               {"GET", "/v1/verdict", "", http.Header{"X-Forwarded-For": {"[::ffff:192.0.2.1]:4242"}}, 403},
		"a banned that names another first":        {"GET", "/v1/verdict", "", http.Header{"X-Forwarded-For": {"198.51.100.1, 192.0.2.1"}}, 403},
		"somebody that names a banned first":       {"GET", "/v1/verdict", "", http.Header{"X-Forwarded-For": {"192.0.2.1, 198.51.100.1"}}, 200},
		"a banned with an X-Real-IP of his own":    {"GET", "/v1/verdict", "", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Real-Ip": {"198.51.100.1"}}, 403},
		"a banned whose X-Real-IP is his only one": {"GET", "/v1/verdict", "", http.Header{"X-Real-Ip": {"192.0.2.1"}}, 403},
		"nginx, of a banned":                       {"GET", "/v1/verdict?ip=192.0.2.1", "", http.Header{"X-Forwarded-For": {"198.51.100.1"}}, 403},
		"nginx, of nobody":                         {"GET", "/v1/verdict?ip=", "", nil, 400},
		"something that only begins like it":       {"GET", "/v1/verdicts", "", http.Header{"X-Forwarded-For": {"198.51.100.1"}}, 404},
	} {
		if res, text := s.verdictOf(c.method, c.path, c.body, c.header); res.StatusCode != c.status {
			t.Errorf("%s is answered %d, want %d: %s", name, res.StatusCode, c.status, text)
		}
	}
	distrusts := newServer(t, nil, nil)
	distrusts.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.1", decisionJSON("ban", "192.0.2.1", "4h"))+"]")
	if res, _ := distrusts.verdictOf("GET", "/v1/verdict", "", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Real-Ip": {"192.0.2.1"}}); res.StatusCode != 200 {
		t.Errorf("headers of who is no trusted proxy are believed: %d", res.StatusCode)
	}
}

// TestTheSoftestRemedyApplies lays decisions over each other.
func TestTheSoftestRemedyApplies(t *testing.T) {
	s := newServer(t, nil, func(c *Config) { c.Verdict.Explain = true })
	s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.9",
		decisionJSON("ban", "192.0.2.0/24", "4h"), decisionJSON("ban", "192.0.2.1", "4h"), decisionJSON("captcha", "192.0.2.1", "3h"), decisionJSON("throttle", "192.0.2.1", "2h"),
		decisionJSON("captcha", "192.0.2.2", "1h"), decisionJSON("tarpit", "192.0.2.3", "1h"), decisionJSON("allow", "192.0.2.4", "1h"),
		decisionJSON("throttle", "192.0.0.0/16", "90s"))+"]")
	simulated := strings.Replace(alertJSON("a/b", "198.51.100.1", decisionJSON("ban", "198.51.100.1", "4h")), `"simulated":false`, `"simulated":true`, 1)
	s.want(201, machine, "POST", "/v1/alerts", "["+simulated+"]")
	for _, c := range []struct{ after, address, verdict, retry, until string }{
		{"0s", "192.0.2.1", "throttle", "7200", "2026-03-01T14:00:00Z"},
		{"0s", "192.0.2.4", "allow", "", "2026-03-01T13:00:00Z"},
		{"90s", "192.0.2.1", "throttle", "7110", "2026-03-01T14:00:00Z"},
		{"90s", "192.0.2.2", "captcha", "3510", "2026-03-01T13:00:00Z"},
		{"90s", "192.0.2.3", "ban", "14310", "2026-03-01T16:00:00Z"},
		{"90s", "192.0.2.5", "ban", "14310", "2026-03-01T16:00:00Z"},
		{"2h", "192.0.2.1", "captcha", "3600", "2026-03-01T15:00:00Z"},
		{"2h", "192.0.2.2", "ban", "7200", "2026-03-01T16:00:00Z"},
		{"3h", "192.0.2.1", "ban", "3600", "2026-03-01T16:00:00Z"},
		{"4h", "192.0.2.1", "allow", "", ""},
		{"0s", "198.51.100.1", "allow", "", ""},
	} {
		after, err := time.ParseDuration(c.after)
		if err != nil {
			t.Fatal(err)
		}
		s.now = begin.Add(after)
		res, text := s.verdictOf("GET", "/v1/verdict?ip="+c.address, "", nil)
		var a verdictAnswer
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatal(err, text)
		}
		until := ""
		if a.Until != nil {
			until = a.Until.Format(time.RFC3339)
		}
		if h := res.Header; a.Verdict != c.verdict || h.Get("X-Sluice-Verdict") != c.verdict || h.Get("Retry-After") != c.retry || until != c.until || h.Get("X-Sluice-Until") != c.until {
			t.Errorf("after %s %s is answered %v\n%s, want %+v", c.after, c.address, h, text, c)
		}
	}
}

// TestAllowListsComeFirst has an allow-list name an address in a banned range:
// the ban is withdrawn as a whole, as in CrowdSec, since bouncers know no
// exceptions. A list that holds already, and whose withdrawal is on its way,
// lets the address pass and no other.
func TestAllowListsComeFirst(t *testing.T) {
	set, err := allowlist.New([]allowlist.List{{Name: "office", Items: []allowlist.Item{{Value: "192.0.2.7", Until: begin.Add(time.Minute)}}}})
	if err != nil {
		t.Fatal(err)
	}
	var holds atomic.Pointer[allowlist.Set]
	s := newServer(t, nil, nil, func(env *sinks.Env) { env.Allowlists = holds.Load })
	post := func() {
		s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.9", decisionJSON("ban", "192.0.2.0/24", "4h"))+"]")
	}
	post()
	s.want(403, nobody, "GET", "/v1/verdict?ip=192.0.2.7", "", `"verdict":"ban"`, "denied", "!a/b", "!until")
	holds.Store(set)
	s.want(200, nobody, "GET", "/v1/verdict?ip=192.0.2.7", "", `{"verdict":"allow"}`)
	s.want(403, nobody, "GET", "/v1/verdict?ip=192.0.2.8", "")
	s.AllowlistsChanged()
	s.want(200, nobody, "GET", "/v1/verdict?ip=192.0.2.8", "")
	post()
	s.want(200, nobody, "GET", "/v1/verdict?ip=192.0.2.8", "")
	s.now = s.now.Add(time.Minute)
	post()
	s.want(403, nobody, "GET", "/v1/verdict?ip=192.0.2.7", "")
}

// TestABodyThatNeverComesIsNotWaitedFor asks as a proxy does that passes the
// length of the client's body on, and not the body.
func TestABodyThatNeverComesIsNotWaitedFor(t *testing.T) {
	s := newServer(t, nil, nil)
	c, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /v1/verdict/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || !res.Close {
		t.Errorf("it is answered %s, closing: %v", res.Status, res.Close)
	}
}
