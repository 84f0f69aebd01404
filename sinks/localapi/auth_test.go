package localapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks/localapi/store"
)

func theOffice(now time.Time) store.AllowlistChange {
	return store.AllowlistChange{Description: "our own", Add: []store.Allowed{
		{Value: "192.0.2.0/24", Comment: "the office"}, {Value: "2001:db8::1", Until: now.Add(time.Minute)},
	}}
}

func sign(t *testing.T, secret []byte, method jwt.SigningMethod, c jwt.Claims) string {
	t.Helper()
	var key any = secret
	if method == jwt.SigningMethodNone {
		key = jwt.UnsafeAllowNoneSignatureType
	}
	text, err := jwt.NewWithClaims(method, c).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestNobodyComesInWithoutCredentials tries every door of machines with every
// token that is none, and every door of bouncers with every key that is none.
func TestNobodyComesInWithoutCredentials(t *testing.T) {
	s := newServer(t, nil, nil)
	good := func(change func(*claims)) *claims {
		c := &claims{"agent", jwt.RegisteredClaims{Issuer: tokenIssuer, IssuedAt: jwt.NewNumericDate(s.now), ExpiresAt: jwt.NewNumericDate(s.now.Add(time.Hour))}}
		if change != nil {
			change(c)
		}
		return c
	}
	if err := s.store.AddMachine("waiting", "secret", false); err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(s.token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	mac := hmac.New(sha256.New, nil)
	fmt.Fprintf(mac, "%s.%s", head, payload)
	tokens := map[string]string{
		"none":                   "",
		"no token":               "Bearer ",
		"another scheme":         "Basic " + s.token,
		"another key":            "Bearer " + sign(t, []byte("another key of 32 characters....."), jwt.SigningMethodHS256, good(nil)),
		"an empty key":           "Bearer " + head + "." + payload + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"alg none":               "Bearer " + sign(t, nil, jwt.SigningMethodNone, good(nil)),
		"another alg":            "Bearer " + sign(t, s.secret, jwt.SigningMethodHS512, good(nil)),
		"expired":                "Bearer " + sign(t, s.secret, jwt.SigningMethodHS256, good(func(c *claims) { c.ExpiresAt = jwt.NewNumericDate(s.now.Add(-time.Second)) })),
		"without an end":         "Bearer " + sign(t, s.secret, jwt.SigningMethodHS256, good(func(c *claims) { c.ExpiresAt = nil })),
		"before the machine was": "Bearer " + sign(t, s.secret, jwt.SigningMethodHS256, good(func(c *claims) { c.IssuedAt = jwt.NewNumericDate(s.now.Add(-time.Hour)) })),
		"another issuer":         "Bearer " + sign(t, s.secret, jwt.SigningMethodHS256, good(func(c *claims) { c.Issuer = "lapi" })),
		"another machine":        "Bearer " + sign(t, s.secret, jwt.SigningMethodHS256, good(func(c *claims) { c.Machine = "nobody" })),
		"one that waits":         "Bearer " + sign(t, s.secret, jwt.SigningMethodHS256, good(func(c *claims) { c.Machine = "waiting" })),
		"a bouncer's key":        "Bearer " + s.key,
	}
	doors := []string{
		"GET /v1/heartbeat", "GET /v1/refresh_token", "DELETE /v1/watchers/self", "DELETE /v1/decisions", "DELETE /v1/decisions/1", "POST /v1/alerts", "GET /v1/alerts",
		"DELETE /v1/alerts", "GET /v1/alerts/1", "DELETE /v1/alerts/1", "GET /v1/allowlists", "GET /v1/allowlists/x", "GET /v1/allowlists/check/192.0.2.1", "POST /v1/allowlists/check",
	}
	for name, token := range tokens {
		for _, door := range doors {
			method, path, _ := strings.Cut(door, " ")
			s.guard = newGuard(s.env.Now)
			req := s.request(nobody, method, path, "")
			req.Header.Set("Authorization", token)
			s.refused(name, door, req, http.StatusUnauthorized)
		}
	}
	revoked, err := s.store.AddBouncer("old", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.DeleteBouncer("old"); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{"none": "", "a wrong one": store.NewKey(), "a deleted one": revoked, "part of one": s.key[:len(s.key)-1], "its hash": s.store.Bouncers()[0].KeyHash} {
		for _, door := range []string{"GET /v1/decisions", "GET /v1/decisions/stream", "POST /v1/usage-metrics"} {
			method, path, _ := strings.Cut(door, " ")
			s.guard = newGuard(s.env.Now)
			req := s.request(nobody, method, path, "")
			req.Header.Set("X-Api-Key", key)
			s.refused(name, door, req, http.StatusForbidden)
		}
	}
}

// refused makes a request that must be refused with a status, and with the
// words for all such: they do not tell what was wrong.
func (s *server) refused(who, door string, req *http.Request, want int) {
	s.t.Helper()
	words := map[int]string{http.StatusUnauthorized: unauthorized, http.StatusForbidden: forbidden, http.StatusTooManyRequests: tooMany}
	res, err := s.http.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var body struct{ Message string }
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil && req.Method != http.MethodHead {
		s.t.Error(err)
	}
	if res.StatusCode != want || req.Method != http.MethodHead && body.Message != words[want] {
		s.t.Errorf("%s with %s is answered %d %q, want %d %q", door, who, res.StatusCode, body.Message, want, words[want])
	}
}

func TestWhoGuessesIsSlowedDown(t *testing.T) {
	s := newServer(t, nil, nil)
	for i := range 30 {
		want := http.StatusForbidden
		if i >= guessBurst {
			want = http.StatusTooManyRequests
		}
		req := s.request(nobody, "GET", "/v1/decisions", "")
		req.Header.Set("X-Api-Key", store.NewKey())
		s.refused("a guess", "GET /v1/decisions", req, want)
	}
	if got, _ := s.ask(machine, "GET", "/v1/heartbeat", ""); got != http.StatusTooManyRequests {
		t.Errorf("whoever comes from that address is answered %d", got)
	}
	for _, c := range []struct {
		address string
		admits  bool
	}{{"127.0.0.1", false}, {"127.0.0.2", true}} {
		if got := s.guard.admits(netip.MustParseAddr(c.address)); got != c.admits {
			t.Errorf("%s is admitted: %v", c.address, got)
		}
	}
	for range guessBurst {
		s.guard.fails(netip.MustParseAddr("2001:db8::1"))
	}
	if s.guard.admits(netip.MustParseAddr("2001:db8::ffff")) || !s.guard.admits(netip.MustParseAddr("2001:db8:0:1::1")) {
		t.Error("IPv6 clients are not told apart by their /64")
	}
	s.now = s.now.Add(2 * time.Second)
	s.want(200, machine, "GET", "/v1/heartbeat", "")
	s.want(403, nobody, "GET", "/v1/decisions", "")
	s.want(429, machine, "GET", "/v1/heartbeat", "")
}

func TestMachinesWithTheTokenAreValidAtOnce(t *testing.T) {
	token := strings.Repeat("t", 32)
	body := func(name, token string) string {
		return fmt.Sprintf(`{"machine_id":%q,"password":"secret","registration_token":%q}`, name, token)
	}
	for _, c := range []struct {
		ranges []string
		token  string
		want   int
	}{{[]string{"127.0.0.0/8"}, token, 202}, {[]string{"127.0.0.0/8"}, token[1:] + "x", 403}, {[]string{"10.0.0.0/8"}, token, 403}} {
		s := newServer(t, nil, func(cfg *Config) {
			cfg.AutoRegistration.Token, cfg.AutoRegistration.AllowedRanges = component.Secret(token), c.ranges
		})
		s.want(c.want, nobody, "POST", "/v1/watchers", body("m", c.token))
		if c.want == 202 {
			s.want(200, nobody, "POST", "/v1/watchers/login", `{"machine_id":"m","password":"secret"}`)
		}
	}
	s := newServer(t, nil, nil)
	s.want(403, nobody, "POST", "/v1/watchers", `{"machine_id":"m","password":"secret"}`, "sluice machines add")
	s.want(400, nobody, "POST", "/v1/watchers", body("m", ""), "registration_token", "32")
}

// TestARegistrationThatIsOneTooManyIsRefused has as many machines wait as may, and says
// to one more what is to be done. Those that know the token need not wait, and do not count.
func TestARegistrationThatIsOneTooManyIsRefused(t *testing.T) {
	token := strings.Repeat("t", 32)
	s := newServer(t, nil, func(c *Config) {
		c.Registration, c.AutoRegistration.Token, c.AutoRegistration.AllowedRanges = true, component.Secret(token), []string{"127.0.0.0/8"}
	})
	register := func(want int, name, more string, says ...string) {
		t.Helper()
		s.want(want, nobody, "POST", "/v1/watchers", fmt.Sprintf(`{"machine_id":%q,"password":"secret"%s}`, name, more), says...)
	}
	register(201, "first", "")
	for i := range maxWaiting - 2 { // copies, which need no hash of their own
		if err := s.store.ChangeMachine("first", func(m *store.Machine) { m.Name = fmt.Sprint("copy ", i) }); err != nil {
			t.Fatal(err)
		}
	}
	register(201, "last", "")
	for range 2 * guessBurst { // which is no guessing, and keeps nobody else out
		register(403, "late", "", "sluice machines validate", "sluice machines delete")
	}
	register(202, "known", `,"registration_token":"`+token+`"`)
	if err := s.store.ChangeMachine("last", func(m *store.Machine) { m.Valid = true }); err != nil {
		t.Fatal(err)
	}
	register(201, "late", "")
	register(403, "later", "", "sluice machines validate")
}

// TestThePipelinesAlertsAreServed gives the sink what the pipeline gives it.
func TestThePipelinesAlertsAreServed(t *testing.T) {
	s := newServer(t, nil, nil)
	a := pipeline.Alert{
		UUID: "6f9619ff-8b86-5d01-b42d-00cf4fc964ff", Scenario: "sluice/ssh-bf", StartAt: "2026-03-01T11:59:50Z", StopAt: "2026-03-01T12:00:00Z", Remediation: true,
		Source:    &pipeline.Source{Scope: "Ip", Value: "192.0.2.7", IP: "192.0.2.7"},
		Decisions: []pipeline.Decision{{UUID: "7f9619ff-8b86-5d01-b42d-00cf4fc964ff", Origin: "crowdsec", Type: "ban", Scope: "Ip", Value: "192.0.2.7", Duration: "4h0m0s", Until: "2026-03-01T16:00:00Z", Scenario: "sluice/ssh-bf"}},
	}
	poison := a
	poison.UUID = "00000000-0000-5000-8000-000000000001"
	poison.Decisions = []pipeline.Decision{{Type: "ban", Scope: "Ip", Value: "not an address", Duration: "4h"}}
	for range 2 { // it comes again after a crash
		err := s.Alerts(t.Context(), []pipeline.Alert{a, poison})
		if err == nil || !strings.Contains(err.Error(), "not an address") {
			t.Errorf("error = %v", err)
		}
	}
	s.want(200, machine, "GET", "/v1/alerts", "", a.UUID, `"id":1`, `!"id":2`, "sluice/ssh-bf")
	s.want(200, bouncer, "GET", "/v1/decisions/stream?startup=true", "", "7f9619ff-8b86-5d01-b42d-00cf4fc964ff", `"duration":"4h0m0s"`)
	s.now = s.now.Add(4 * time.Hour)
	s.want(200, bouncer, "GET", "/v1/decisions?ip=192.0.2.7", "", "null")
}
