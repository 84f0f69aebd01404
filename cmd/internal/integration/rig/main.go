package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// binary is where Main has put sluice: the folder's name is in the
// environment, so that nothing is a variable of the package.
const binaryEnv = "SLUICE_RIG_BINARY"

// Main builds sluice, runs the tests and returns the exit code; goroutines
// that are left over are a failure.
func Main(m *testing.M) int {
	code, err := withBinary(m.Run)
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	return code
}

func withBinary(run func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "sluice-rig-")
	if err != nil {
		return 0, fmt.Errorf("a folder for the binary: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "sluice")
	if err := Build(path); err != nil {
		return 0, err
	}
	if err := os.Setenv(binaryEnv, path); err != nil {
		return 0, err
	}
	return run(), nil
}

// Build compiles sluice into a file.
func Build(path string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	// Minutes even without others on the machine, where nothing was compiled before.
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/sluice")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building sluice: %w\n%s", err, out)
	}
	return nil
}

// Root returns the repository's folder: the nearest one above that has a go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("there is no go.mod in this folder or above")
		}
		dir = parent
	}
}

// Binary returns where sluice is.
func Binary(t testing.TB) string {
	t.Helper()
	path := os.Getenv(binaryEnv)
	if path == "" {
		t.Fatal("the package's TestMain does not call rig.Main")
	}
	return path
}

// Soak tells that there are hours to spend (SLUICE_SOAK).
func Soak() bool { return os.Getenv("SLUICE_SOAK") != "" }

// Outage is how long a part is gone in tests of outages: 30 s in a soak, else 5 s.
func Outage() time.Duration {
	if Soak() {
		return 30 * time.Second
	}
	return 5 * time.Second
}

// Seed returns the seed of a test's random choices: SLUICE_SEED, or the same
// one every time; a soak draws a new one, since it is there to find new ones.
// A failure says how to try it again.
func Seed(t *testing.T) uint64 {
	t.Helper()
	s := uint64(1)
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SLUICE_SEED: %v", err)
		}
		s = n
	} else if Soak() {
		s = uint64(time.Now().UnixNano())
	}
	mode := ""
	if Soak() {
		mode = "SLUICE_SOAK=1 "
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to try it again: %sSLUICE_SEED=%d and -run '^%s$'", mode, s, t.Name())
		}
	})
	return s
}

// Poll calls done every 50 ms until it holds, fails, or ctx ends.
func Poll(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
}

// Pause waits, as those do who disturb others at times of their choosing.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
