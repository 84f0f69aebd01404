package process_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sluice/cmd/internal/integration/process"
)

func TestOneAtATime(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // where the caches are elsewhere
	done, err := process.Alone(t.Context(), "apt")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := process.Alone(gone, "apt"); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("the second: %v", err)
	}
	other, err := process.Alone(gone, "maven")
	if err != nil {
		t.Errorf("something else: %v", err)
	} else if err := other(); err != nil {
		t.Error(err)
	}
	next := make(chan error)
	go func() {
		done, err := process.Alone(t.Context(), "apt")
		if err == nil {
			err = done()
		}
		next <- err
	}()
	if err := done(); err != nil {
		t.Error(err)
	}
	if err := <-next; err != nil {
		t.Errorf("the next: %v", err)
	}
}
