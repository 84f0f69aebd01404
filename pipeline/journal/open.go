package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"sluice/pipeline/dirlock"
)

// Options say where a journal is, and how it behaves.
type Options struct {
	// Dir is the journal's folder; it is made when it is not there.
	Dir string
	// SegmentBytes is about the size of a file; MaxBytes, at least twice that,
	// is what all together may have before Append waits. Defaults are 64 MiB and 1 GiB.
	SegmentBytes, MaxBytes int64
	// Log gets what was found at the start; nil discards.
	Log *slog.Logger
	// Trouble is told why nothing can be written at the moment, each time that it
	// was tried, and nil when it works again.
	Trouble func(error)
	// Reserve, when set, tells how many bytes of the file system must stay free for others: the journal
	// waits as if the disk were full when it would leave less. It is asked before every write.
	Reserve func() int64
	// After is the clock that retries wait by; nil is time.After.
	After func(time.Duration) <-chan time.Time
	// FS is the file system; nil is the machine's.
	FS FS
	// Poison overwrites what readers give back, so that tests find who still reads it.
	Poison bool
}

func (o Options) complete() Options {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Trouble == nil {
		o.Trouble = func(error) {}
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.FS == nil {
		o.FS = disk{}
	}
	return o
}

// DamageError says that a journal does not hold what it once held.
type DamageError struct {
	// Dir is the journal's folder, File the file in question, At the byte in it.
	Dir, File string
	At        int64
	// What is wrong, as part of a sentence.
	What string
}

// Error names the place and the remedy.
func (e *DamageError) Error() string {
	return fmt.Sprintf("journal: %s: at byte %d %s; bring the folder back from a backup, or move it away "+
		"and set journal.missing to fresh to go on without what it still held", filepath.Join(e.Dir, e.File), e.At, e.What)
}

// Open opens a journal, or makes one, for this process alone. What a crash
// left of a write that was never acknowledged is cut off; other damage is a *DamageError.
func Open(o Options) (j *Journal, err error) {
	o = o.complete()
	if o.MaxBytes < 2*o.SegmentBytes {
		return nil, fmt.Errorf("journal: %d bytes have no room for two segments of %d", o.MaxBytes, o.SegmentBytes)
	}
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return nil, fmt.Errorf("journal: making its folder: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	j = newJournal(o, lock)
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Release())
		}
	}()
	names, err := j.names()
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		if err := j.load(name, i == len(names)-1); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		rand.Read(j.id[:]) // it never fails
	}
	return j, nil
}

// lockDir takes the exclusive use of a folder, which ends with the process.
func lockDir(dir string) (*dirlock.Lock, error) {
	lock, err := dirlock.Take(dir, "")
	var held *dirlock.HeldError
	switch {
	case errors.As(err, &held):
		return nil, fmt.Errorf("journal: %s is in use by another process or another source; stop that, or set journal.dir to a folder of its own", dir)
	case err != nil:
		return nil, fmt.Errorf("journal: %w", err)
	}
	return lock, nil
}

// names returns the segments' names in order, and takes the journal's id off them.
func (j *Journal) names() ([]string, error) {
	all, err := j.o.FS.List(j.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("journal: reading its folder: %w", err)
	}
	var names []string
	var before uint64
	slices.Sort(all)
	for _, name := range all {
		number, id, ok := parseName(name)
		if !ok {
			continue
		}
		switch {
		case len(names) == 0:
			j.id = id
		case id != j.id:
			return nil, j.damage(name, 0, "the folder holds a file of another journal")
		case number != before+1:
			return nil, j.damage(name, 0, fmt.Sprintf("%d files before this one are missing", number-before-1))
		}
		before = number
		names = append(names, name)
	}
	return names, nil
}

func (j *Journal) damage(file string, at int64, what string) error {
	return &DamageError{Dir: j.o.Dir, File: file, At: at, What: what}
}

// load takes up one segment.
func (j *Journal) load(name string, last bool) (err error) {
	number, _, _ := parseName(name)
	path := filepath.Join(j.o.Dir, name)
	f, err := j.o.FS.Open(path)
	if err != nil {
		return fmt.Errorf("journal: opening a segment: %w", err)
	}
	defer func() {
		if err != nil || j.active != f {
			err = errors.Join(err, f.Close())
		}
	}()
	s, err := scan(f, j.id)
	if err != nil {
		return fmt.Errorf("journal: reading %s: %w", path, err)
	}
	switch {
	case s.wrong != nil && s.follows >= 0:
		return j.damage(name, s.size, fmt.Sprintf("something is damaged (%v), and synced records follow at byte %d", s.wrong, s.follows))
	case s.wrong != nil && !last:
		return j.damage(name, s.size, fmt.Sprintf("something is damaged (%v), and a newer file follows", s.wrong))
	case s.head == nil: // made when the process died
		return j.removeTorn(path, number)
	case s.head.number != number:
		return j.damage(name, 0, fmt.Sprintf("it says that it is number %d", s.head.number))
	case len(j.segments) > 0 && s.head.first != j.synced && !(s.head.jump && s.head.first > j.synced):
		return j.damage(name, 0, fmt.Sprintf("it begins at offset %d, and the file before ends at %d", s.head.first, j.synced))
	}
	if len(j.segments) == 0 {
		j.begins = maps.Clone(s.head.ends)
	}
	j.ends, j.marks = s.head.ends, s.head.marks
	maps.Copy(j.ends, s.ends)
	mergeMarks(j.marks, s.marks)
	j.next, j.synced, j.used, j.number = s.next, s.next, j.used+s.size, number
	j.segments = append(j.segments, &segment{number: number, path: path, size: s.size, filled: s.filled, ends: s.ends})
	if !last {
		return nil
	}
	j.active = f
	return j.cut(f, path, s)
}

// cut takes the torn end off the last segment, and makes the rest durable.
func (j *Journal) cut(f File, path string, s *scanned) error {
	if s.wrong != nil {
		size, err := f.Size()
		if err == nil {
			j.o.Log.Info("the end of the journal was not written to its end when the process died, and was acknowledged to nobody; it is cut off",
				"file", path, "at", s.size, "bytes", size-s.size)
			err = f.Truncate(s.size)
		}
		if err != nil {
			return fmt.Errorf("journal: cutting a torn end off: %w", err)
		}
	}
	err := f.Sync()
	if err == nil {
		err = j.o.FS.SyncDir(j.o.Dir)
	}
	if err != nil {
		return fmt.Errorf("journal: making durable what was found: %w", err)
	}
	return nil
}

// removeTorn removes a segment that was never finished. Its number may be used again.
func (j *Journal) removeTorn(path string, number uint64) error {
	j.o.Log.Info("a file of the journal was being made when the process died; it is removed", "file", path)
	err := j.o.FS.Remove(path)
	if err == nil {
		err = j.o.FS.SyncDir(j.o.Dir)
	}
	if err != nil {
		return fmt.Errorf("journal: removing a file that was not finished: %w", err)
	}
	j.number = number - 1
	return nil
}
