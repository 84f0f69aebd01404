//go:build integration

// Package localapi runs CrowdSec's own programs against the API that sluice serves.
package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// api is a sluice that serves the API, with a file that it reads lines from.
type api struct {
	*rig.Instance
	url, log string
}

func start(t *testing.T) *api {
	t.Helper()
	dir := t.TempDir()
	a := &api{url: fmt.Sprintf("http://127.0.0.1:%d", rig.Port(t)), log: filepath.Join(dir, "log")}
	if err := os.WriteFile(a.log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := rig.Probing(map[string]any{"type": "file", "paths": []string{a.log}, "follow": true, "start": "beginning", "poll_interval": "50ms"})
	c["sinks"] = []any{map[string]any{"type": "local_api", "listen": []string{strings.TrimPrefix(a.url, "http://")}}}
	a.Instance = rig.New(t, "api", c)
	a.StartReady(t, "the local API is served")
	return a
}

// sluice runs a command of the binary on the instance's configuration.
func (a *api) sluice(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, exec.CommandContext(t.Context(), rig.Binary(t), append(args, "-c", a.ConfigFile())...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func run(t *testing.T, cmd *exec.Cmd) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s%s", cmd.Args, err, out.Bytes(), errs.Bytes())
	}
	return out.String(), nil
}

// cscli is CrowdSec's own command line, signed in as a machine.
type cscli struct{ program, config string }

// newCscli unpacks CrowdSec and points cscli at an API.
func newCscli(t *testing.T, url, machine, password string) *cscli {
	t.Helper()
	root := rig.Unpack(t, "crowdsec")
	dir := t.TempDir()
	write := func(name string, content any) string {
		text, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	credentials := write("credentials.yaml", map[string]any{"url": url, "login": machine, "password": password})
	simulation := write("simulation.yaml", map[string]any{"simulation": false})
	config := write("config.yaml", map[string]any{
		"common":       map[string]any{"log_media": "stdout", "log_level": "info", "log_dir": dir, "working_dir": dir},
		"config_paths": map[string]any{"config_dir": dir, "data_dir": dir, "simulation_path": simulation, "hub_dir": dir, "index_path": filepath.Join(dir, "index.json")},
		"cscli":        map[string]any{"output": "json"},
		"db_config":    map[string]any{"type": "sqlite", "db_path": filepath.Join(dir, "unused.db")},
		"api":          map[string]any{"client": map[string]any{"credentials_path": credentials}},
	})
	return &cscli{filepath.Join(root, "usr", "bin", "cscli"), config}
}

func (c *cscli) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, exec.CommandContext(t.Context(), c.program, append([]string{"-c", c.config}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// values returns the values of the decisions in a list of alerts, sorted.
func values(t *testing.T, alerts string) []string {
	t.Helper()
	var list []struct {
		Decisions []struct{ Value, Type, Duration string }
	}
	if text := strings.TrimSpace(alerts); text != "" && text != "null" {
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatalf("%v in %s", err, alerts)
		}
	}
	var out []string
	for _, a := range list {
		for _, d := range a.Decisions {
			if !strings.HasPrefix(d.Duration, "-") {
				out = append(out, d.Value+" "+d.Type)
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestCscli signs CrowdSec's cscli in, and has it list, add and delete.
func TestCscli(t *testing.T) {
	a := start(t)
	a.sluice(t, "machines", "add", "operator", "--password", "a secret")
	c := newCscli(t, a.url, "operator", "a secret")
	c.run(t, "decisions", "add", "--ip", "192.0.2.1", "--duration", "1h", "--reason", "by cscli")
	c.run(t, "decisions", "add", "--range", "2001:db8::/32", "--type", "captcha")
	a.sluice(t, "decisions", "add", "--ip", "198.51.100.7")
	want := []string{"192.0.2.1 ban", "198.51.100.7 ban", "2001:db8::/32 captcha"}
	if got := values(t, c.run(t, "decisions", "list")); !slices.Equal(got, want) {
		t.Errorf("cscli lists %v, want %v", got, want)
	}
	if got := values(t, c.run(t, "decisions", "list", "--ip", "192.0.2.1")); !slices.Equal(got, want[:1]) {
		t.Errorf("of an address cscli lists %v", got)
	}
	if got := values(t, a.sluice(t, "alerts", "list", "-o", "json")); !slices.Equal(got, want) {
		t.Errorf("sluice lists %v, want %v", got, want)
	}
	if out := c.run(t, "alerts", "list"); strings.Count(out, `"scenario"`) < 3 || !strings.Contains(out, "by cscli") {
		t.Errorf("cscli lists the alerts\n%s", out)
	}
	c.run(t, "decisions", "delete", "--ip", "192.0.2.1")
	if got := a.sluice(t, "decisions", "list", "-o", "csv"); strings.Contains(got, "192.0.2.1") || !strings.Contains(got, "198.51.100.7") {
		t.Errorf("after cscli has deleted one, sluice lists\n%s", got)
	}
	c.run(t, "alerts", "delete", "--all")
	if got := a.sluice(t, "decisions", "list"); got != "none\n" {
		t.Errorf("after cscli has deleted all, sluice lists\n%s", got)
	}
	a.Stop(t)
}

// TestTheCustomBouncer points CrowdSec's custom bouncer at the API: it must be
// told of what the pipeline decides and what people decide, of what is
// withdrawn and of what runs out, also across a restart of either.
func TestTheCustomBouncer(t *testing.T) {
	program := rig.Need(t, "crowdsec-custom-bouncer", "crowdsec-custom-bouncer")
	a := start(t)
	a.sluice(t, "bouncers", "add", "custom", "--key", "a key for the bouncer")
	dir := t.TempDir()
	told, script := filepath.Join(dir, "told"), filepath.Join(dir, "act")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$1 $2\" >>"+told+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(map[string]any{
		"bin_path": script, "piddir": dir, "update_frequency": "1s", "cache_retention_duration": "1s", "daemonize": false, "log_mode": "stdout", "log_dir": dir, "log_level": "info",
		"api_url": a.url + "/", "api_key": "a key for the bouncer", "prometheus": map[string]any{"enabled": false},
	})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "bouncer.yaml")
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	a.sluice(t, "decisions", "add", "--ip", "192.0.2.1")
	bouncer := rig.Run(t, func() *exec.Cmd { return exec.Command(program, "-c", config) }, func(context.Context) error { return nil })
	expect := func(lines ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var have string
		err := rig.Poll(ctx, strings.Join(lines, ", "), func() (bool, error) {
			text, err := os.ReadFile(told)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return false, err
			}
			have = string(text)
			for _, l := range lines {
				if !strings.Contains(have, l+"\n") {
					return false, a.Ended()
				}
			}
			return true, nil
		})
		if err != nil {
			t.Fatalf("%v; the bouncer was told\n%s", err, have)
		}
	}
	expect("add 192.0.2.1")
	a.sluice(t, "decisions", "add", "--range", "198.51.100.0/24")
	a.sluice(t, "decisions", "add", "--ip", "2001:db8::9", "--duration", "4s")
	expect("add 198.51.100.0/24", "add 2001:db8::9", "del 2001:db8::9")
	a.sluice(t, "decisions", "delete", "--ip", "192.0.2.1")
	expect("del 192.0.2.1")
	a.Kill(t)
	a.sluice(t, "decisions", "delete", "--range", "198.51.100.0/24") // in the folder, while nothing runs
	a.StartReady(t, "the local API is served")
	expect("del 198.51.100.0/24")
	bouncer.Kill(t)
	if err := os.Remove(told); err != nil {
		t.Fatal(err)
	}
	a.sluice(t, "decisions", "add", "--ip", "203.0.113.1")
	bouncer.Start(t)
	expect("add 203.0.113.1")
	if text, err := os.ReadFile(told); err != nil || strings.Contains(string(text), "192.0.2.1") {
		t.Errorf("a bouncer that begins anew is told %s, %v", text, err)
	}
	if out := a.sluice(t, "bouncers", "list"); !strings.Contains(out, "crowdsec-custom-bouncer") {
		t.Errorf("the bouncers are\n%s", out)
	}
	a.Stop(t)
}

// TestNginx asks the verdict endpoint as nginx does, with auth_request.
func TestNginx(t *testing.T) {
	program := rig.Need(t, "nginx-light", "nginx")
	a := start(t)
	dir := t.TempDir()
	port := rig.Port(t)
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log; user root;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  set_real_ip_from 127.0.0.0/8; real_ip_header X-Client;
  server {
    listen 127.0.0.1:%[2]d;
    location = /verdict {
      internal; proxy_pass %[3]s/v1/verdict?ip=$remote_addr; proxy_pass_request_body off; proxy_set_header Content-Length "";
    }
    location / { auth_request /verdict; root %[1]s; }
  }
}
`, dir, port, a.url)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(config), 0o600), os.WriteFile(filepath.Join(dir, "page"), []byte("hello"), 0o644), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	rig.Run(t, func() *exec.Cmd { return exec.Command(program, "-c", filepath.Join(dir, "nginx.conf"), "-p", dir) }, rig.Listens(fmt.Sprintf("127.0.0.1:%d", port)))
	a.sluice(t, "decisions", "add", "--range", "192.0.2.0/24")
	a.sluice(t, "decisions", "add", "--ip", "2001:db8::9", "--type", "captcha")
	for address, want := range map[string]int{"192.0.2.77": 403, "198.51.100.1": 200, "2001:db8::9": 401, "2001:db8::8": 200} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/page", port), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Client", address)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s is answered %d, want %d", address, res.StatusCode, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	a.Stop(t)
}
