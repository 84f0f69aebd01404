package state

import (
	"os"
	"path/filepath"
	"time"
)

// Info is what a state holds.
type Info struct {
	Dir     string
	Version int
	// Last is the last whole epoch, committed at At; Folded is the one up to which records are in pages.
	Last, Folded uint64
	At           time.Time
	// Records and RecordBytes are of all kinds together; Kinds has each.
	Records, RecordBytes int64
	Kinds                map[Kind]KindInfo
	Outbox               OutboxInfo
	// Disk is what the files take, in bytes.
	Disk int64
	// Problems are what is damaged; the figures are of what could be read.
	Problems []error
}

// KindInfo counts the records of one kind.
type KindInfo struct {
	Records int64
	Bytes   int64 // keys and values
}

// OutboxInfo tells about the outbox.
type OutboxInfo struct {
	First, Next uint64 // First <= sequence number < Next are there
	Accepted    uint64
	Cursors     map[string]uint64 // by sink: up to which entry it has acknowledged
}

// Inspect looks at a state that is not in use, damaged or not, and changes nothing.
func Inspect(dir string) (Info, error) {
	s, err := View(Options{Dir: dir})
	if err != nil {
		return Info{}, err
	}
	info, err := s.inspect()
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return info, err
}

func (s *Store) inspect() (Info, error) {
	info := Info{Dir: s.options.Dir, Version: formatVersion, Last: s.Last(), Folded: s.Folded(), Disk: usedBytes(s.options.Dir), Kinds: make(map[Kind]KindInfo)}
	if s.last.epoch > 0 {
		info.At = s.last.at
	}
	err := s.loadAll(func(key, value []byte, _ Sum) error {
		k := info.Kinds[Kind(key[0])]
		k.Records++
		k.Bytes += int64(len(key) + len(value))
		info.Kinds[Kind(key[0])] = k
		info.Records++
		info.RecordBytes += int64(len(key) + len(value))
		return nil
	})
	if err := s.tolerate(err); err != nil {
		return Info{}, err
	}
	s.outbox.mu.Lock()
	info.Outbox = OutboxInfo{First: s.outbox.trim, Next: s.NextSeq(), Accepted: s.outbox.accepted}
	s.outbox.mu.Unlock()
	info.Outbox.Cursors = s.Cursors()
	info.Problems = s.Problems()
	return info, nil
}

// loadAll is Load with the dictionary's numbers.
func (s *Store) loadAll(f func(key, value []byte, sum Sum) error) error {
	s.mu.Lock()
	epochs, want := s.unfolded, s.last
	s.mu.Unlock()
	return s.load(1, epochs, want, true, func(_ int, key, value []byte, sum Sum) error { return f(key, value, sum) })
}

// Reset removes the files of a state that is not in use. Other files in the
// folder, and the folder, stay. A damaged state, or a newer one, is removed
// like any other.
func Reset(dir string) error {
	lock, err := lockDir(dir, false)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if err != nil || !ours(e.Name()) || e.Name() == pidFile || e.Name() == formatFile {
			continue
		}
		err = os.Remove(filepath.Join(dir, e.Name()))
	}
	if err == nil { // last: without it, what is left would be no state
		if err = os.Remove(filepath.Join(dir, formatFile)); os.IsNotExist(err) {
			err = nil
		}
	}
	if lerr := lock.Release(); err == nil {
		err = lerr
	}
	return err
}
