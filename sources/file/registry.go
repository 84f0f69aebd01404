package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"sluice/pipeline/journal"
	"sluice/sources"
)

// registry remembers which files a path had, durably where a state is kept:
// an offset in the state means nothing without the file that it is in. A file
// is registered before its first line is emitted.
type registry struct {
	journal *journal.Journal // nil where no state is kept

	mu    sync.Mutex
	paths map[string]*known
}

// known is what is known of a path.
type known struct {
	// Files are in the order of their generations.
	Files []identity `json:"files"`
	// Held says that the state has held a position of the path: without one it is another state by now.
	Held bool `json:"held,omitempty"`
}

// openRegistry opens the registry of a source.
func openRegistry(name string, env sources.Env) (*registry, error) {
	r := &registry{paths: make(map[string]*known)}
	if env.Dir == "" {
		return r, nil
	}
	dir := filepath.Join(env.Dir, url.PathEscape(name), "files")
	j, err := journal.Open(journal.Options{Dir: dir, SegmentBytes: 1 << 20, MaxBytes: 16 << 20, Log: env.Log, After: env.Clock.After})
	var damage *journal.DamageError
	if errors.As(err, &damage) {
		return nil, fmt.Errorf("file: what is known of the files that were read, in %s, is damaged at byte %d of %s (%s); bring the state's folder back from a "+
			"backup, or move that folder away: files are then told apart by their lengths alone at this start", dir, damage.At, damage.File, damage.What)
	}
	if err != nil {
		return nil, fmt.Errorf("file: opening what is known of the files that were read: %w", err)
	}
	r.journal = j
	for path, text := range j.Marks() {
		k := &known{}
		if err := json.Unmarshal([]byte(text), k); err != nil {
			return nil, errors.Join(fmt.Errorf("file: what is known of %s makes no sense: %w", path, err), j.Close(nil))
		}
		r.paths[path] = k
	}
	return r, nil
}

// run writes what is registered until ctx is done.
func (r *registry) run(ctx context.Context) error {
	if r.journal == nil {
		return nil
	}
	return r.journal.Run(ctx)
}

func (r *registry) close() error {
	if r.journal == nil {
		return nil
	}
	return r.journal.Close(nil)
}

// files returns what is known of a path's files, and whether the state has held a position of it.
func (r *registry) files(path string) (files []identity, held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.paths[path]; k != nil {
		return slices.Clone(k.Files), k.Held
	}
	return nil, false
}

// put registers a file in place of what was known of its generation and of
// later ones, and returns once that is durable.
func (r *registry) put(ctx context.Context, path string, id identity) error {
	r.mu.Lock()
	k := r.paths[path]
	if k == nil {
		k = &known{}
		r.paths[path] = k
	}
	i, same := slices.BinarySearchFunc(k.Files, id.Generation, func(f identity, g int64) int { return int(f.Generation - g) })
	if same && k.Files[i] == id {
		r.mu.Unlock()
		return nil
	}
	if same {
		k.Files[i] = id
	} else {
		k.Files = append(k.Files[:i], id)
	}
	k.Files = slices.Delete(k.Files, 0, max(0, len(k.Files)-generationsKept))
	done, err := r.write(ctx, path, k)
	r.mu.Unlock()
	if err == nil {
		err = <-done
	}
	if err != nil {
		return fmt.Errorf("file: registering %s: %w", path, err)
	}
	return nil
}

// cut drops what is known of a path's files from a generation on, until one is
// put in their place: a start that comes before that cuts them again.
func (r *registry) cut(path string, generation int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.paths[path]; k != nil {
		k.Files = slices.DeleteFunc(k.Files, func(id identity) bool { return id.Generation >= generation })
	}
}

// forget drops what is known of a path.
func (r *registry) forget(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.paths, path)
}

// held notes that the state holds positions of paths.
func (r *registry) held(ctx context.Context, paths []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, path := range paths {
		k := r.paths[path]
		if k == nil || k.Held {
			continue
		}
		k.Held = true
		if _, err := r.write(ctx, path, k); err != nil {
			return fmt.Errorf("file: registering %s: %w", path, err)
		}
	}
	return nil
}

// write must be called with the lock held, so that a path's marks are in order.
func (r *registry) write(ctx context.Context, path string, k *known) (<-chan error, error) {
	done := make(chan error, 1)
	if r.journal == nil {
		done <- nil
		return done, nil
	}
	text, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	if err := r.journal.Append(ctx, &journal.Entry{Marks: map[string]string{path: string(text)}}, func(err error) { done <- err }); err != nil {
		return nil, err
	}
	return done, r.journal.Trim(nil) // marks are kept by the newest segment
}

// owner tells whether a file was read, or is being read, as that of another path.
func (r *registry) owner(path string, info os.FileInfo) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for other, k := range r.paths {
		if other == path {
			continue
		}
		for i := range k.Files {
			if k.Files[i].Head < headEnough || !k.Files[i].here(info) { // places are given to others
				continue
			}
			c, err := openContent(path)
			if err != nil {
				continue
			}
			same := k.Files[i].begins(c)
			c.close()
			if same {
				return true
			}
		}
	}
	return false
}
