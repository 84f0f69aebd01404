//go:build integration

package journal

import (
	"errors"

	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestARealDiskThatIsFull fills a small disk under a journal, makes room, and
// kills in between: what was acknowledged is there, and nothing passes for damage.
func TestARealDiskThatIsFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("a small disk cannot be mounted here, which takes root: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	full := make(chan bool, 1)
	var troubles atomic.Int64
	o := Options{
		Dir: filepath.Join(dir, "journal"), SegmentBytes: 256 << 10, MaxBytes: 1 << 30,
		Trouble: func(err error) {
			if err == nil {
				return
			}
			if !errors.Is(err, unix.ENOSPC) {
				t.Error(err)
			}
			troubles.Add(1)
			select {
			case full <- true:
			default:
			}
		},
		After: func(time.Duration) <-chan time.Time { return time.After(5 * time.Millisecond) },
	}
	acked := int64(0)
	for round := range 5 {
		others := filepath.Join(dir, "others")
		if err := os.WriteFile(others, make([]byte, 1<<20+round*1000), 0o600); err != nil {
			t.Fatal(err)
		}
		j := start(t, o)
		if j.End(Stream{Topic: "a"}) < acked {
			t.Fatalf("%d records, and %d were acknowledged", j.End(Stream{Topic: "a"}), acked)
		}
		acked = j.End(Stream{Topic: "a"})
		var safe atomic.Int64
		done := make(chan error, 1)
		put := func(n int) {
			e := entry("a", strings.Repeat("x", 3000+n%7*100))
			if err := j.Append(t.Context(), &e, func(err error) {
				if err == nil {
					safe.Add(1)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		for n := 0; troubles.Load() == int64(0) || n < 10; n++ {
			put(n)
			if n%10 == 0 {
				time.Sleep(time.Millisecond) // for groups of some entries
			}
		}
		<-full
		if round%2 == 0 { // there is room again
			if err := os.Remove(others); err != nil {
				t.Fatal(err)
			}
			e := entry("a", "the last")
			if err := j.Append(t.Context(), &e, func(err error) { done <- err }); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			safe.Add(1)
			acked += safe.Load()
			if err := j.Trim(map[Stream]int64{{Topic: "a"}: acked}); err != nil {
				t.Fatal(err)
			}
			j.end()
		} else { // the end comes while it is full
			if err := j.fall(); err != nil && !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			acked += safe.Load()
			if err := os.Remove(others); err != nil {
				t.Fatal(err)
			}
		}
		troubles.Store(0)
		select {
		case <-full:
		default:
		}
	}
	j := start(t, o)
	defer j.end()
	if got := j.End(Stream{Topic: "a"}); got < acked {
		t.Errorf("%d records, and %d were acknowledged", got, acked)
	}
}
