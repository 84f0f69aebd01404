package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sluice/pipeline/dirlock"
)

// Alone waits until nobody else does what is named, and keeps others from it
// until done is called or the process has ended. Test packages run side by side on
// machines that are new, and neither APT's lists nor Maven's repository bear two who write them.
func Alone(ctx context.Context, what string) (done func() error, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "sluice", what+".lock")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("a lock for %s: %w", what, err)
	}
	for {
		lock, err := dirlock.Take(dir, "PID")
		var held *dirlock.HeldError
		switch {
		case err == nil:
			return lock.Release, nil
		case !errors.As(err, &held):
			return nil, fmt.Errorf("a lock for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s to be free (%w): %w", what, held, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
