//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// commitsPast waits until the instance has taken up its state and the group
// has committed more of every partition than it had.
func (s *setup) commitsPast(ctx context.Context, in *instance, before map[int32]int64) (map[int32]int64, error) {
	if err := s.loaded(ctx, in); err != nil {
		return nil, err
	}
	var at map[int32]int64
	err := rig.Poll(ctx, "the group to commit more", func() (bool, error) {
		if err := in.Ended(); err != nil {
			return false, err
		}
		var err error
		at, err = s.broker.admin.Committed(ctx, s.group, s.topic, s.partitions)
		return err == nil && len(at) == s.partitions && past(at, before), err
	})
	return at, err
}

// snapshot copies the state's folder while the process stands still.
func (in *instance) snapshot(to string) error {
	if err := in.Process().Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(in.State())); err != nil {
		return fmt.Errorf("copying the state of %s: %w", in.Name, err)
	}
	return in.Process().Signal(syscall.SIGCONT)
}

// restore puts a copy of the state in its place.
func (in *instance) restore(from string) error {
	if err := os.RemoveAll(in.State()); err != nil {
		return err
	}
	return os.CopyFS(in.State(), os.DirFS(from))
}

// olderState returns an instance that was killed after a copy of its state was
// made and more was committed; the copy has taken its place. rest are the
// records that are not produced yet.
func olderState(ctx context.Context, t *testing.T, s *setup, records []record) (in *instance, copied map[int32]int64, rest []record) {
	t.Helper()
	third := len(records) / 3
	in = s.startAll(t, 1)[0]
	s.produce(ctx, t, records[:third], 0)
	if _, err := s.commitsPast(ctx, in, nil); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(t.TempDir(), "older")
	if err := in.snapshot(older); err != nil {
		t.Fatal(err)
	}
	var err error
	if copied, err = s.broker.admin.Committed(ctx, s.group, s.topic, s.partitions); err != nil {
		t.Fatal(err)
	}
	s.produce(ctx, t, records[third:2*third], 0)
	if _, err := s.commitsPast(ctx, in, copied); err != nil {
		t.Fatal(err)
	}
	if err := in.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := in.restore(older); err != nil {
		t.Fatal(err)
	}
	return in, copied, records[2*third:]
}

// past tells that every partition is further than it was.
func past(now, before map[int32]int64) bool {
	for p, offset := range before {
		if now[p] <= offset {
			return false
		}
	}
	return true
}

// TestPowerLoss takes all that was written after a moment away again. The
// group is then ahead of the state, and the records between are read again.
func TestPowerLoss(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := parts.broker.newSetup(t, 4, starter())
	s.durable = true
	in, _, rest := olderState(ctx, t, s, logs(rig.Seed(t), 30_000, 4, byKey))
	if err := in.Start(); err != nil {
		t.Fatal(err)
	}
	s.produce(ctx, t, rest, 0)
	same(t, s.finish(ctx, t, []*instance{in}), s.uninterrupted(t, 1))
}

// TestPowerLossAndRetention is the same, but the records between are gone: to
// go on would leave a gap in what is counted.
func TestPowerLossAndRetention(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := parts.broker.newSetup(t, 4, starter())
	s.durable = true
	in, _, _ := olderState(ctx, t, s, logs(rig.Seed(t), 30_000, 4, byKey))
	ends, err := s.broker.admin.Offsets(ctx, s.topic, s.partitions, -1)
	if err != nil {
		t.Fatal(err)
	}
	for p, end := range ends {
		if err := s.broker.admin.DeleteRecords(ctx, s.topic, p, end); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Start(); err != nil {
		t.Fatal(err)
	}
	if err := in.refuses(ctx, "is gone", "sluice state"); err != nil {
		t.Fatal(err)
	}
}

// refuses waits for the process to end by itself, badly, and to say the words.
func (in *instance) refuses(ctx context.Context, words ...string) error {
	select {
	case <-in.Process().Done():
	case <-ctx.Done():
		return fmt.Errorf("%s runs on, and was to refuse: %w\n%s", in.Name, ctx.Err(), in.Tail(20))
	}
	if in.Process().Wait() == nil {
		return fmt.Errorf("%s ended well, and was to refuse\n%s", in.Name, in.Tail(20))
	}
	said := in.LastRun()
	for _, w := range words {
		if !strings.Contains(said, w) {
			return fmt.Errorf("%s refuses without the words %q:\n%s", in.Name, w, said)
		}
	}
	return nil
}

// TestTornWrites damages the newest files of the state after a kill. What is
// damaged is either not needed, so that nothing is missing in the end, or is
// noticed: then a copy from before the damage goes on.
func TestTornWrites(t *testing.T) {
	seed := rig.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 6))
	rounds := 20
	if rig.Soak() {
		rounds = 200
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds)*20*time.Second+2*time.Minute)
	defer cancel()
	s := parts.broker.newSetup(t, 4, starter())
	s.durable = true
	records := logs(seed, 2000*(1+rounds), 4, byKey)
	in := s.startAll(t, 1)[0]
	// A partition that the last whole epoch does not know begins where the group
	// stands. An end in good order keeps any damage from going back that far.
	s.produce(ctx, t, records[:2000], 0)
	records = records[2000:]
	if err := s.caughtUp(ctx, []*instance{in}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.Stop(), in.Start()); err != nil {
		t.Fatal(err)
	}
	recovered, refused := 0, 0
	var at map[int32]int64
	var damage, whole string
	for len(records) > 0 {
		n := min(2000, len(records))
		s.produce(ctx, t, records[:n], 0)
		records = records[n:]
		next, err := s.commitsPast(ctx, in, at)
		if err != nil && damage != "" {
			refused++
			if err := in.refuses(ctx, "sluice state"); err != nil {
				t.Fatalf("after %s: %v", damage, err)
			}
			t.Logf("%s is refused: %s", damage, strings.TrimSpace(in.Tail(1)))
			if err := in.restore(whole); err != nil {
				t.Fatal(err)
			}
			if err := in.Start(); err != nil {
				t.Fatal(err)
			}
			next, err = s.commitsPast(ctx, in, at)
		} else if damage != "" {
			recovered++
			t.Logf("%s is recovered from", damage)
		}
		if err != nil {
			t.Fatal(err)
		}
		at = next
		if len(records) == 0 {
			break
		}
		if err := in.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(whole); err != nil {
			t.Fatal(err)
		}
		whole = filepath.Join(t.TempDir(), "whole")
		if err := os.CopyFS(whole, os.DirFS(in.State())); err != nil {
			t.Fatal(err)
		}
		if damage, err = in.damage(rng); err != nil {
			t.Fatal(err)
		}
		if err := in.Start(); err != nil {
			t.Fatal(err)
		}
	}
	same(t, s.finish(ctx, t, []*instance{in}), s.uninterrupted(t, 1))
	t.Logf("%d recovered, %d refused", recovered, refused)
}

// damage cuts or flips bytes in one of the three of Badger's files that were
// written last, and says what it did.
func (in *instance) damage(rng *rand.Rand) (string, error) {
	type file struct {
		path string
		size int64
		at   time.Time
	}
	var files []file
	err := filepath.WalkDir(in.State(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 && badgers(d.Name()) {
			files = append(files, file{path, info.Size(), info.ModTime()})
		}
		return err
	})
	if err != nil {
		return "", err
	}
	slices.SortFunc(files, func(a, b file) int { return b.at.Compare(a.at) })
	f := files[rng.IntN(min(3, len(files)))]
	used, err := usedBytes(f.path)
	if err != nil {
		return "", err
	}
	// What is torn is what was written last: the last 4 KiB that hold anything.
	offset := used - 1 - rng.Int64N(min(4096, used))
	name := filepath.Base(f.path)
	if rng.IntN(2) == 0 {
		return fmt.Sprintf("cutting %s at %d of %d", name, offset, f.size), os.Truncate(f.path, offset)
	}
	w, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer w.Close()
	b := make([]byte, 1)
	if _, err := w.ReadAt(b, offset); err != nil {
		return "", err
	}
	b[0] ^= byte(1 + rng.IntN(255))
	_, err = w.WriteAt(b, offset)
	return fmt.Sprintf("flipping byte %d of %s, of %d", offset, name, f.size), err
}

// badgers tells whether Badger writes to a file of that name as it goes.
func badgers(name string) bool {
	return name == "MANIFEST" || slices.Contains([]string{".mem", ".sst", ".vlog"}, filepath.Ext(name))
}

// usedBytes is the size of a file without the zeros at its end: a mapped file
// is longer than what was written to it.
func usedBytes(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n := len(text)
	for n > 1 && text[n-1] == 0 {
		n--
	}
	return int64(n), nil
}
