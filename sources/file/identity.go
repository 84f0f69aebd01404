package file

import (
	"hash/fnv"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// identity is what a file of one generation of a path is known by, whatever
// it is called by now: where it lies on its disk, and how it begins. The
// beginning is what tells a file that was written anew, and one whose place on the disk was given to another.
type identity struct {
	Generation int64  `json:"generation"`
	Device     uint64 `json:"device"`
	Inode      uint64 `json:"inode"`
	// Begin is the byte where reading began.
	Begin int64 `json:"begin,omitempty"`
	// Head is how many bytes of the beginning Sum covers.
	Head int    `json:"head,omitempty"`
	Sum  uint64 `json:"sum,omitempty"`
}

const (
	// headBytes is how much of a file's beginning is remembered.
	headBytes = 1024
	// headEnough is how much of it must be known to find a copy by it alone.
	headEnough = 16
	// generationsKept is how many files of one path are remembered.
	generationsKept = 16
)

func place(info os.FileInfo) (device, inode uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), st.Ino //nolint:unconvert // Dev's type depends on the system
	}
	return 0, 0
}

// here tells whether a file lies where the identity says.
func (id *identity) here(info os.FileInfo) bool {
	device, inode := place(info)
	return inode != 0 && id.Inode == inode && id.Device == device
}

// content is an open file, read as it is or uncompressed.
type content struct {
	file       *os.File
	info       os.FileInfo
	compressed bool
	in         *input // of a compressed one
	generation int64
	begin      int64
}

// openContent opens a file to be read from its beginning.
func openContent(path string) (*content, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &content{file: f, info: info, compressed: isCompressed(f)}, nil
}

// Read implements io.Reader.
func (c *content) Read(b []byte) (int, error) {
	if c.in != nil {
		return c.in.Read(b)
	}
	return c.file.Read(b)
}

// seek goes to a byte of what the file holds uncompressed.
func (c *content) seek(at int64) error {
	if !c.compressed {
		_, err := c.file.Seek(at, io.SeekStart)
		return err
	}
	in, err := c.plain()
	if err != nil {
		return err
	}
	c.in = in
	if _, err := io.CopyN(io.Discard, in, at); err != nil {
		return err
	}
	return nil
}

func (c *content) plain() (*input, error) {
	return uncompress(io.NewSectionReader(c.file, 0, c.info.Size()))
}

// head returns up to n first bytes.
func (c *content) head(n int) []byte {
	b := make([]byte, n)
	if !c.compressed {
		got, _ := c.file.ReadAt(b, 0) // a file that cannot be read has no beginning
		return b[:got]
	}
	in, err := c.plain()
	if err != nil {
		return nil
	}
	defer in.Close()
	got, _ := io.ReadFull(in, b)
	return b[:got]
}

// size is how much can be read; -1 when that is not known.
func (c *content) size() int64 {
	if c.compressed {
		return -1
	}
	info, err := c.file.Stat()
	if err != nil {
		return c.info.Size()
	}
	return info.Size()
}

func (c *content) close() {
	if c == nil {
		return
	}
	if c.in != nil {
		c.in.Close()
	}
	c.file.Close()
}

// identify describes a file.
func (c *content) identify() identity {
	id := identity{Generation: c.generation, Begin: c.begin}
	id.Device, id.Inode = place(c.info)
	head := c.head(headBytes)
	id.Head, id.Sum = len(head), sum(head)
	return id
}

func sum(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// begins tells whether a file begins as the identity says.
func (id *identity) begins(c *content) bool {
	head := c.head(id.Head)
	return len(head) == id.Head && sum(head) == id.Sum
}

// find returns the file of an identity, opened at a byte, nil when it is not to be had: the path's own
// file, one in the same folder that it was renamed to, or a copy that begins alike,
// compressed or not, under a name that rotation gives.
func (id *identity) find(path string, at int64) *content {
	for name := range neighbours(path) {
		if info, err := os.Stat(name); err != nil || !id.here(info) {
			continue
		}
		if c := id.open(name, at); c != nil {
			return c
		}
	}
	return id.copy(path, at)
}

// copy is find among the copies alone.
func (id *identity) copy(path string, at int64) *content {
	if id.Head < headEnough {
		return nil
	}
	for name, home := range neighbours(path) {
		if info, err := os.Stat(name); err != nil || id.here(info) || !rotated(home, name) {
			continue
		}
		if c := id.open(name, at); c != nil {
			return c
		}
	}
	return nil
}

// open opens a file at a byte, if it begins alike and is as long.
func (id *identity) open(name string, at int64) *content {
	c, err := openContent(name)
	if err != nil {
		return nil
	}
	if size := c.size(); id.begins(c) && (size < 0 || size >= at) && c.seek(at) == nil {
		c.generation, c.begin = id.Generation, at
		return c
	}
	c.close()
	return nil
}

// neighbours are the files in a path's folder, itself among them, and where it is a link those in
// the folder of the file that it leads to, each with the path's name there.
func neighbours(path string) iter.Seq2[string, string] {
	return func(yield func(name, home string) bool) {
		homes := []string{path}
		if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
			homes = append(homes, real)
		}
		for _, home := range homes {
			entries, err := os.ReadDir(filepath.Dir(home))
			if err != nil {
				continue
			}
			for _, e := range entries {
				if e.Type().IsRegular() && !yield(filepath.Join(filepath.Dir(home), e.Name()), home) {
					return
				}
			}
		}
	}
}

// rotated tells whether a name is one that rotation gives to a path's files: a
// number, a date or "old" behind the path or before its extension, and at times how it is compressed.
// Other files beside a log, such as one that remembers a reader's place, are no logs.
func rotated(path, name string) bool {
	for _, ext := range []string{".gz", ".zst"} {
		name = strings.TrimSuffix(name, ext)
	}
	ext := filepath.Ext(path)
	rest, ok := strings.CutPrefix(name, path)
	if !ok {
		rest, ok = strings.CutPrefix(strings.TrimSuffix(name, ext), strings.TrimSuffix(path, ext))
		ok = ok && strings.HasSuffix(name, ext)
	}
	if !ok || len(rest) < 2 || !strings.ContainsAny(rest[:1], ".-_") {
		return false
	}
	return rest[1:] == "old" || strings.Trim(rest[1:], "0123456789-_.:T") == ""
}
