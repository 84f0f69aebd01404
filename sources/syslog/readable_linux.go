package syslog

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// waiter waits until a TCP connection has bytes to read, without a buffer to
// read them into: thousands of quiet connections need none.
type waiter struct {
	conn  syscall.RawConn
	errno error
	peek  func(fd uintptr) bool
}

// newWaiter returns nil where the connection cannot be waited on.
func newWaiter(conn any) *waiter {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	w := &waiter{conn: raw}
	var b [1]byte
	w.peek = func(fd uintptr) bool {
		for {
			_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			switch err {
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				return false
			}
			w.errno = os.NewSyscallError("recvfrom", err)
			return true
		}
	}
	return w
}

// wait returns when there is something to read, or the stream's end.
func (w *waiter) wait() error {
	if err := w.conn.Read(w.peek); err != nil {
		return err
	}
	return w.errno
}
