//go:build integration

package syslog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline/tlsclient/tlstest"
)

// partsEnv names the folder that programs are unpacked into.
const partsEnv = "SLUICE_SYSLOG_PARTS"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sluice-syslog-")
	if err == nil {
		err = os.Setenv(partsEnv, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		os.Exit(1)
	}
	code := rig.Main(m)
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		code = 1
	}
	os.Exit(code)
}

// program is a program of Debian's packages, unpacked beside the system: rsyslog
// and syslog-ng cannot both be installed.
type program struct {
	root, path string
}

// unpacked downloads and unpacks packages, once for all tests, and returns a
// program of theirs. Where that cannot be done the test is skipped, and says why.
func unpacked(t *testing.T, path string, packages ...string) program {
	t.Helper()
	dir := os.Getenv(partsEnv)
	root := filepath.Join(dir, packages[0])
	p := program{root, filepath.Join(root, path)}
	if _, err := os.Stat(p.path); err == nil {
		return p
	}
	debs := filepath.Join(dir, packages[0]+".debs")
	if err := os.MkdirAll(debs, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := rig.Download(ctx, debs, packages...); err != nil {
		t.Skipf("skipped 1 part: %s cannot be downloaded: %v", packages[0], err)
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	for _, deb := range files {
		if out, err := exec.CommandContext(ctx, "dpkg", "-x", deb, root).CombinedOutput(); err != nil {
			t.Skipf("skipped 1 part: %s cannot be unpacked: %v: %s", deb, err, out)
		}
	}
	return p
}

// libraries is where packages have their libraries.
func (p program) libraries() string {
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	return filepath.Join(p.root, "usr", "lib", triplet)
}

func (p program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.path, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LD_LIBRARY_PATH="+strings.Join([]string{
		p.libraries(), filepath.Join(p.root, "lib", filepath.Base(p.libraries())), filepath.Join(p.root, "usr", "lib", "syslog-ng"),
	}, ":"))
	return cmd
}

func rsyslog(t *testing.T) program {
	t.Helper()
	return unpacked(t, "usr/sbin/rsyslogd", "rsyslog", "rsyslog-gnutls", "rsyslog-openssl", "libestr0", "libfastjson4", "liblognorm5")
}

func syslogNG(t *testing.T) program {
	t.Helper()
	return unpacked(t, "usr/sbin/syslog-ng", "syslog-ng-core", "libivykis0", "libnet1", "libjson-c5", "libglib2.0-0", "libwrap0", "libpcre3")
}

// site is where a sluice listens.
type site struct {
	udp, tcp, tls int
	socket        string
	files         tlstest.Files
}

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{
		udp: rig.Port(t), tcp: rig.Port(t), tls: rig.Port(t),
		socket: filepath.Join(t.TempDir(), "log"), files: tlstest.Make(t),
	}
}

// source is the configuration of a source that listens there.
func (s *site) source() map[string]any {
	return map[string]any{
		"type": "syslog",
		"listen": []string{
			fmt.Sprintf("udp://:%d", s.udp), fmt.Sprintf("tcp://:%d", s.tcp), fmt.Sprintf("tls://:%d", s.tls), "unixgram:" + s.socket,
		},
		"tls": map[string]any{
			"cert_file": s.files.ServerCert, "key_file": s.files.ServerKey, "client_ca_file": s.files.CA, "client_names": []string{"client"},
		},
	}
}

// daemon is a rsyslog or syslog-ng that sends what is appended to a file.
type daemon struct {
	*rig.Part
	input string
}

// write appends lines to the daemon's input.
func (d *daemon) write(t *testing.T, lines ...string) {
	t.Helper()
	appendLines(t, d.input, lines)
}

func appendLines(t *testing.T, path string, lines []string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// startRsyslog runs a rsyslog with an action, such as omfwd's. Lines have the tag sshd[42].
func startRsyslog(t *testing.T, global, action string) *daemon {
	t.Helper()
	p := rsyslog(t)
	dir := t.TempDir()
	d := &daemon{input: filepath.Join(dir, "input")}
	modules := filepath.Join(p.libraries(), "rsyslog") + "/"
	config := filepath.Join(dir, "rsyslog.conf")
	pid := filepath.Join(dir, "pid")
	appendLines(t, config, []string{
		fmt.Sprintf(`global(workDirectory=%q %s)`, dir, global),
		`module(load="imfile" mode="inotify")`,
		fmt.Sprintf(`input(type="imfile" File=%q Tag="sshd[42]:" facility="authpriv" severity="info")`, d.input),
		action,
	})
	appendLines(t, d.input, nil)
	d.Part = rig.Run(t, func() *exec.Cmd {
		_ = os.Remove(pid) // of one that was killed
		return p.command("-n", "-f", config, "-i", pid, "-M", modules)
	}, rig.FileThere(pid))
	return d
}

// startSyslogNG runs a syslog-ng with a destination.
func startSyslogNG(t *testing.T, destination string) *daemon {
	t.Helper()
	p := syslogNG(t)
	dir := t.TempDir()
	d := &daemon{input: filepath.Join(dir, "input")}
	config := filepath.Join(dir, "syslog-ng.conf")
	control := filepath.Join(dir, "control")
	appendLines(t, config, []string{
		"@version: 3.38",
		"options { stats-freq(0); time-reopen(1); };",
		fmt.Sprintf(`source s { file(%q follow-freq(0.1) flags(no-parse) program-override("sshd") default-facility(authpriv)); };`, d.input),
		fmt.Sprintf("destination d { %s };", destination),
		"log { source(s); destination(d); };",
	})
	appendLines(t, d.input, nil)
	d.Part = rig.Run(t, func() *exec.Cmd {
		return p.command("-F", "-e", "-f", config, "-R", filepath.Join(dir, "persist"), "-c", control, "-p", filepath.Join(dir, "pid"),
			"--module-path", filepath.Join(p.root, "usr", "lib", "syslog-ng", "3.38"))
	}, rig.FileThere(control))
	return d
}
