package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/mattn/go-isatty"

	"sluice/pipeline"
	"sluice/sinks"
	"sluice/sinks/format"
)

// stdout is the path that means standard output.
const stdout = "-"

// Sink writes alerts to a file or to standard output.
type Sink struct {
	name   string
	config Config
	mode   fs.FileMode
	stdout io.Writer
	colour bool

	mu    sync.Mutex // guards what follows: Reopen comes from another goroutine
	file  *os.File   // nil until it is needed
	buf   bytes.Buffer
	line  []byte // scratch
	stats sinks.Stats
}

// New makes the sink. The file is opened when the first alert comes.
func New(name string, c Config, env sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	mode, err := fileMode(c.Mode)
	if err != nil {
		return nil, err
	}
	s := &Sink{name: name, config: c, mode: mode, stdout: env.Stdout}
	s.colour = c.Colour == "always" || c.Colour == "auto" && c.Path == stdout && isTerminal(env.Stdout) && os.Getenv("NO_COLOR") == ""
	return s, nil
}

func fileMode(s string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(s, 8, 9)
	return fs.FileMode(n), err
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Alerts implements sinks.Sink: the batch is one write.
func (s *Sink) Alerts(_ context.Context, alerts []pipeline.Alert) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rejected := s.render(alerts)
	if err := s.write(); err != nil {
		s.stats.Errors++
		return fmt.Errorf("sink %s: %w", s.name, err)
	}
	s.stats.Bytes += uint64(s.buf.Len())
	s.stats.Alerts += uint64(len(alerts))
	for i := range alerts {
		s.stats.Decisions += uint64(len(alerts[i].Decisions))
	}
	if rejected != nil {
		s.stats.Alerts -= uint64(len(rejected.Alerts))
		s.stats.Rejected += uint64(len(rejected.Alerts))
		for _, i := range rejected.Alerts {
			s.stats.Decisions -= uint64(len(alerts[i].Decisions))
		}
		return rejected
	}
	return nil
}

// writeLines writes what fill puts into the buffer, as one write.
func (s *Sink) writeLines(fill func(*bytes.Buffer) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Reset()
	if err := fill(&s.buf); err != nil {
		return fmt.Errorf("sink %s: %w", s.name, err)
	}
	if err := s.write(); err != nil {
		return fmt.Errorf("sink %s: %w", s.name, err)
	}
	return nil
}

// render fills the buffer with the batch's lines. An alert that cannot be written is rejected.
func (s *Sink) render(alerts []pipeline.Alert) (rejected *sinks.RejectedError) {
	s.buf.Reset()
	line := s.line
	for i := range alerts {
		var err error
		if s.colour && s.config.Format == format.Text {
			line = format.AppendColoured(line[:0], &alerts[i])
		} else if line, err = s.config.Format.Append(line[:0], &alerts[i]); err != nil {
			rejected = rejected.With(i, err)
			continue
		}
		s.buf.Write(line)
		s.buf.WriteByte('\n')
	}
	s.line = line
	return rejected
}

func (s *Sink) write() error {
	if s.buf.Len() == 0 {
		return nil
	}
	if s.config.Path == stdout {
		_, err := s.stdout.Write(s.buf.Bytes())
		return err
	}
	// A torn line is cut off before the file may become an old one.
	for _, step := range []func() error{s.open, s.rotate, s.open} {
		if err := step(); err != nil {
			return err
		}
	}
	if n, err := s.file.Write(s.buf.Bytes()); err != nil {
		s.takeBack(n)
		return err
	}
	if s.config.Fsync {
		return s.file.Sync()
	}
	return nil
}

func (s *Sink) open() error {
	if s.file != nil {
		return nil
	}
	f, err := os.OpenFile(s.config.Path, os.O_APPEND|os.O_CREATE|os.O_RDWR, s.mode)
	if err != nil {
		return err
	}
	if err := cutTorn(f); err != nil {
		return errors.Join(fmt.Errorf("cutting off a line that a crash left half written: %w", err), f.Close())
	}
	if s.config.Fsync { // the name of a new file is in its folder, which is synced by itself
		if err := syncFolder(filepath.Dir(s.config.Path)); err != nil {
			return errors.Join(fmt.Errorf("syncing its folder: %w", err), f.Close())
		}
	}
	s.file = f
	return nil
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil // some network file systems have no such thing
	}
	return errors.Join(err, dir.Close())
}

// cutTorn removes what stands behind the last end of a line: a process that
// was killed while it wrote has left it, and its alerts come again.
func cutTorn(f *os.File) error {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	end := info.Size()
	for block := make([]byte, 64<<10); end > 0; {
		n := min(end, int64(len(block)))
		if _, err := f.ReadAt(block[:n], end-n); err != nil {
			return err
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			end += int64(i) + 1 - n
			break
		}
		end -= n
	}
	if end == info.Size() {
		return nil
	}
	return f.Truncate(end)
}

// rotate begins a new file where what is to be written does not fit into the
// one that is there any more. A crash in between leaves a gap in the numbers, which the next rotation closes.
func (s *Sink) rotate() error {
	limit := int64(s.config.MaxBytes)
	if limit == 0 {
		return nil
	}
	path := s.config.Path
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (info.Size() == 0 || info.Size()+int64(s.buf.Len()) <= limit) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.file != nil {
		if err := s.file.Close(); err != nil {
			return err
		}
		s.file = nil
	}
	for n := s.config.Keep; n > 0; n-- {
		from := fmt.Sprintf("%s.%d", path, n-1)
		if n == 1 {
			from = path
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", path, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotating: %w", err)
		}
	}
	return nil
}

// takeBack removes the n bytes of a write that failed half-way. Where that
// fails too, the reader of the file meets one torn line.
func (s *Sink) takeBack(n int) {
	if info, err := s.file.Stat(); n > 0 && err == nil && info.Mode().IsRegular() {
		_ = s.file.Truncate(info.Size() - int64(n))
	}
}

// File implements sinks.FileWriter.
func (s *Sink) File() string {
	if s.config.Path == stdout {
		return ""
	}
	return s.config.Path
}

// Reopen implements sinks.Reopener: the next batch opens the path again.
func (s *Sink) Reopen() error { return s.Close() }

// Close implements sinks.Sink.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("sink %s: %w", s.name, err)
	}
	return nil
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}
