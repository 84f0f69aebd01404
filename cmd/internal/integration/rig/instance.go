package rig

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

// Instance is a Program in a test: what goes wrong ends the test.
type Instance struct {
	*Program
}

// New writes an instance's configuration. It is killed when the test ends.
func New(t testing.TB, name string, c Config) *Instance {
	t.Helper()
	p, err := NewProgram(name, filepath.Join(t.TempDir(), name), Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	in := &Instance{p}
	in.Configure(t, c)
	EndWith(t, p)
	return in
}

// EndWith kills a program when the test ends, and shows its log if the test failed.
func EndWith(t testing.TB, p *Program) {
	t.Cleanup(func() {
		if p.process != nil {
			_ = p.Kill() // it has ended, or ends now
		}
		if t.Failed() {
			t.Logf("%s\n%s", p.Name, p.Tail(60))
		}
	})
}

// Configure writes another configuration, for the next start.
func (in *Instance) Configure(t testing.TB, c Config) {
	t.Helper()
	whole := map[string]any{
		"name":  in.Name,
		"state": map[string]any{"dir": in.State(), "interval": "200ms"},
		"sinks": []any{map[string]any{"type": "file", "path": in.AlertsFile()}},
	}
	maps.Copy(whole, c)
	if err := in.Program.Configure(whole); err != nil {
		t.Fatal(err)
	}
}

// AlertsFile is where its alerts go, a line of JSON each.
func (in *Instance) AlertsFile() string { return filepath.Join(in.Dir, "alerts.json") }

// Start runs sluice. Env are variables beside the test's own.
func (in *Instance) Start(t testing.TB, env ...string) {
	t.Helper()
	in.Env = env
	if err := in.Program.Start(); err != nil {
		t.Fatal(err)
	}
}

// StartReady runs sluice and waits until its log holds a text.
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
	if err := Poll(ctx, fmt.Sprintf("%s to say %q", in.Name, text), func() (bool, error) {
		return strings.Contains(in.LastRun(), text), in.Ended()
	}); err != nil {
		t.Fatal(err)
	}
}

// Kill ends it at once, with no chance to tidy up.
func (in *Instance) Kill(t testing.TB) {
	t.Helper()
	if err := in.Program.Kill(); err != nil {
		t.Fatal(err)
	}
}

// Stop ends it in good order, once it has taken up its state.
func (in *Instance) Stop(t testing.TB) {
	t.Helper()
	in.WaitFor(t, "the state is loaded")
	if err := in.Program.Stop(); err != nil {
		t.Fatal(err)
	}
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
