package localapi

import (
	"crypto/subtle"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sluice/pipeline/decisions"
)

// verdictPath is where reverse proxies ask.
const verdictPath = "/v1/verdict"

// Remedies, the softest first. A decision of any other type is taken for a
// ban, which none is harder than.
const (
	remedyAllow = iota
	remedyThrottle
	remedyCaptcha
	remedyBan
	remedyNone // nothing is decided
)

func remedyOf(typ string) int {
	switch typ {
	case "allow":
		return remedyAllow
	case "throttle":
		return remedyThrottle
	case "captcha":
		return remedyCaptcha
	}
	return remedyBan
}

// remedies are the names of remedies, and what is said to whoever meets them.
var remedies = [...]struct{ name, message string }{
	remedyAllow:    {"allow", ""},
	remedyThrottle: {"throttle", "too many requests; come back later"},
	remedyCaptcha:  {"captcha", "show first that you are human"},
	remedyBan:      {"ban", "access is denied"},
	remedyNone:     {"allow", ""},
}

// verdictAnswer is the body of a verdict. Traefik and Envoy show it to the client.
type verdictAnswer struct {
	Verdict    string     `json:"verdict"`
	Message    string     `json:"message,omitempty"`
	RetryAfter int64      `json:"retry_after,omitempty"`
	Type       string     `json:"type,omitempty"`
	Scenario   string     `json:"scenario,omitempty"`
	Until      *time.Time `json:"until,omitempty"`
}

// asksVerdict tells whether a request is for a verdict. Envoy sends the
// client's own path behind the endpoint's, with the client's method.
func asksVerdict(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, verdictPath)
	return ok && (rest == "" || rest[0] == '/')
}

// verdict answers a reverse proxy whether a client may pass: by its status, by
// headers and by a body in JSON.
func (s *Sink) verdict(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// Some proxies tell of the client's body and do not send it: waiting for
		// it would last, and what comes instead is the next request.
		w.Header().Set("Connection", "close")
	}
	if !s.admitProxy(w, r) {
		return
	}
	a, ok := s.addressIn(r)
	if !ok {
		fail(w, http.StatusBadRequest, "the request names no address that can be trusted; send it in "+addressHeaders(s.config.Verdict.AddressHeader)+
			"; and end the endpoint with a question mark where the proxy would add the client's own query")
		return
	}
	now := s.store.Now()
	remedy, why := s.remedyFor(a, now)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Sluice-Verdict", remedies[remedy].name)
	status, answer := http.StatusOK, verdictAnswer{Verdict: remedies[remedy].name, Message: remedies[remedy].message}
	switch remedy {
	case remedyThrottle:
		status = s.config.Verdict.ThrottleStatus
	case remedyCaptcha:
		status = s.config.Verdict.CaptchaStatus
	case remedyBan:
		status = s.config.Verdict.BanStatus
	}
	if remedy == remedyThrottle || remedy == remedyCaptcha || remedy == remedyBan {
		answer.RetryAfter = int64(math.Ceil(why.Until.Sub(now).Seconds()))
		h.Set("Retry-After", strconv.FormatInt(answer.RetryAfter, 10))
	}
	if s.config.Verdict.Explain && remedy != remedyNone {
		until := why.Until.UTC()
		answer.Type, answer.Scenario, answer.Until = why.Type, why.Scenario, &until
		h.Set("X-Sluice-Type", why.Type)
		h.Set("X-Sluice-Scenario", why.Scenario)
		h.Set("X-Sluice-Until", until.Format(time.RFC3339))
	}
	reply(w, status, answer)
}

// remedyFor returns what applies to an address. On one that an allow-list
// names nothing does, though a range around it be banned. Of several decisions
// on the address and on ranges around it the softest applies: a captcha that
// somebody chose for an address is not overruled by the ban of its network. Of
// equal ones it is the one that lasts longest.
func (s *Sink) remedyFor(a netip.Addr, now time.Time) (remedy int, why decisions.Decision) {
	remedy = remedyNone
	s.store.Index().Covering(a, now, func(d *decisions.Decision) bool {
		if n := remedyOf(d.Type); !d.Simulated && (n < remedy || n == remedy && d.Until.After(why.Until)) {
			remedy, why = n, *d
		}
		return true
	})
	if remedy == remedyNone {
		return remedy, why
	}
	if _, ok := s.store.Allows(netip.PrefixFrom(a, a.BitLen())); ok {
		return remedyNone, decisions.Decision{}
	}
	return remedy, why
}

func addressHeaders(own string) string {
	if own != "" {
		return own
	}
	return "X-Forwarded-For or X-Real-IP, from a trusted proxy, or as ?ip="
}

// addressIn returns the address that a reverse proxy asks about. A query
// behind a longer path is the client's own, and is not believed. Nor is it
// where the proxy tells the client's URI apart: Caddy adds the client's query to
// the endpoint's own, and then nobody knows whose ip is.
func (s *Sink) addressIn(r *http.Request) (netip.Addr, bool) {
	if name := s.config.Verdict.AddressHeader; name != "" {
		a, err := netip.ParseAddr(strings.TrimSpace(r.Header.Get(name)))
		return a.Unmap().WithZone(""), err == nil
	}
	if r.URL.Path == verdictPath && r.URL.RawQuery != "" {
		if q := r.URL.Query(); q.Has("ip") {
			a, err := netip.ParseAddr(q.Get("ip"))
			return a.Unmap().WithZone(""), err == nil && r.Header.Get("X-Forwarded-Uri") == ""
		}
	}
	return s.client(r), true
}

// admitProxy admits reverse proxies: anyone, unless a key is asked for.
func (s *Sink) admitProxy(w http.ResponseWriter, r *http.Request) bool {
	key := s.config.Verdict.Key.Reveal()
	if key == "" && !s.config.Verdict.RequireKey {
		return true
	}
	if !s.guard.admits(s.client(r)) { // before the key is looked at: who guesses must not learn that he is right
		slowDown(w)
		return false
	}
	if key != "" && subtle.ConstantTimeCompare([]byte(key), []byte(r.Header.Get("X-Api-Key"))) == 1 {
		return true
	}
	_, ok := s.admitBouncer(w, r)
	return ok
}
