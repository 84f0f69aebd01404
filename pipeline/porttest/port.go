// Package porttest keeps a port for tests whose servers come later, or go and come again.
package porttest

import (
	"fmt"
	"net"
	"runtime"
	"strconv"
	"syscall"
	"testing"
)

// Keep returns an address of 127.0.0.1 with a port that is the test's until its
// end: nobody is given it for a listener or a connection, connections to it are
// refused, and any server may listen there that sets SO_REUSEADDR, as package net
// does, close, and listen again. A port that is known from a listener that was
// closed may by then be that of another process: of a server that answers
// something else, or never.
func Keep(t testing.TB) (address string) {
	t.Helper()
	fd, port, err := bind()
	if err != nil {
		t.Fatalf("keeping a port: %v", err)
	}
	done := func() {
		if err := syscall.Close(fd); err != nil {
			t.Errorf("giving back port %d: %v", port, err)
		}
	}
	if runtime.GOOS == "linux" {
		t.Cleanup(done)
	} else { // others let nobody listen beside a socket that is only bound
		done()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// bind makes a socket that has a port and does not listen.
func bind() (fd, port int, err error) {
	syscall.ForkLock.RLock() // no program that is started meanwhile inherits it
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		if err != nil {
			_ = syscall.Close(fd) // err says more
		}
	}()
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, 0, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, 0, err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, 0, err
	}
	at, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return 0, 0, fmt.Errorf("its address is a %T", name)
	}
	return fd, at.Port, nil
}
