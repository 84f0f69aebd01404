package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sluice/sources"
)

// limits bounds connections, in all and by peer.
type limits struct {
	total, each int // 0 for no bound

	mu    sync.Mutex
	open  int
	peers map[netip.Prefix]*peer
}

// peer is what one of them has open and holds.
type peer struct {
	limits      *limits
	prefix      netip.Prefix
	connections int          // under the limits' lock
	held        atomic.Int64 // of the budget
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
func (l *limits) enter(prefix netip.Prefix) (p *peer, why reason, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p = l.peers[prefix]
	switch {
	case l.total > 0 && l.open >= l.total:
		return nil, dropTooMany, false
	case l.each > 0 && p != nil && p.connections >= l.each:
		return nil, dropTooManyOne, false
	case p == nil:
		p = &peer{limits: l, prefix: prefix}
		l.peers[prefix] = p
	}
	l.open++
	p.connections++
	return p, 0, true
}

// leave counts a connection out.
func (p *peer) leave() {
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	p.limits.open--
	p.connections--
	p.forget()
}

// forget forgets who has nothing any more; it is called with the limits' lock held.
func (p *peer) forget() {
	if p.connections == 0 && p.held.Load() == 0 && p.limits.peers[p.prefix] == p {
		delete(p.limits.peers, p.prefix)
	}
}

// give gives back what the peer held of the budget.
func (p *peer) give(n int64) {
	if p.held.Add(-n) > 0 {
		return
	}
	p.limits.mu.Lock()
	defer p.limits.mu.Unlock()
	p.forget()
}

func (l *limits) connections() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.open)
}

// listener lets connections in that may come, as many as there may be.
type listener struct {
	net.Listener
	name     string // as it is configured
	log      *slog.Logger
	health   *sources.Health
	retry    sources.Backoff
	limits   *limits
	allow    []netip.Prefix
	counters *counters
	ctx      context.Context // ends with the run
}

// Accept implements net.Listener. Its error is that of a listener that was closed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil, err
		case err != nil: // such as too many open files
			l.health.Failed(l.name, err)
			if l.retry.Wait(l.ctx) != nil {
				return nil, net.ErrClosed
			}
			continue
		}
		l.health.Well(l.name)
		l.retry.Reset()
		if in := l.admit(c); in != nil {
			return in, nil
		}
	}
}

// admit refuses peers that may not send, and connections that are too many.
func (l *listener) admit(c net.Conn) net.Conn {
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
	why := dropPeer
	if allowed(l.allow, from) {
		var p *peer
		var ok bool
		if p, why, ok = l.limits.enter(peerOf(from)); ok {
			return &conn{Conn: c, peer: p, leave: sync.OnceFunc(p.leave)}
		}
	}
	l.counters.drop(why)
	l.log.Debug("a connection is refused", "listen", l.name, "peer", from, "reason", why)
	c.Close()
	return nil
}

// allowed tells whether a peer may send.
func allowed(prefixes []netip.Prefix, a netip.Addr) bool {
	if len(prefixes) == 0 {
		return true
	}
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// conn is a connection that is counted.
type conn struct {
	net.Conn
	peer         *peer
	leave        func()
	spoke, asked atomic.Bool // bytes came over it; a request did
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// own finds the connection below the encryption.
func own(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	in, _ := c.(*conn)
	return in
}

// closed counts connections that ended without a sound request. It is called by
// the server when a connection changes its state.
func (s *Source) closed(c net.Conn, state http.ConnState) {
	in := own(c)
	if in != nil && state == http.StateActive {
		in.spoke.Store(true)
	}
	if in == nil || state != http.StateClosed || in.asked.Load() || s.stopping() {
		return
	}
	if t, ok := c.(*tls.Conn); ok && !t.ConnectionState().HandshakeComplete {
		s.counters.drop(dropHandshake)
		if s.sayAgain(dropHandshake) {
			s.log.Warn("a client cannot set up TLS; others that cannot are only counted for a while", "peer", c.RemoteAddr().String())
		}
		return
	}
	if in.spoke.Load() { // a load balancer may only have looked whether somebody listens
		s.counters.drop(dropHead)
	}
}

// listen opens the addresses.
func (s *Source) listen(ctx context.Context) ([]*listener, error) {
	var out []*listener
	for _, place := range s.config.Listen {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", place)
		if err != nil {
			for _, open := range out {
				open.Close()
			}
			return nil, err
		}
		out = append(out, s.admitting(ctx, l, place))
	}
	return out, nil
}

// admitting has a listener let in those that may come.
func (s *Source) admitting(ctx context.Context, l net.Listener, name string) *listener {
	return &listener{
		Listener: l, name: name, log: s.log, health: s.health, limits: s.limits, allow: s.prefixes, counters: &s.counters, ctx: ctx,
		retry: sources.Backoff{Clock: s.clock, Min: 10 * time.Millisecond, Max: time.Second},
	}
}
