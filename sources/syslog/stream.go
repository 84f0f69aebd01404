package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/sources"
)

// tlsRecord is the largest plain text of a TLS record.
const tlsRecord = 16 << 10

// accept takes connections until the listener is closed, and serves them.
func (s *Source) accept(ctx context.Context, g *errgroup.Group, l *listener) error {
	retry := sources.Backoff{Clock: s.clock, Min: 10 * time.Millisecond, Max: time.Second}
	for {
		conn, err := l.stream.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return ctx.Err()
		case err != nil: // such as too many open files
			s.health.Failed(l.text, err)
			if err := retry.Wait(ctx); err != nil {
				return err
			}
			continue
		}
		s.health.Well(l.text)
		retry.Reset()
		peer := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !s.admit(l, conn, peer) {
			continue
		}
		g.Go(func() error {
			defer s.limits.leave(peer)
			return s.serve(ctx, l, conn, peer)
		})
	}
}

// admit refuses peers that may not send, and connections that are too many.
func (s *Source) admit(l *listener, conn net.Conn, peer netip.Addr) bool {
	why, ok := dropPeer, allowed(s.prefixes, peer)
	if ok {
		why, ok = s.limits.enter(peer)
	}
	if ok {
		return true
	}
	s.counters.drop(why)
	s.log.Debug("a connection is refused", "listen", l.text, "peer", peer, "reason", why)
	conn.Close()
	return false
}

// serve reads a connection to its end. The error is that of the pipeline.
func (s *Source) serve(ctx context.Context, l *listener, conn net.Conn, peer netip.Addr) error {
	defer conn.Close()
	// Whatever waits on the connection ends with ctx.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c := &stream{
		Source: s, l: l, conn: conn, peer: []byte(peer.String()),
		framer: framer{framing: s.config.Framing, limit: int(s.config.MaxMessage), cut: s.cutLong()},
	}
	if l.scheme == schemeTLS {
		if !c.handshake(ctx) {
			return nil
		}
	} else {
		c.waiter = newWaiter(conn)
	}
	if c.waiter == nil {
		c.early = make([]byte, tlsRecord)
	}
	defer c.keep(nil)
	for {
		if !c.ready() {
			return nil
		}
		var d *desk
		select {
		case d = <-s.desks:
		case <-ctx.Done():
			return ctx.Err()
		}
		open, err := c.round(ctx, d)
		d.tidy()
		s.desks <- d
		if err != nil || !open {
			return err
		}
	}
}

// stream is one connection.
type stream struct {
	*Source
	l      *listener
	conn   net.Conn
	peer   []byte
	framer framer

	waiter *waiter // nil where it must be read to know that there is something
	early  []byte  // what was read then
	n      int

	rest []byte // the beginning of a message
	// left is how long the peer may still take for the message. Only the time in which we wait for the
	// peer counts, not that in which it waits for us.
	left time.Duration
}

// handshake sets up the encryption.
func (c *stream) handshake(ctx context.Context) bool {
	conn := tls.Server(c.conn, c.tls)
	c.conn = conn
	ctx, cancel := context.WithTimeout(ctx, c.config.TLS.HandshakeTimeout)
	defer cancel()
	err := conn.HandshakeContext(ctx)
	if err == nil {
		c.refusing.Store(false)
		return true
	}
	c.counters.drop(dropHandshake)
	if c.refusing.CompareAndSwap(false, true) {
		c.log.Warn("a client cannot set up TLS; others that cannot are only counted, until one can", "listen", c.l.text, "peer", string(c.peer), "error", err)
	}
	return false
}

// unfinished tells whether a message has begun and not ended.
func (c *stream) unfinished() bool { return len(c.rest) > 0 || c.framer.skip > 0 || c.framer.line }

// ready waits until there is something to read; false when the connection is through.
func (c *stream) ready() bool {
	began := time.Now() // the network's deadlines are by the wall clock
	var deadline time.Time
	switch unfinished := c.unfinished(); {
	case unfinished && c.config.MessageTimeout > 0:
		deadline = began.Add(c.left)
	case !unfinished && c.config.IdleTimeout > 0:
		deadline = began.Add(c.config.IdleTimeout)
	}
	err := c.conn.SetReadDeadline(deadline)
	switch {
	case err != nil:
	case c.waiter != nil:
		err = c.waiter.wait()
	default:
		c.n, err = c.conn.Read(c.early)
		if c.n > 0 || err == io.EOF {
			err = nil
		}
	}
	if err != nil {
		c.failed(err)
	}
	c.left -= time.Since(began)
	return err == nil
}

// failed counts what is lost with a connection that ends before its time.
func (c *stream) failed(err error) {
	late := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case !c.unfinished():
	case late:
		c.counters.drop(dropSlow)
	default:
		c.counters.drop(dropInside)
	}
	c.log.Debug("a connection ends", "listen", c.l.text, "peer", string(c.peer), "error", err)
}

// read reads what there is behind the unfinished bytes at the beginning of buf.
// last says that the stream has ended in good order.
func (c *stream) read(buf []byte) (n int, last bool, err error) {
	if c.waiter != nil {
		n, err = c.conn.Read(buf)
		return n, err == io.EOF, err
	}
	n = copy(buf, c.early[:c.n])
	return n, c.n == 0, nil
}

// round reads once and puts the messages that are complete. open says that the
// connection goes on; the error is that of the pipeline.
func (c *stream) round(ctx context.Context, d *desk) (open bool, err error) {
	before := len(c.rest)
	buf := d.buffer(before)
	copy(buf, c.rest)
	n, last, rerr := c.read(buf[before:])
	if rerr != nil && !last {
		c.failed(rerr)
		return false, nil
	}
	data := buf[:before+n]
	sound, err := c.messages(ctx, d, &data, last)
	if err != nil {
		return false, err
	}
	if err := d.flush(ctx, c.l); err != nil {
		return false, err
	}
	switch {
	case !sound:
		return false, nil
	case last:
		if len(data) > 0 || c.framer.skip > 0 {
			c.counters.drop(dropInside)
		}
		return false, nil
	case !c.keep(data):
		c.counters.drop(dropMemory)
		return false, nil
	}
	return true, nil
}

// messages takes the messages that are complete off data; false when the rest cannot be read.
func (c *stream) messages(ctx context.Context, d *desk, data *[]byte, last bool) (sound bool, err error) {
	received := c.clock.Now()
	if !c.unfinished() {
		c.left = c.config.MessageTimeout
	}
	for {
		msg, done, e := c.framer.next(*data, last)
		*data = (*data)[done:]
		switch e {
		case more:
			return true, nil
		case broken:
			c.counters.drop(dropCount)
			return false, nil
		case refused:
			c.counters.drop(dropTooLong)
		case shorter:
			c.counters.cut.Add(1)
		}
		c.left = c.config.MessageTimeout
		if e == refused {
			continue
		}
		if err := d.add(ctx, c.l, msg, c.peer, received); err != nil {
			return false, err
		}
	}
}

// keep keeps the beginning of a message until more comes; false when there is no memory left for it.
func (c *stream) keep(data []byte) bool {
	have := cap(c.rest)
	switch {
	case len(data) == 0:
		c.limits.hold(-have)
		c.rest = nil
		return true
	case len(data) > have || have > 4096 && len(data) < have/4:
		size := len(data)
		if size > have { // a message that grows by little reads is not copied for each of them
			size = max(size, min(2*have, int(c.config.MaxMessage)+maxCount+2))
		}
		if !c.limits.hold(size - have) {
			return false
		}
		c.rest = make([]byte, 0, size)
	}
	c.rest = append(c.rest[:0], data...)
	return true
}
