package funcs

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// kvPattern says what ParseKV finds.
var kvPattern = regexp.MustCompile(`([^=\s]+)=(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^=\s]+)|\s*)`)

func plainKV(text string) map[string]string {
	out := map[string]string{}
	for _, m := range kvPattern.FindAllStringSubmatch(text, -1) {
		out[m[1]] = m[2] + m[3] // at most one of them took part
	}
	return out
}

// laxKey says what a key of ParseKVLax is, when it stands outside of quotes.
var laxKey = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_.-]*)=`)

func plainKVLax(text string) map[string]string {
	var keys [][]int
	for _, m := range laxKey.FindAllStringSubmatchIndex(text, -1) {
		quotes := 0
		for i := range m[0] {
			before := text[:i]
			slashes := len(before) - len(strings.TrimRight(before, `\`))
			if text[i] == '"' && slashes%2 == 0 {
				quotes++
			}
		}
		if quotes%2 == 0 {
			keys = append(keys, m)
		}
	}
	out := map[string]string{}
	for i, m := range keys {
		end := len(text)
		if i+1 < len(keys) {
			end = keys[i+1][0]
		}
		out[text[m[2]:m[3]]] = laxValue(strings.TrimSpace(text[m[1]:end]))
	}
	return out
}

func checkKV(t *testing.T, text string) {
	t.Helper()
	for _, c := range []struct {
		name  string
		parse func(string, func(k, v string))
		plain func(string) map[string]string
	}{{"ParseKV", parseKV, plainKV}, {"ParseKVLax", parseKVLax, plainKVLax}} {
		got := map[string]string{}
		c.parse(text, func(k, v string) { got[k] = v })
		if want := c.plain(text); !maps.Equal(got, want) {
			t.Errorf("%s(%q) is %q, want %q", c.name, text, got, want)
		}
	}
}

var kvSeeds = []string{
	`a=1 b="two words" c= d="q\"q" e=`, `type=SYSCALL msg=audit(1:2): exe="/bin/sh"`, `a=one two b="x=y" c=3`,
	`a="b"c=d`, `==x a==b`, `a="open b=c`, `a=b=c`, "a=\"x\\\ny\" b=1", `a="x\`, "\xff=\xfe é=ü", `9a.b-c=1 -x=2`, `\"a=1`, `k="\\" z=1`,
}

func TestParseKVEqualsPattern(t *testing.T) {
	for _, s := range kvSeeds {
		checkKV(t, s)
	}
	for _, s := range words("a =\"\\\n", 6) {
		checkKV(t, s)
	}
}

func TestParseKVCopiesWhatItKeeps(t *testing.T) {
	line := []byte(`a=1`)
	m := map[string]any{}
	if _, err := function(t, Table(NewData()), "ParseKV").Call(string(line), m, "k"); err != nil {
		t.Fatal(err)
	}
	if keys := slices.Collect(maps.Keys(m["k"].(map[string]string))); len(keys) != 1 || keys[0] != "a" {
		t.Errorf("the keys are %q", keys)
	}
}

func FuzzParseKV(f *testing.F) {
	for _, s := range kvSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) < 1000 {
			checkKV(t, s)
		}
	})
}
