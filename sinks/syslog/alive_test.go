package syslog

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// late is a connection of a machine that is so busy that the deadlines of
// reads are over before the reads begin: the first few, or all.
type late struct {
	*net.TCPConn
	left int // below 0 for all
}

func (c *late) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && c.left != 0 {
		c.left--
		t = time.Unix(1, 0)
	}
	return c.TCPConn.SetReadDeadline(t)
}

// heard waits until the kernel knows that a connection has ended.
func heard(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the end of the connection is %v", err)
	}
}

// arrived waits until the kernel has something to read.
func arrived(t *testing.T, conn syscall.Conn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err == nil && n > 0
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestABusyMachineFindsAClosedConnectionBeforeItWrites(t *testing.T) {
	c := listen(t, "127.0.0.1:0", nil)
	s := newSink(t, "tcp://"+c.Addr().String(), nil)
	if err := s.Alerts(t.Context(), alerts(1)); err != nil {
		t.Fatal(err)
	}
	conn := c.next(t)
	read(t, bufio.NewReader(conn))
	_ = conn.Close()
	tcp := s.conn.(*net.TCPConn)
	heard(t, tcp)
	s.conn = &late{tcp, -1}
	if err := s.Alerts(t.Context(), alerts(2)); err != nil {
		t.Fatal(err)
	}
	conn = c.next(t) // unless it wrote to the one that was closed
	defer conn.Close()
	read(t, bufio.NewReader(conn))
	s.conn = &late{s.conn.(*net.TCPConn), -1}
	if err := s.Alerts(t.Context(), alerts(1)); err != nil {
		t.Errorf("on a connection that is well: %v", err)
	}
	if len(c.conns) != 0 {
		t.Error("a connection that is well was made anew")
	}
}

// TestTheEndThatTLSTellsIsFound: it is in a record, and not the kernel's end.
func TestTheEndThatTLSTellsIsFound(t *testing.T) {
	server := httptest.NewTLSServer(nil) // for its certificate
	defer server.Close()
	c := listen(t, "127.0.0.1:0", &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12})
	told := make(chan error, 1)
	go func() {
		conn := (<-c.conns).(*tls.Conn)
		_, err := conn.Read(make([]byte, 1))
		told <- errors.Join(err, conn.CloseWrite()) // the connection itself stays
	}()
	raw, err := net.Dial("tcp", c.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	under := &late{TCPConn: raw.(*net.TCPConn)}
	conn := tls.Client(under, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}) // of 1.3 more records follow the handshake
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-told; err != nil {
		t.Fatal(err)
	}
	arrived(t, under)
	under.left = 1
	if err := alive(conn, time.Minute); err == nil || !strings.Contains(err.Error(), "closed the connection") {
		t.Errorf("error = %v", err)
	}
}
