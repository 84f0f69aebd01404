package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/sources"
)

// life is a source that is stopped and started again on one state.
type life struct {
	*following
	state string
	from  sources.Positions
	edit  func(*Config)
}

func live(t *testing.T, edit func(*Config)) *life {
	l := &life{following: &following{T: t, dir: t.TempDir()}, state: t.TempDir(), edit: edit}
	return l
}

// start starts the source where the state stands, and compares what came at once.
func (l *life) start(want string) {
	l.Helper()
	c := Default()
	c.Notify, c.Follow, c.Start, c.Paths = false, true, "beginning", []string{filepath.Join(l.dir, "a.log")}
	if l.edit != nil {
		l.edit(&c)
	}
	l.clock = newFakeClock()
	s, err := New("logs", c, sources.Env{Clock: l.clock, Dir: l.state})
	if err != nil {
		l.Fatal(err)
	}
	s.mem.poison = true
	l.s, l.done = s, make(chan error, 1)
	ctx, cancel := context.WithCancel(l.Context())
	l.cancel = cancel
	go func() { l.done <- s.Run(ctx, l.from, l.got.emit) }()
	l.idle()
	if got := short(l.got.take()); got != want {
		l.Errorf("at the start: lines %q, want %q", got, want)
	}
}

// short writes generation:byte instead of offsets.
func short(lines string) string {
	var out []string
	for _, line := range strings.Fields(lines) {
		name, rest, _ := strings.Cut(line, "@")
		at, text, _ := strings.Cut(rest, ":")
		var offset int64
		fmt.Sscan(at, &offset)
		out = append(out, fmt.Sprintf("%s@%d.%d:%s", name, offset>>generationShift, offset&offsetMask, text))
	}
	return strings.Join(out, " ")
}

// sees lets the source look until nothing more comes, waits for files that were renamed, and compares.
func (l *life) sees(why, want string) {
	l.Helper()
	var all []string
	for range 5 {
		l.clock.advance(time.Minute)
		l.look()
		if got := short(l.got.take()); got != "" {
			all = append(all, got)
		}
	}
	if got := strings.Join(all, " "); got != want {
		l.Errorf("%s: lines %q, want %q", why, got, want)
	}
}

// checkpoint lets the state stand where the source is.
func (l *life) checkpoint() {
	l.from = make(sources.Positions)
	for _, p := range l.s.Stats().Partitions {
		l.from[p.Partition] = p.Next
	}
	if err := l.s.Commit(l.Context(), l.from); err != nil {
		l.Error(err)
	}
}

func (l *life) copyTo(from, to string) {
	text, err := os.ReadFile(filepath.Join(l.dir, from))
	if err == nil {
		err = os.WriteFile(filepath.Join(l.dir, to), text, 0o600)
	}
	if err != nil {
		l.Fatal(err)
	}
}

func (l *life) truncate(name string) {
	if err := os.Truncate(filepath.Join(l.dir, name), 0); err != nil {
		l.Fatal(err)
	}
}

func (l *life) remove(name string) {
	if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
		l.Fatal(err)
	}
}

// age makes a file older than the others.
func (l *life) age(name string, by time.Duration) {
	at := time.Now().Add(-by)
	if err := os.Chtimes(filepath.Join(l.dir, name), at, at); err != nil {
		l.Fatal(err)
	}
}

// lines are so many lines with a number, enough to tell a file by.
func lines(from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line-%02d-of-a-log\n", from+i)
	}
	return b.String()
}

// seen is how lines come out: those from first on, of a file that begins with line start.
func seen(generation, start, first, n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("a.log@%d.%d:line-%02d-of-a-log", generation, (first+i-start)*len(lines(0, 1)), first+i))
	}
	return strings.Join(out, " ")
}

func join(parts ...string) string { return strings.Join(parts, " ") }

func TestAFileThatWasTruncatedAndGrewPastItsOffsetIsNoticed(t *testing.T) {
	l := live(t, nil)
	l.write("a.log", lines(0, 3))
	l.start(seen(0, 0, 0, 3))
	l.truncate("a.log")
	l.write("a.log", lines(50, 9))
	l.sees("between two looks", seen(1, 50, 50, 9))
	l.checkpoint()
	l.end()
	l.truncate("a.log")
	l.write("a.log", lines(70, 20))
	l.start(seen(2, 70, 70, 20))
	l.end()
}

func TestTheRestBeforeATruncationIsReadFromTheCopy(t *testing.T) {
	l := live(t, nil)
	l.write("a.log", lines(0, 2))
	l.start(seen(0, 0, 0, 2))
	l.write("a.log", lines(2, 2))
	l.copyTo("a.log", "a.log.1")
	l.truncate("a.log")
	l.write("a.log", lines(50, 9))
	l.sees("copied and truncated between two looks", join(seen(0, 0, 2, 2), seen(1, 50, 50, 9)))
	l.checkpoint()
	l.end()
	l.write("a.log", lines(59, 1))
	l.remove("a.log.1")
	l.copyTo("a.log", "a.log.1")
	l.truncate("a.log")
	l.write("a.log", lines(80, 1))
	l.start(seen(1, 50, 59, 1))
	l.sees("the new beginning", seen(2, 80, 80, 1))
	l.end()
}

func TestRotationWhileNobodyLooksLosesAndRepeatsNothing(t *testing.T) {
	gz := func(l *life, name string) {
		text, err := os.ReadFile(filepath.Join(l.dir, name))
		if err != nil {
			l.Fatal(err)
		}
		l.remove(name)
		l.write(name+".gz", compress(l, "gzip", string(text)))
	}
	for _, c := range []struct {
		name   string
		happen func(l *life)
		start  string // what comes at once
		then   string // and when renamed files have been quiet
	}{
		{"nothing", func(*life) {}, seen(0, 0, 2, 1), ""},
		{"renamed", func(l *life) {
			l.rename("a.log", "a.log.1")
			l.write("a.log", lines(10, 2))
		}, seen(0, 0, 2, 1), seen(1, 10, 10, 2)},
		{"renamed to a date before the extension", func(l *life) {
			l.rename("a.log", "a-20260101.log")
			l.write("a.log", lines(10, 2))
		}, seen(0, 0, 2, 1), seen(1, 10, 10, 2)},
		{"renamed three times", func(l *life) {
			l.rename("a.log", "a.log.3")
			l.age("a.log.3", 30*time.Second)
			l.write("a.log.2", lines(10, 1))
			l.age("a.log.2", 20*time.Second)
			l.write("a.log.1", lines(20, 1))
			l.age("a.log.1", 10*time.Second)
			l.write("a.log", lines(30, 1))
		}, seen(0, 0, 2, 1), join(seen(1, 10, 10, 1), seen(2, 20, 20, 1), seen(3, 30, 30, 1))},
		{"renamed twice and compressed", func(l *life) {
			gz(l, "a.log")
			l.rename("a.log.gz", "a.log.2.gz")
			l.age("a.log.2.gz", 20*time.Second)
			l.write("a.log.1", lines(10, 1))
			l.age("a.log.1", 10*time.Second)
			l.write("a.log", lines(30, 1))
		}, seen(0, 0, 2, 1), join(seen(1, 10, 10, 1), seen(2, 30, 30, 1))},
		{"renamed, beside files that are no logs", func(l *life) {
			l.rename("a.log", "a.log.1")
			l.write("a.log.offset", "no log\n")
			l.write("a.log_errors", "no log\n")
			l.write("ab.log", "no log\n")
			l.write("a.log.0", lines(60, 5))
			l.age("a.log.0", time.Hour)
			l.write("a.log", lines(10, 1))
		}, seen(0, 0, 2, 1), seen(1, 10, 10, 1)},
		{"renamed and gone", func(l *life) {
			l.remove("a.log")
			l.write("a.log", lines(10, 1))
		}, seen(1, 10, 10, 1), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := live(t, nil)
			l.write("a.log", lines(0, 2))
			l.start(seen(0, 0, 0, 2))
			l.checkpoint()
			l.end()
			l.write("a.log", lines(2, 1))
			c.happen(l)
			l.start(c.start)
			l.sees("then", c.then)
			l.checkpoint()
			l.end()
			l.start("")
			l.sees("at the next start", "")
			l.end()
		})
	}
}

// TestAFileSeenEmptyIsNotTakenForOneInItsPlace has a file seen before it has a line. Then
// nobody looks, and a file written later gets its place on the disk.
func TestAFileSeenEmptyIsNotTakenForOneInItsPlace(t *testing.T) {
	older, newer := seen(1, 10, 10, 2), seen(2, 20, 20, 2)
	for _, c := range []struct {
		name        string
		look        func(l *life)
		start, then string
	}{
		{"the state stands before it", func(l *life) { l.look() }, "", join(older, newer)},
		{"the state stands in it", func(l *life) { l.sees("nothing yet", "") }, older, newer},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := live(t, nil)
			l.write("a.log", lines(0, 2))
			l.start(seen(0, 0, 0, 2))
			l.rename("a.log", "a.log.1")
			l.write("a.log", "")
			c.look(l)
			l.checkpoint()
			l.end()
			l.rename("a.log.1", "a.log.2")
			l.write("a.log", lines(10, 2))
			l.copyTo("a.log", "a.log.1")
			l.truncate("a.log")
			l.write("a.log", lines(20, 2))
			l.start(c.start)
			l.sees("what was written while nobody looked", c.then)
			l.end()
		})
	}
}

// TestAFileSeenEmptyIsFoundByItsPlaceWhereTheOneBeforeIsGone has no other file to tell by what came since.
func TestAFileSeenEmptyIsFoundByItsPlaceWhereTheOneBeforeIsGone(t *testing.T) {
	l := live(t, nil)
	l.write("a.log", lines(0, 2))
	l.start(seen(0, 0, 0, 2))
	l.rename("a.log", "a.log.1")
	l.write("a.log", "")
	l.look()
	l.checkpoint()
	l.end()
	l.remove("a.log.1")
	l.write("a.log", lines(10, 2))
	l.rename("a.log", "a.log.1")
	l.write("a.log", lines(20, 2))
	l.start(seen(1, 10, 10, 2))
	l.sees("the path's own", seen(2, 20, 20, 2))
	l.end()
}

func TestRotationAgainAndAgainBetweenTwoLooks(t *testing.T) {
	l := live(t, nil)
	l.write("a.log", lines(0, 1))
	l.start(seen(0, 0, 0, 1))
	l.rename("a.log", "a.log.2")
	l.age("a.log.2", 2*time.Second)
	l.write("a.log.1", lines(10, 1))
	l.age("a.log.1", time.Second)
	l.write("a.log", lines(20, 1))
	l.sees("each file once", join(seen(1, 10, 10, 1), seen(2, 20, 20, 1)))
	l.end()
}

func TestTheStateMayStandInAFileBeforeTheNewest(t *testing.T) {
	l := live(t, nil)
	l.write("a.log", lines(0, 2))
	l.start(seen(0, 0, 0, 2))
	l.checkpoint()
	l.write("a.log", lines(2, 1))
	l.rename("a.log", "a.log.1")
	l.write("a.log", lines(10, 1))
	l.sees("rotated", join(seen(0, 0, 2, 1), seen(1, 10, 10, 1)))
	l.end() // killed: the state stands before the rotation
	l.start(seen(0, 0, 2, 1))
	l.sees("the same once more, with the same offsets", seen(1, 10, 10, 1))
	l.end()
}

func TestACrashBeforeTheFirstCheckpointLosesNothing(t *testing.T) {
	l := live(t, func(c *Config) { c.Start = "end" })
	l.write("a.log", lines(0, 2))
	l.start("")
	l.write("a.log", lines(2, 1))
	l.sees("behind the end", seen(0, 0, 2, 1))
	l.end() // no checkpoint
	l.write("a.log", lines(3, 1))
	l.start(seen(0, 0, 2, 2))
	l.checkpoint()
	l.end()
	l.from = nil // another state
	l.start("")
	l.end()
}

func TestARenamedFileIsNotReadUnderItsNewNameAtTheNextStart(t *testing.T) {
	l := live(t, func(c *Config) { c.Paths[0] += "*" })
	l.write("a.log", lines(0, 2))
	l.start(seen(0, 0, 0, 2))
	l.rename("a.log", "a.log.1")
	l.write("a.log", lines(10, 1))
	l.sees("rotated", seen(1, 10, 10, 1))
	l.checkpoint()
	l.end()
	l.start("")
	l.rename("a.log.1", "a.log.2")
	l.rename("a.log", "a.log.1")
	l.write("a.log", lines(20, 1))
	l.sees("rotated again", seen(2, 20, 20, 1))
	l.checkpoint()
	l.end()
	l.rename("a.log.2", "a.log.3")
	l.rename("a.log.1", "a.log.2")
	l.rename("a.log", "a.log.1")
	l.write("a.log", lines(30, 1))
	l.start("")
	l.sees("and while nobody looked", seen(3, 30, 30, 1))
	l.end()
}

func TestTheFilesBehindALinkAreFoundWhereItLeads(t *testing.T) {
	l := live(t, nil)
	real := filepath.Join(t.TempDir(), "0.log")
	write(t, real, lines(0, 2))
	if err := os.Symlink(real, filepath.Join(l.dir, "a.log")); err != nil {
		t.Fatal(err)
	}
	l.start(seen(0, 0, 0, 2))
	l.checkpoint()
	l.end()
	write(t, real, lines(2, 1))
	if err := os.Rename(real, real+".20260101-101112"); err != nil {
		t.Fatal(err)
	}
	write(t, real, lines(10, 1))
	l.start(seen(0, 0, 2, 1))
	l.sees("the new file", seen(1, 10, 10, 1))
	l.end()
}

func TestNamesThatRotationGives(t *testing.T) {
	for _, c := range []struct {
		name string
		want bool
	}{
		{"a.log.1", true}, {"a.log.12.gz", true}, {"a.log-20260101", true}, {"a.log.2026-01-01T10:00.zst", true},
		{"a-20260101.log", true}, {"a.1.log.gz", true}, {"a.log.old", true},
		{"a.log", false}, {"a.log.gz", false}, {"a.log.offset", false}, {"a.log_errors", false}, {"a-b.log", false}, {"ab.log", false}, {"b.log.1", false}, {"a", false},
	} {
		if got := rotated("/logs/a.log", "/logs/"+c.name); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if !rotated("/logs/messages", "/logs/messages-20260101") || rotated("/logs/messages", "/logs/messagesx") {
		t.Error("a path without an extension")
	}
}

func TestADamagedRegistryIsRefusedWithARemedy(t *testing.T) {
	l := live(t, nil)
	for i := range 3 {
		l.write("a.log", lines(i, 1))
		l.start(seen(0, 0, i, 1))
		l.checkpoint()
		l.end()
	}
	files, err := filepath.Glob(filepath.Join(l.state, "logs", "files", "*.journal"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(files[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Follow, c.Paths = true, []string{filepath.Join(l.dir, "a.log")}
	s, err := New("logs", c, sources.Env{Dir: l.state})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), l.from, l.got.emit); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("error %v", err)
	}
}
