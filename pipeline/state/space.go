package state

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Space tells how the disk is doing. Badger writes through memory maps, so a
// disk that is full kills the process: whoever feeds the store stops while Low
// is true, and goes on when it no longer is.
type Space struct {
	Free    int64 // bytes that the file system has left for this process
	Reserve int64 // bytes below which it must not fall
	Used    int64 // bytes that the files of the state take
	Low     bool  // Free < Reserve
}

// Space asks the file system. It costs a few system calls.
func (s *Store) Space() (Space, error) {
	if err := s.enter(); err != nil {
		return Space{}, err
	}
	defer s.leave()
	free, err := s.free(s.options.Dir)
	if err != nil {
		return Space{}, err
	}
	sp := Space{Free: free, Reserve: s.reserve(), Used: usedBytes(s.options.Dir)}
	sp.Low = sp.Free < sp.Reserve
	return sp, nil
}

// reserve is room for two memtables, each with its log and its table; for one
// compaction, which writes the tables of a level anew before it removes them;
// for one fold; and for one epoch.
func (s *Store) reserve() int64 {
	if s.options.Reserve > 0 {
		return s.options.Reserve
	}
	var tables int64
	for _, level := range s.db.Levels() {
		tables += level.Size
	}
	s.mu.Lock()
	var epoch, gathered int64
	for _, m := range s.unfolded {
		epoch = max(epoch, m.size())
		gathered += m.size()
	}
	s.mu.Unlock()
	return 4*memTableRoom(s.options.MemTable) + tables + gathered + 2*epoch
}

// memTableRoom is how large the log of a memtable can become: Badger looks
// for room before each write, and the largest write is 15 % of a memtable.
func memTableRoom(memTable int64) int64 { return memTable + memTable/4 }

// roomToOpen refuses a disk on which not even one log finds room.
func roomToOpen(o Options) error {
	need := memTableRoom(o.MemTable)
	if o.Reserve > 0 {
		need = min(need, o.Reserve)
	}
	free, err := freeBytes(o.Dir)
	if err == nil && free < need {
		err = &SpaceError{Dir: o.Dir, Free: free, Need: need}
	}
	return err
}

// roomFor refuses an epoch that could fill the disk.
func (s *Store) roomFor(m *marker, e *Epoch) error {
	need := 2*memTableRoom(s.options.MemTable) + 2*m.size()
	for _, entry := range e.Outbox {
		need += 2 * int64(len(entry.Payload))
	}
	if s.options.Reserve > 0 {
		need = min(need, s.options.Reserve)
	}
	free, err := s.free(s.options.Dir)
	if err != nil {
		return err
	}
	if free < need {
		return &SpaceError{Dir: s.options.Dir, Free: free, Need: need}
	}
	return nil
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// usedBytes adds up the blocks of the files: logs are sparse.
func usedBytes(dir string) int64 {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0 // Space is a report; the files' own errors are told elsewhere
	}
	var used int64
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(dir, e.Name()), &st) == nil {
			used += st.Blocks * 512
		}
	}
	return used
}

// syncNames makes the names of new files durable, if there are any: Badger
// syncs what it writes, but not always the folder that it writes to.
func (s *Store) syncNames() error {
	info, err := os.Stat(s.options.Dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	changed := !info.ModTime().Equal(s.spent.dirTime)
	s.spent.dirTime = info.ModTime()
	s.mu.Unlock()
	if !changed {
		return nil
	}
	return syncDir(s.options.Dir)
}
