package state

import (
	"errors"
	"fmt"
)

// DamagedError says that the files do not hold what was once made durable.
type DamagedError struct {
	Dir   string // the state's folder
	Place string // the file or entry that is wrong
	What  string // what is wrong with it
	Err   error  // what found it, if it was not this package
}

// Error names the place and the ways out.
func (e *DamagedError) Error() string {
	text := e.What
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return fmt.Sprintf("the state in %q is damaged: %s: %s; see what is there with `sluice state inspect`, "+
		"keep what can be read with `sluice state export`, then put a copy back with `sluice state import` or begin anew with `sluice state reset`", e.Dir, e.Place, text)
}

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Err }

// VersionError says that another version of this program wrote the state.
type VersionError struct {
	Dir     string
	Version int // of the state
	Newest  int // that this program reads
}

// Error names the versions and the ways out.
func (e *VersionError) Error() string {
	return fmt.Sprintf("the state in %q has format version %d, this program reads versions up to %d: run the version that wrote it, "+
		"or take the records over with its `sluice state export` and `sluice state import`, or begin anew with `sluice state reset`", e.Dir, e.Version, e.Newest)
}

// LockedError says that another process, or another Store of this one, uses the state.
type LockedError struct {
	Dir string
	PID string // of the process that holds it, if known
}

// Error names the holder and the ways out.
func (e *LockedError) Error() string {
	holder := "another process"
	if e.PID != "" {
		holder = "process " + e.PID
	}
	return fmt.Sprintf("the state in %q is in use by %s: stop it first, or set another state.dir for this one", e.Dir, holder)
}

// SpaceError says that an epoch was not written, or the state not opened,
// because the disk could have filled up under it. The same call may be tried again.
type SpaceError struct {
	Dir        string
	Free, Need int64 // bytes
}

// Error names the sizes and the way out.
func (e *SpaceError) Error() string {
	return fmt.Sprintf("the disk under the state in %q has %d MB left, and %d MB may be needed: make room", e.Dir, e.Free>>20, e.Need>>20)
}

// ErrClosed is returned by a Store that was closed.
var ErrClosed = errors.New("the state is closed")

// errNotLoaded is returned where a call would build upon records nobody has checked.
var errNotLoaded = errors.New("the state was not loaded: call Load before Commit")

// damaged is a DamagedError about the store's folder.
func (s *Store) damaged(place, what string, err error) error {
	return &DamagedError{Dir: s.options.Dir, Place: place, What: what, Err: err}
}
