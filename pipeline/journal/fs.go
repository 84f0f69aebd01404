package journal

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// FS is the file system as a journal uses it, so that tests can make it fail.
type FS interface {
	// MkdirAll makes a folder and those above it.
	MkdirAll(dir string) error
	// List returns the names in a folder.
	List(dir string) ([]string, error)
	// Create makes a file that is not there yet; Open opens one for reading and writing.
	Create(path string) (File, error)
	Open(path string) (File, error)
	Remove(path string) error
	// SyncDir makes durable which files a folder has.
	SyncDir(dir string) error
	// Free returns how many bytes this process may still write.
	Free(dir string) (int64, error)
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes durable what was written, and the size.
	Sync() error
}

// disk is the file system of the machine.
type disk struct{}

func (disk) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

func (disk) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (disk) Create(path string) (File, error) {
	return openFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (disk) Open(path string) (File, error) { return openFile(path, os.O_RDWR) }

func openFile(path string, flags int) (File, error) {
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (disk) Remove(path string) error { return os.Remove(path) }

func (disk) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (disk) Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
