package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// errView is returned where a view is asked to change something.
var errView = errors.New("the state was opened to be looked at, and cannot be changed")

// View opens a state to be looked at, damaged or not: nothing in its folder
// changes, and what cannot be read is left out and told by Problems. Load
// calls its function for all records that are left, and returns a
// *DamagedError if they are not all. It needs the state not to be in use; it
// returns a *VersionError for one that is too new, and a *DamagedError only
// where there is nothing to look at.
func View(o Options) (*Store, error) {
	o = o.complete()
	lock, err := lockDir(o.Dir, true)
	if err != nil {
		return nil, err
	}
	s, err := view(o)
	if err != nil {
		_ = lock.Release() // err says more
		return nil, err
	}
	s.lock = lock
	return s, nil
}

func view(o Options) (s *Store, err error) {
	s = &Store{options: o, dictionary: NewDictionary(), wake: make(chan struct{}, 1), stop: func() {}, viewing: true, free: freeBytes}
	var f format
	if f, err = readFormat(o.Dir); err != nil {
		var version *VersionError
		if errors.As(err, &version) || errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("looking at the state in %q: %w", o.Dir, err)
		}
		s.problems = append(s.problems, err)
		f.memTable = 1 << 28 // large enough for any log
	}
	files, err := checkFiles(o.Dir, o.Workers)
	if err != nil {
		return nil, err
	}
	for _, p := range files.problems {
		s.problems = append(s.problems, p)
	}
	if s.shadow, err = shadow(o.Dir, files); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(s.shadow) // err says more
		}
	}()
	s.db, err = badger.Open(badgerOptions(s.shadow, f.memTable, o.Log).WithReadOnly(true))
	if err != nil {
		return nil, &DamagedError{Dir: o.Dir, Place: "its database", What: "Badger cannot open what is left of it", Err: err}
	}
	if err = s.recover(f); err != nil {
		_ = s.db.Close() // err says more
		return nil, err
	}
	return s, nil
}

// Problems returns what a View, and its Load, found damaged so far.
func (s *Store) Problems() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

// tolerate keeps damage from ending a view.
func (s *Store) tolerate(err error) error {
	if err == nil || !s.viewing {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, err)
	return nil
}

// mutable says why nothing can be changed, if that is so.
func (s *Store) mutable() error {
	switch {
	case s.closed.Load():
		return ErrClosed
	case s.viewing:
		return errView
	}
	return nil
}

// shadow makes a folder that Badger can open for reading: links to the tables
// that are whole, copies of the logs up to their last whole write, and a
// manifest of just these tables.
func shadow(dir string, files *checked) (string, error) {
	to, err := os.MkdirTemp("", "sluice-state-")
	if err != nil {
		return "", fmt.Errorf("making a folder to look at the state: %w", err)
	}
	if err := fillShadow(to, dir, files); err != nil {
		_ = os.RemoveAll(to) // err says more
		return "", fmt.Errorf("copying the state to look at it: %w", err)
	}
	return to, nil
}

func fillShadow(to, dir string, files *checked) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for _, l := range files.logs {
		if l.end <= logHeader {
			continue
		}
		data, err := os.ReadFile(l.path)
		if err != nil {
			return err
		}
		clear(data[:8])
		if err := os.WriteFile(filepath.Join(to, filepath.Base(l.path)), data[:min(l.end, int64(len(data)))], 0o600); err != nil {
			return err
		}
	}
	var changes pb.ManifestChangeSet
	for _, t := range files.tables {
		if err := os.Symlink(filepath.Join(dir, t.name()), filepath.Join(to, t.name())); err != nil {
			return err
		}
		changes.Changes = append(changes.Changes, &pb.ManifestChange{Id: t.id, Op: pb.ManifestChange_CREATE, Level: uint32(t.level)})
	}
	return writeManifest(filepath.Join(to, manifestFile), &changes)
}

// manifestVersion is that of Badger 4's manifests.
const manifestVersion = 8

func writeManifest(path string, changes *pb.ManifestChangeSet) error {
	body, err := proto.Marshal(changes)
	if err != nil {
		return err
	}
	b := []byte("Bdgr")
	b = binary.BigEndian.AppendUint16(b, externalMagic)
	b = binary.BigEndian.AppendUint16(b, manifestVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, y.CastagnoliCrcTable))
	return os.WriteFile(path, append(b, body...), 0o600)
}
