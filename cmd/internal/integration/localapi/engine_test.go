//go:build integration

package localapi

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// installed are the hub's rules that the engine runs.
func installed() []string {
	return []string{
		"parsers/s00-raw/crowdsecurity/syslog-logs.yaml", "parsers/s01-parse/crowdsecurity/sshd-logs.yaml",
		"parsers/s02-enrich/crowdsecurity/dateparse-enrich.yaml", "scenarios/crowdsecurity/ssh-bf.yaml",
	}
}

// engine starts CrowdSec's engine, which reads a log and pushes alerts.
func (c *crowdsec) engine(t *testing.T, log string) *rig.Part {
	t.Helper()
	hub := filepath.Join(c.root, "usr", "share", "crowdsec", "hub")
	for _, rule := range installed() {
		stage := filepath.Dir(filepath.Dir(rule))
		at := filepath.Join(c.dir, stage, filepath.Base(rule))
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(hub, rule), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(c.root, "etc", "crowdsec", "patterns"), filepath.Join(c.dir, "patterns")); err != nil {
		t.Fatal(err)
	}
	c.write(t, "acquis.yaml", map[string]any{"filenames": []string{log}, "labels": map[string]any{"type": "syslog"}})
	program, config := filepath.Join(c.root, "usr", "bin", "crowdsec"), filepath.Join(c.dir, "config.yaml")
	return rig.Run(t, func() *exec.Cmd { return exec.Command(program, "-no-api", "-c", config) }, func(context.Context) error { return nil })
}

// attack writes failed attempts of an address to sign in, with as many users as given.
func attack(t *testing.T, log, address string, users int) {
	t.Helper()
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 7 {
		at := time.Now().Format("Jan _2 15:04:05")
		if _, err := fmt.Fprintf(f, "%s web sshd[7]: Failed password for invalid user u%d from %s port 4242 ssh2\n", at, i%users, address); err != nil {
			t.Fatal(err)
		}
	}
}

// shownAlert is what is read of an alert in a list.
type shownAlert struct {
	ID        int
	Machine   string `json:"machine_id"`
	Scenario  string
	Simulated bool
	Source    struct{ Value string }
	Decisions []struct {
		Value     string
		Duration  string
		Simulated bool
	}
}

// alerts returns what sluice lists, once it has as many as wanted.
func (a *api) alerts(t *testing.T, n int) []shownAlert {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var list []shownAlert
	err := rig.Poll(ctx, fmt.Sprintf("%d alerts", n), func() (bool, error) {
		list = nil
		if err := json.Unmarshal([]byte(a.sluice(t, "alerts", "list", "-o", "json")), &list); err != nil {
			return false, err
		}
		return len(list) >= n, a.Ended()
	})
	if err != nil {
		t.Fatalf("%v; there are %+v", err, list)
	}
	return list
}

// machine is what sluice knows of a machine.
type machine struct {
	Name      string
	Valid     bool
	LastPush  time.Time `json:"last_push"`
	LastLogin time.Time `json:"last_login"`
	LastBeat  time.Time `json:"last_beat"`
}

// machine returns a machine, without a name where there is none.
func (a *api) machine(t *testing.T, name string) machine {
	t.Helper()
	var list []machine
	if err := json.Unmarshal([]byte(a.sluice(t, "machines", "list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		if m.Name == name {
			return m
		}
	}
	return machine{}
}

// TestTheEngine registers CrowdSec's engine by cscli and has it detect attacks:
// its alerts come without decisions, our profiles decide on them, and a bouncer
// is told; what the engine only simulates is kept and not told.
func TestTheEngine(t *testing.T) {
	t.Parallel()
	a := newAPI(t, rig.Binary(t), fmt.Sprintf("127.0.0.1:%d", rig.Port(t)), map[string]any{"registration": true})
	a.StartReady(t, "the local API is served")
	c := newCrowdsec(t, map[string]any{"url": a.url + "/"})
	c.run(t, "lapi", "register", "--url", a.url+"/", "--machine", "web-1")
	if _, err := c.attempt(t, "lapi", "status"); err == nil {
		t.Error("a machine that was not validated signs in")
	}
	if m := a.machine(t, "web-1"); m.Name == "" || m.Valid {
		t.Errorf("after it registered, the machine is %+v", m)
	}
	a.sluice(t, "machines", "validate", "web-1")
	c.run(t, "lapi", "status")
	log := filepath.Join(t.TempDir(), "auth.log")
	if err := os.WriteFile(log, []byte("Nov  1 00:00:00 web sshd[7]: Server listening on :: port 22.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := startCustom(t, a, nil)
	engine := c.engine(t, log)
	ready(t, engine, "Starting processing data")
	follows(t, engine, log)

	attack(t, log, "203.0.113.5", 7) // ssh-bf, and ssh-bf_user-enum
	b.expect(t, "add 203.0.113.5")
	a.alerts(t, 2)
	a.Kill(t)                        // the engine keeps what it cannot push
	attack(t, log, "2001:db8::5", 1) // ssh-bf alone
	ready(t, engine, "while pushing to api")
	a.StartReady(t, "the local API is served")
	b.expect(t, "add 2001:db8::5")

	engine.Stop(t)
	c.write(t, "simulation.yaml", map[string]any{"simulation": false, "exclusions": []string{"crowdsecurity/ssh-bf"}})
	engine.Start(t)
	says(t, engine, "Starting processing data", 2)
	follows(t, engine, log)
	attack(t, log, "203.0.113.6", 1)
	var got []string
	for _, one := range a.alerts(t, 4) {
		if one.Machine != "web-1" || len(one.Decisions) != 1 || one.Decisions[0].Value != one.Source.Value || one.Decisions[0].Simulated != one.Simulated {
			t.Errorf("an alert of the engine is %+v", one)
		}
		got = append(got, fmt.Sprint(one.Source.Value, " ", one.Scenario, " ", one.Simulated))
	}
	slices.Sort(got)
	want := []string{
		"2001:db8::5 crowdsecurity/ssh-bf false", "203.0.113.5 crowdsecurity/ssh-bf false", "203.0.113.5 crowdsecurity/ssh-bf_user-enum false", "203.0.113.6 crowdsecurity/ssh-bf true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the engine's alerts are %v, want %v", got, want)
	}
	a.sluice(t, "decisions", "add", "--ip", "203.0.113.7")
	b.expect(t, "add 203.0.113.7") // and so would have been told of the one before
	if told := b.told(t); strings.Contains(told, "203.0.113.6") {
		t.Errorf("the bouncer was told of what is simulated: %s", told)
	}
	if m := a.machine(t, "web-1"); m.LastPush.IsZero() || m.LastLogin.IsZero() {
		t.Errorf("after it pushed, the machine is %+v", m)
	}
	if rig.Soak() { // it says once a minute that it lives
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		if err := rig.Poll(ctx, "a heartbeat", func() (bool, error) { return !a.machine(t, "web-1").LastBeat.IsZero(), a.Ended() }); err != nil {
			t.Fatal(err)
		}
	}
	engine.Stop(t)
	a.Stop(t)
}

// follows waits until a part has gone to the end of a log, which is not empty:
// lines that are written before that are none of its.
func follows(t *testing.T, p *rig.Part, log string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	proc := fmt.Sprintf("/proc/%d/", p.Process().PID())
	if err := rig.Poll(ctx, "it to be at the end of "+log, func() (bool, error) {
		info, err := os.Stat(log)
		if err != nil {
			return false, err
		}
		files, err := os.ReadDir(proc + "fd")
		if err != nil {
			return false, err
		}
		for _, f := range files {
			if to, err := os.Readlink(proc + "fd/" + f.Name()); err != nil || to != log {
				continue // or it was closed meanwhile
			}
			var at int64
			text, _ := os.ReadFile(proc + "fdinfo/" + f.Name())
			if _, err := fmt.Sscanf(string(text), "pos: %d", &at); err == nil && at == info.Size() {
				return true, nil
			}
		}
		return false, nil
	}); err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
}

// ready waits until a part says something.
func ready(t *testing.T, p *rig.Part, text string) {
	t.Helper()
	says(t, p, text, 1)
}

// says waits until a part has said something some times, over all its starts.
func says(t *testing.T, p *rig.Part, text string, times int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := rig.Poll(ctx, fmt.Sprintf("it to say %q", text), func() (bool, error) {
		select {
		case <-p.Process().Done():
			return false, fmt.Errorf("it ended: %v", p.Process().Wait())
		default:
		}
		return strings.Count(p.Output(), text) >= times, nil
	}); err != nil {
		t.Fatalf("%v\n%s", err, p.Output())
	}
}
