package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"sluice/cmd/internal/integration/process"
)

// Config is a configuration file's content. The instance adds what it leaves
// out: a name, a state with short intervals, and a file for the alerts.
type Config map[string]any

// Probing returns the configuration of a pipeline that makes one alert of
// every line that Line wrote, read from the given sources.
func Probing(sources ...map[string]any) Config {
	list := make([]any, len(sources))
	for i := range sources {
		list[i] = sources[i]
	}
	root, err := Root()
	if err != nil {
		root = "." // the rules are not found then, and sluice says so
	}
	return Config{
		"rules": map[string]any{
			"roots":     []string{filepath.Join(root, "cmd", "internal", "integration", "testdata", "rules")},
			"parsers":   []string{"test/probe"},
			"scenarios": []string{"test/each-line"},
			"strict":    true,
		},
		"sources": list,
	}
}

// Line returns the line of a number; more may stand before and behind it.
func Line(n int) string { return fmt.Sprintf("probe n=%d", n) }

// Instance is one sluice with a folder of its own. It is one goroutine's.
type Instance struct {
	name    string
	dir     string
	process *process.Process
	starts  int
}

// New writes an instance's configuration. It is killed when the test ends.
func New(t testing.TB, name string, c Config) *Instance {
	t.Helper()
	in := &Instance{name: name, dir: filepath.Join(t.TempDir(), name)}
	if err := os.MkdirAll(in.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	in.Configure(t, c)
	t.Cleanup(func() {
		if in.process != nil {
			_ = in.process.Kill() // it has ended, or ends now
		}
		if t.Failed() {
			t.Logf("%s\n%s", in.name, in.tail(60))
		}
	})
	return in
}

// Configure writes another configuration, for the next start.
func (in *Instance) Configure(t testing.TB, c Config) {
	t.Helper()
	whole := Config{
		"name":  in.name,
		"state": map[string]any{"dir": in.State(), "interval": "200ms"},
		"sinks": []any{map[string]any{"type": "file", "path": in.AlertsFile()}},
	}
	for key, value := range c {
		whole[key] = value
	}
	text, err := yaml.Marshal(map[string]any(whole))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in.configFile(), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (in *Instance) configFile() string { return filepath.Join(in.dir, "sluice.yaml") }
func (in *Instance) logFile() string    { return filepath.Join(in.dir, "log") }

// Dir is the instance's folder.
func (in *Instance) Dir() string { return in.dir }

// State is the folder of its state.
func (in *Instance) State() string { return filepath.Join(in.dir, "state") }

// AlertsFile is where its alerts go, a line of JSON each.
func (in *Instance) AlertsFile() string { return filepath.Join(in.dir, "alerts.json") }

// Start runs sluice; its log goes to a file. Env are variables beside the test's own.
func (in *Instance) Start(t testing.TB, env ...string) {
	t.Helper()
	log, err := os.OpenFile(in.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	in.starts++
	fmt.Fprintf(log, "=== start %d\n", in.starts)
	cmd := exec.Command(Binary(t), "run", "-c", in.configFile())
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if in.process, err = process.Start(cmd); err != nil {
		t.Fatal(err)
	}
}

// StartReady runs sluice and waits until its log says so.
func (in *Instance) StartReady(t testing.TB, says string, env ...string) {
	t.Helper()
	in.Start(t, env...)
	in.WaitFor(t, says)
}

// WaitFor waits until the log of the last start holds a text.
func (in *Instance) WaitFor(t testing.TB, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Poll(ctx, fmt.Sprintf("%s to say %q", in.name, text), func() (bool, error) {
		return strings.Contains(in.LastRun(), text), in.Ended()
	}); err != nil {
		t.Fatal(err)
	}
}

// Kill ends it at once, with no chance to tidy up.
func (in *Instance) Kill(t testing.TB) {
	t.Helper()
	if err := in.process.Kill(); err != nil {
		t.Fatal(err)
	}
}

// Stop ends it in good order, once it has taken up its state.
func (in *Instance) Stop(t testing.TB) {
	t.Helper()
	in.WaitFor(t, "the state is loaded")
	if err := in.process.Stop(); err != nil {
		t.Fatalf("%s did not end well: %v\n%s", in.name, err, in.tail(20))
	}
}

// Process returns the running sluice.
func (in *Instance) Process() *process.Process { return in.process }

// Ended returns an error when the instance is not running.
func (in *Instance) Ended() error {
	select {
	case <-in.process.Done():
		return fmt.Errorf("%s ended by itself: %v\n%s", in.name, in.process.Wait(), in.tail(20))
	default:
		return nil
	}
}

// Output returns all that the instance logged.
func (in *Instance) Output() string {
	text, err := os.ReadFile(in.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// LastRun returns what the instance logged since it was started last.
func (in *Instance) LastRun() string {
	all := in.Output()
	return all[max(0, strings.LastIndex(all, "=== start")):]
}

// tail returns the last lines of its log.
func (in *Instance) tail(n int) string {
	lines := bytes.Split(bytes.TrimSpace([]byte(in.Output())), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// Said counts the log lines, of all starts, that hold a text.
func (in *Instance) Said(text string) int {
	n := 0
	for line := range strings.Lines(in.Output()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
