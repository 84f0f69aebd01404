package syslog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"sluice/pipeline/component"
)

// Schemes of addresses.
const (
	schemeUDP  = "udp"
	schemeTCP  = "tcp"
	schemeTLS  = "tls"
	schemeUnix = "unixgram"
)

// address is one element of listen.
type address struct {
	scheme string
	place  string // host:port, or the path of a Unix socket
	text   string // as it was configured
}

// addresses reads listen.
func (c *Config) addresses() ([]address, error) {
	if len(c.Listen) == 0 {
		return nil, component.Invalid("listen", "name at least one address, such as udp://:514")
	}
	var out []address
	seen := make(map[string]bool)
	for _, text := range c.Listen {
		scheme, place, _ := strings.Cut(text, ":")
		a := address{scheme: scheme, place: strings.TrimPrefix(place, "//"), text: text}
		switch scheme {
		case schemeUDP, schemeTCP, schemeTLS:
			_, port, err := net.SplitHostPort(a.place)
			if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
				return nil, component.Invalid("listen", "%q has no host and port behind %s://, such as %s://:514 or %s://[::1]:514", text, scheme, scheme, scheme)
			}
		case schemeUnix:
			if a.place == "" || len(a.place) > 100 {
				return nil, component.Invalid("listen", "%q has no path of at most 100 bytes behind unixgram:, such as unixgram:/dev/log", text)
			}
		default:
			return nil, component.Invalid("listen", "%q begins with none of udp://, tcp://, tls://, unixgram:", text)
		}
		if seen[text] {
			return nil, component.Invalid("listen", "%q is there twice", text)
		}
		seen[text] = true
		out = append(out, a)
	}
	return out, nil
}

// packetConn is a UDP or a Unix datagram socket.
type packetConn interface {
	net.PacketConn
	syscall.Conn
}

// listener is one address that is listened on: by packets, or by stream.
type listener struct {
	address
	packets []packetConn
	stream  *net.TCPListener
	remove  string // the file of a Unix socket
}

// bind opens an address.
func (s *Source) bind(ctx context.Context, a address) (*listener, error) {
	l := &listener{address: a}
	var err error
	switch a.scheme {
	case schemeUDP:
		err = s.bindUDP(ctx, l)
	case schemeUnix:
		err = s.bindUnix(l)
	default:
		var listener net.Listener
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", a.place); err == nil {
			l.stream = listener.(*net.TCPListener)
		}
	}
	if err != nil {
		l.close()
		return nil, fmt.Errorf("syslog: %s: %w%s", a.text, err, remedy(err))
	}
	return l, nil
}

func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.EACCES):
		return "; ports below 1024 need CAP_NET_BIND_SERVICE, and a Unix socket a folder that can be written to"
	case errors.Is(err, syscall.EADDRINUSE):
		return "; another syslog daemon may be running: `ss -lnp` shows which"
	}
	return ""
}

// bindUDP opens as many sockets on the port as there are readers.
func (s *Source) bindUDP(ctx context.Context, l *listener) error {
	readers := s.config.Readers
	if readers == 0 {
		readers = 1
		if canReusePort {
			readers = min(4, runtime.GOMAXPROCS(0))
		}
	}
	place := l.place
	// The first is bound alone: sockets that share a port would not notice that another process has it.
	first, err := new(net.ListenConfig).ListenPacket(ctx, "udp", place)
	if err != nil {
		return err
	}
	if readers == 1 {
		return s.addPackets(l, first)
	}
	place = first.LocalAddr().String() // if the port is 0, it is chosen now
	if err := first.Close(); err != nil {
		return err
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = setReusePort(fd) }); err != nil {
			return err
		}
		return failed
	}}
	for range readers {
		conn, err := config.ListenPacket(ctx, "udp", place)
		if err != nil {
			return err
		}
		if err := s.addPackets(l, conn); err != nil {
			return err
		}
	}
	return nil
}

// bindUnix opens a Unix datagram socket, in the place of one that nobody has open any more.
func (s *Source) bindUnix(l *listener) error {
	at := &net.UnixAddr{Net: "unixgram", Name: l.place}
	if info, err := os.Lstat(l.place); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return errors.New("there is something else in this place than a socket; remove it, or choose another path")
		}
		if conn, err := net.DialUnix("unixgram", nil, at); err == nil {
			conn.Close()
			return syscall.EADDRINUSE
		}
		if err := os.Remove(l.place); err != nil {
			return err
		}
	}
	conn, err := net.ListenUnixgram("unixgram", at)
	if err != nil {
		return err
	}
	l.remove = l.place
	if err := os.Chmod(l.place, fs.FileMode(s.config.SocketMode)); err != nil {
		conn.Close()
		return err
	}
	return s.addPackets(l, conn)
}

// addPackets adds a socket with a large receive buffer.
func (s *Source) addPackets(l *listener, conn net.PacketConn) error {
	c, ok := conn.(packetConn)
	if !ok {
		return errors.Join(fmt.Errorf("a %T cannot be read from", conn), conn.Close())
	}
	l.packets = append(l.packets, c)
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var got int
	var failed error
	if err := raw.Control(func(fd uintptr) { got, failed = setReceiveBuffer(fd, int(s.config.ReceiveBuffer)) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if want := int(s.config.ReceiveBuffer); got < want && len(l.packets) == 1 {
		s.log.Warn("the receive buffer is smaller than asked for: the kernel drops what comes while it is full",
			"listen", l.text, "asked", want, "got", got, "remedy", fmt.Sprintf("sysctl -w net.core.rmem_max=%d, or CAP_NET_ADMIN", want))
	}
	return nil
}

// close closes what the listener has open.
func (l *listener) close() {
	for _, c := range l.packets {
		c.Close()
	}
	if l.stream != nil {
		l.stream.Close()
	}
	if l.remove != "" {
		_ = os.Remove(l.remove) // the next start does it otherwise
	}
}

// addr is where the listener really listens.
func (l *listener) addr() net.Addr {
	if l.stream != nil {
		return l.stream.Addr()
	}
	return l.packets[0].LocalAddr()
}
