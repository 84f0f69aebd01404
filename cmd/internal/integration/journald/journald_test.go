//go:build integration

package journald

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// journal is a folder with a journal file that a writer appends to, and a
// journalctl that can be made to fail.
type journal struct {
	dir     string
	in      io.Writer
	entries int
}

func newJournal(t *testing.T) *journal {
	t.Helper()
	journalctl := rig.Need(t, "systemd", "journalctl")
	remote := rig.Need(t, "systemd-journal-remote", "systemd-journal-remote")
	j := &journal{dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(j.dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nif [ -e %[1]s/down ]; then echo 'the journal is away' >&2; exit 1; fi\necho $$ >%[1]s/pid\nexec %[2]s \"$@\"\n", j.dir, journalctl)
	if err := os.WriteFile(j.command(), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(remote, "--output="+filepath.Join(j.dir, "logs", "test.journal"), "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() { // where the writer keeps an entry to itself, nobody has read it
			all, err := exec.Command(journalctl, "--directory="+filepath.Join(j.dir, "logs"), "--output=cat", "--output-fields=_PID").Output()
			t.Logf("the journal has %d of %d entries, %v", bytes.Count(all, []byte("\n")), j.entries, err)
		}
		in.Close()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("systemd-journal-remote: %v\n%s", err, said.String())
		}
	})
	j.in = in
	return j
}

func (j *journal) command() string { return filepath.Join(j.dir, "journalctl") }

// kill kills the journalctl that runs.
func (j *journal) kill(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(j.dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
}

// write appends an entry of a message.
func (j *journal) write(message string) error {
	j.entries++
	var b bytes.Buffer
	fmt.Fprintf(&b, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=0123456789abcdef0123456789abcdef\n", time.Now().UnixMicro(), j.entries)
	fmt.Fprintf(&b, "PRIORITY=6\nSYSLOG_IDENTIFIER=sshd\n_PID=%d\n_HOSTNAME=web\n_SYSTEMD_UNIT=ssh.service\nMESSAGE\n", 1000+j.entries%9)
	b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(message))))
	b.WriteString(message + "\n\n")
	_, err := j.in.Write(b.Bytes())
	return err
}

// produce appends n numbered lines; each tenth message has a second line and a byte that is no text.
func (j *journal) produce(n int) error {
	for range n {
		line := rig.Line(j.entries)
		if j.entries%10 == 0 {
			line += " \xff\nmore"
		}
		if err := j.write(line); err != nil {
			return err
		}
	}
	return nil
}

func (j *journal) source(more map[string]any) map[string]any {
	out := map[string]any{
		"type": "journald", "command": j.command(), "directory": filepath.Join(j.dir, "logs"), "start": "beginning", "backoff_min": "50ms", "backoff_max": "200ms",
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// TestKilledWhileEntriesCome kills sluice and journalctl again and again while entries are written.
func TestKilledWhileEntriesCome(t *testing.T) {
	j := newJournal(t)
	in := rig.New(t, "one", rig.Probing(j.source(nil)))
	kills := in.KillUnder(t, rig.Load{
		Kills: 6, Rounds: 10, Pause: 40 * time.Millisecond,
		Produce: func(context.Context) error { return j.produce(100) },
		Before: func(kill int) {
			if kill%2 > 0 {
				return
			}
			j.kill(t)
			if err := rig.Pause(t.Context(), 100*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		},
	})
	in.Drained(t, j.entries)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, j.entries)
	t.Logf("%d entries, %d kills", j.entries, kills)
}

// TestTheJournalGoesAway has journalctl fail for a while.
func TestTheJournalGoesAway(t *testing.T) {
	j := newJournal(t)
	in := rig.New(t, "one", rig.Probing(j.source(nil)))
	if err := j.produce(200); err != nil {
		t.Fatal(err)
	}
	in.Start(t)
	in.Drained(t, 200)
	if err := os.WriteFile(filepath.Join(j.dir, "down"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j.kill(t)
	if err := j.produce(200); err != nil {
		t.Fatal(err)
	}
	if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(j.dir, "down")); err != nil {
		t.Fatal(err)
	}
	if err := j.produce(200); err != nil {
		t.Fatal(err)
	}
	in.Drained(t, 600)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, 600)
	if down, up := in.Said("reading is interrupted"), in.Said("reading goes on"); down != 1 || up != 1 {
		t.Errorf("it said %d times that reading is interrupted and %d times that it goes on", down, up)
	}
}

// TestRulesFire has rules find somebody who guesses passwords.
func TestRulesFire(t *testing.T) {
	for _, rules := range rig.LinuxRules(t) {
		t.Run(rules.Name, func(t *testing.T) {
			rules.Need(t)
			j := newJournal(t)
			in := rig.New(t, "one", rig.Config{
				"rules":   rules.Config(),
				"sources": []any{j.source(map[string]any{"units": []string{"ssh.service"}})},
			})
			in.StartReady(t, "the state is loaded")
			for i := range 10 {
				if err := j.write(fmt.Sprintf("Failed password for root from 192.0.2.1 port %d ssh2", 4000+i)); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := rig.Poll(ctx, "an alert on 192.0.2.1", func() (bool, error) {
				text, err := os.ReadFile(in.AlertsFile())
				if err != nil && !os.IsNotExist(err) {
					return false, err
				}
				return bytes.Contains(text, []byte(rules.Scenario)) && bytes.Contains(text, []byte("192.0.2.1")), nil
			}); err != nil {
				t.Fatal(err)
			}
			in.Stop(t)
			// Killed or stopped, it leaves no journalctl behind.
			text, err := os.ReadFile(filepath.Join(j.dir, "pid"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat("/proc/" + strings.TrimSpace(string(text))); err == nil {
				t.Error("journalctl is still there")
			}
		})
	}
}
