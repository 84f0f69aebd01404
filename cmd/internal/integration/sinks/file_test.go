//go:build integration

package sinks

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"sluice/cmd/internal/integration/rig"
)

// TestFile kills sluice while it writes to a file that is rotated again and again.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts.jsonl")
	files := func() []string {
		list, err := filepath.Glob(path + "*")
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	read := func() *received {
		have := newReceived()
		for _, file := range files() {
			text, err := os.ReadFile(file)
			if os.IsNotExist(err) {
				continue // renamed since
			}
			if err != nil {
				t.Fatal(err)
			}
			for line := range bytes.Lines(text) {
				if file == path && !bytes.HasSuffix(line, []byte("\n")) {
					break // being written, or torn and cut off by the next start
				}
				have.add(line)
			}
		}
		return have
	}
	// quick tells lines by what they begin with, the alert's id.
	quick := func() int {
		ids := make(map[string]bool)
		for _, file := range files() {
			text, _ := os.ReadFile(file) // one that was renamed since is read next time
			for line := range bytes.Lines(text) {
				if len(line) > 50 {
					ids[string(line[:50])] = true
				}
			}
		}
		return len(ids)
	}
	f := rig.NewFeed(t, "file", map[string]any{"type": "file", "path": path, "max_bytes": "128KiB", "keep": 10_000})
	during := f.KillTimes(t, kills(), 1500, quick)
	arrive(t, f, quick)
	f.Stop(t)
	again := read().repeats(t, f.Lines)
	midway(t, during)
	n := len(files())
	if n < 10 {
		t.Errorf("%d files; it was to rotate", n)
	}
	t.Logf("%d alerts in %d files; %d kills, %d of them during delivery: %d alerts came again, no line is torn", f.Lines, n, kills(), during, again)
}
