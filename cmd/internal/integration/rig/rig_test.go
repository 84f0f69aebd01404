//go:build integration

package rig_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// TestLinesAreCounted runs the rig on the simplest of sources: lines in one
// file twice, and in another once.
func TestLinesAreCounted(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, lines ...int) string {
		var text strings.Builder
		for _, n := range lines {
			text.WriteString("before " + rig.Line(n) + " behind\n")
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	in := rig.New(t, "files", rig.Probing(map[string]any{
		"type": "file", "paths": []string{write("a", 0, 1, 2), write("b", 2, 3)}, "follow": true, "start": "beginning",
	}))
	in.Start(t)
	in.Poured(t, 5)
	in.Kill(t)
	in.Start(t)
	in.Stop(t)
	tally := in.Tally(t)
	if repeats := tally.AtLeastOnce(t, 4); repeats != 1 || len(tally[2]) != 2 {
		t.Errorf("the tally is %v", tally)
	}
	if in.Said("=== start") != 2 {
		t.Errorf("the log of two starts is\n%s", in.Output())
	}
}

func TestAPartIsStartedAgain(t *testing.T) {
	sh := rig.Need(t, "dash", "sh")
	path := filepath.Join(t.TempDir(), "mark")
	p := rig.Run(t, func() *exec.Cmd {
		return exec.Command(sh, "-c", "echo started >>"+path+"; exec sleep 60")
	}, rig.FileThere(path))
	p.Kill(t)
	if status := p.Process().Wait(); !strings.Contains(status.Error(), syscall.SIGKILL.String()) {
		t.Errorf("it ended with %v", status)
	}
	p.Start(t)
	p.Stop(t)
	if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), "started\n") {
		t.Errorf("it left %q, %v", text, err)
	}
}
