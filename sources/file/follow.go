package file

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"

	"sluice/sources"
)

// follower reads files as they grow. One goroutine takes the files in turn,
// sorted by path, at most roundBytes of each, so that a long backlog in one
// holds up no other.
type follower struct {
	s        *Source
	registry *registry
	from     sources.Positions
	out      sources.Emit
	tails    map[string]*tail
	// left are files left alone: another name of a file that is being
	// followed, as rotation gives it, or a compressed one.
	left    map[string]os.FileInfo
	started bool
}

// roundBytes is how much is read of one file before the next has its turn.
const roundBytes = 4 << 20

// follow is Run with follow.
func (s *Source) follow(ctx context.Context, from sources.Positions, out sources.Emit) (err error) {
	r, err := openRegistry(s.name, s.env)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.registry = r
	s.mu.Unlock()
	defer func() { err = errors.Join(err, r.close()) }()
	f := &follower{s: s, registry: r, from: from, out: out, tails: make(map[string]*tail), left: make(map[string]os.FileInfo)}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var all errgroup.Group
	all.Go(func() error {
		err := r.run(writing)
		if err != nil {
			cancel()
		}
		return err
	})
	all.Go(func() error {
		defer stop()
		return f.run(inner)
	})
	return all.Wait()
}

func (f *follower) run(ctx context.Context) error {
	wake, stop := f.watch(ctx)
	defer stop()
	defer func() {
		for _, t := range f.tails {
			t.close()
		}
	}()
	if err := f.registry.held(ctx, slices.Collect(f.paths())); err != nil {
		return err
	}
	for {
		if err := f.discover(); err != nil {
			return err
		}
		more := false
		for _, path := range slices.Sorted(maps.Keys(f.tails)) {
			read, err := f.tails[path].step(ctx, f.out)
			if err != nil {
				return err
			}
			more = more || read
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-f.s.clock.After(f.s.config.PollInterval):
		}
	}
}

// paths are those that the state holds positions of.
func (f *follower) paths() iter.Seq[string] {
	return func(yield func(string) bool) {
		for p := range f.from {
			if !yield(p.Topic) {
				return
			}
		}
	}
}

// discover begins to follow files that are new, and forgets those that are gone.
func (f *follower) discover() error {
	paths, err := f.s.find()
	if err != nil {
		return err
	}
	maps.DeleteFunc(f.tails, func(_ string, t *tail) bool { return t.gone })
	left := make(map[string]os.FileInfo) // only what is still there: numbers of files are used again
	if !f.started {                      // first those that were followed before: they know their files under other names
		slices.SortStableFunc(paths, func(a, b string) int { return cmp.Compare(f.standing(b), f.standing(a)) })
	}
	for _, path := range paths {
		if f.tails[path] != nil {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				f.s.log.Warn("a file cannot be looked at", "path", path, "error", err)
			}
			continue
		}
		switch {
		case f.known(path, info):
			left[path] = info
		case compressedAt(path):
			left[path] = info
			f.s.log.Info("a compressed file is not followed", "path", path)
		default:
			f.add(path, info)
		}
	}
	f.left = left
	f.started = true
	return nil
}

// standing is 1 for a path that the state stands in.
func (f *follower) standing(path string) int {
	if _, ok := f.from[f.s.partition(path)]; ok {
		return 1
	}
	return 0
}

// known tells whether a file is or was followed under the name that it had
// before rotation, or was left alone before.
func (f *follower) known(path string, info os.FileInfo) bool {
	for _, l := range f.left {
		if os.SameFile(l, info) {
			return true
		}
	}
	for _, t := range f.tails {
		if t.at != nil && os.SameFile(t.at.info, info) {
			return true
		}
		for _, c := range t.next {
			if os.SameFile(c.info, info) {
				return true
			}
		}
	}
	return f.registry.owner(path, info)
}

func compressedAt(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false // the tail reports it
	}
	defer file.Close()
	return isCompressed(file)
}

// add begins to follow a path.
func (f *follower) add(path string, info os.FileInfo) {
	t := &tail{s: f.s, f: f, path: path}
	f.tails[path] = t
	files, held := f.registry.files(path)
	if next, ok := f.from[f.s.partition(path)]; ok {
		t.resume(files, next>>generationShift, next&offsetMask, info)
		return
	}
	if p, ok := f.before(path); ok {
		t.generation = p.Next>>generationShift + 1 // it was gone, and came again
		return
	}
	if len(files) > 0 && !held { // a crash came before the first checkpoint
		t.resume(files, files[0].Generation, files[0].Begin, info)
		return
	}
	if len(files) > 0 { // the state is another by now
		f.registry.forget(path)
	}
	if !f.started && f.s.config.Start == "end" {
		t.begin = info.Size()
	}
}

// before returns how far a path was read that was gone since.
func (f *follower) before(path string) (sources.PartitionStats, bool) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if p := f.s.partitions[path]; p != nil {
		return *p, true
	}
	return sources.PartitionStats{}, false
}

// watch wakes the follower when a folder of the paths changes. Where the file
// system cannot tell, polling does all. stop waits for the goroutine's end.
func (f *follower) watch(ctx context.Context) (wake <-chan struct{}, stop func()) {
	if !f.s.config.Notify {
		return nil, func() {}
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		f.s.log.Warn("the file system cannot notify of changes; files are polled", "error", err)
		return nil, func() {}
	}
	for _, p := range f.s.config.Paths {
		dir := filepath.Dir(p)
		if err := w.Add(dir); err != nil && !hasMeta(dir) {
			f.s.log.Warn("a folder cannot be watched; its files are polled", "folder", dir, "error", err)
		}
	}
	woken := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case _, ok := <-w.Events:
				if !ok {
					return
				}
				select {
				case woken <- struct{}{}:
				default: // it is awake already
				}
			case _, ok := <-w.Errors:
				if !ok {
					return
				}
			}
		}
	})
	return woken, func() {
		w.Close()
		wg.Wait()
	}
}

// Offsets of followed files: see the package's comment.
const (
	generationShift = 44
	offsetMask      = int64(1)<<generationShift - 1
)

// position joins a generation and a byte to an offset.
func position(generation, offset int64) int64 { return generation<<generationShift | offset&offsetMask }

var _ sources.Source = (*Source)(nil)
