//go:build integration

package sinks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// collector is a rsyslog that takes messages over TCP and writes them to a file.
type collector struct {
	*rig.Part
	address, file string
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	root, dir, port := rig.Unpack(t, "rsyslog", "libestr0", "libfastjson4", "liblognorm5"), t.TempDir(), rig.Port(t)
	c := &collector{address: fmt.Sprintf("127.0.0.1:%d", port), file: filepath.Join(dir, "messages")}
	modules, err := filepath.Glob(filepath.Join(root, "usr", "lib", "*", "rsyslog"))
	if err != nil || len(modules) != 1 {
		t.Fatalf("rsyslog has its modules in %v, %v", modules, err)
	}
	config := filepath.Join(dir, "rsyslog.conf")
	text := fmt.Sprintf(`global(workDirectory=%q)
module(load="imtcp")
template(name="whole" type="string" string="%%syslogfacility-text%%.%%syslogseverity-text%% %%app-name%% %%structured-data%%\n")
ruleset(name="alerts") { action(type="omfile" file=%q template="whole") }
input(type="imtcp" address="127.0.0.1" port="%d" ruleset="alerts")
`, dir, c.file, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Part = rig.Run(t, func() *exec.Cmd {
		pid := filepath.Join(dir, "pid")
		_ = os.Remove(pid) // of one that was killed
		cmd := exec.Command(filepath.Join(root, "usr", "sbin", "rsyslogd"), "-n", "-f", config, "-i", pid, "-M", modules[0]+"/")
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraryFolders(t, root), ":"))
		return cmd
	}, rig.Listens(c.address))
	return c
}

// libraryFolders returns where unpacked packages have their libraries.
func libraryFolders(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, found...)
	}
	return out
}

var message = regexp.MustCompile(`^local3\.warning sluice \[sluice@32473 (.*)\]\n$`)
var parameter = regexp.MustCompile(`(\w+)="([^"]*)"`)

// read returns the alerts of all messages. The last line may be half written.
func (c *collector) read(t *testing.T) *received {
	t.Helper()
	text, err := os.ReadFile(c.file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	have := newReceived()
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		m := message.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("a message is %q", line)
		}
		values := make(map[string]string)
		for _, p := range parameter.FindAllStringSubmatch(m[1], -1) {
			values[p[1]] = p[2]
		}
		have.count(values["value"], values["id"])
	}
	return have
}

// TestSyslog kills sluice while it sends to rsyslog, and restarts rsyslog when
// it has written all: what a collector had not read when it died, syslog loses.
func TestSyslog(t *testing.T) {
	c := newCollector(t)
	f := rig.NewFeed(t, "syslog", map[string]any{"type": "syslog", "url": "tcp://" + c.address, "facility": "local3", "severity": "warning"})
	count := reading(func() *received { return c.read(t) })
	during := f.KillTimes(t, kills(), 2000, count)
	arrive(t, f, count)
	c.Kill(t)
	f.Write(t, 500)
	if err := rig.Pause(t.Context(), 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	c.Start(t)
	arrive(t, f, count)
	f.Stop(t)
	again := c.read(t).repeats(t, f.Lines)
	midway(t, during)
	t.Logf("%d alerts over TCP to a rsyslog that was away once; %d kills, %d of them during delivery: %d alerts came again", f.Lines, kills(), during, again)
}
