package localapi

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/pipeline/dirlock"
	"sluice/sinks"
	"sluice/sinks/localapi/store"
)

// atOnce is a clock's After that waits for nothing, and calls a function each time.
func atOnce(step func()) func(time.Duration) <-chan time.Time {
	return func(time.Duration) <-chan time.Time {
		step()
		c := make(chan time.Time, 1)
		c <- time.Time{}
		return c
	}
}

// TestTheStoreIsWaitedFor has sluice start while a command has the store.
func TestAFolderOfSomebodyElseIsSaidToBe(t *testing.T) {
	err := unreachable(&net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)})
	if !errors.Is(err, fs.ErrPermission) || !strings.HasSuffix(err.Error(), "run the command as the user whom the folder belongs to") {
		t.Errorf("error = %v", err)
	}
}

func TestTheStoreIsWaitedFor(t *testing.T) {
	c := Default()
	c.Dir = t.TempDir()
	command, err := dirlock.Take(c.Dir, "LOCK")
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	s, err := New("api", c, sinks.Env{After: atOnce(func() {
		if steps++; steps == 3 {
			if err := command.Release(); err != nil {
				t.Error(err)
			}
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(); err != nil || steps != 3 {
		t.Errorf("%v after %d steps", err, steps)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestACommandWaitsForASluiceThatStarts has a command come while sluice has
// the store and does not listen yet.
func TestACommandWaitsForASluiceThatStarts(t *testing.T) {
	c := Default()
	c.Dir, c.Listen = t.TempDir(), nil
	s, err := New("api", c, sinks.Env{})
	if err == nil {
		err = s.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	begun := false
	client, err := Dial(ctx, "api", c, sinks.Env{After: func(d time.Duration) <-chan time.Time {
		if !begun {
			begun = true
			go func() { ended <- s.Run(ctx) }()
		}
		return time.After(d) // so that it waits as long as it says, of which a busy machine needs more than of steps
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Do(ctx, http.MethodGet, "/bouncers", nil, nil); err != nil || !begun {
		t.Errorf("%v; it waited: %v", err, begun)
	}
	cancel()
	if err := errors.Join(client.Close(), <-ended, s.Close()); err != nil {
		t.Error(err)
	}
}

// TestAStoreThatStaysHeldIsNamed gives up on a folder that another sluice keeps.
func TestAStoreThatStaysHeldIsNamed(t *testing.T) {
	c := Default()
	c.Dir = t.TempDir()
	other, err := dirlock.Take(c.Dir, "LOCK")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.Release(); err != nil {
			t.Error(err)
		}
	}()
	env := sinks.Env{After: atOnce(func() {})}
	s, err := New("api", c, env)
	if err != nil {
		t.Fatal(err)
	}
	_, dialed := Dial(t.Context(), "api", c, env)
	for name, err := range map[string]error{"open": s.Open(), "dial": dialed} {
		if !errors.Is(err, store.ErrHeld) || !strings.Contains(err.Error(), c.Dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
