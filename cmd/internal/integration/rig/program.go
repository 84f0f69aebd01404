package rig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/goccy/go-yaml"

	"sluice/cmd/internal/integration/process"
)

// Program is a sluice with a folder of its own: its configuration, its state,
// its log over all starts. Start, Kill and Stop are one goroutine's at a time;
// the rest is anybody's.
type Program struct {
	Name, Dir string
	// Env are variables of the next start, beside the caller's own.
	Env []string

	binary  string
	process *process.Process
	starts  int
	// ending is set before the process is told to end, so that an end of its
	// own making is told apart.
	ending atomic.Bool
}

// NewProgram makes the folder. Nothing runs yet.
func NewProgram(name, dir, binary string) (*Program, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Program{Name: name, Dir: dir, binary: binary}, nil
}

// Configure writes the configuration of the next start.
func (p *Program) Configure(config map[string]any) error {
	text, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(p.ConfigFile(), text, 0o600)
}

// ConfigFile is where its configuration is.
func (p *Program) ConfigFile() string { return filepath.Join(p.Dir, "sluice.yaml") }

// State is the folder of its state.
func (p *Program) State() string { return filepath.Join(p.Dir, "state") }

// LogFile is where all its runs log.
func (p *Program) LogFile() string { return filepath.Join(p.Dir, "log") }

// Start runs sluice.
func (p *Program) Start() error {
	log, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.starts++
	fmt.Fprintf(log, "=== start %d\n", p.starts)
	cmd := exec.Command(p.binary, "run", "-c", p.ConfigFile())
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	p.ending.Store(false)
	p.process, err = process.Start(cmd)
	return err
}

// Starts is how often it was started.
func (p *Program) Starts() int { return p.starts }

// Process is the run under way, or the last; nil before the first.
func (p *Program) Process() *process.Process { return p.process }

// Kill ends it at once, with no chance to tidy up.
func (p *Program) Kill() error {
	p.ending.Store(true)
	return p.process.Kill()
}

// Stop ends it in good order.
func (p *Program) Stop() error {
	p.ending.Store(true)
	if err := p.process.Stop(); err != nil {
		return fmt.Errorf("%s did not end well: %w\n%s", p.Name, err, p.Tail(20))
	}
	return nil
}

// MayEnd says that an end of its own making is no error from now on.
func (p *Program) MayEnd() { p.ending.Store(true) }

// Ended returns an error when it has ended of its own accord.
func (p *Program) Ended() error {
	if p.process == nil {
		return errors.New(p.Name + " was not started")
	}
	select {
	case <-p.process.Done():
		if !p.ending.Load() {
			return fmt.Errorf("%s ended by itself: %v\n%s", p.Name, p.process.Wait(), p.Tail(20))
		}
	default:
	}
	return nil
}

// Output returns all that it logged.
func (p *Program) Output() string {
	text, err := os.ReadFile(p.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// LastRun returns what it logged since it was started last.
func (p *Program) LastRun() string {
	all := p.Output()
	return all[max(0, strings.LastIndex(all, "=== start")):]
}

// Tail returns the last lines of its log.
func (p *Program) Tail(n int) string {
	lines := bytes.Split(bytes.TrimSpace([]byte(p.Output())), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}
