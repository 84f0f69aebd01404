//go:build linux

package process_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"sluice/cmd/internal/integration/process"
)

// The test's own binary serves as parent and as child.
const role = "SLUICE_PROCESS_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "child":
		block()
	case "parent":
		parent()
	}
	goleak.VerifyTestMain(m)
}

// block reads standard input, which nobody closes.
func block() {
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(3)
}

// parent starts a child, says its process id and waits to be killed.
func parent() {
	p, err := process.Start(child())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("child", p.PID())
	block()
}

func child() *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"=child")
	cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
	return cmd
}

func blockedChild(t *testing.T) *process.Process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	cmd := child()
	cmd.Stdin = r
	p, err := process.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestKillAndStopWaitForTheEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		end    func(*process.Process) error
		signal syscall.Signal
	}{
		"kill": {(*process.Process).Kill, syscall.SIGKILL},
		"stop": {func(p *process.Process) error { _ = p.Stop(); return nil }, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			p := blockedChild(t)
			if err := tc.end(p); err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if err := p.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != tc.signal {
				t.Fatalf("it ended with %v, want %v", err, tc.signal)
			}
			if err := p.Kill(); err != nil {
				t.Fatalf("killing what has ended: %v", err)
			}
		})
	}
}

func TestAProgramThatIsNotThereIsAnError(t *testing.T) {
	if _, err := process.Start(exec.Command(filepath.Join(t.TempDir(), "none"))); err == nil {
		t.Fatal("no error")
	}
}

func TestTheChildDiesWithItsParent(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"=parent")
	cmd.Stdin = r
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "child ") {
		t.Fatalf("the parent says %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The child holds the pipe too: it ends when both are gone.
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Fatalf("after the parent's death comes %q, %v", rest, err)
	}
	_ = cmd.Wait() // it was killed
}

func TestPortsAreFreeAndApart(t *testing.T) {
	ports, err := process.Ports(30)
	if err != nil {
		t.Fatal(err)
	}
	if len(ports) != 30 {
		t.Fatalf("%d ports, want 30", len(ports))
	}
	for _, port := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) // held, so that one that comes twice is found
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if port >= 32_768 {
			t.Errorf("port %d may be given to a connection", port)
		}
	}
}
