package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The files in the state's folder.
const (
	pidFile    = "sluice.pid"
	answerFile = "reload.json"
)

// Answer is what came of a reload.
type Answer struct {
	// Number counts the reloads of the folder's pipelines.
	Number uint64 `json:"number"`
	// PID is the process that answers.
	PID int `json:"pid"`
	// At is when the reload ended.
	At time.Time `json:"at"`
	// Error says why the old rules are still in place; empty when the new ones are.
	Error string `json:"error,omitempty"`
	// Summary says what runs now.
	Summary string `json:"summary,omitempty"`
}

// Running is a pipeline's announcement. Its methods are called by one goroutine.
type Running struct {
	dir    string
	file   *os.File // holds the lock
	number uint64   // of the last answer
}

// Announce says in a folder that this process runs the pipeline whose state is
// there. Call it once SIGHUP is handled; Close takes it back.
func Announce(dir string) (*Running, error) {
	f, err := os.OpenFile(filepath.Join(dir, pidFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("announcing the process: %w", err)
	}
	if err := lockSoon(f); err != nil {
		_ = f.Close() // err says more
		return nil, fmt.Errorf("announcing the process: %w", err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	if err != nil {
		_ = f.Close() // err says more
		return nil, fmt.Errorf("announcing the process: %w", err)
	}
	last, err := readAnswer(dir)
	if err != nil { // it cannot be read, and the next will replace it
		last = Answer{}
	}
	return &Running{dir: dir, file: f, number: last.Number}, nil
}

// errLocked says that another process holds the lock.
var errLocked = errors.New("another process has announced itself; stop it first")

// lockSoon takes the lock; whoever asks for the process id holds it for a moment.
func lockSoon(f *os.File) (err error) {
	for range 50 {
		if err = lock(f); !errors.Is(err, errLocked) {
			return err
		}
		time.Sleep(poll / 2)
	}
	return err
}

func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// Answer writes down what came of a reload.
func (r *Running) Answer(at time.Time, summary string, failure error) error {
	r.number++
	a := Answer{Number: r.number, PID: os.Getpid(), At: at.UTC(), Summary: summary}
	if failure != nil {
		a.Error = failure.Error()
	}
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("answering a reload: %w", err)
	}
	path := filepath.Join(r.dir, answerFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("answering a reload: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("answering a reload: %w", err)
	}
	return nil
}

// Close takes the announcement back.
func (r *Running) Close() error {
	err := os.Remove(r.file.Name()) // first, so that nobody finds the file without its lock for long
	if cerr := r.file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("taking the announcement of the process back: %w", err)
	}
	return nil
}

// Remove removes what processes that are gone left in a folder.
func Remove(dir string) error {
	for _, name := range []string{pidFile, answerFile, answerFile + ".new"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// readAnswer returns the last answer, the zero one when there is none.
func readAnswer(dir string) (a Answer, err error) {
	text, err := os.ReadFile(filepath.Join(dir, answerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Answer{}, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	return a, err
}

// ErrNotRunning says that no pipeline has announced itself.
var ErrNotRunning = errors.New("no running pipeline keeps its state there")

// PID returns the process whose pipeline keeps its state in a folder.
func PID(dir string) (int, error) {
	f, err := os.Open(filepath.Join(dir, pidFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%s: %w", dir, ErrNotRunning)
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil { // whoever wrote it is gone
		return 0, fmt.Errorf("%s: %w", dir, ErrNotRunning)
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return 0, fmt.Errorf("%s: %w", f.Name(), err)
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("%s holds no process id but %q", f.Name(), text)
	}
	return pid, nil
}
