package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pidFile holds the process id of whoever holds the lock. It is for people;
// the lock itself is on the folder, and ends with the process.
const pidFile = "LOCK"

// dirLock is the exclusive use of a folder. It is the same lock that Badger's
// own tools take.
type dirLock struct {
	dir *os.File
	pid string // path of the file; empty for a reader
}

// lockDir takes the lock of a folder, or says who has it. A reader shares it
// with other readers and leaves no trace.
func lockDir(dir string, reader bool) (*dirLock, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder of the state: %w", err)
	}
	how := unix.LOCK_EX
	if reader {
		how = unix.LOCK_SH
	}
	path := filepath.Join(dir, pidFile)
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		_ = f.Close()               // nothing was written
		pid, _ := os.ReadFile(path) // absent for a moment at times; then the holder goes without a name
		return nil, &LockedError{Dir: dir, PID: strings.TrimSpace(string(pid))}
	case err != nil:
		_ = f.Close()
		return nil, fmt.Errorf("locking the folder of the state %q: %w", dir, err)
	case reader:
		return &dirLock{dir: f}, nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking the folder of the state: %w", err)
	}
	return &dirLock{dir: f, pid: path}, nil
}

func (l *dirLock) release() error {
	var err error
	if l.pid != "" {
		err = os.Remove(l.pid)
	}
	if cerr := l.dir.Close(); err == nil {
		err = cerr
	}
	return err
}
