package rig

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/integration/process"
)

// Need returns the path of a program of a Debian package. Where it is not
// there, it is installed if that can be done without asking anybody: by root,
// with apt-get. Otherwise the test is skipped, and says what is missing.
func Need(t testing.TB, pkg, program string) string {
	t.Helper()
	if path, ok := find(program); ok {
		return path
	}
	if err := install(t.Context(), pkg); err != nil {
		t.Skipf("skipped 1 part: no %s: %v", program, err)
	}
	path, ok := find(program)
	if !ok {
		t.Skipf("skipped 1 part: no %s, though the package %s is installed", program, pkg)
	}
	return path
}

// find looks for a program, also where only root has a PATH to.
func find(program string) (string, bool) {
	if path, err := exec.LookPath(program); err == nil {
		return path, true
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/lib/systemd"} {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, true
		}
	}
	return "", false
}

// install has apt-get install a package without starting its services.
func install(ctx context.Context, pkg string) error {
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return fmt.Errorf("there is no apt-get to install %s with", pkg)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("installing %s takes root", pkg)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	done, err := process.Alone(ctx, "apt")
	if err != nil {
		return err
	}
	defer done()
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, apt, args...)
		// In run level 1 packages start no services.
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", strings.Join(args, " "), err, lastLine(out))
		}
		return nil
	}
	args := []string{"install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=240", pkg}
	if run(args...) == nil {
		return nil
	}
	if err := run("update"); err != nil { // a new machine has no lists yet
		return err
	}
	return run(args...)
}

// Unpack fetches Debian packages and unpacks them, without installing them: for
// programs whose installation does more than a test may, such as registering
// with a service. It returns the folder that stands for the root. Where a
// package cannot be had, the test is skipped, and says so.
func Unpack(t testing.TB, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := Download(ctx, dir, packages...); err != nil {
		t.Skipf("skipped 1 part: no %s: %v", packages[0], err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) != len(packages) {
		t.Fatalf("apt-get download %v left %v, %v", packages, files, err)
	}
	root := filepath.Join(dir, "root")
	for _, file := range files {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", file, root).CombinedOutput(); err != nil {
			t.Fatalf("unpacking %s: %v: %s", file, err, lastLine(out))
		}
	}
	return root
}

// Download fetches Debian packages into a folder, without what they depend on.
func Download(ctx context.Context, dir string, packages ...string) error {
	done, err := process.Alone(ctx, "apt")
	if err != nil {
		return err
	}
	defer done()
	fetch := func() error {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{"download"}, packages...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get download %s: %w: %s", strings.Join(packages, " "), err, lastLine(out))
		}
		return nil
	}
	err = fetch()
	if err != nil && os.Geteuid() == 0 { // a new machine has no lists yet
		_ = exec.CommandContext(ctx, "apt-get", "update").Run() // the second attempt tells
		err = fetch()
	}
	return err
}

func lastLine(out []byte) string {
	text := strings.TrimSpace(string(out))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// Port returns a free port that stays free for the program it is for, also while that is away.
func Port(t testing.TB) int {
	t.Helper()
	ports, err := process.Ports(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}

// Part is a program that a test needs. It is one goroutine's.
type Part struct {
	command func() *exec.Cmd
	ready   func(ctx context.Context) error
	log     *tail
	process *process.Process
}

// Run starts a program and waits until it is ready: until ready returns nil.
// command makes a new command for every start. It is killed when the test ends.
func Run(t testing.TB, command func() *exec.Cmd, ready func(ctx context.Context) error) *Part {
	t.Helper()
	p := &Part{command: command, ready: ready, log: &tail{}}
	t.Cleanup(func() {
		if err := p.kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%s said last:\n%s", p.command().Path, p.log.String())
		}
	})
	p.Start(t)
	return p
}

// Start starts the program again after Kill or Stop.
func (p *Part) Start(t testing.TB) {
	t.Helper()
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.WaitDelay = time.Second // what it has started may hold its output when it is killed
	var err error
	if p.process, err = process.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last error
	err = Poll(ctx, cmd.Path+" to be ready", func() (bool, error) {
		select {
		case <-p.process.Done():
			return false, fmt.Errorf("%s ended: %v\n%s", cmd.Path, p.process.Wait(), p.log.String())
		default:
		}
		last = p.ready(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%v (%v)\n%s", err, last, p.log.String())
	}
}

// Kill ends the program as a power cut would.
func (p *Part) Kill(t testing.TB) {
	t.Helper()
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
}

func (p *Part) kill() error {
	if p.process == nil {
		return nil
	}
	return p.process.Kill()
}

// Stop ends the program in good order.
func (p *Part) Stop(t testing.TB) {
	t.Helper()
	_ = p.process.Stop() // programs differ in what they return then
}

// Process returns the running program.
func (p *Part) Process() *process.Process { return p.process }

// Output returns what the program said last.
func (p *Part) Output() string { return p.log.String() }

// Listens returns a check that something listens on a TCP address.
func Listens(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// FileThere returns a check that a file, such as a Unix socket, is there.
func FileThere(path string) func(context.Context) error {
	return func(context.Context) error {
		_, err := os.Stat(path)
		return err
	}
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 32 << 10

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if len(w.text) > 2*tailBytes {
		w.text = slices.Delete(w.text, 0, len(w.text)-tailBytes)
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text[max(0, len(w.text)-tailBytes):])
}
