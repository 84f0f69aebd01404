package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// waitDelay is how long what a killed command leaves behind may hold its output open.
const waitDelay = time.Second

// run runs the command once. A refusedError says that it never will be done.
func (s *Sink) run(ctx context.Context, d *data) error {
	args, err := s.templates.arguments(d)
	if err != nil {
		return refusedError{err}
	}
	env, err := s.templates.environment(d)
	if err != nil {
		return refusedError{err}
	}
	limited, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, s.config.Command, args...)
	var out head
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = env, &out, &out, waitDelay
	if s.config.Stdin != "" {
		text, err := s.config.Stdin.Append(nil, d.Alert)
		if err != nil {
			return refusedError{err}
		}
		cmd.Stdin = bytes.NewReader(append(text, '\n'))
		s.bytes.Add(uint64(len(text) + 1))
	}
	ownGroup(cmd)
	if err = s.judge(ctx, limited, cmd.Run(), out.String()); err == nil {
		s.log.Debug("a command is done", "sink", s.name, "alert", d.Alert.UUID, "output", out.String())
	}
	return err
}

// judge reads the end of a command. One that is done is done, even where ctx,
// or the limited one of its time, ended with it.
func (s *Sink) judge(ctx, limited context.Context, err error, output string) error {
	var code *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // it may have left something behind that still holds its output
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("%s took more than %v and was killed: %s", s.config.Command, s.config.Timeout, output)
	case errors.As(err, &code) && slices.Contains(s.config.RejectCodes, code.ExitCode()):
		return refusedError{fmt.Errorf("%s: %w: %s", s.config.Command, err, output)}
	}
	return fmt.Errorf("%s: %w: %s", s.config.Command, err, output)
}

// ownGroup has a command run in a process group of its own, which is killed as a whole.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}

// maxOutput is how much of what a command prints is kept.
const maxOutput = 500

// head keeps the beginning of what is written to it. exec.Cmd writes from one
// goroutine at a time where standard output and error are the same writer.
type head struct{ text []byte }

// Write takes all, and keeps what there is room for.
func (h *head) Write(b []byte) (int, error) {
	h.text = append(h.text, b[:min(len(b), maxOutput-len(h.text))]...)
	return len(b), nil
}

// String gives it on one line, without what a terminal would act on.
func (h *head) String() string {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(h.text), "?"))
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return "(no output)"
	}
	return text
}
