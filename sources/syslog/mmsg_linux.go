package syslog

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// datagrams receives many datagrams in one system call: recvmmsg(2), which
// golang.org/x/net wraps too, at the price of an allocation for each
// sender's address. It is one goroutine's; what it gave is valid until the next read.
type datagrams struct {
	conn  syscall.RawConn
	heads []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrInet6 // the largest address that can come; those of Unix sockets are cut
	bufs  []byte
	size  int // of each buffer
	n     int
	errno error
	again func(fd uintptr) bool
}

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// newDatagrams makes room for count datagrams of up to size bytes.
func newDatagrams(conn packetConn, count, size int) (*datagrams, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &datagrams{
		conn: raw, size: size, bufs: make([]byte, count*size),
		heads: make([]mmsghdr, count), iovs: make([]unix.Iovec, count), names: make([]unix.RawSockaddrInet6, count),
	}
	for i := range d.heads {
		d.iovs[i].Base = &d.bufs[i*size]
		d.iovs[i].SetLen(size)
		h := &d.heads[i].hdr
		h.Iov = &d.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&d.names[i]))
	}
	d.again = d.receive
	return d, nil
}

// read waits for datagrams and returns how many came.
func (d *datagrams) read() (int, error) {
	if err := d.conn.Read(d.again); err != nil {
		return 0, err
	}
	return d.n, d.errno
}

// receive is called when the socket is readable; false waits until it is.
func (d *datagrams) receive(fd uintptr) bool {
	for i := range d.heads {
		d.heads[i].hdr.Namelen = unix.SizeofSockaddrInet6
		d.heads[i].hdr.Flags = 0
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&d.heads[0])), uintptr(len(d.heads)),
			unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			d.n, d.errno = int(n), nil
			return true
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		d.n, d.errno = 0, os.NewSyscallError("recvmmsg", errno)
		return true
	}
}

// at returns a datagram of the last read, whether it was longer than the
// buffer, and where it came from: the zero address for a local socket.
func (d *datagrams) at(i int) (b []byte, cut bool, from netip.Addr) {
	h := &d.heads[i]
	b = d.bufs[i*d.size : i*d.size+min(int(h.len), d.size)]
	return b, h.hdr.Flags&unix.MSG_TRUNC != 0, d.from(i)
}

func (d *datagrams) from(i int) netip.Addr {
	name := &d.names[i]
	switch {
	case d.heads[i].hdr.Namelen >= unix.SizeofSockaddrInet4 && name.Family == unix.AF_INET:
		var a [4]byte // sin_addr lies where sin6_flowinfo does
		binary.NativeEndian.PutUint32(a[:], name.Flowinfo)
		return netip.AddrFrom4(a)
	case d.heads[i].hdr.Namelen >= unix.SizeofSockaddrInet6 && name.Family == unix.AF_INET6:
		return netip.AddrFrom16(name.Addr).Unmap()
	}
	return netip.Addr{}
}

// setReceiveBuffer asks for a receive buffer, beyond net.core.rmem_max where
// the process may (CAP_NET_ADMIN), and returns what it got.
func setReceiveBuffer(fd uintptr, bytes int) (int, error) {
	if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes) != nil {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bytes); err != nil {
			return 0, os.NewSyscallError("setsockopt SO_RCVBUF", err)
		}
	}
	n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	return n / 2, os.NewSyscallError("getsockopt SO_RCVBUF", err) // the kernel doubles what is asked, for its own
}

// setReusePort lets several sockets share a port.
func setReusePort(fd uintptr) error {
	return os.NewSyscallError("setsockopt SO_REUSEPORT", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// canReusePort says that the kernel deals datagrams to the sockets of a port.
const canReusePort = true

// memInfoDrops is where SO_MEMINFO has the number of dropped datagrams (SK_MEMINFO_DROPS).
const memInfoDrops = 8

// kernelDrops returns how many datagrams the kernel has dropped on a socket
// since it was made, modulo 2³²; false where it cannot say.
func kernelDrops(fd uintptr) (uint32, bool) {
	var info [memInfoDrops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info[memInfoDrops], errno == 0 && int(size) == int(unsafe.Sizeof(info))
}
