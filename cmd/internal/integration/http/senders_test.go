//go:build integration

package http_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// sender sends the lines of numbers from first on in a way that real programs do.
type sender struct {
	name string
	send func(t *testing.T, place string, first, n int)
}

func senders() []sender {
	return []sender{
		{"curl, a file", curl(func(file string) []string {
			return []string{"-H", "Content-Type: text/plain", "--data-binary", "@" + file}
		})},
		{"curl, as it reads", curl(func(file string) []string {
			return []string{"-X", "POST", "-H", "Content-Type: text/plain", "-H", "Transfer-Encoding: chunked", "-T", file}
		})},
		{"curl, gzip", curl(func(file string) []string {
			return []string{"-H", "Content-Type: text/plain", "-H", "Content-Encoding: gzip", "--data-binary", "@" + file + ".gz"}
		})},
		{"curl, which asks first", curl(func(file string) []string {
			return []string{"-H", "Expect: 100-continue", "-H", "Content-Type: text/plain", "--data-binary", "@" + file}
		})},
		{"syslog-ng, http()", syslogNG},
		{"python-logging-loki, JSON", pythonLoki},
		{"winston-loki, half protobuf and half JSON", winstonLoki},
	}
}

// TestEverySendersLinesAreCountedOnce sends numbered lines in every way.
func TestEverySendersLinesAreCountedOnce(t *testing.T) {
	place := fmt.Sprintf("127.0.0.1:%d", rig.Port(t))
	in := rig.New(t, "sluice", rig.Probing(map[string]any{
		"type": "http", "listen": []string{place}, "auth": map[string]any{"users": []any{map[string]any{"name": "u", "key": "${HTTP_KEY}"}}},
	}))
	in.StartReady(t, "listening", "HTTP_KEY="+password)
	const each = 200
	sent := 0
	for _, s := range senders() {
		t.Run(s.name, func(t *testing.T) { // which may skip itself
			s.send(t, place, sent, each)
			in.Drained(t, sent+each)
			sent += each
		})
	}
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, sent)
	if in.Said(password) > 0 {
		t.Error("the log shows the password")
	}
}

const password = "hunter2"

// run runs a program to its end.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", cmd.Path, err, out)
	}
	return string(out)
}

func curl(args func(file string) []string) func(*testing.T, string, int, int) {
	return func(t *testing.T, place string, first, n int) {
		path := rig.Need(t, "curl", "curl")
		file := filepath.Join(t.TempDir(), "lines")
		text := lines(first, n)
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{file: []byte(text), file + ".gz": packed.Bytes()} {
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		all := append([]string{"-sS", "--fail-with-body", "--retry", "3", "-u", "u:" + password}, args(file)...)
		out := run(t, exec.CommandContext(t.Context(), path, append(all, "http://"+place+"/ingest")...))
		if want := fmt.Sprintf("{\"records\":%d}\n", n); out != want {
			t.Errorf("answered %q, want %q", out, want)
		}
	}
}

// syslogNG unpacks syslog-ng beside the system and has it follow a file.
func syslogNG(t *testing.T, place string, first, n int) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	err := rig.Download(ctx, dir, "syslog-ng-core", "syslog-ng-mod-http", "libivykis0", "libnet1", "libjson-c5", "libglib2.0-0", "libwrap0", "libpcre3", "libcurl4")
	if err != nil {
		t.Skipf("skipped 1 part: syslog-ng cannot be downloaded: %v", err)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg", "-x", deb, root).CombinedOutput(); err != nil {
			t.Skipf("skipped 1 part: %s cannot be unpacked: %v: %s", deb, err, out)
		}
	}
	input, config, control := filepath.Join(dir, "input"), filepath.Join(dir, "syslog-ng.conf"), filepath.Join(dir, "control")
	text := fmt.Sprintf(`@version: 3.38
options { stats-freq(0); time-reopen(1); };
source s { file(%q follow-freq(0.1) flags(no-parse)); };
destination d { http(url("http://%s/ingest") method("POST") user("u") password(%q) headers("Content-Type: text/plain")
  body("${MSG}") delimiter("\n") batch-lines(50) batch-timeout(200) workers(2)); };
log { source(s); destination(d); flags(flow-control); };
`, input, place, password)
	for name, content := range map[string]string{config: text, input: lines(first, n)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	usr := filepath.Join(root, "usr", "lib")
	rig.Run(t, func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(root, "usr", "sbin", "syslog-ng"), "-F", "-e", "-f", config, "-R", filepath.Join(dir, "persist"), "-c", control,
			"-p", filepath.Join(dir, "pid"), "--module-path", filepath.Join(usr, "syslog-ng", "3.38"))
		cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join([]string{
			filepath.Join(usr, triplet), filepath.Join(root, "lib", triplet), filepath.Join(usr, "syslog-ng"),
		}, ":"))
		return cmd
	}, rig.FileThere(control))
}

// pythonLoki has Loki's handler for Python's logging push JSON, a line at a time.
func pythonLoki(t *testing.T, place string, first, n int) {
	python := rig.Need(t, "python3", "python3")
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
		"--target", dir, "python-logging-loki==0.3.1").CombinedOutput()
	if err != nil {
		t.Skipf("skipped 1 part: no python-logging-loki: %v: %s", err, out)
	}
	script := fmt.Sprintf(`
import logging, logging_loki
handler = logging_loki.LokiHandler(url="http://%s/loki/api/v1/push", tags={"application": "probe"}, auth=("u", %q), version="1")
logger = logging.getLogger("probe")
logger.addHandler(handler)
for n in range(%d, %d):
    logger.error("probe n=%%d", n)
`, place, password, first, first+n)
	cmd := exec.CommandContext(t.Context(), python, "-c", script)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir)
	if out := run(t, cmd); strings.Contains(out, "Error") {
		t.Fatal(out)
	}
}

// winstonLoki has Loki's transport for winston push batches, in protobuf and in JSON.
func winstonLoki(t *testing.T, place string, first, n int) {
	node, npm := rig.Need(t, "nodejs", "node"), rig.Need(t, "npm", "npm")
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), npm, "install", "--no-audit", "--no-fund", "--prefix", dir, "winston@3.19.0", "winston-loki@6.1.7", "snappy@7")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("skipped 1 part: no winston-loki: %v: %s", err, out)
	}
	script := fmt.Sprintf(`
const winston = require("winston"), LokiTransport = require("winston-loki");
require("snappy"); // without which it would push JSON alone
async function send(json, from, to) {
  const loki = new LokiTransport({ host: "http://%s", basicAuth: "u:%s", json, gracefulShutdown: false, interval: 1, batching: true,
    labels: { application: "probe" }, format: winston.format.printf(i => i.message), onConnectionError: e => { console.error(e); process.exit(1) } });
  const logger = winston.createLogger({ transports: [loki] });
  for (let n = from; n < to; n++) logger.info("probe n=" + n);
  await loki.flush();
}
send(false, %d, %d).then(() => send(true, %d, %d)).then(() => process.exit(), e => { console.error(e); process.exit(1) });
`, place, password, first, first+n/2, first+n/2, first+n)
	file := filepath.Join(dir, "send.js")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, exec.CommandContext(t.Context(), node, file))
}
