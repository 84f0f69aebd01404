//go:build integration && linux

package integration

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// smallDisk mounts a file system of the given size, or skips the test.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("integration: skipped 1 part: no right to mount a small disk (%v)", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file that leaves at most so much space.
func fill(dir string, leave int64) error {
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		return err
	}
	defer f.Close()
	for size := int64(0); ; {
		var fs syscall.Statfs_t
		if err := syscall.Statfs(dir, &fs); err != nil {
			return err
		}
		// Sluice takes space meanwhile: half of what is left fits sooner or later.
		more := (int64(fs.Bavail)*fs.Bsize - leave + 1) / 2
		if more <= fs.Bsize {
			return nil
		}
		if err := syscall.Fallocate(int(f.Fd()), 0, size, more); err != nil && err != syscall.ENOSPC {
			return err
		} else if err == nil {
			size += more
		}
	}
}

// onSmallDisk returns an instance whose state is on a small disk of its own,
// and which reads nothing while less than the reserve is free.
func onSmallDisk(t *testing.T, reserve string) (*setup, *instance, string) {
	t.Helper()
	disk := smallDisk(t, 1024)
	s := parts.broker.newSetup(t, 4, starter())
	s.durable = true
	s.state = map[string]any{"dir": filepath.Join(disk, "state"), "reserve": reserve}
	in := s.newInstance(t, "instance", 0, 0)
	if err := os.Symlink(filepath.Join(disk, "state"), in.State()); err != nil {
		t.Fatal(err)
	}
	if err := in.Start(); err != nil {
		t.Fatal(err)
	}
	return s, in, disk
}

// TestDiskFull shows that reading stops before the disk is full, and goes on
// when there is space again.
func TestDiskFull(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s, in, disk := onSmallDisk(t, "256MiB")
	records := logs(rig.Seed(t), 30_000, 4, byKey)
	s.produce(ctx, t, records[:10_000], 0)
	if err := s.caughtUp(ctx, []*instance{in}); err != nil {
		t.Fatal(err)
	}
	if err := fill(disk, 200<<20); err != nil {
		t.Fatal(err)
	}
	if err := rig.Poll(ctx, "sluice to say that the disk is nearly full", func() (bool, error) {
		return strings.Contains(in.Output(), "almost full"), in.Ended()
	}); err != nil {
		t.Fatal(err)
	}
	before, err := s.broker.admin.Committed(ctx, s.group, s.topic, s.partitions)
	if err != nil {
		t.Fatal(err)
	}
	s.produce(ctx, t, records[10_000:], 0)
	if err := rig.Pause(ctx, 2*time.Second); err != nil { // ten checkpoints
		t.Fatal(err)
	}
	if after, err := s.broker.admin.Committed(ctx, s.group, s.topic, s.partitions); err != nil || !maps.Equal(before, after) {
		t.Errorf("reading went on from %v to %v with less than the reserve (%v)", before, after, err)
	}
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	same(t, s.finish(ctx, t, []*instance{in}), s.onLargeDisk().uninterrupted(t, 1))
}

// onLargeDisk is the same setup with its state where the tests' folders are.
func (s *setup) onLargeDisk() *setup {
	large := *s
	large.state = nil
	return &large
}

// TestDiskFullToTheLastByte has someone else take the reserve while sluice
// writes: it may then die of a signal, and goes on from a whole epoch afterwards.
func TestDiskFullToTheLastByte(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s, in, disk := onSmallDisk(t, "1")
	records := logs(rig.Seed(t), 30_000, 4, byKey)
	s.produce(ctx, t, records[:10_000], 0)
	if _, err := s.commitsPast(ctx, in, nil); err != nil {
		t.Fatal(err)
	}
	in.MayEnd() // it may
	if err := fill(disk, 64<<10); err != nil {
		t.Fatal(err)
	}
	s.produce(ctx, t, records[10_000:20_000], 0)
	select {
	case <-in.Process().Done():
		t.Log("it ended: ", in.Process().Wait())
	case <-time.After(3 * time.Second):
		t.Log("it stays")
	}
	if err := in.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	if err := in.Start(); err != nil {
		t.Fatal(err)
	}
	s.produce(ctx, t, records[20_000:], 0)
	same(t, s.finish(ctx, t, []*instance{in}), s.onLargeDisk().uninterrupted(t, 1))
}
