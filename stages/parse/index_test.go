package parse

import (
	"slices"
	"strings"
	"testing"

	"sluice/pipeline"
)

// indexRules are nodes whose filters the index treats in different ways.
var indexRules = []string{
	`evt.Parsed.program == 'sshd'`,
	`evt.Parsed.program in ['nginx', '']`,
	`evt.Parsed.program startsWith 'ng'`,
	`evt.Parsed.program == 'a' || evt.Parsed.program == 'b'`,
	`evt.Parsed.program == 'a' || evt.Parsed.other == 'b'`,
	`Upper(evt.Parsed.program) == 'SSHD'`,
	`Lower(evt.Parsed.program) in ['sshd', 'x']`,
	`Upper(evt.Parsed.program) == 'sshd'`,
	`Upper(evt.Parsed.program) == 'É'`,
	`not (evt.Parsed.program == 'sshd')`,
	`evt.Parsed.program != 'sshd'`,
	`evt.Parsed.program == 'json' && UnmarshalJSON('{"late": 1}', evt.Unmarshaled, 'a') in ['', nil]`,
	`UnmarshalJSON('{"early": 1}', evt.Unmarshaled, 'b') in ['', nil] && evt.Parsed.program == 'json'`,
	`evt.Unmarshaled.b.early == 1.0 && evt.Parsed.program == 'sshd'`,
	`evt.Parsed.program == 'moved'`,
	`'written' in evt.Meta && evt.Parsed.program == 'moved'`,
	`"program" in evt.Parsed`,
}

func TestIndexOnFiltersOfEveryKind(t *testing.T) {
	files := map[string]string{}
	for i, f := range indexRules {
		name := string(rune('a' + i))
		files["parsers/s00-raw/us/"+name+".yaml"] = "name: us/" + name + "\nfilter: " + quote(f) + "\nstatics:\n  - meta: " + name + "\n    value: '1'\n"
	}
	// A node in the middle changes the field that the index reads.
	files["parsers/s00-raw/us/m.yaml"] = "name: us/m\nfilter: evt.Parsed.program == 'moves'\nstatics:\n  - meta: written\n    value: '1'\n  - parsed: program\n    value: moved\n"
	b := newBench(t, files)
	for _, program := range []string{"sshd", "SSHD", "\u017f\u017fhd", "nginx", "ng", "", "a", "b", "json", "moves", "moved", "É", "é", strings.Repeat("sshd", 40), "\xff"} {
		run := func(obs Observer) []string {
			ev := b.line("x")
			if program != "" {
				ev.SetField(pipeline.Parsed, "program", program)
			}
			b.runner.Run(b.ctx, obs)
			return fields(ev)
		}
		if got, want := run(nil), run(&tree{}); !slices.Equal(got, want) {
			t.Errorf("program %q: with the index %q, every node %q", program, got, want)
		}
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func TestNextCandidate(t *testing.T) {
	words := make([]uint64, 3)
	for _, bit := range []int{0, 5, 63, 64, 130} {
		set(words, bit)
	}
	var got []int
	for k := nextCandidate(words, 0); k < 192; k = nextCandidate(words, k+1) {
		got = append(got, k)
	}
	if !slices.Equal(got, []int{0, 5, 63, 64, 130}) {
		t.Errorf("got %v", got)
	}
}

func TestHostileLines(t *testing.T) {
	b := newBench(t, map[string]string{
		"parsers/s00-raw/us/a.yaml": "name: us/a\nnodes:\n  - grok:\n      pattern: '(a+)+$ %{GREEDYDATA:bomb}'\n      apply_on: message\n  - grok:\n      pattern: '^%{WORD:word}(%{SPACE}+)*%{GREEDYDATA:rest}$'\n      apply_on: Line.Raw\n" +
			"statics:\n  - meta: all\n    expression: evt.Line.Raw\n  - method: ParseDate\n    expression: evt.Line.Raw\n",
	})
	for name, line := range map[string]string{
		"empty": "", "NUL": "a\x00b\x00", "no UTF-8": "a\xff\xfe\xfd", "half a rune": "a\xe2\x82",
		"a very long line": strings.Repeat("a", 10<<20), "deep nesting": strings.Repeat("{", 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			for _, obs := range []Observer{nil, &tree{}} {
				b.run(line, obs)
				if got, _ := b.ctx.Event.Field(pipeline.Meta, "all"); got != line && got != "" {
					t.Error("the line was changed")
				}
			}
		})
	}
}

func TestAccessLineCostsNoAllocationOfOurs(t *testing.T) {
	b := newBench(t, map[string]string{
		"parsers/s00-raw/us/a.yaml":    "name: us/a\nonsuccess: next_stage\nstatics:\n  - parsed: program\n    expression: evt.Line.Labels.type\n",
		"parsers/s01-parse/us/b.yaml":  "name: us/b\nfilter: evt.Parsed.program == 'test'\nonsuccess: next_stage\nnodes:\n  - grok:\n      pattern: '^%{IP:ip} - - \\[%{HTTPDATE:date}\\]'\n      apply_on: Line.Raw\nstatics:\n  - meta: source_ip\n    expression: evt.Parsed.ip\n  - target: evt.StrTime\n    expression: evt.Parsed.date\n",
		"parsers/s02-enrich/us/c.yaml": "name: us/c\nfilter: evt.StrTime != ''\nstatics:\n  - method: ParseDate\n    expression: evt.StrTime\n  - target: MarshaledTime\n    expression: evt.Enriched.MarshaledTime\n",
	})
	line := "192.0.2.7 - - [10/Oct/2023:13:55:36 +0000] rest"
	if got := b.run(line, nil); got != Parsed || b.ctx.Event.Time.Year() != 2023 {
		t.Fatalf("%v at %v", got, b.ctx.Event.Time)
	}
	if n := testing.AllocsPerRun(200, func() { b.run(line, nil) }); n != 0 {
		t.Errorf("%v allocations a line, want none", n)
	}
}
