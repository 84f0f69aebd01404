package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"sluice/pipeline"
	"sluice/pipeline/journal"
	"sluice/sources"
)

// Source reads files. See the package's comment.
type Source struct {
	name   string
	config Config
	env    sources.Env
	log    *slog.Logger
	clock  sources.Clock
	stdin  io.Reader
	mem    memory

	records, bytes, skipped, cut, errors, reconnects, gaps atomic.Uint64

	mu         sync.Mutex // guards what follows
	registry   *registry  // nil before Run, and in one pass
	partitions map[string]*sources.PartitionStats
}

// New makes the source. Nothing is opened before Run.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	s := &Source{
		name: name, config: c, env: env, log: env.Log.With("source", name), clock: env.Clock, stdin: os.Stdin,
		partitions: make(map[string]*sources.PartitionStats),
	}
	s.mem.blockBytes = int(c.BlockBytes)
	return s, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Commit implements sources.Source: it notes of which files a state holds positions.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	s.mu.Lock()
	r := s.registry
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	paths := make([]string, 0, len(next))
	for p := range next {
		paths = append(paths, p.Topic)
	}
	if err := r.held(ctx, paths); err != nil && !errors.Is(err, journal.ErrStopped) { // the next run notes it
		return err
	}
	return nil
}

// Close implements sources.Source: Run leaves nothing open.
func (s *Source) Close() error { return nil }

// Run implements sources.Source. In one pass, a file that cannot be read to
// its end is reported by the error, after all others were read.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	if s.config.Follow {
		return s.follow(ctx, from, out)
	}
	paths, err := s.find()
	if err != nil {
		return err
	}
	var failed []error
	for _, path := range paths {
		err := s.readFile(ctx, path, from[s.partition(path)], out)
		var broken *brokenError
		switch {
		case errors.As(err, &broken):
			s.errors.Add(1)
			s.log.Error("a file cannot be read to its end", "path", path, "error", broken.err)
			failed = append(failed, err)
		case err != nil:
			return err
		}
	}
	return errors.Join(failed...)
}

// brokenError is a fault of one file; the others can be read.
type brokenError struct {
	path string
	at   int64
	err  error
}

func (e *brokenError) Error() string {
	return fmt.Sprintf("file: %s: at byte %d: %v", e.path, e.at, e.err)
}

func (e *brokenError) Unwrap() error { return e.err }

// find returns the files that the paths name, sorted, each once. A path
// without a pattern must be there.
func (s *Source) find() ([]string, error) {
	var paths []string
	for _, p := range s.config.Paths {
		if p == stdin {
			paths = append(paths, p)
			continue
		}
		if _, err := os.Stat(p); err == nil || !hasMeta(p) {
			if err != nil && !s.config.Follow {
				return nil, fmt.Errorf("file: %w", err)
			}
			paths = append(paths, p)
			continue
		}
		matches, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("file: pattern %q: %w", p, err)
		}
		if len(matches) == 0 && !s.config.Follow {
			return nil, fmt.Errorf("file: nothing matches %q", p)
		}
		paths = append(paths, matches...)
	}
	slices.Sort(paths)
	return slices.DeleteFunc(slices.Compact(paths), s.excluded), nil
}

func (s *Source) excluded(path string) bool {
	for _, p := range s.config.Exclude {
		if ok, err := filepath.Match(p, path); ok && err == nil {
			return true
		}
	}
	if path == stdin {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Reads implements sources.FileReader. Files are compared, not their paths,
// which may lead over other folders and links.
func (s *Source) Reads(path string) bool {
	for _, p := range s.config.Paths {
		if p != stdin && (s.readsFile(p, path) || s.wouldRead(p, path)) {
			return true
		}
	}
	return false
}

// readsFile tells whether a pattern names a regular file that is there.
func (s *Source) readsFile(pattern, path string) bool {
	file, err := os.Stat(path)
	if err != nil || !file.Mode().IsRegular() {
		return false
	}
	matches := []string{pattern}
	if _, err := os.Stat(pattern); err != nil {
		matches, _ = filepath.Glob(pattern) // Validate has seen the pattern
	}
	return slices.ContainsFunc(matches, func(match string) bool {
		info, err := os.Stat(match)
		return err == nil && os.SameFile(info, file) && !s.excluded(match)
	})
}

// wouldRead tells whether a pattern names a file once it is there.
func (s *Source) wouldRead(pattern, path string) bool {
	dir, err := os.Stat(filepath.Dir(path))
	if _, there := os.Stat(path); err != nil || !errors.Is(there, fs.ErrNotExist) {
		return false
	}
	name := filepath.Base(path)
	if ok, _ := filepath.Match(filepath.Base(pattern), name); !ok {
		return false
	}
	dirs, _ := filepath.Glob(filepath.Dir(pattern))
	return slices.ContainsFunc(dirs, func(match string) bool {
		info, err := os.Stat(match)
		return err == nil && os.SameFile(info, dir) && !s.excluded(filepath.Join(match, name))
	})
}

func hasMeta(path string) bool { return strings.ContainsAny(path, `*?[\`) }

func (s *Source) partition(path string) pipeline.Partition {
	return pipeline.Partition{Source: s.name, Topic: path}
}

// readFile reads one file from an offset to its end.
func (s *Source) readFile(ctx context.Context, path string, offset int64, out sources.Emit) error {
	in, high, err := s.open(ctx, path)
	if err != nil {
		return &brokenError{path, 0, err}
	}
	defer in.Close()
	if path == stdin {
		offset = 0 // another process's input is another stream
	}
	if offset > 0 {
		if _, err := io.CopyN(io.Discard, in, offset); err != nil {
			return &brokenError{path, offset, fmt.Errorf("it is shorter than the offset to resume from: %w", err)}
		}
	}
	sp := s.newSplitter(offset)
	defer sp.close()
	s.note(path, offset, high, false)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, rerr := sp.read(in)
		if err := s.emitAll(ctx, path, sp, high, out); err != nil {
			return err
		}
		if rerr == nil {
			continue
		}
		if ctx.Err() != nil && errors.Is(rerr, ctx.Err()) {
			return rerr
		}
		if b := sp.finish(s.clock.Now()); b != nil {
			if err := s.emit(ctx, path, b, sp, high, out); err != nil {
				return err
			}
		}
		s.count(sp)
		s.note(path, sp.offset, high, true)
		if rerr != io.EOF {
			return &brokenError{path, sp.offset, rerr}
		}
		return nil
	}
}

// open opens a path; high is the size of a plain file, else -1.
func (s *Source) open(ctx context.Context, path string) (in *input, high int64, err error) {
	if path == stdin {
		in, err = uncompress(newInterruptible(ctx, s.stdin))
		return in, -1, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	if in, err = uncompress(f); err != nil {
		f.Close()
		return nil, 0, err
	}
	in.close = append([]func(){func() { f.Close() }}, in.close...)
	high = -1
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && !in.compressed {
		high = info.Size()
	}
	return in, high, nil
}

func (s *Source) newSplitter(offset int64) *splitter {
	return &splitter{
		mem: &s.mem, maxLine: int(s.config.MaxLineBytes), maxRecords: s.config.BatchRecords, offset: offset,
	}
}

// emitAll emits the whole lines that the splitter holds.
func (s *Source) emitAll(ctx context.Context, path string, sp *splitter, high int64, out sources.Emit) error {
	now := s.clock.Now()
	for b := sp.next(now); b != nil; b = sp.next(now) {
		if err := s.emit(ctx, path, b, sp, high, out); err != nil {
			return err
		}
	}
	s.count(sp)
	return nil
}

func (s *Source) emit(ctx context.Context, path string, b *batch, sp *splitter, high int64, out sources.Emit) error {
	b.Partition, b.Module, b.Labels, b.HighWatermark = s.partition(path), "file", s.config.Labels, high
	b.Next = sp.offset
	var size uint64
	for i := range b.Records {
		size += uint64(len(b.Records[i].Value))
	}
	n := uint64(len(b.Records)) // the batch is the pipeline's once it is emitted
	if err := out(ctx, &b.RecordBatch); err != nil {
		return err
	}
	s.records.Add(n)
	s.bytes.Add(size)
	s.note(path, sp.offset, high, false)
	return nil
}

// count moves a splitter's counts to the source's.
func (s *Source) count(sp *splitter) {
	s.skipped.Add(sp.skipped)
	s.cut.Add(sp.cut)
	sp.skipped, sp.cut = 0, 0
}

// note remembers how far a path was read.
func (s *Source) note(path string, next, high int64, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[path]
	if p == nil {
		p = &sources.PartitionStats{Partition: s.partition(path)}
		s.partitions[path] = p
	}
	p.Next, p.HighWatermark, p.Done = next, high, done
}

// Stats implements sources.Source.
func (s *Source) Stats() sources.Stats {
	st := sources.Stats{
		Records: s.records.Load(), Bytes: s.bytes.Load(), Skipped: s.skipped.Load(), Cut: s.cut.Load(),
		Errors: s.errors.Load(), Reconnects: s.reconnects.Load(), Gaps: s.gaps.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.partitions {
		st.Partitions = append(st.Partitions, *p)
	}
	slices.SortFunc(st.Partitions, func(a, b sources.PartitionStats) int { return strings.Compare(a.Topic, b.Topic) })
	return st
}
