//go:build !linux

package syslog

import (
	"errors"
	"net"
	"net/netip"
)

// datagrams receives datagrams one by one, where recvmmsg(2) is not to be had.
// It is one goroutine's; what it gave is valid until the next read.
type datagrams struct {
	conn packetConn
	buf  []byte
	n    int
	peer netip.Addr
}

func newDatagrams(conn packetConn, _, size int) (*datagrams, error) {
	return &datagrams{conn: conn, buf: make([]byte, size+1)}, nil
}

func (d *datagrams) read() (n int, err error) {
	if udp, ok := d.conn.(*net.UDPConn); ok {
		from, e := netip.AddrPort{}, error(nil)
		d.n, from, e = udp.ReadFromUDPAddrPort(d.buf)
		d.peer, err = from.Addr().Unmap(), e
	} else {
		d.n, _, err = d.conn.ReadFrom(d.buf)
	}
	if err != nil {
		return 0, err
	}
	return 1, nil
}

func (d *datagrams) at(int) (b []byte, cut bool, from netip.Addr) {
	n := min(d.n, len(d.buf)-1)
	return d.buf[:n], d.n > n, d.peer
}

// setReceiveBuffer leaves the size of the buffer to the system.
func setReceiveBuffer(_ uintptr, bytes int) (int, error) { return bytes, nil }

// setReusePort is not to be had.
func setReusePort(uintptr) error { return errors.New("several readers of a port need Linux") }

// canReusePort says that the kernel deals datagrams to the sockets of a port.
const canReusePort = false

// kernelDrops cannot be told.
func kernelDrops(uintptr) (uint32, bool) { return 0, false }
