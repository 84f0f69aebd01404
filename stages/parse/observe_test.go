package parse

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sluice/pipeline"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var treeRules = map[string]string{
	"parsers/s00-raw/us/a.yaml": "name: us/a\nfilter: evt.Line.Labels.type == 'other'\nstatics:\n  - meta: x\n    value: y\n",
	"parsers/s00-raw/us/b.yaml": "name: us/b\nonsuccess: next_stage\nstatics:\n  - parsed: program\n    value: app\n",
	"parsers/s01-parse/us/c.yaml": `name: us/c
filter: evt.Parsed.program == 'app'
onsuccess: next_stage
nodes:
  - grok:
      pattern: 'bye %{WORD:user}'
      apply_on: message
  - name: us/c-hello
    grok:
      pattern: 'hello %{WORD:user} from %{IP:ip}'
      apply_on: message
      statics:
        - meta: log_type
          value: hello
    stash:
      - name: users
        key: evt.Parsed.ip
        value: evt.Parsed.user
        ttl: 1m
statics:
  - meta: source_ip
    expression: evt.Parsed.ip
  - meta: bad
    expression: int(evt.Parsed.user)
`,
	"parsers/s02-enrich/us/d.yaml": "name: us/d\nstatics:\n  - method: ParseDate\n    expression: evt.StrTime\n",
	"parsers/s02-enrich/us/e.yaml": "name: us/e\nwhitelist:\n  reason: home\n  ip: [192.0.2.1]\nstatics:\n  - meta: home\n    value: '1'\n",
	"parsers/s02-enrich/us/f.yaml": "name: us/f\nfilter: evt.Meta.source_ip == '192.0.2.9'\nstatics:\n  - meta: list\n    expression: evt.Meta.source_ip == ''\n",
}

func TestTrees(t *testing.T) {
	b := newBench(t, treeRules)
	got := ""
	for _, line := range []string{"hello bob from 192.0.2.1", "hello eve from 192.0.2.9", "gibberish"} {
		obs := &tree{}
		outcome := b.run(line, obs)
		got += "line: " + line + "\n" + obs.b.String() + outcome.String() + " " + b.runner.AbortReason() + "\n\n"
	}
	path := filepath.Join("testdata", "trees.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the trees have changed; run with -update and look at the difference:\n%s", got)
	}
}

// reached records the top-level nodes as the hub's parser results do.
type reached struct {
	entries []string
	views   []*pipeline.View
}

func (r *reached) Enter(*Node)                {}
func (r *reached) Observe(*Node, Observation) {}
func (r *reached) Leave(n *Node, ev *pipeline.Event, success bool) {
	if n.Depth == 0 {
		mark := " no"
		if success {
			mark = " yes"
		}
		r.entries = append(r.entries, n.Stage+" "+n.Name+mark)
		r.views = append(r.views, ev.View())
	}
}

func TestOnlyReachedNodesAreRecorded(t *testing.T) {
	b := newBench(t, treeRules)
	r := &reached{}
	b.run("hello eve from 192.0.2.9", r)
	// us/f aborts the event, so it has no entry.
	want := []string{"s00-raw us/a no", "s00-raw us/b yes", "s01-parse us/c yes", "s02-enrich us/d yes", "s02-enrich us/e yes"}
	if !slices.Equal(r.entries, want) {
		t.Errorf("got %q, want %q", r.entries, want)
	}
	if r.views[1].Parsed["program"] != "app" || r.views[1].Meta["log_type"] != "" || r.views[2].Meta["log_type"] != "hello" {
		t.Error("an entry is not the event of its moment")
	}
}

func TestPostoverflows(t *testing.T) {
	b := newBench(t, map[string]string{
		"postoverflows/s00-enrich/us/range.yaml": `name: us/range
onsuccess: next_stage
filter: evt.Overflow.Alert.Remediation == true && IsIPV6(evt.Overflow.Alert.Source.IP)
statics:
  - target: evt.Overflow.Alert.Source.Value
    expression: IpToRange(evt.Overflow.Alert.Source.IP, "/64")
  - target: evt.Overflow.Alert.Source.Scope
    value: Range
`,
		"postoverflows/s01-whitelist/us/home.yaml": `name: us/home
whitelist:
  reason: home
  cidr: ['2001:db8::/32']
  expression:
    - evt.Overflow.Alert.GetScenario() == 'us/quiet'
`,
	})
	alert := func(ip, scenario string) *pipeline.RuntimeAlert {
		source := pipeline.Source{Scope: "Ip", Value: ip, IP: ip}
		a := &pipeline.RuntimeAlert{Sources: map[string]pipeline.Source{ip: source}}
		a.Alert = &pipeline.Alert{Scenario: scenario, Remediation: true, Source: &source}
		return a
	}
	tests := []struct {
		name, ip, scenario string
		outcome            Outcome
		value, scope       string
		whitelisted        bool
	}{
		{"an IPv6 source becomes its range", "2001:db9::7", "us/x", Parsed, "2001:db9::/64", "Range", false},
		{"a source at home is whitelisted", "2001:db8::7", "us/x", Whitelisted, "2001:db8::/64", "Range", true},
		{"a scenario is whitelisted", "2001:db9::7", "us/quiet", Whitelisted, "2001:db9::/64", "Range", true},
		{"a failed first stage skips the whitelists (FIDELITY 26)", "192.0.2.1", "us/quiet", Unparsed, "192.0.2.1", "Ip", false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			ev := b.ctx.Event
			ev.Reset()
			ev.Type, ev.Overflow = pipeline.OverflowEvent, alert(tc.ip, tc.scenario)
			got := b.runner.Run(b.ctx, nil)
			s := ev.Overflow.Alert.Source
			if got != tc.outcome || s.Value != tc.value || s.Scope != tc.scope || ev.Overflow.Whitelisted != tc.whitelisted {
				t.Errorf("got %v, %s %s, whitelisted %v", got, s.Scope, s.Value, ev.Overflow.Whitelisted)
			}
		})
	}
}
