package syslog

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// reason says why something was refused or thrown away.
type reason int

const (
	dropPeer       reason = iota // peer not allowed
	dropTooMany                  // more connections than max_connections
	dropTooManyOne               // more of one peer than max_connections_per_peer
	dropTooLong
	dropCount
	dropSlow
	dropInside
	dropHandshake
	dropMalformed
	dropMemory
	dropKernel
	reasons
)

// String gives the phrase of sources.Stats.Drops.
func (r reason) String() string {
	return [...]string{
		dropPeer: "peer not allowed", dropTooMany: "too many connections", dropTooManyOne: "too many connections of one peer",
		dropTooLong: "message too long", dropCount: "wrong octet count", dropSlow: "message took too long",
		dropInside: "connection ended inside a message", dropHandshake: "TLS handshake failed",
		dropMalformed: "not a syslog message", dropMemory: "too much unfinished", dropKernel: "kernel buffer full",
	}[r]
}

// counters are what Stats shows beside the intake's.
type counters struct {
	skipped, cut atomic.Uint64
	drops        [reasons]atomic.Uint64
}

func (c *counters) drop(r reason) { c.drops[r].Add(1) }

// limits bounds connections, in all and by peer, and the bytes of messages
// that are not complete. All connections share it.
type limits struct {
	total, each int // 0 for no bound
	unfinished  int64

	mu    sync.Mutex
	open  int
	peers map[netip.Prefix]int

	held atomic.Int64 // bytes of unfinished messages
}

func newLimits(c *Config) *limits {
	return &limits{
		total: c.MaxConnections, each: c.MaxConnectionsPerPeer, unfinished: int64(c.MaxUnfinished),
		peers: make(map[netip.Prefix]int),
	}
}

// peerOf is what counts as one peer: an IPv4 address, or the /64 of an IPv6
// one, since whoever has one address of it has them all.
func peerOf(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{} // only of an address that is none
	}
	return p
}

// enter counts a connection in; ok is false, with the reason, where there are enough.
func (l *limits) enter(a netip.Addr) (why reason, ok bool) {
	p := peerOf(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.total > 0 && l.open >= l.total:
		return dropTooMany, false
	case l.each > 0 && l.peers[p] >= l.each:
		return dropTooManyOne, false
	}
	l.open++
	l.peers[p]++
	return 0, true
}

// leave counts it out.
func (l *limits) leave(a netip.Addr) {
	p := peerOf(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.peers[p]--; l.peers[p] == 0 {
		delete(l.peers, p)
	}
}

// connections is how many there are.
func (l *limits) connections() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.open)
}

// hold counts bytes that a connection keeps; false when that would be too
// many, and then they are not counted.
func (l *limits) hold(n int) bool {
	if l.held.Add(int64(n)) > l.unfinished && n > 0 {
		l.held.Add(int64(-n))
		return false
	}
	return true
}

// allowed tells whether a peer may send; a local socket's always may.
func allowed(prefixes []netip.Prefix, a netip.Addr) bool {
	if len(prefixes) == 0 || !a.IsValid() {
		return true
	}
	a = a.WithZone("")
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
