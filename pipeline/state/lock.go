package state

import (
	"errors"
	"fmt"

	"sluice/pipeline/dirlock"
)

// pidFile holds the process id of whoever holds the lock.
const pidFile = "LOCK"

// lockDir takes the lock of a folder, or says who has it. A reader shares it
// with other readers and leaves no trace.
func lockDir(dir string, reader bool) (*dirlock.Lock, error) {
	take := dirlock.Take
	if reader {
		take = dirlock.Share
	}
	lock, err := take(dir, pidFile)
	var held *dirlock.HeldError
	switch {
	case errors.As(err, &held):
		return nil, &LockedError{Dir: dir, PID: held.PID}
	case err != nil:
		return nil, fmt.Errorf("the state: %w", err)
	}
	return lock, nil
}
