package syslog

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// aliveWait is how long a connection in use is listened to for its end.
	aliveWait = time.Millisecond
	// settleWait is how long a new one is. A relay that has nobody behind it, and
	// a collector that refuses a certificate of TLS 1.3, take the connection
	// first: what is written before they end it is lost, batch after batch.
	settleWait = 250 * time.Millisecond
	// aliveLooks is how often what has come is read, of a collector that talks on and on.
	aliveLooks = 10
)

// errClosed says that the collector will take nothing any more.
var errClosed = errors.New("the collector closed the connection")

// alive looks whether the collector has closed the connection, which a write
// alone does not tell before the next one. What a collector says is dropped.
//
// A Read whose deadline is over by the time that it begins looks at nothing, as
// on a machine that is busy. So the kernel is asked before it is believed.
func alive(conn net.Conn, wait time.Duration) error {
	buf := make([]byte, 512)
	for range aliveLooks {
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return err
		}
		var err error
		for err == nil {
			_, err = conn.Read(buf)
		}
		switch {
		case errors.Is(err, io.EOF):
			return errClosed
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		}
		if more, err := unread(conn); err != nil || !more {
			return err
		}
		wait = aliveWait // for what has come already: of TLS the end is told in a record
	}
	return nil
}

// unread tells whether the kernel has something that was not read, and no error
// while the connection has not ended. It waits for nothing.
func unread(conn net.Conn) (more bool, err error) {
	if secured, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secured.NetConn()
	}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false, nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil { // it would end this, too
		return false, err
	}
	n, failed := 0, error(nil)
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true // it is not to wait for more
	})
	switch {
	case err != nil:
		return false, err
	case errors.Is(failed, unix.EAGAIN):
		return false, nil
	case failed != nil:
		return false, os.NewSyscallError("recvfrom", failed)
	case n == 0:
		return false, errClosed
	}
	return true, nil
}
