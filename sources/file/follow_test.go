package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sources"
)

// following is a source that follows a folder, driven step by step.
type following struct {
	*testing.T
	dir    string
	s      *Source
	clock  *fakeClock
	got    sink
	done   chan error
	cancel context.CancelFunc
}

func follow(t *testing.T, dir string, from sources.Positions, edit func(*Config)) *following {
	f := &following{T: t, dir: dir, done: make(chan error, 1)}
	f.s = newSource(t, func(c *Config) {
		c.Paths, c.Follow = []string{filepath.Join(dir, "*.log*")}, true
		if edit != nil {
			edit(c)
		}
	})
	f.clock = f.s.clock.(*fakeClock)
	ctx, cancel := context.WithCancel(t.Context())
	f.cancel = cancel
	go func() { f.done <- f.s.Run(ctx, from, f.got.emit) }()
	f.idle()
	return f
}

// idle waits until the source waits.
func (f *following) idle() {
	f.Helper()
	select {
	case <-f.clock.idle:
	case err := <-f.done:
		f.done <- err
		f.Fatalf("the source ended: %v", err)
	}
}

// look lets the source look once more.
func (f *following) look() {
	f.Helper()
	select {
	case f.clock.tick <- epoch:
	case err := <-f.done:
		f.done <- err
		f.Fatalf("the source ended: %v", err)
	}
	f.idle()
}

// expect lets the source look once more and compares what came.
func (f *following) expect(why, want string) {
	f.Helper()
	f.look()
	if got := f.got.take(); got != want {
		f.Errorf("%s: lines %q, want %q", why, got, want)
	}
}

func (f *following) write(name, text string) { write(f, filepath.Join(f.dir, name), text) }

func (f *following) rename(from, to string) {
	if err := os.Rename(filepath.Join(f.dir, from), filepath.Join(f.dir, to)); err != nil {
		f.Fatal(err)
	}
}

func (f *following) end() {
	f.cancel()
	if err := <-f.done; !errors.Is(err, context.Canceled) {
		f.Errorf("Run: %v", err)
	}
}

func TestAFileIsFollowedFromItsEnd(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.log"), "old\n")
	f := follow(t, dir, nil, nil)
	f.expect("nothing is new", "")
	f.write("a.log", "one\ntw")
	f.expect("a whole line", "a.log@4:one")
	f.write("a.log", "o\n")
	f.expect("a line in two writes", "a.log@8:two")
	f.write("b.log", "new\n")
	f.expect("a file that comes later is read whole", "b.log@0:new")
	f.end()
}

func TestRotationByRenameLosesAndRepeatsNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.log"), "1\n")
	f := follow(t, dir, nil, func(c *Config) { c.Start = "beginning" })
	if got := f.got.take(); got != "a.log@0:1" {
		t.Errorf("lines %q", got)
	}
	f.rename("a.log", "a.log.1")
	f.write("a.log.1", "2\n") // a writer that has not noticed
	f.write("a.log", "3\n")
	f.expect("the renamed file first", "a.log@2:2")
	f.expect("the writer may still write", "")
	f.write("a.log.1", "late")
	f.clock.advance(time.Minute)
	f.expect("a late line begins the wait again", "")
	f.clock.advance(time.Minute)
	f.expect("the unfinished line, then the new file in a new generation", "a.log@4:late a.log@17592186044416:3")
	f.rename("a.log.1", "a.log.2")
	f.rename("a.log", "a.log.1")
	f.write("a.log", "4\n")
	f.expect("rotated again", "")
	f.clock.advance(time.Minute)
	f.expect("the third file", "a.log@35184372088832:4")
	f.expect("no file is read under its new name", "")
	f.end()
}

func TestATruncatedFileIsReadAgain(t *testing.T) {
	f := follow(t, t.TempDir(), nil, nil)
	f.write("a.log", "one\ntwo\nunfinished")
	f.expect("the file is new", "a.log@0:one a.log@4:two")
	if err := os.Truncate(filepath.Join(f.dir, "a.log"), 0); err != nil {
		t.Fatal(err)
	}
	f.write("a.log", "x\n")
	f.expect("the unfinished line, then the new beginning", "a.log@8:unfinished a.log@17592186044416:x")
	f.end()
}

func TestAFileThatGoesAndComesIsANewGeneration(t *testing.T) {
	f := follow(t, t.TempDir(), nil, nil)
	f.write("a.log", "one\n")
	f.expect("the file is new", "a.log@0:one")
	path := filepath.Join(f.dir, "a.log")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.expect("it is gone", "")
	f.clock.advance(time.Minute)
	f.expect("it is let go", "")
	if st := f.s.Stats(); len(st.Partitions) != 1 || !st.Partitions[0].Done {
		t.Errorf("stats %+v", st)
	}
	f.write("a.log", "two\n")
	f.expect("it came again", "a.log@17592186044416:two")
	f.end()
}

func TestFollowingResumesWhereTheCheckpointSays(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.log"), "one\ntwo\n")
	write(t, filepath.Join(dir, "b.log"), "x\n")
	at := func(name string) (p sources.PartitionStats) {
		p.Source, p.Topic = "logs", filepath.Join(dir, name)
		return p
	}
	f := follow(t, dir, sources.Positions{at("a.log").Partition: position(2, 4), at("b.log").Partition: 99}, nil)
	if got := f.got.take(); got != "a.log@35184372088836:two b.log@17592186044416:x" {
		t.Errorf("lines %q", got)
	}
	if st := f.s.Stats(); st.Gaps != 1 {
		t.Errorf("a file shorter than its checkpoint is no gap: %+v", st)
	}
	f.end()
}

func TestCompressedFilesAreNotFollowed(t *testing.T) {
	f := follow(t, t.TempDir(), nil, nil)
	f.write("a.log.1.gz", compress(t, "gzip", "old\n"))
	f.write("a.log", "new\n")
	f.expect("only the plain file", "a.log@0:new")
	f.end()
}

func TestNotificationsWakeTheSource(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.log"), "")
	s := newSource(t, func(c *Config) { c.Paths, c.Follow, c.Notify = []string{filepath.Join(dir, "a.log")}, true, true })
	clock := s.clock.(*fakeClock)
	clock.idle = make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	lines := make(chan string)
	done := make(chan error, 1)
	var got sink
	go func() {
		done <- s.Run(ctx, nil, func(ctx context.Context, b *pipeline.RecordBatch) error {
			n := len(b.Records)
			err := got.emit(ctx, b)
			if n > 0 { // else it says where the file begins
				lines <- got.take()
			}
			return err
		})
	}()
	<-clock.idle
	write(t, filepath.Join(dir, "a.log"), "one\n") // the clock never ticks
	select {
	case line := <-lines:
		if line != "a.log@0:one" {
			t.Errorf("line %q", line)
		}
	case err := <-done:
		t.Fatalf("the source ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("nothing wakes it")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
