//go:build integration

// Package lapi runs CrowdSec's own local API as a target of the sink lapi.
package lapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	sluice "sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/format"
	"sluice/sinks/lapi"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// crowdsec is CrowdSec's API alone, with its database in a temporary folder.
type crowdsec struct {
	*rig.Part
	url, cscli, config, password string

	client *http.Client
	token  string // of the machine, signed in once
}

func newCrowdsec(t *testing.T) *crowdsec {
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
	address := fmt.Sprintf("127.0.0.1:%d", rig.Port(t))
	c := &crowdsec{url: "http://" + address, cscli: filepath.Join(root, "usr", "bin", "cscli"), password: "a password of the machine"}
	credentials := write("credentials.yaml", map[string]any{"url": c.url, "login": "sluice", "password": c.password})
	c.config = write("config.yaml", map[string]any{
		"common": map[string]any{"log_media": "stdout", "log_level": "warning", "log_dir": dir, "working_dir": dir, "daemonize": false},
		"config_paths": map[string]any{
			"config_dir": dir, "data_dir": dir, "simulation_path": write("simulation.yaml", map[string]any{"simulation": false}), "hub_dir": dir,
			"index_path": write("index.json", map[string]any{}), "notification_dir": filepath.Join(dir, "notifications"), "plugin_dir": filepath.Join(dir, "plugins"),
		},
		"plugin_config": map[string]any{"user": "nobody", "group": "nogroup"},
		"cscli":         map[string]any{"output": "json"},
		"db_config":     map[string]any{"type": "sqlite", "db_path": filepath.Join(dir, "crowdsec.db"), "use_wal": true},
		"api": map[string]any{
			"client": map[string]any{"credentials_path": credentials},
			"server": map[string]any{
				"log_level": "warning", "listen_uri": address, "console_path": filepath.Join(dir, "console.yaml"),
				"profiles_path": write("profiles.yaml", map[string]any{
					"name": "never", "filters": []string{"false"}, "on_success": "break", "decisions": []any{map[string]any{"type": "ban", "duration": "4h"}},
				}),
			},
		},
		"prometheus": map[string]any{"enabled": false},
	})
	for _, sub := range []string{"notifications", "plugins"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.run(t, "machines", "add", "sluice", "--password", c.password, "--url", c.url, "-f", credentials)
	program := filepath.Join(root, "usr", "bin", "crowdsec")
	c.Part = rig.Run(t, func() *exec.Cmd {
		cmd := exec.Command(program, "-no-cs", "-c", c.config)
		cmd.Env = append(os.Environ(), "CS_LAPI_SECRET="+strings.Repeat("a secret of the tests, ", 4)) // so that tokens outlive it
		return cmd
	}, rig.Listens(address))
	c.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // it is killed between two requests
	c.signIn(t)
	return c
}

func (c *crowdsec) signIn(t *testing.T) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"machine_id": "sluice", "password": c.password})
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(c.ask(t, http.MethodPost, "/v1/watchers/login", body), &answer); err != nil || answer.Token == "" {
		t.Fatalf("signing in gives no token: %v", err)
	}
	c.token = answer.Token
}

// ask makes a request and returns the answer, which must be a good one.
func (c *crowdsec) ask(t *testing.T, method, path string, body []byte) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "sluice-test/v0")
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s is answered %s, %v: %s", method, path, res.Status, err, text)
	}
	return text
}

func (c *crowdsec) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(t, c.cscli, append([]string{"-c", c.config}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func command(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s%s", args, err, out.Bytes(), errs.Bytes())
	}
	return out.String(), nil
}

// sink is the mapping of the sink under test.
func (c *crowdsec) sink() map[string]any {
	return map[string]any{"type": "lapi", "url": c.url, "machine_id": "sluice", "password": c.password, "batch": 10}
}

// listed is an alert as cscli, sluice and the file of alerts write it.
type listed struct {
	UUID      string
	Scenario  string
	StopAt    string `json:"stop_at"`
	Source    struct{ Scope, Value string }
	Meta      []struct{ Key, Value string }
	Decisions []struct{ Duration, Until, Scope, Value, Type, Origin, Scenario string }
}

// id is ours.
func (a *listed) id() string {
	for _, m := range a.Meta {
		if m.Key == format.MetaID {
			return m.Value
		}
	}
	return a.UUID
}

// facts are what has to be the same everywhere.
func (a *listed) facts() string {
	out := a.Scenario + " " + a.Source.Scope + " " + a.Source.Value
	for _, d := range a.Decisions {
		out += fmt.Sprintf(" %s %s %s %s %s", d.Type, d.Scope, d.Value, d.Origin, d.Scenario)
	}
	return out
}

func read(t *testing.T, text string) (out []listed) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in %.300s", err, text)
	}
	return out
}

// byID returns the facts of alerts by our ids, and how many alerts came again.
func byID(alerts []listed) (facts map[string]string, repeats int) {
	facts = make(map[string]string)
	for i := range alerts {
		if _, ok := facts[alerts[i].id()]; ok {
			repeats++
		}
		facts[alerts[i].id()] = alerts[i].facts()
	}
	return facts, repeats
}

// alerts asks CrowdSec for all that it has. It does so without cscli, which signs
// in each time: that writes to CrowdSec's database, and a push that meets it may
// fail in the middle ("database is locked"), with alerts that are there and
// decisions that belong to none. cscli shows no such alert.
func (c *crowdsec) alerts(t *testing.T) []listed {
	t.Helper()
	return read(t, string(c.ask(t, http.MethodGet, "/v1/alerts?limit=0", nil)))
}

// arrived waits until CrowdSec has an alert of every line, and returns all that it has.
func (c *crowdsec) arrived(t *testing.T, p *rig.Feed) []listed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var have []listed
	var facts map[string]string
	err := rig.Poll(ctx, "all alerts to arrive", func() (bool, error) {
		have = c.alerts(t)
		facts, _ = byID(have)
		return len(facts) >= p.Lines, errors.Join(p.Ended(), rig.Pause(ctx, 200*time.Millisecond))
	})
	if err != nil {
		t.Fatalf("%v: %d of %d are there", err, len(facts), p.Lines)
	}
	lines := make(map[string]bool)
	for _, a := range have {
		lines[a.Source.Value] = true
	}
	if len(facts) != p.Lines || len(lines) != p.Lines {
		t.Errorf("%d lines made %d alerts about %d of them", p.Lines, len(facts), len(lines))
	}
	return have
}

// TestAlertsListThereEqualsAlertsListHere pushes to CrowdSec, and to a local API of Sluice's own.
func TestAlertsListThereEqualsAlertsListHere(t *testing.T) {
	c := newCrowdsec(t)
	local := map[string]any{"type": "local_api", "listen": []string{fmt.Sprintf("127.0.0.1:%d", rig.Port(t))}}
	p := rig.NewFeed(t, "pusher", c.sink(), local)
	p.Write(t, 120)
	p.StartReady(t, "the local API is served")
	have := c.arrived(t, p)
	there, repeats := byID(have)
	out, err := command(t, rig.Binary(t), "alerts", "list", "-o", "json", "--limit", "0", "-c", p.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	listedHere := read(t, out)
	here, _ := byID(listedHere)
	if repeats != 0 || len(there) != len(here) {
		t.Fatalf("there are %d alerts and %d repeats, here %d", len(there), repeats, len(here))
	}
	for id, facts := range here {
		if there[id] != facts {
			t.Errorf("%s is here\n%s\nand there\n%s", id, facts, there[id])
		}
	}
	ends := make(map[string]string)
	for _, a := range listedHere {
		if len(a.Decisions) != 1 {
			t.Fatalf("it has decisions %+v", a.Decisions)
		}
		ends[a.id()] = a.Decisions[0].Until
	}
	for _, a := range have {
		left, err := time.ParseDuration(a.Decisions[0].Duration)
		end, err2 := time.Parse(time.RFC3339, ends[a.id()])
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		// What it calls the duration is what was left a moment ago.
		if off := time.Until(end) - left; off < -20*time.Second || off > 2*time.Second {
			t.Errorf("a decision ends %v earlier or later there than here", off)
		}
	}
	if out := c.run(t, "machines", "list", "-o", "json"); !strings.Contains(out, "last_heartbeat") {
		t.Errorf("no heartbeat came:\n%s", out)
	}
	t.Logf("%d alerts with their decisions are the same there and here", len(there))
	p.Stop(t)
}

// TestKilledDuringDelivery kills sluice at random moments.
func TestKilledDuringDelivery(t *testing.T) {
	c := newCrowdsec(t)
	p := rig.NewFeed(t, "pusher", c.sink())
	kills := 12
	if rig.Soak() {
		kills = 100
	}
	during := p.KillTimes(t, kills, 100, func() int { return len(c.alerts(t)) })
	_, repeats := byID(c.arrived(t, p))
	p.Stop(t)
	t.Logf("%d kills, %d of them while alerts were on their way; %d of %d alerts were there twice", kills, during, repeats, p.Lines)
	if during == 0 || repeats != 0 {
		t.Errorf("%d alerts were there twice after %d kills during delivery; want none after some", repeats, during)
	}
}

// TestTheAPIGoesAway kills CrowdSec's API, while alerts are on their way, for a while.
func TestTheAPIGoesAway(t *testing.T) {
	c := newCrowdsec(t)
	p := rig.NewFeed(t, "pusher", c.sink())
	p.Write(t, 200)
	p.StartReady(t, "the state is loaded")
	for range 2 {
		p.Write(t, 100)
		if err := rig.Pause(t.Context(), 400*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		c.Kill(t)
		p.Write(t, 100)
		if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
			t.Fatal(err)
		}
		c.Start(t)
	}
	have := c.arrived(t, p)
	_, repeats := byID(have)
	if repeats != 0 {
		t.Errorf("%d alerts were there twice", repeats)
	}
	p.Stop(t)
	down, up := p.Said("a sink does not take alerts"), p.Said("the sink takes alerts again")
	if down == 0 || down > 2 || up != down {
		t.Errorf("it said %d times that the sink is down, and %d times that it is up", down, up)
	}
	var values []string
	for _, a := range have {
		values = append(values, a.Source.Value)
	}
	slices.Sort(values)
	t.Logf("%d alerts, %d repeats; lines of the log: %d down, %d up", len(slices.Compact(values)), repeats, down, up)
}

// TestOneThatCrowdsecRefuses holds the sink to the words that CrowdSec has for
// alerts that are wrong, for which it answers as it does when it is in trouble itself.
func TestOneThatCrowdsecRefuses(t *testing.T) {
	c := newCrowdsec(t)
	config := lapi.Default()
	config.URL, config.MachineID, config.Password = c.url, "sluice", component.Secret(c.password)
	sink, err := lapi.New("lapi", config, sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	given := make([]sluice.Alert, 20)
	for i := range given {
		now, value := time.Now().UTC().Format(time.RFC3339Nano), fmt.Sprintf("192.0.2.%d", i)
		given[i] = sluice.Alert{
			UUID: fmt.Sprint("id-", i), Scenario: "test/poison", StartAt: now, StopAt: now, Source: &sluice.Source{Scope: "Ip", Value: value, IP: value},
			Decisions: []sluice.Decision{{Origin: "crowdsec", Type: "ban", Scope: "Ip", Value: value, Duration: "1d", Scenario: "test/poison"}},
		}
	}
	given[5].Decisions[0].Value = "192.0.2.x"
	given[11].Meta = []sluice.MetaItem{{Key: "long", Value: strings.Repeat("x", 5000)}}
	given[16].Decisions[0].Duration = "a while"
	err = sink.Alerts(t.Context(), given)
	var rejected *sinks.RejectedError
	if !errors.As(err, &rejected) || !slices.Equal(rejected.Alerts, []int{5, 11, 16}) || !strings.Contains(err.Error(), "192.0.2.x") {
		t.Errorf("error = %v", err)
	}
	facts, repeats := byID(c.alerts(t))
	if len(facts) != 17 || repeats != 0 || facts["id-5"]+facts["id-11"]+facts["id-16"] != "" {
		t.Errorf("it has %d alerts and %d repeats, want 17 and none", len(facts), repeats)
	}
}
