//go:build integration

// Package localapi runs CrowdSec's own programs against the API that sluice serves.
package localapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
	a := newAPI(t, rig.Binary(t), fmt.Sprintf("127.0.0.1:%d", rig.Port(t)), nil)
	a.StartReady(t, "the local API is served")
	return a
}

// newAPI configures a sluice that listens on an address. Keys are further ones of its sink.
func newAPI(t *testing.T, binary, address string, keys map[string]any) *api {
	t.Helper()
	dir := t.TempDir()
	a := &api{url: "http://" + address, log: filepath.Join(dir, "log")}
	if err := os.WriteFile(a.log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	c := rig.Config{
		"rules": map[string]any{"roots": []string{filepath.Join(root, "configs", "rules")}, "collections": []string{"sluice/linux"}},
		"sources": []any{map[string]any{
			"type": "file", "paths": []string{a.log}, "follow": true, "start": "beginning", "poll_interval": "50ms", "labels": map[string]any{"type": "syslog"},
		}},
	}
	sink := map[string]any{"type": "local_api", "listen": []string{address}}
	maps.Copy(sink, keys)
	c["sinks"] = []any{sink}
	c["profiles"] = []any{map[string]any{
		"name": "ban", "filters": []string{`Alert.Remediation == true && Alert.GetScope() in ["Ip", "Range"]`}, "decisions": []any{map[string]any{"type": "ban", "duration": "4h"}},
	}}
	p, err := rig.NewProgram("api", filepath.Join(dir, "api"), binary)
	if err != nil {
		t.Fatal(err)
	}
	a.Instance = &rig.Instance{Program: p}
	a.Configure(t, c)
	rig.EndWith(t, p)
	return a
}

// decided returns the values of the decisions in force, as `sluice decisions list` has them, sorted, once each.
func (a *api) decided(t *testing.T) []string {
	t.Helper()
	var list []struct{ Value string }
	if err := json.Unmarshal([]byte(a.sluice(t, "decisions", "list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].Value
	}
	slices.Sort(out)
	return slices.Compact(out)
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

// differ says in what two sorted lists do.
func differ(want, have []string) string {
	var out []string
	for _, v := range want {
		if _, ok := slices.BinarySearch(have, v); !ok {
			out = append(out, "not "+v)
		}
	}
	for _, v := range have {
		if _, ok := slices.BinarySearch(want, v); !ok {
			out = append(out, "still "+v)
		}
	}
	if n := len(out); n > 10 {
		out = append(out[:10], fmt.Sprintf("… %d in all", n))
	}
	return strings.Join(out, ", ")
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

// crowdsec is CrowdSec, unpacked, with a configuration of its own.
type crowdsec struct{ root, dir string }

// newCrowdsec unpacks CrowdSec: its engine and cscli. Credentials say which API they use.
func newCrowdsec(t *testing.T, credentials map[string]any) *crowdsec {
	t.Helper()
	c := &crowdsec{rig.Unpack(t, "crowdsec"), t.TempDir()}
	c.write(t, "credentials.yaml", credentials)
	c.write(t, "simulation.yaml", map[string]any{"simulation": false})
	hub := filepath.Join(c.root, "usr", "share", "crowdsec", "hub")
	c.write(t, "config.yaml", map[string]any{
		"common": map[string]any{"daemonize": false, "log_media": "stdout", "log_level": "info", "log_dir": c.dir, "working_dir": c.dir},
		"config_paths": map[string]any{
			"config_dir": c.dir, "data_dir": c.dir, "simulation_path": filepath.Join(c.dir, "simulation.yaml"),
			"hub_dir": hub, "index_path": filepath.Join(hub, ".index.json"),
		},
		"crowdsec_service": map[string]any{"acquisition_path": filepath.Join(c.dir, "acquis.yaml"), "parser_routines": 1},
		"cscli":            map[string]any{"output": "json"},
		"db_config":        map[string]any{"type": "sqlite", "db_path": filepath.Join(c.dir, "unused.db")},
		"api":              map[string]any{"client": map[string]any{"credentials_path": filepath.Join(c.dir, "credentials.yaml")}},
		"prometheus":       map[string]any{"enabled": false},
	})
	return c
}

// write writes a file of its configuration.
func (c *crowdsec) write(t *testing.T, name string, content any) {
	t.Helper()
	text, err := yaml.Marshal(content)
	if err == nil {
		err = os.WriteFile(filepath.Join(c.dir, name), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// attempt runs cscli.
func (c *crowdsec) attempt(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cscli := filepath.Join(c.root, "usr", "bin", "cscli")
	return run(t, exec.CommandContext(t.Context(), cscli, append([]string{"-c", filepath.Join(c.dir, "config.yaml")}, args...)...))
}

// run runs cscli, which must do as it is told.
func (c *crowdsec) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.attempt(t, args...)
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
	t.Parallel()
	a := start(t)
	a.sluice(t, "machines", "add", "operator", "--password", "a secret")
	c := newCrowdsec(t, map[string]any{"url": a.url, "login": "operator", "password": "a secret"})
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
	if out := c.run(t, "alerts", "inspect", "1", "--details"); !strings.Contains(out, "by cscli") || !strings.Contains(out, "192.0.2.1") {
		t.Errorf("cscli inspects an alert as\n%s", out)
	}
	c.run(t, "decisions", "delete", "--ip", "192.0.2.1")
	if got := a.decided(t); !slices.Equal(got, []string{"198.51.100.7", "2001:db8::/32"}) {
		t.Errorf("after cscli has deleted one, sluice lists %v", got)
	}

	list := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(list, []byte("duration,scope,value\n24h,ip,203.0.113.1\n24h,ip,203.0.113.2\n2h,range,10.9.0.0/16\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run(t, "decisions", "import", "--input", list, "--reason", "a list")
	if got := a.decided(t); !slices.Equal(got, []string{"10.9.0.0/16", "198.51.100.7", "2001:db8::/32", "203.0.113.1", "203.0.113.2"}) {
		t.Errorf("after cscli has imported a list, sluice lists %v", got)
	}
	c.run(t, "decisions", "delete", "--ip", "203.0.113.1") // one of an alert's, whose others stay
	want = []string{"10.9.0.0/16 ban", "198.51.100.7 ban", "2001:db8::/32 captcha", "203.0.113.2 ban"}
	if got := values(t, c.run(t, "decisions", "list")); !slices.Equal(got, want) {
		t.Errorf("after it has deleted one of the list, cscli lists %v, want %v", got, want)
	}
	c.run(t, "decisions", "delete", "--range", "10.9.0.0/16")
	c.run(t, "alerts", "delete", "--range", "2001:db8::/32")
	c.run(t, "decisions", "delete", "--type", "captcha") // of which none is left
	if got := a.decided(t); !slices.Equal(got, []string{"198.51.100.7", "203.0.113.2"}) {
		t.Errorf("after cscli has deleted a range and an alert, sluice lists %v", got)
	}
	c.run(t, "alerts", "delete", "--all")
	if got := a.sluice(t, "decisions", "list"); got != "none\n" {
		t.Errorf("after cscli has deleted all, sluice lists\n%s", got)
	}
	a.Stop(t)
}
