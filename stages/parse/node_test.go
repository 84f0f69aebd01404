package parse

import (
	"slices"
	"strings"
	"testing"
)

// grokWord is a node part that takes a word behind "user ".
const grokWord = `
grok:
  pattern: "user %{WORD:user}"
  apply_on: message
`

func TestWhatANodeDoes(t *testing.T) {
	tests := []struct {
		name, yaml, line string
		outcome          Outcome
		want             []string
	}{
		{"a grok writes its captures", grokWord, "user bob", Parsed, []string{"evt.Parsed.user=bob"}},
		{"a failed grok fails the node", grokWord + "statics:\n  - meta: x\n    value: y\n", "nobody", Unparsed, nil},
		{"a grok applies to the whole line", "grok:\n  pattern: 'user %{WORD:user}'\n  apply_on: Line.Raw\n", "user bob", Parsed, []string{"evt.Parsed.user=bob"}},
		{"a grok on an absent field fails", "grok:\n  pattern: '%{GREEDYDATA:all}'\n  apply_on: nothing\n", "x", Unparsed, nil},
		{"a grok applies to an expression", "grok:\n  pattern: '^%{WORD:first}'\n  expression: Upper(evt.Parsed.message)\n", "abc def", Parsed, []string{"evt.Parsed.first=ABC"}},
		{"a grok by name", "grok:\n  name: OWNLINE\n  apply_on: message\npattern_syntax:\n  OWNLINE: 'user %{WORD:user}'\n", "user bob", Parsed, []string{"evt.Parsed.user=bob"}},
		{"a grok without a capture never succeeds", "grok:\n  pattern: 'user'\n  apply_on: message\n", "user bob", Unparsed, nil},
		{"a capture that took no part is there and empty", "grok:\n  pattern: 'user( %{WORD:user})?'\n  apply_on: message\n", "user", Parsed, []string{"evt.Parsed.user="}},
		{"a grok's statics run after its captures", `
grok:
  pattern: "user %{WORD:user}"
  apply_on: message
  statics:
    - meta: who
      expression: evt.Parsed.user + '!'
statics:
  - meta: who2
    expression: evt.Meta.who + '!'
`, "user bob", Parsed, []string{"evt.Meta.who2=bob!!", "evt.Meta.who=bob!", "evt.Parsed.user=bob"}},
		{"a filter that is false", "filter: evt.Line.Raw == 'no'\nstatics:\n  - meta: x\n    value: y\n", "yes", Unparsed, nil},
		{"a filter that fails is false", "filter: 'int(evt.Line.Raw) > 1'\nstatics:\n  - meta: x\n    value: y\n", "no number", Unparsed, nil},
		{"a child rescues a failed grok", grokWord + `
nodes:
  - grok:
      pattern: "group %{WORD:group}"
      apply_on: message
statics:
  - meta: done
    value: "1"
`, "group staff", Parsed, []string{"evt.Meta.done=1", "evt.Parsed.group=staff"}},
		{"a failing child does not undo a grok that held", grokWord + "nodes:\n  - filter: 'false'\n    statics:\n      - meta: x\n        value: y\n", "user bob", Parsed, []string{"evt.Parsed.user=bob"}},
		{"without a grok the last child decides: failure", `
nodes:
  - statics:
      - meta: a
        value: "1"
  - filter: "false"
    statics:
      - meta: b
        value: "1"
statics:
  - meta: c
    value: "1"
`, "x", Unparsed, []string{"evt.Meta.a=1"}},
		{"without a grok the last child decides: success", `
nodes:
  - filter: "false"
    statics:
      - meta: a
        value: "1"
  - statics:
      - meta: b
        value: "1"
statics:
  - meta: c
    value: "1"
`, "x", Parsed, []string{"evt.Meta.b=1", "evt.Meta.c=1"}},
		{"with next_stage the first child that succeeds ends the children", `
onsuccess: next_stage
nodes:
  - statics:
      - meta: a
        value: "1"
  - statics:
      - meta: b
        value: "1"
`, "x", Parsed, []string{"evt.Meta.a=1"}},
		{"statics write every place", `
statics:
  - parsed: p
    value: a
  - meta: m
    expression: evt.Parsed.p + 'b'
  - target: evt.Enriched.e
    value: c
  - target: evt.Parsed.p2
    value: d
  - target: Meta.m2
    value: e
  - target: evt.StrTime
    value: f
  - target: StrTimeFormat
    value: g
  - target: evt.Line.Labels.l
    value: h
  - target: evt.Unmarshaled.u
    value: i
  - meta: m3
    expression: evt.Unmarshaled.u
`, "x", Parsed, []string{"evt.Enriched.e=c", "evt.Line.Labels.l=h", "evt.Meta.m2=e", "evt.Meta.m3=i", "evt.Meta.m=ab",
			"evt.Parsed.p2=d", "evt.Parsed.p=a", "evt.StrTime=f", "evt.StrTimeFormat=g"}},
		{"empty values, nil and lists write nothing; numbers are texts", `
statics:
  - meta: empty
    expression: evt.Parsed.absent
  - meta: nothing
    expression: evt.Unmarshaled.absent
  - meta: list
    expression: "[1, 2]"
  - meta: integer
    expression: len(evt.Parsed.message)
  - meta: float
    expression: "401.0"
`, "abc", Parsed, []string{"evt.Meta.float=401.000000", "evt.Meta.integer=3"}},
		{"a static that fails is passed over", "statics:\n  - meta: a\n    expression: string(int(evt.Line.Raw))\n  - meta: b\n    value: '1'\n", "x", Parsed, []string{"evt.Meta.b=1"}},
		{"a bool aborts the event", "statics:\n  - meta: a\n    value: '1'\n  - meta: b\n    expression: evt.Line.Raw == 'x'\n  - meta: c\n    value: '1'\n", "x", Aborted, []string{"evt.Meta.a=1"}},
		{"the date is parsed and marshaled", `
statics:
  - target: evt.StrTime
    expression: evt.Line.Raw
  - method: ParseDate
    expression: evt.StrTime
  - target: MarshaledTime
    expression: evt.Enriched.MarshaledTime
  - meta: timestamp
    expression: evt.Enriched.MarshaledTime
`, "10/Oct/2023:13:55:36 -0700", Parsed, []string{"evt.Enriched.MarshaledTime=2023-10-10T13:55:36-07:00", "evt.MarshaledTime=2023-10-10T13:55:36-07:00",
			"evt.Meta.timestamp=2023-10-10T13:55:36-07:00", "evt.StrTime=10/Oct/2023:13:55:36 -0700"}},
		{"a whitelist by expression", "whitelist:\n  reason: ours\n  expression:\n    - evt.Line.Raw == 'x'\nstatics:\n  - meta: a\n    value: '1'\n", "x", Whitelisted, []string{"evt.Meta.a=1", "evt.WhitelistReason=ours"}},
		{"a whitelist that does not match still succeeds, without statics", "whitelist:\n  reason: ours\n  expression:\n    - evt.Line.Raw == 'x'\nstatics:\n  - meta: a\n    value: '1'\n", "y", Parsed, nil},
		{"a whitelist looks before the grok and the statics", "whitelist:\n  reason: ours\n  ip: [192.0.2.1]\nstatics:\n  - meta: source_ip\n    value: 192.0.2.1\n", "x", Parsed, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, one(tc.yaml))
			for _, obs := range []Observer{nil, &tree{}} {
				if got := b.run(tc.line, obs); got != tc.outcome {
					t.Errorf("the event is %v, want %v (%v)", got, tc.outcome, b.runner.AbortError())
				}
				if got := fields(b.ctx.Event); !slices.Equal(got, tc.want) {
					t.Errorf("it holds\n %q, want\n %q", got, tc.want)
				}
			}
		})
	}
}

func TestWhitelistsByAddress(t *testing.T) {
	b := newBench(t, map[string]string{
		"parsers/s00-raw/us/one.yaml": "name: us/one\nstatics:\n  - meta: source_ip\n    expression: evt.Line.Raw\n",
		"parsers/s00-raw/us/two.yaml": "name: us/two\nwhitelist:\n  reason: home\n  ip: [192.0.2.1, '2001:db8::1']\n  cidr: [198.51.100.0/24, '2001:db8:1::/48']\n",
	})
	for line, want := range map[string]Outcome{
		"192.0.2.1": Whitelisted, "198.51.100.77": Whitelisted, "2001:db8::1": Whitelisted, "2001:DB8:0::1": Whitelisted, "2001:db8:1:2::3": Whitelisted,
		"192.0.2.2": Parsed, "198.51.101.0": Parsed, "2001:db8::2": Parsed, "no address": Parsed,
	} {
		if got := b.run(line, nil); got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}

func TestStages(t *testing.T) {
	writes := func(name, rest string) string {
		return "name: us/" + name + "\n" + rest + "\nstatics:\n  - meta: " + name + "\n    value: '1'\n"
	}
	tests := []struct {
		name    string
		files   map[string]string
		outcome Outcome
		want    []string
	}{
		{"an event that nothing moves on is unparsed though nodes succeeded", map[string]string{
			"parsers/s00-raw/us/a.yaml": writes("a", ""), "parsers/s01-parse/us/b.yaml": writes("b", ""),
		}, Unparsed, []string{"evt.Meta.a=1"}},
		{"next_stage moves on and ends the stage", map[string]string{
			"parsers/s00-raw/us/a.yaml": writes("a", "onsuccess: next_stage"), "parsers/s00-raw/us/a2.yaml": writes("a2", ""),
			"parsers/s01-parse/us/b.yaml": writes("b", "onsuccess: next_stage"),
		}, Parsed, []string{"evt.Meta.a=1", "evt.Meta.b=1"}},
		{"a child's and its parent's move two stages", map[string]string{
			"parsers/s00-raw/us/a.yaml":    "name: us/a\nonsuccess: next_stage\nnodes:\n  - onsuccess: next_stage\n    statics:\n      - meta: child\n        value: '1'\n",
			"parsers/s01-parse/us/b.yaml":  writes("b", "onsuccess: next_stage"),
			"parsers/s02-enrich/us/c.yaml": writes("c", ""),
		}, Parsed, []string{"evt.Meta.c=1", "evt.Meta.child=1"}},
		{"files run by base name, not by author", map[string]string{
			"parsers/s00-raw/zoe/a.yaml": "name: zoe/a\nstatics:\n  - meta: order\n    expression: evt.Meta.order + 'a'\n",
			"parsers/s00-raw/ann/b.yaml": "name: ann/b\nstatics:\n  - meta: order\n    expression: evt.Meta.order + 'b'\n",
		}, Parsed, []string{"evt.Meta.order=ab"}},
		{"a stage in which nothing succeeds ends the event", map[string]string{
			"parsers/s00-raw/us/a.yaml": writes("a", "filter: 'false'"),
		}, Unparsed, nil},
		{"no node at all parses everything", nil, Parsed, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var b *bench
			if tc.files == nil {
				b, _ = compileNodes(nil, false)
			} else {
				b = newBench(t, tc.files)
			}
			for _, obs := range []Observer{nil, &tree{}} {
				if got := b.run("x", obs); got != tc.outcome {
					t.Errorf("the event is %v, want %v", got, tc.outcome)
				}
				if got := fields(b.ctx.Event); !slices.Equal(got, tc.want) {
					t.Errorf("it holds %q, want %q", got, tc.want)
				}
			}
		})
	}
}

func TestPatternSyntaxBelongsToItsFile(t *testing.T) {
	b := newBench(t, map[string]string{
		"parsers/s00-raw/us/a.yaml": "name: us/a\npattern_syntax:\n  OWN: 'a+'\n  WORD: 'never'\ngrok:\n  pattern: '^%{OWN:a}'\n  apply_on: message\n",
		"parsers/s00-raw/us/b.yaml": "name: us/b\npattern_syntax:\n  OWN: 'b+'\ngrok:\n  pattern: '%{OWN:b}$'\n  apply_on: message\nnodes:\n  - grok:\n      pattern: '%{OWN:nested} %{WORD:word}'\n      apply_on: message\n",
	})
	if got := b.run("aaabbb", nil); got != Parsed {
		t.Fatalf("the event is %v", got)
	}
	if got, want := fields(b.ctx.Event), []string{"evt.Parsed.a=aaa", "evt.Parsed.b=bbb"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCompileErrorsPointIntoTheFile(t *testing.T) {
	tests := []struct{ name, yaml, want string }{
		{"a filter", "filter: evt.Meta.x ==\nstatics:\n  - meta: a\n    value: b\n", "one.yaml:2:"},
		{"an expression of a static", "statics:\n  - meta: a\n    expression: Uper(evt.Meta.x)\n", "one.yaml:4:"},
		{"a pattern", "grok:\n  pattern: '%{NOSUCHNAME:x}'\n  apply_on: message\n", "NOSUCHNAME"},
		{"a name", "grok:\n  name: NOSUCHNAME\n  apply_on: message\n", "NOSUCHNAME"},
		{"a method", "statics:\n  - method: ParsDate\n    expression: evt.StrTime\n", "ParseDate"},
		{"a regular expression", "grok:\n  pattern: '%{WORD:x}('\n  apply_on: message\n", "one.yaml:3:"},
		{"a whitelisted address", "whitelist:\n  reason: x\n  ip: ['300.1.1.1']\n", "300.1.1.1"},
		{"a whitelisted network", "whitelist:\n  reason: x\n  cidr: ['10.0.0.0/99']\n", "10.0.0.0/99"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			files := one(tc.yaml)
			files["parsers/s00-raw/us/two.yaml"] = "name: us/two\nstatics:\n  - meta: two\n    value: '1'\n"
			set, err := rulesLoad(t, files)
			if err != nil { // the loader found it first
				if !strings.Contains(err.Error(), tc.want) && !strings.Contains(err.Error(), "one.yaml") {
					t.Errorf("the loader's error is %v, want %q in it", err, tc.want)
				}
				return
			}
			b, errs := compileNodes(set.Parsers, false)
			if len(errs) == 0 || !strings.Contains(errs[0].Error(), tc.want) || !strings.Contains(errs[0].Error(), "one.yaml:") {
				t.Errorf("got %v, want an error in one.yaml with %q", errs, tc.want)
			}
			if b.run("x", nil); !slices.Equal(fields(b.ctx.Event), []string{"evt.Meta.two=1"}) {
				t.Errorf("the sound node did not run: %q", fields(b.ctx.Event))
			}
		})
	}
}

func TestUnknownTargetIsAWarning(t *testing.T) {
	b := newBench(t, one("statics:\n  - target: source_ip\n    value: x\n  - meta: a\n    value: '1'\n"))
	if len(b.Warnings()) != 1 || !strings.Contains(b.Warnings()[0].Error(), "source_ip") {
		t.Errorf("warnings: %v", b.Warnings())
	}
	if got := b.run("x", nil); got != Parsed || !slices.Equal(fields(b.ctx.Event), []string{"evt.Meta.a=1"}) {
		t.Errorf("%v, %q", got, fields(b.ctx.Event))
	}
}
