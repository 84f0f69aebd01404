package control

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answering runs a pipeline's side: it answers each SIGHUP with a result. Of one
// that it has none for it calls silent.
func answering(t *testing.T, dir string, silent func(), results ...error) *Running {
	t.Helper()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	r, err := Announce(dir)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-hangups:
			}
			if len(results) == 0 {
				silent()
				continue
			}
			if err := r.Answer(time.Unix(1, 0), "3 scenarios", results[0]); err != nil {
				t.Error(err)
			}
			results = results[1:]
		}
	}()
	t.Cleanup(func() {
		signal.Stop(hangups)
		close(stop)
		<-done
	})
	return r
}

func TestAReloadIsAnswered(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	r := answering(t, dir, cancel, nil, errors.New("a rule is broken"))
	for i, want := range []string{"", "a rule is broken"} {
		a, err := Reload(t.Context(), dir)
		if err != nil || a.Error != want || a.Number != uint64(i+1) || a.PID != os.Getpid() || a.Summary != "3 scenarios" || !a.At.Equal(time.Unix(1, 0)) {
			t.Errorf("reload %d: %+v, %v", i+1, a, err)
		}
	}
	// It ends with its context once the pipeline has heard of it: else the next one's would hear of it.
	if _, err := Reload(ctx, dir); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "has not answered yet") {
		t.Errorf("without an answer: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	again := answering(t, dir, cancel, nil) // the numbers go on
	if a, err := Reload(t.Context(), dir); err != nil || a.Number != 3 {
		t.Errorf("after a restart: %+v, %v", a, err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if err := Remove(dir); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestOneProcessAnnouncesItself(t *testing.T) {
	dir := t.TempDir()
	r, err := Announce(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := Announce(dir); !errors.Is(err, errLocked) {
		t.Errorf("got %v", err)
	}
	if pid, err := PID(dir); pid != os.Getpid() || err != nil {
		t.Errorf("got %d, %v", pid, err)
	}
}

// TestNobodyIsToldForAProcessThatIsGone: a crash leaves the file, and by now
// its number may be another program's.
func TestNobodyIsToldForAProcessThatIsGone(t *testing.T) {
	dir := t.TempDir()
	if _, err := Reload(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, pidFile), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Reload(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("with a file left behind: %v", err)
	}
}

func TestAProcessThatEndsWhileItReloadsIsNoticed(t *testing.T) {
	dir := t.TempDir()
	r := answering(t, dir, func() {})
	got := make(chan error)
	go func() {
		_, err := Reload(t.Context(), dir)
		got <- err
	}()
	time.AfterFunc(3*poll, func() { _ = r.Close() })
	if err := <-got; err == nil || !strings.Contains(err.Error(), "ended while it reloaded") && !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}
