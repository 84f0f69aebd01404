package syslog

import (
	"net"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// burst sends many datagrams in one system call, so that the sender does not take the machine from the receiver.
type burst struct {
	b     *testing.B
	raw   syscall.RawConn
	heads []mmsghdr
}

func newBurst(b *testing.B, conn net.Conn, msgs [][]byte) *burst {
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	s := &burst{b: b, raw: raw, heads: make([]mmsghdr, len(msgs))}
	for i, m := range msgs {
		iov := &unix.Iovec{Base: &m[0]}
		iov.SetLen(len(m))
		s.heads[i].hdr.Iov = iov
		s.heads[i].hdr.SetIovlen(1)
	}
	return s
}

// send sends the first n datagrams.
func (s *burst) send(n int) {
	for at := 0; at < n; {
		err := s.raw.Write(func(fd uintptr) bool {
			m, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.heads[at])), uintptr(n-at), unix.MSG_DONTWAIT, 0, 0)
			switch errno {
			case 0:
				at += int(m)
			case unix.EAGAIN:
				return false
			default:
				s.b.Error(errno)
				at = n
			}
			return true
		})
		if err != nil {
			s.b.Error(err)
			return
		}
	}
}
