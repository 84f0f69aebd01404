//go:build integration && linux

package localapi

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/cmd/internal/integration/rig"
)

// namespace is a network of its own, with a loopback device and nothing else:
// what a test does to its firewall concerns nobody.
type namespace struct{ ip, name string }

// newNamespace makes a network with addresses of its loopback device. Where
// that cannot be had, the test is skipped, and says so.
func newNamespace(t *testing.T, addresses ...string) *namespace {
	t.Helper()
	n := &namespace{rig.Need(t, "iproute2", "ip"), fmt.Sprintf("sluice-%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)}
	if os.Geteuid() != 0 {
		t.Skip("skipped 1 part: a network namespace takes root")
	}
	if _, err := run(t, exec.CommandContext(t.Context(), n.ip, "netns", "add", n.name)); err != nil {
		t.Skipf("skipped 1 part: no network namespace: %v", err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command(n.ip, "netns", "delete", n.name).CombinedOutput(); err != nil {
			t.Errorf("removing the namespace: %v: %s", err, out)
		}
	})
	n.run(t, n.ip, "link", "set", "lo", "up")
	for _, a := range addresses {
		n.run(t, n.ip, "address", "add", a, "dev", "lo")
	}
	return n
}

// command returns a command that runs inside.
func (n *namespace) command(args ...string) *exec.Cmd {
	return exec.Command(n.ip, append([]string{"netns", "exec", n.name}, args...)...)
}

// run runs a command inside and returns what it writes.
func (n *namespace) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, n.command(args...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// program returns a program that runs another one inside.
func (n *namespace) program(t *testing.T, path string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nexec %s netns exec %s %s \"$@\"\n", n.ip, n.name, path), 0o700); err != nil {
		t.Fatal(err)
	}
	return script
}

// connects tells whether a TCP connection from one address to another comes about inside, within a time.
func (n *namespace) connects(t *testing.T, from, to string, within time.Duration) bool {
	t.Helper()
	result := make(chan error)
	refused := false
	go func() {
		// The thread stays in the namespace and so must end with the goroutine,
		// which it does when it stays locked.
		runtime.LockOSThread()
		result <- func() error {
			handle, err := os.Open(filepath.Join("/run/netns", n.name))
			if err != nil {
				return err
			}
			defer handle.Close()
			if err := unix.Setns(int(handle.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			var lc net.ListenConfig
			l, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(to, "0"))
			if err != nil {
				return err
			}
			defer l.Close()
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: within}
			c, err := d.DialContext(context.Background(), "tcp", l.Addr().String())
			if err != nil {
				refused = true
				return nil
			}
			return c.Close()
		}()
	}()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	return !refused
}
