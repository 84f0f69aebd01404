package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// fakeClock stands still; a poll waits until the test lets it go on.
type fakeClock struct {
	mu   sync.Mutex
	now  time.Time
	idle chan struct{} // one for each time the source waits
	tick chan time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: epoch, idle: make(chan struct{}, 1), tick: make(chan time.Time)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(time.Duration) <-chan time.Time {
	c.idle <- struct{}{}
	return c.tick
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// sink collects "base name@offset:line" and releases each batch.
type sink struct {
	mu      sync.Mutex
	lines   []string
	batches int
	err     error
}

func (s *sink) emit(_ context.Context, b *pipeline.RecordBatch) error {
	defer b.Release()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches++
	for _, r := range b.Records {
		s.lines = append(s.lines, fmt.Sprintf("%s@%d:%s", filepath.Base(b.Partition.Topic), r.Offset, r.Value))
	}
	return s.err
}

func (s *sink) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.lines = nil }()
	return strings.Join(s.lines, " ")
}

func newSource(t testing.TB, edit func(*Config)) *Source {
	t.Helper()
	c := Default()
	c.Notify = false
	edit(&c)
	s, err := New("logs", c, sources.Env{Clock: newFakeClock()})
	if err != nil {
		t.Fatal(err)
	}
	s.mem.poison = true
	return s
}

func write(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func compress(t testing.TB, kind, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if kind == "zstd" {
		w, _ = zstd.NewWriter(&b)
	}
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestOnePassReadsEveryLineOnce(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
		edit             func(*Config)
	}{
		{name: "lines have the offset of their first byte", text: "a\nbc\nd\n", want: "f@0:a f@2:bc f@5:d"},
		{name: "the last line needs no line end", text: "a\nb", want: "f@0:a f@2:b"},
		{name: "CR is dropped and empty lines are skipped", text: "a\r\n\r\n\nb\r", want: "f@0:a f@6:b"},
		{name: "an empty file has no lines", text: "", want: ""},
		{name: "a file of one line end has no lines", text: "\n", want: ""},
		{name: "NULs and invalid UTF-8 pass through", text: "\x00\xff\n", want: "f@0:\x00\xff"},
		{name: "gzip is told by its first bytes", text: compress(t, "gzip", "a\nb\n"), want: "f@0:a f@2:b"},
		{name: "gzip files joined together", text: compress(t, "gzip", "a\n") + compress(t, "gzip", "b\n"), want: "f@0:a f@2:b"},
		{name: "zstd is told by its first bytes", text: compress(t, "zstd", "a\nb\n"), want: "f@0:a f@2:b"},
		{name: "a line too long is cut", text: "abcdefgh\nb\n", want: "f@0:abcd f@9:b", edit: func(c *Config) { c.MaxLineBytes = 4 }},
		{name: "a CR does not count for the length", text: "abcd\r\nabcd", want: "f@0:abcd f@6:abcd", edit: func(c *Config) { c.MaxLineBytes = 4 }},
		{name: "a last line too long", text: "abcdefgh", want: "f@0:abcd", edit: func(c *Config) { c.MaxLineBytes = 4 }},
	} {
		for _, block := range []component.Bytes{1, 2, 3, 7, 64 << 10} {
			t.Run(fmt.Sprintf("%s, blocks of %d", c.name, block), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "f")
				write(t, path, c.text)
				s := newSource(t, func(cfg *Config) {
					cfg.Paths, cfg.BlockBytes = []string{path}, block
					if c.edit != nil {
						c.edit(cfg)
					}
				})
				var got sink
				if err := s.Run(t.Context(), nil, got.emit); err != nil {
					t.Fatal(err)
				}
				if lines := got.take(); lines != c.want {
					t.Errorf("lines %q\nwant  %q", lines, c.want)
				}
			})
		}
	}
}

func TestFilesAreReadInTheOrderOfTheirPaths(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"b.log", "a.log", "c.txt", "no.log"} {
		write(t, filepath.Join(dir, n), n+"\n")
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSource(t, func(c *Config) {
		c.Paths = []string{filepath.Join(dir, "*.log"), filepath.Join(dir, "a.log"), filepath.Join(dir, "c.txt")}
		c.Exclude = []string{filepath.Join(dir, "no*")}
	})
	var got sink
	if err := s.Run(t.Context(), nil, got.emit); err != nil {
		t.Fatal(err)
	}
	if lines := got.take(); lines != "a.log@0:a.log b.log@0:b.log c.txt@0:c.txt" {
		t.Errorf("lines %q", lines)
	}
	st := s.Stats()
	if st.Records != 3 || st.Bytes != 15 || len(st.Partitions) != 3 || !st.Partitions[0].Done || st.Partitions[0].Lag() != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestAPassResumesWhereTheCheckpointSays(t *testing.T) {
	for kind, text := range map[string]string{"plain": "a\nbc\nd\n", "gzip": compress(t, "gzip", "a\nbc\nd\n")} {
		path := filepath.Join(t.TempDir(), "f")
		write(t, path, text)
		s := newSource(t, func(c *Config) { c.Paths = []string{path} })
		var got sink
		if err := s.Run(t.Context(), sources.Positions{s.partition(path): 2}, got.emit); err != nil {
			t.Fatal(kind, err)
		}
		if lines := got.take(); lines != "f@2:bc f@5:d" {
			t.Errorf("%s: lines %q", kind, lines)
		}
	}
}

func TestBatchesHoldSoManyRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, strings.Repeat("x\n", 10))
	s := newSource(t, func(c *Config) { c.Paths, c.BatchRecords = []string{path}, 4 })
	var got sink
	if err := s.Run(t.Context(), nil, got.emit); err != nil || got.batches != 3 {
		t.Errorf("%d batches, %v, want 3", got.batches, err)
	}
}

func TestALineOfTenMebibytesTakesBoundedMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, strings.Repeat("x", 10<<20)+"\nnext\n")
	s := newSource(t, func(c *Config) { c.Paths = []string{path} })
	largest := 0
	var got []int
	err := s.Run(t.Context(), nil, func(_ context.Context, b *pipeline.RecordBatch) error {
		for _, r := range b.Records {
			got = append(got, len(r.Value))
			largest = max(largest, cap(r.Value))
		}
		b.Release()
		return nil
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint([]int{1 << 20, 4}) || largest > 4<<20 || s.Stats().Cut != 1 {
		t.Errorf("records of %v bytes (largest memory %d), %v, %+v", got, largest, err, s.Stats())
	}
}

func TestReleasedMemoryIsNotSharedWithLinesStillRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	write(t, path, want.String())
	s := newSource(t, func(c *Config) { c.Paths, c.BlockBytes, c.BatchRecords = []string{path}, 512, 7 })
	var held []*pipeline.RecordBatch
	var got strings.Builder
	err := s.Run(t.Context(), nil, func(_ context.Context, b *pipeline.RecordBatch) error {
		if held = append(held, b); len(held) == 5 { // batches are let go late, and out of order with reading
			for _, h := range held {
				for _, r := range h.Records {
					fmt.Fprintf(&got, "%s\n", r.Value)
				}
				h.Release()
			}
			held = nil
		}
		return nil
	})
	for _, h := range held {
		for _, r := range h.Records {
			fmt.Fprintf(&got, "%s\n", r.Value)
		}
	}
	if err != nil || got.String() != want.String() {
		t.Errorf("lines differ (%d bytes, want %d), %v", got.Len(), want.Len(), err)
	}
}

func TestTroubleInOneFileStopsNoOther(t *testing.T) {
	dir := t.TempDir()
	z := compress(t, "gzip", strings.Repeat("some line\n", 1000))
	write(t, filepath.Join(dir, "a.gz"), z[:len(z)-8])
	write(t, filepath.Join(dir, "b"), "good\n")
	s := newSource(t, func(c *Config) { c.Paths = []string{filepath.Join(dir, "*")} })
	var got sink
	err := s.Run(t.Context(), nil, got.emit)
	if err == nil || !strings.Contains(err.Error(), "a.gz: at byte 10000") || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	if lines := got.take(); !strings.HasSuffix(lines, "b@0:good") {
		t.Errorf("the other file was not read: …%q", lines[max(0, len(lines)-40):])
	}
}

func TestMissingFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "gone.log"): "gone.log",
		filepath.Join(dir, "*.log"):    "nothing matches",
	} {
		s := newSource(t, func(c *Config) { c.Paths = []string{path} })
		if err := s.Run(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestTheErrorOfEmitEndsTheRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "a\n")
	full := errors.New("the pipeline is stopping")
	for _, follow := range []bool{false, true} {
		s := newSource(t, func(c *Config) { c.Paths, c.Follow, c.Start = []string{path}, follow, "beginning" })
		got := sink{err: full}
		if err := s.Run(t.Context(), nil, got.emit); !errors.Is(err, full) {
			t.Errorf("follow %v: error %v", follow, err)
		}
	}
}

func TestStandardInputIsReadToItsEnd(t *testing.T) {
	r, w := io.Pipe()
	s := newSource(t, func(c *Config) { c.Paths = []string{"-"} })
	s.stdin = r
	go func() {
		io.WriteString(w, "a\nb")
		io.WriteString(w, "c\nd")
		w.Close()
	}()
	var got sink
	if err := s.Run(t.Context(), nil, got.emit); err != nil {
		t.Fatal(err)
	}
	if lines := got.take(); lines != "-@0:a -@2:bc -@5:d" {
		t.Errorf("lines %q", lines)
	}
}

func TestAWaitOnStandardInputEndsWithTheContext(t *testing.T) {
	r, w := io.Pipe()
	s := newSource(t, func(c *Config) { c.Paths = []string{"-"} })
	s.stdin = r
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		io.WriteString(w, "some line\n") // the first bytes tell the compression
		cancel()
	}()
	var got sink
	if err := s.Run(ctx, nil, got.emit); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	w.Close()
}

func TestTheConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"no paths", "type: file", "paths: name at least one"},
		{"a bad pattern", "type: file\npaths: ['[']", "is no pattern"},
		{"following standard input", "type: file\npaths: ['-']\nfollow: true", "cannot be followed"},
		{"an unknown start", "type: file\npaths: [a]\nstart: middle", "neither end nor beginning"},
		{"an unknown key", "type: file\npath: [a]", `did you mean "paths"`},
		{"no poll interval", "type: file\npaths: [a]\npoll_interval: 0s", "more than 0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			node, err := component.Parse([]byte(c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sources.New(node, sources.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	line := `192.0.2.1 - - [01/May/2024:12:30:00 +0000] "GET /a HTTP/1.1" 200 612 "-" "curl/8.5.0"` + "\n"
	text := strings.Repeat(line, (64<<20)/len(line))
	for kind, content := range map[string]string{"plain": text, "gzip": compress(b, "gzip", text), "zstd": compress(b, "zstd", text)} {
		b.Run(kind, func(b *testing.B) {
			p := path + kind
			if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				s := newSource(b, func(c *Config) { c.Paths = []string{p} })
				s.mem.poison = false
				if err := s.Run(b.Context(), nil, func(_ context.Context, rb *pipeline.RecordBatch) error { rb.Release(); return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestWhichFilesASourceReads(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "there.log"), "")
	write(t, filepath.Join(dir, "[1].log"), "")
	for link, to := range map[string]string{"folder": ".", "other.txt": "there.log"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path, exclude, file string
		want                bool
	}{
		{path: "there.log", file: "there.log", want: true},
		{path: "*.log", file: "folder/there.log", want: true},
		{path: "f*/there.log", file: "there.log", want: true},
		{path: "other.txt", file: "there.log", want: true},
		{path: "[1].log", file: "[1].log", want: true},
		{path: "*.log", file: "later.log", want: true},
		{path: "f*/*.log", file: "later.log", want: true},
		{path: "later.log", file: "folder/later.log", want: true},
		{path: "*.log", exclude: "l*", file: "later.log"},
		{path: "*.log", exclude: "there*", file: "there.log"},
		{path: "*.log", file: "later.txt"},
		{path: "no*/*.log", file: "later.log"},
		{path: "*", file: "missing/later.log"},
		{path: "*", file: "folder"},
	} {
		s := newSource(t, func(cfg *Config) {
			cfg.Paths, cfg.Follow = []string{stdin}, false
			cfg.Paths = append(cfg.Paths, filepath.Join(dir, c.path))
			if c.exclude != "" {
				cfg.Exclude = []string{filepath.Join(dir, c.exclude)}
			}
		})
		if got := s.Reads(filepath.Join(dir, c.file)); got != c.want {
			t.Errorf("paths %s, exclude %q: %s is read: %v", c.path, c.exclude, c.file, got)
		}
	}
}
