//go:build !linux

package syslog

import (
	"net"
	"testing"
)

// burst sends datagrams one by one.
type burst struct {
	b    *testing.B
	conn net.Conn
	msgs [][]byte
}

func newBurst(b *testing.B, conn net.Conn, msgs [][]byte) *burst { return &burst{b, conn, msgs} }

// send sends the first n datagrams.
func (s *burst) send(n int) {
	for _, m := range s.msgs[:n] {
		if _, err := s.conn.Write(m); err != nil {
			s.b.Error(err)
		}
	}
}
