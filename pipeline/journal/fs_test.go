package journal

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
)

// memory is an FS that loses what was not synced when it crashes, and fails
// when it is told to.
type memory struct {
	mu      sync.Mutex
	files   map[string]*memoryFile
	durable map[string]*memoryFile // the folder as of the last SyncDir
	// fail is asked before each operation: create, open, write, sync, syncdir, remove, truncate.
	fail  func(op, path string) error
	syncs int
	free  int64
}

type memoryFile struct {
	fs      *memory
	path    string
	data    []byte
	durable []byte // as of the last Sync
}

func newMemory() *memory {
	return &memory{files: make(map[string]*memoryFile), durable: make(map[string]*memoryFile)}
}

func (m *memory) try(op, path string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(op, path)
}

func (m *memory) MkdirAll(string) error { return nil }

func (m *memory) List(string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for path := range m.files {
		names = append(names, filepath.Base(path))
	}
	return names, nil
}

func (m *memory) Create(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.try("create", path); err != nil {
		return nil, err
	}
	if m.files[path] != nil {
		return nil, fs.ErrExist
	}
	f := &memoryFile{fs: m, path: path}
	m.files[path] = f
	return f, nil
}

func (m *memory) Open(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.files[path]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return f, m.try("open", path)
}

func (m *memory) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.try("remove", path); err != nil {
		return err
	}
	delete(m.files, path)
	return nil
}

func (m *memory) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.try("syncdir", dir); err != nil {
		return err
	}
	clear(m.durable)
	for path, f := range m.files {
		m.durable[path] = f
	}
	return nil
}

func (m *memory) Free(string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.free, nil
}

func (f *memoryFile) ReadAt(b []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if at >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(b []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.fs.try("write", f.path)
	if err != nil {
		b = b[:len(b)/2] // part of it was written, as on a disk that fills up
	}
	if grow := int(at) + len(b) - len(f.data); grow > 0 {
		f.data = append(f.data, make([]byte, grow)...)
	}
	return copy(f.data[at:], b), err
}

func (f *memoryFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.try("truncate", f.path); err != nil {
		return err
	}
	f.data = f.data[:size]
	return nil
}

func (f *memoryFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.data)), nil
}

func (f *memoryFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.try("sync", f.path); err != nil {
		return err
	}
	f.fs.syncs++
	f.durable = bytes.Clone(f.data)
	return nil
}

func (f *memoryFile) Close() error { return nil }

// crash returns the file system as a power failure may leave it: what was
// synced is there; of the rest any sectors, or none, and of the changes of the folder any.
func (m *memory) crash(r *rand.Rand) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := newMemory()
	for _, path := range sortedPaths(m.files, m.durable) {
		now, then := m.files[path], m.durable[path]
		if (now == nil) != (then == nil) && r.IntN(2) == 0 {
			continue
		}
		f := now
		if f == nil {
			f = then
		}
		data := f.torn(r)
		c := &memoryFile{fs: out, path: path, data: data, durable: bytes.Clone(data)}
		out.files[path], out.durable[path] = c, c
	}
	return out
}

func (f *memoryFile) torn(r *rand.Rand) []byte {
	if len(f.data) < len(f.durable) { // truncated and not synced
		return bytes.Clone(f.data)
	}
	data := bytes.Clone(f.data[:len(f.durable)+r.IntN(len(f.data)-len(f.durable)+1)])
	const sector = 64 // smaller than a disk's, for more kinds of wrecks
	for at := len(f.durable); at < len(data); at += sector {
		if r.IntN(3) == 0 {
			clear(data[at:min(at+sector, len(data))])
		}
	}
	return data
}

func sortedPaths(maps ...map[string]*memoryFile) []string {
	var out []string
	for _, m := range maps {
		for path := range m {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// copy returns the file system as it is, as a copy of the folder would be.
func (m *memory) copy() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := newMemory()
	for path, f := range m.files {
		c := &memoryFile{fs: out, path: path, data: bytes.Clone(f.data), durable: bytes.Clone(f.data)}
		out.files[path], out.durable[path] = c, c
	}
	return out
}

// paths returns the files' paths, sorted.
func (m *memory) paths() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return sortedPaths(m.files)
}

func (m *memory) String() string {
	var b bytes.Buffer
	for _, path := range m.paths() {
		fmt.Fprintf(&b, "%s: %d bytes\n", filepath.Base(path), len(m.files[path].data))
	}
	return b.String()
}
