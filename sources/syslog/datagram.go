package syslog

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"sluice/sources"
)

// atOnce is how many datagrams are received in one system call.
const atOnce = 128

// maxSenders bounds the senders that a reader remembers.
const maxSenders = 4096

// sender is what a reader knows of where datagrams come from.
type sender struct {
	allowed bool
	text    []byte
}

// packetReader reads one socket of datagrams.
type packetReader struct {
	*desk
	l       *listener
	in      *datagrams
	senders map[netip.Addr]sender
}

// readPackets reads a socket until it is closed.
func (s *Source) readPackets(ctx context.Context, l *listener, conn packetConn) error {
	in, err := newDatagrams(conn, atOnce, int(s.config.MaxMessage))
	if err != nil {
		return err
	}
	r := &packetReader{desk: s.newDesk(), l: l, in: in, senders: make(map[netip.Addr]sender)}
	retry := sources.Backoff{Clock: s.clock, Min: 10 * time.Millisecond, Max: time.Second}
	for {
		n, err := in.read()
		switch {
		case errors.Is(err, net.ErrClosed):
			return ctx.Err()
		case err != nil:
			s.health.Failed(l.text, err)
			if err := retry.Wait(ctx); err != nil {
				return err
			}
			continue
		}
		s.health.Well(l.text)
		retry.Reset()
		if err := r.take(ctx, n); err != nil {
			return err
		}
	}
}

// take makes records of the datagrams that were received, and puts them.
func (r *packetReader) take(ctx context.Context, n int) error {
	received := r.clock.Now()
	for i := range n {
		msg, cut, from := r.in.at(i)
		s := r.sender(from)
		switch {
		case !s.allowed:
			r.counters.drop(dropPeer)
			continue
		case cut && !r.cutLong():
			r.counters.drop(dropTooLong)
			continue
		case cut:
			r.counters.cut.Add(1)
		}
		if err := r.add(ctx, r.l, msg, s.text, received); err != nil {
			return err
		}
	}
	return r.flush(ctx, r.l)
}

func (r *packetReader) sender(from netip.Addr) sender {
	if s, ok := r.senders[from]; ok {
		return s
	}
	s := sender{allowed: allowed(r.prefixes, from), text: []byte(r.hostname)}
	if from.IsValid() {
		s.text = []byte(from.String())
	}
	if len(r.senders) >= maxSenders { // anyone can invent addresses
		clear(r.senders)
	}
	r.senders[from] = s
	return s
}
