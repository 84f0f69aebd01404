package state

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	badger "github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"
)

// Badger trusts its files: at some places where they are not what it wrote it
// ends the process, asks for gigabytes of memory, or panics in a goroutine of
// its own. So all files are checked before it sees them.

const (
	manifestFile = "MANIFEST"
	keysFile     = "KEYREGISTRY"
	discardFile  = "DISCARD"
	logExt       = ".mem"
	tableExt     = ".sst"
	valueLogExt  = ".vlog"
)

// checked is what a check of the files found.
type checked struct {
	tables []tableFile // those that the manifest names and that are whole
	logs   []logEnd
	// problems are files that Badger must not see.
	problems []*DamagedError
}

// checkFiles reads all files of a state. Only what keeps it from reading on is an error.
func checkFiles(dir string, workers int) (*checked, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of the state: %w", err)
	}
	c := &checked{}
	have := make(map[string]bool)
	for _, e := range entries {
		have[e.Name()] = true
		if filepath.Ext(e.Name()) == logExt {
			end, err := scanLog(filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			c.logs = append(c.logs, end)
		}
	}
	tables, err := manifestTables(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
		for name := range have {
			if ext := filepath.Ext(name); ext == tableExt || ext == logExt {
				err = fmt.Errorf("it is missing, but %q is there", name)
			}
		}
	}
	if err != nil {
		c.problems = append(c.problems, &DamagedError{Dir: dir, Place: manifestFile, What: "it cannot be read", Err: err})
		return c, nil
	}
	return c, c.checkTables(dir, tables, workers)
}

// checkTables checks the tables side by side: nearly all of a state is in them.
func (c *checked) checkTables(dir string, tables []tableFile, workers int) error {
	group, _ := errgroup.WithContext(context.Background())
	group.SetLimit(workers)
	bad := make([]error, len(tables))
	for i, t := range tables {
		group.Go(func() error {
			data, err := os.ReadFile(filepath.Join(dir, t.name()))
			if err == nil {
				err = checkTable(data)
			}
			bad[i] = err
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, t := range tables {
		if bad[i] != nil {
			c.problems = append(c.problems, &DamagedError{Dir: dir, Place: t.name(), What: "the table is not what was written", Err: bad[i]})
			continue
		}
		c.tables = append(c.tables, t)
	}
	return nil
}

// tableFile is a table as the manifest names it.
type tableFile struct {
	id    uint64
	level int
}

func (t tableFile) name() string { return fmt.Sprintf("%06d%s", t.id, tableExt) }

// manifestTables lists the tables that make up the database.
func manifestTables(dir string) ([]tableFile, error) {
	f, err := os.Open(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, externalMagic, badger.DefaultOptions("").WithLogger(nil))
	if err != nil {
		return nil, err
	}
	var tables []tableFile
	for id, t := range m.Tables {
		if t.KeyID != 0 || t.Compression != 0 {
			return nil, fmt.Errorf("table %d is encrypted or compressed", id)
		}
		tables = append(tables, tableFile{id, int(t.Level)})
	}
	slices.SortFunc(tables, func(a, b tableFile) int { return cmp.Compare(a.id, b.id) })
	return tables, nil
}

// mend makes the files ones that Badger can open: logs are cut behind their
// last whole write, which Badger would do itself, and files that hold nothing
// of ours are removed; Badger makes them anew.
func (c *checked) mend(o Options) error {
	for _, l := range c.logs {
		if err := l.mend(o); err != nil {
			return fmt.Errorf("cutting a log of the state: %w", err)
		}
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return fmt.Errorf("reading the folder of the state: %w", err)
	}
	for _, e := range entries {
		// The value log is always empty, and no key is ever registered.
		if name := e.Name(); filepath.Ext(name) == valueLogExt || name == discardFile || name == keysFile {
			if err := os.Remove(filepath.Join(o.Dir, name)); err != nil {
				return fmt.Errorf("removing an empty file of the state: %w", err)
			}
		}
	}
	return nil
}

// logEnd is where the whole writes of a log end.
type logEnd struct {
	path string
	size int64
	end  int64
	torn bool // what follows is not just unused
	key  bool // the log claims to be encrypted, which it is not
}

const logHeader = 20

// scanLog finds the end of a log's whole writes. A log is as long as it may
// become from the start, and zero where it was not written yet.
func scanLog(path string) (logEnd, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return logEnd{}, fmt.Errorf("reading a log of the state: %w", err)
	}
	l := logEnd{path: path, size: int64(len(data))}
	if len(data) < logHeader {
		l.torn = len(data) > 0
		return l, nil
	}
	l.key = !allZero(data[:8])
	l.end = int64(logHeader + wholeWrites(data[logHeader:]))
	l.torn = !allZero(data[l.end:])
	return l, nil
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

func (l logEnd) mend(o Options) error {
	if l.torn {
		o.Log.Warn("a log of the state ends in a write that is not whole, which a crash explains; what follows it is dropped",
			"log", l.path, "offset", l.end)
	}
	if l.end <= logHeader {
		return os.Remove(l.path) // Badger fails on logs without a header, and forgets those with nothing but one
	}
	if l.key {
		if err := zeroKey(l.path); err != nil {
			return err
		}
	}
	if l.end < l.size {
		return os.Truncate(l.path, l.end)
	}
	return nil
}

// zeroKey says again that a log is not encrypted.
func zeroKey(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 8), 0)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// ours says whether a name in a state's folder is one of the state's files.
func ours(name string) bool {
	switch name {
	case formatFile, formatFile + ".new", identityFile, identityFile + ".new", manifestFile, "MANIFEST-REWRITE", keysFile, "REWRITE-KEYREGISTRY", discardFile, pidFile:
		return true
	}
	ext := filepath.Ext(name)
	number := strings.TrimSuffix(name, ext)
	return (ext == logExt || ext == tableExt || ext == valueLogExt) && number != "" && strings.Trim(number, "0123456789") == ""
}
