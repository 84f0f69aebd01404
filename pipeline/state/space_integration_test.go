//go:build integration

package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a tmpfs of so many MB, which only root may do.
func smallDisk(t *testing.T, mb int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mb)); err != nil {
		t.Skip("a small disk cannot be mounted here, which takes root: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file until so many bytes of the disk are left, and returns its path.
func fill(t *testing.T, dir string, left int64) string {
	t.Helper()
	path := filepath.Join(dir, "others")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		free, err := freeBytes(dir)
		if err != nil {
			t.Fatal(err)
		}
		if free <= left {
			return path
		}
		if _, err := f.Write(block[:min(int64(len(block)), max(free-left, 1))]); errors.Is(err, unix.ENOSPC) {
			return path
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheReserveIsReachedBeforeTheDiskIsFull commits for as long as Space
// allows it, as the pipeline does, and goes on when there is room again.
func TestTheReserveIsReachedBeforeTheDiskIsFull(t *testing.T) {
	disk := smallDisk(t, 160)
	o := crashOptions(filepath.Join(disk, "state"))
	o.Reserve = 0
	s := mustOpen(t, o)
	m := newModel()
	if err := m.check(s); err != nil {
		t.Fatal(err)
	}
	commit := func(epochs int) (low bool) {
		t.Helper()
		for range epochs {
			sp, err := s.Space()
			if err != nil {
				t.Fatal(err)
			}
			if sp.Low {
				return true
			}
			// The epochs grow the state: no key comes twice.
			e := &Epoch{Parts: []*Writer{{}}}
			r := rand.New(rand.NewPCG(uint64(len(m.epochs)), 5))
			for i := range 2000 {
				key, value := fmt.Sprintf("b%d/%d", len(m.epochs), i), randomText(r, 150)
				m.records[key] = value
				m.sums[key] = e.Parts[0].Put([]byte(key), []byte(value), 0)
			}
			if _, err := s.Commit(context.Background(), e); err != nil {
				t.Fatalf("%+v: %v", sp, err)
			}
			m.committed()
		}
		return false
	}
	if !commit(1000) {
		t.Fatal("the disk never became low")
	}
	sp, err := s.Space()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("low after %d epochs, at %+v", s.Last(), sp)
	if err := s.Fold(context.Background()); err != nil { // what is under way has its room
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	if err := m.check(s); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT, "size=600m"); err != nil {
		t.Fatal(err)
	}
	if commit(5) {
		t.Error("the disk is low, though there is room again")
	}
	if err := m.check(s); err != nil {
		t.Error(err)
	}
}

// TestAnotherTakesTheReserve fills the disk under a process that commits. How
// it ends does not matter; what it had said to be durable is there.
func TestAnotherTakesTheReserve(t *testing.T) {
	disk := smallDisk(t, 200)
	dir := filepath.Join(disk, "state")
	m := newModel()
	for round := range 3 {
		w := startWorker(t, dir)
		w.hear(t, 5+round)
		others := fill(t, disk, 0)
		for w.lines.Scan() { // until the full disk ends it
			w.note(t, w.lines.Text())
		}
		_ = w.cmd.Wait() // it failed
		how := strings.SplitN(w.errs.String(), "\n", 2)[0]
		if err := os.Remove(others); err != nil {
			t.Fatal(err)
		}
		epoch, refused, err := reopened(copyDir(t, dir), m)
		if err != nil || refused != nil {
			t.Fatalf("round %d: %v", round, errors.Join(err, refused))
		}
		if epoch < w.said {
			t.Fatalf("round %d: epoch %d was durable, and %d is the last that was found", round, w.said, epoch)
		}
		t.Logf("round %d: it ended at epoch %d with %q; found was %d", round, w.said, how, epoch)
	}
}
