package httpd

import (
	"sync/atomic"
)

// reason says why a connection or a request was refused.
type reason int

const (
	dropPeer reason = iota
	dropTooMany
	dropTooManyOne
	dropHandshake
	dropHead
	dropUnknown
	dropKey
	dropNotPermitted
	dropType
	dropTooLarge
	dropMalformed
	dropEnded
	dropSlow
	dropLater
	dropRepeat
	dropMismatch
	reasons
)

// String gives the phrase of sources.Stats.Drops.
func (r reason) String() string {
	return [...]string{
		dropPeer: "peer not allowed", dropTooMany: "too many connections", dropTooManyOne: "too many connections of one peer",
		dropHandshake: "TLS handshake failed", dropHead: "no sound request head", dropUnknown: "unknown path or method",
		dropKey: "wrong or missing key", dropNotPermitted: "client not permitted", dropType: "unsupported content type or encoding",
		dropTooLarge: "request too large", dropMalformed: "malformed body", dropEnded: "request ended early",
		dropSlow: "request took too long", dropLater: "request told to come later", dropRepeat: "request sent again",
		dropMismatch: "key used for two requests",
	}[r]
}

// counters are what Stats shows beside the intake's.
type counters struct {
	skipped atomic.Uint64
	drops   [reasons]atomic.Uint64
}

func (c *counters) drop(r reason) { c.drops[r].Add(1) }

// named returns the drops by their phrases; nil when there are none.
func (c *counters) named() map[string]uint64 {
	var out map[string]uint64
	for r := range reasons {
		if n := c.drops[r].Load(); n > 0 {
			if out == nil {
				out = make(map[string]uint64)
			}
			out[r.String()] = n
		}
	}
	return out
}
