package journald

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"
)

// keptFields are what lines are made of. journalctl adds __CURSOR and __REALTIME_TIMESTAMP to any.
var keptFields = []string{
	"MESSAGE", "SYSLOG_IDENTIFIER", "_COMM", "_PID", "SYSLOG_PID", "_HOSTNAME", "_SOURCE_REALTIME_TIMESTAMP",
}

// arguments are those of every journalctl of this source.
func (c *Config) arguments() []string {
	args := []string{"--no-pager", "--all", "--output=export", "--output-fields=" + strings.Join(append(keptFields, c.Headers...), ",")}
	for _, o := range []struct{ name, value string }{
		{"--priority", c.Priority}, {"--directory", c.Directory}, {"--namespace", c.Namespace}, {"--until", c.Until},
	} {
		if o.value != "" {
			args = append(args, o.name+"="+o.value)
		}
	}
	for _, o := range []struct {
		name   string
		values []string
	}{{"--unit", c.Units}, {"--identifier", c.Identifiers}, {"--file", c.Files}} {
		for _, v := range o.values {
			args = append(args, o.name+"="+v)
		}
	}
	if c.Merge {
		args = append(args, "--merge")
	}
	return args
}

// reading returns the arguments that read on from a cursor, "" for the beginning.
func (c *Config) reading(cursor string) []string {
	args := c.arguments()
	switch {
	case cursor != "":
		// The entry itself comes again and is left out: versions of journalctl
		// differ in what --after-cursor does when the entry is gone.
		args = append(args, "--cursor="+cursor)
	case c.Since != "":
		args = append(args, "--since="+c.Since)
	}
	if c.Follow {
		args = append(args, "--follow", "--no-tail")
	}
	return append(args, c.JournalctlFilter...)
}

// last returns the arguments that read the last entry alone.
func (c *Config) last() []string {
	return append(append(c.arguments(), "--lines=1"), c.JournalctlFilter...)
}

// process is a journalctl that runs.
type process struct {
	cmd    *exec.Cmd
	out    io.ReadCloser
	errors *complaints
	cancel context.CancelFunc
}

// startProcess runs journalctl. The goroutine that calls it must be locked to its
// thread until end, since the kernel ends the process together with that.
func startProcess(ctx context.Context, command string, args []string, log *slog.Logger) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &process{cmd: exec.CommandContext(ctx, command, args...), errors: &complaints{log: log}, cancel: cancel}
	p.cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=")
	p.cmd.Stderr = p.errors
	p.cmd.WaitDelay = time.Second
	dieWithParent(p.cmd)
	var err error
	if p.out, err = p.cmd.StdoutPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("running %s: %w", command, err)
	}
	return p, nil
}

// end ends the process, and returns what it complained of: nil where it ended
// by itself and well.
func (p *process) end(finished bool) error {
	if !finished {
		p.cancel()
	}
	err := p.cmd.Wait()
	p.cancel()
	if err == nil {
		return nil
	}
	if said := p.errors.last(); said != "" {
		err = errors.New(said)
	}
	return fmt.Errorf("%s ended: %w", p.cmd.Path, err)
}

// missing tells whether there is no journalctl to run, which no waiting mends.
func missing(err error) bool {
	return errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission)
}

// maxComplaint bounds what is kept of journalctl's standard error.
const maxComplaint = 4 << 10

// complaints is the standard error of journalctl. The process's goroutine
// writes it, and last is called when that has ended.
type complaints struct {
	log  *slog.Logger
	line []byte
	kept string
}

// Write keeps the last line.
func (c *complaints) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		part := rest
		if end >= 0 {
			part = rest[:end]
		}
		c.line = append(c.line, part[:min(len(part), maxComplaint-len(c.line))]...)
		if end < 0 {
			break
		}
		c.take()
		rest = rest[end+1:]
	}
	return len(p), nil
}

func (c *complaints) take() {
	if text := strings.TrimSpace(string(c.line)); text != "" {
		c.kept = text
		c.log.Debug("journalctl says", "text", text)
	}
	c.line = c.line[:0]
}

func (c *complaints) last() string {
	c.take()
	return c.kept
}
