package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// poll is how often a reload's answer is looked for.
const poll = 20 * time.Millisecond

// Reload tells the pipeline that keeps its state in a folder to read its rules
// again, and returns its answer. An error means that there is none: no
// pipeline runs, it ended meanwhile, or ctx did.
func Reload(ctx context.Context, dir string) (Answer, error) {
	pid, err := PID(dir)
	if err != nil {
		return Answer{}, err
	}
	before, err := readAnswer(dir)
	if err != nil {
		return Answer{}, fmt.Errorf("reading the last reload's answer: %w", err)
	}
	if err := Signal(pid); err != nil {
		return Answer{}, err
	}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		a, err := readAnswer(dir)
		if err != nil {
			return Answer{}, fmt.Errorf("reading the reload's answer: %w", err)
		}
		if a.Number > before.Number && a.PID == pid {
			return a, nil
		}
		if _, err := PID(dir); errors.Is(err, ErrNotRunning) {
			return Answer{}, fmt.Errorf("process %d ended while it reloaded; its log says why", pid)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return Answer{}, fmt.Errorf("process %d has not answered yet; its log says more: %w", pid, ctx.Err())
		}
	}
}

// Signal tells a process to read its rules again, without waiting for it.
func Signal(pid int) error {
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		return fmt.Errorf("telling process %d to reload: %w", pid, err)
	}
	return nil
}
