package localapi

import (
	"crypto/subtle"
	"net/http"
	"strconv"

	"sluice/pipeline/decisions"
)

// The remedies that the endpoint knows, the softest first. Any other is taken
// for a ban, which none is harder than.
const (
	remedyAllow = iota
	remedyThrottle
	remedyCaptcha
	remedyBan
)

func remedyOf(typ string) int {
	switch typ {
	case "throttle":
		return remedyThrottle
	case "captcha":
		return remedyCaptcha
	}
	return remedyBan
}

var remedyNames = [...]string{"allow", "throttle", "captcha", "ban"}

// verdict answers a reverse proxy whether a client may pass: by its status, and
// by headers that say why. Of several decisions on the address or a range
// around it the softest remedy applies: a captcha that somebody chose for an
// address is not overruled by the ban of its network.
func (s *Sink) verdict(w http.ResponseWriter, r *http.Request) {
	if !s.admitProxy(w, r) {
		return
	}
	a, ok := s.addressIn(r)
	if !ok {
		fail(w, http.StatusBadRequest, "the request names no address; send it in "+addressHeaders(s.config.Verdict.AddressHeader))
		return
	}
	now := s.store.Now()
	remedy, why := remedyAllow, decisions.Decision{}
	s.store.Index().Covering(a, now, func(d *decisions.Decision) bool {
		if n := remedyOf(d.Type); !d.Simulated && (remedy == remedyAllow || n < remedy) {
			remedy, why = n, *d
		}
		return true
	})
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Sluice-Verdict", remedyNames[remedy])
	status := http.StatusOK
	switch remedy {
	case remedyThrottle:
		status = s.config.Verdict.ThrottleStatus
	case remedyCaptcha:
		status = s.config.Verdict.CaptchaStatus
	case remedyBan:
		status = s.config.Verdict.BanStatus
	}
	if remedy != remedyAllow {
		h.Set("X-Sluice-Scenario", why.Scenario)
		h.Set("X-Sluice-Type", why.Type)
		h.Set("X-Sluice-Until", why.Until.Format(http.TimeFormat))
		h.Set("Retry-After", strconv.Itoa(int(why.Until.Sub(now).Seconds())))
	}
	w.WriteHeader(status)
}

func addressHeaders(own string) string {
	if own != "" {
		return own
	}
	return "X-Forwarded-For or X-Real-IP, from a trusted proxy, or as ?ip="
}

// admitProxy admits reverse proxies: anyone, unless a key is asked for.
func (s *Sink) admitProxy(w http.ResponseWriter, r *http.Request) bool {
	key := s.config.Verdict.Key.Reveal()
	if key == "" && !s.config.Verdict.RequireKey {
		return true
	}
	if key != "" && subtle.ConstantTimeCompare([]byte(key), []byte(r.Header.Get("X-Api-Key"))) == 1 {
		return true
	}
	_, ok := s.admitBouncer(w, r)
	return ok
}
