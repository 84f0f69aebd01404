package dirlock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Lock is the use of a folder, until Release or the end of the process.
type Lock struct {
	dir *os.File
	pid string // path of the file with the process id; empty where there is none
}

// HeldError says that somebody else has the use of a folder.
type HeldError struct {
	Dir string
	PID string // of the holder, if it is known
}

// Error names the folder and the holder.
func (e *HeldError) Error() string { return fmt.Sprintf("%q is in use by %s", e.Dir, e.Holder()) }

// Holder says who has it, for a sentence.
func (e *HeldError) Holder() string {
	if e.PID == "" {
		return "another process"
	}
	return "process " + e.PID
}

// Take takes the exclusive use of a folder that is there, or returns a
// *HeldError. With the name of a file it leaves the process id in it, for people.
func Take(dir, pidFile string) (*Lock, error) {
	l, err := lock(dir, pidFile, unix.LOCK_EX)
	if err != nil || pidFile == "" {
		return l, err
	}
	l.pid = filepath.Join(dir, pidFile)
	if err := os.WriteFile(l.pid, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		_ = l.dir.Close()
		return nil, fmt.Errorf("locking the folder: %w", err)
	}
	return l, nil
}

// Share takes the use of a folder together with others who share it, and
// leaves no trace; or returns a *HeldError.
func Share(dir, pidFile string) (*Lock, error) { return lock(dir, pidFile, unix.LOCK_SH) }

func lock(dir, pidFile string, how int) (*Lock, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if err == nil {
		return &Lock{dir: f}, nil
	}
	_ = f.Close() // nothing was written
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("locking the folder %q: %w", dir, err)
	}
	held := &HeldError{Dir: dir}
	if pidFile != "" {
		pid, _ := os.ReadFile(filepath.Join(dir, pidFile)) // absent for a moment at times; then the holder goes without a name
		held.PID = strings.TrimSpace(string(pid))
	}
	return nil, held
}

// Release ends the use.
func (l *Lock) Release() error {
	var err error
	if l.pid != "" {
		err = os.Remove(l.pid)
	}
	return errors.Join(err, l.dir.Close())
}
