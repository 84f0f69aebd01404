//go:build integration

package localapi

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"sluice/cmd/internal/integration/rig"
)

// Bouncers ask once in frequency. A change is there a second later, as the logs
// of the tests say; slack is what a busy machine may take beside, on which the
// bouncers, which run a program for each decision, are behind by many seconds.
const (
	frequency = time.Second
	slack     = 50 * time.Second
)

// custom is CrowdSec's custom bouncer, which calls a program for all that it is told.
type custom struct {
	*rig.Part
	api          *api
	file, config string
	settings     map[string]any
}

// startCustom starts it on an API. Settings are further ones of its file.
func startCustom(t *testing.T, a *api, settings map[string]any) *custom {
	t.Helper()
	program := rig.Need(t, "crowdsec-custom-bouncer", "crowdsec-custom-bouncer")
	a.sluice(t, "bouncers", "add", "custom", "--key", "a key for the bouncer")
	dir := t.TempDir()
	script := filepath.Join(dir, "act")
	b := &custom{api: a, file: filepath.Join(dir, "told"), config: filepath.Join(dir, "bouncer.yaml")}
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$1 $2 $(date +%s.%N)\" >>"+b.file+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.settings = map[string]any{
		"bin_path": script, "piddir": dir, "update_frequency": frequency.String(), "cache_retention_duration": "1ms", // so that it hides no repeats
		"daemonize": false, "log_mode": "stdout", "log_dir": dir, "log_level": "info",
		"api_url": a.url + "/", "api_key": "a key for the bouncer", "prometheus": map[string]any{"enabled": false},
	}
	b.configure(t, settings)
	b.Part = rig.Run(t, func() *exec.Cmd { return exec.Command(program, "-c", b.config) }, func(context.Context) error { return nil })
	return b
}

// configure changes settings, for the next start.
func (b *custom) configure(t *testing.T, settings map[string]any) {
	t.Helper()
	for k, v := range settings {
		b.settings[k] = v
	}
	text, err := yaml.Marshal(b.settings)
	if err == nil {
		err = os.WriteFile(b.config, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// told returns what the program was called with, and when.
func (b *custom) told(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(b.file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// expect waits until it was called with all of the given.
func (b *custom) expect(t *testing.T, calls ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := rig.Poll(ctx, strings.Join(calls, ", "), func() (bool, error) {
		have := "\n" + b.told(t)
		for _, c := range calls {
			if !strings.Contains(have, "\n"+c+" ") {
				return false, b.api.Ended()
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatalf("%v; the bouncer was told\n%s", err, b.told(t))
	}
}

// TestTheCustomBouncer points CrowdSec's custom bouncer at the API: it must be
// told of what the pipeline decides and what people decide, of what is
// withdrawn and of what runs out, also across a restart of either.
func TestTheCustomBouncer(t *testing.T) {
	t.Parallel()
	a := start(t)
	a.sluice(t, "decisions", "add", "--ip", "192.0.2.1")
	b := startCustom(t, a, nil)
	b.expect(t, "add 192.0.2.1")
	a.sluice(t, "decisions", "add", "--range", "198.51.100.0/24")
	// Short, and yet long enough for the bouncer to ask meanwhile, however busy the machine is.
	a.sluice(t, "decisions", "add", "--ip", "2001:db8::9", "--duration", "15s")
	b.expect(t, "add 198.51.100.0/24", "add 2001:db8::9", "del 2001:db8::9")
	a.sluice(t, "decisions", "delete", "--ip", "192.0.2.1")
	attack(t, a.log, "203.0.113.77", 1)
	b.expect(t, "del 192.0.2.1", "add 203.0.113.77")
	a.Kill(t)
	a.sluice(t, "decisions", "delete", "--range", "198.51.100.0/24") // in the folder, while nothing runs
	a.StartReady(t, "the local API is served")
	b.expect(t, "del 198.51.100.0/24")
	b.Kill(t)
	if err := os.Remove(b.file); err != nil {
		t.Fatal(err)
	}
	a.sluice(t, "decisions", "add", "--ip", "203.0.113.1")
	b.Start(t)
	b.expect(t, "add 203.0.113.1")
	if text := b.told(t); strings.Contains(text, "add 192.0.2.1") {
		t.Errorf("a bouncer that begins anew is told %s", text)
	}
	if out := a.sluice(t, "bouncers", "list"); !strings.Contains(out, "crowdsec-custom-bouncer") {
		t.Errorf("the bouncers are\n%s", out)
	}
	a.Stop(t)
}

// TestARotatedKey gives a bouncer another key while it runs: it is refused, and
// served again once it has the new one.
func TestARotatedKey(t *testing.T) {
	t.Parallel()
	a := start(t)
	b := startCustom(t, a, nil)
	a.sluice(t, "decisions", "add", "--ip", "192.0.2.1")
	b.expect(t, "add 192.0.2.1")
	fields := strings.Fields(a.sluice(t, "bouncers", "rotate", "custom", "-o", "csv"))
	_, key, ok := strings.Cut(fields[len(fields)-1], ",")
	if !ok {
		t.Fatalf("the new key is not in %v", fields)
	}
	ready(t, b.Part, "access forbidden")
	a.sluice(t, "decisions", "add", "--ip", "192.0.2.2")
	b.Kill(t)
	refused := strings.Count(b.Output(), "access forbidden")
	b.Start(t)
	says(t, b.Part, "access forbidden", refused+1)
	b.Kill(t)
	if text := b.told(t); strings.Contains(text, "192.0.2.2") {
		t.Errorf("with the old key it was told %s", text)
	}
	b.configure(t, map[string]any{"api_key": key})
	b.Start(t)
	b.expect(t, "add 192.0.2.2")
	a.Stop(t)
}
