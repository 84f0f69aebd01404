package localapi

import (
	"testing"
	"time"

	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
)

// TestWhatIsRenewedIsToldAgainWhenTheFirstEndIsOver renews a list's decision
// before it ends. A firewall that keeps the first end for a value, as nftables
// does, loses it then, and nobody else: it is told of it again, once.
func TestWhatIsRenewedIsToldAgainWhenTheFirstEndIsOver(t *testing.T) {
	s := newServer(t, nil, nil)
	listed := func(length time.Duration) {
		t.Helper()
		_, err := s.store.Import("agent", lapi.Alert{}, func(add func(*decisions.Decision) error) error {
			return add(&decisions.Decision{Origin: "lists:bad", Type: "ban", Scope: "Ip", Value: "192.0.2.1", Until: s.now.Add(length)})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	later := func(d time.Duration) {
		t.Helper()
		s.now = s.now.Add(d)
		if _, err := s.store.Expire(); err != nil {
			t.Fatal(err)
		}
	}
	const pull, none = "/v1/decisions/stream", `{"deleted":[],"new":[]}`
	listed(2 * time.Hour)
	s.want(200, bouncer, "GET", pull+"?startup=true", "", `"duration":"2h0m0s"`)
	later(time.Hour)
	listed(4 * time.Hour)
	s.want(200, bouncer, "GET", pull, "", `{"deleted":[]`, `"duration":"4h0m0s"`)
	later(59 * time.Minute)
	s.want(200, bouncer, "GET", pull, "", none)
	later(time.Minute)
	s.want(200, bouncer, "GET", pull+"?scopes=range", "", none)
	later(time.Second)
	s.want(200, bouncer, "GET", pull, "", none) // it asked already, for others
	later(3 * time.Hour)
	s.want(200, bouncer, "GET", pull, "", `"value":"192.0.2.1"`, `"new":[]`)

	listed(2 * time.Hour)
	s.want(200, bouncer, "GET", pull, "", `"duration":"2h0m0s"`)
	listed(4 * time.Hour)
	s.want(200, bouncer, "GET", pull, "", `"duration":"4h0m0s"`)
	later(2 * time.Hour)
	s.want(200, bouncer, "GET", pull, "", `{"deleted":[]`, `"duration":"2h0m0s"`, `"value":"192.0.2.1"`)
	s.want(200, bouncer, "GET", pull, "", none)
}
