package grok

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCaptures(t *testing.T) {
	lib := NewLibrary()
	scope := lib.Scope()
	for name, p := range map[string]string{"PAIR": `%{WORD:k}=%{WORD:v}`, "NUM": `%{INT:n}`, "INT": `x+`} {
		if err := scope.Add(name, p); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what, expr, line string
		want             map[string]string // nil: no match
	}{
		{"the search is unanchored", `%{INT:n}`, "a 17 b", map[string]string{"n": "17"}},
		{"only names capture", `(?P<raw>a)%{WORD:w}`, "ab", nil},
		{"raw groups do not capture", `(?P<raw>a) %{WORD:w}`, "a b", map[string]string{"w": "b"}},
		{"no named capture never succeeds", `%{INT}`, "17", nil},
		{"of two the last wins", `%{WORD:w} %{WORD:w}`, "a b", map[string]string{"w": "b"}},
		{"the last wins even when it took no part", `%{WORD:w} (?:-|%{INT:w})`, "a -", map[string]string{"w": ""}},
		{"names of used patterns capture", `%{PAIR}`, "k=v", map[string]string{"k": "k", "v": "v"}},
		{"a name beside a pattern hides it there too", `%{PAIR} %{WORD:k}?`, "k=v ", map[string]string{"k": "", "v": "v"}},
		{"a name may hold dashes and dots", `%{INT:a-b.c}`, "5", map[string]string{"a-b.c": "5"}},
		{"an outer name hides the inner", `%{PAIR:k}`, "k=v", map[string]string{"k": "k=v", "v": "v"}},
		{"pattern_syntax cannot redefine the library", `%{NUM}`, "12", map[string]string{"n": "12"}},
		{"IPv6", `^%{IP:ip}$`, "2001:db8::1", map[string]string{"ip": "2001:db8::1"}},
		{"IPv4 in IPv6", `^%{IP:ip}$`, "::ffff:192.0.2.128", map[string]string{"ip": "::ffff:192.0.2.128"}},
		{"a type in the reference means nothing", `%{INT:n:int}`, "5", map[string]string{"n": "5"}},
	} {
		p, err := scope.Compile(c.expr)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		captures := make([]string, len(p.Names()))
		ok := p.Match(c.line, captures, &Scratch{})
		if ok != (c.want != nil) {
			t.Errorf("%s: match %v", c.what, ok)
			continue
		}
		for i, n := range p.Names() {
			if ok && captures[i] != c.want[n] {
				t.Errorf("%s: %s is %q, want %q", c.what, n, captures[i], c.want[n])
			}
		}
	}
}

func TestMistakesAreExplained(t *testing.T) {
	lib := NewLibrary()
	loop := lib.Scope()
	if err := loop.Add("A", "%{B}"); err != nil {
		t.Fatal(err)
	}
	if err := loop.Add("B", "%{A}"); err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]string{
		"%{IPORHOSTT:x}":              "did you mean %{IPORHOST}?",
		"%{A:x}":                      "A > B > A",
		"%{INT:x":                     "no closing brace",
		"(%{INT:x}":                   "missing closing )",
		"((a{0,500}){0,500})%{INT:x}": "invalid repeat",
	} {
		_, err := loop.Compile(expr)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", expr, err, want)
		}
	}
}

func TestLoadDirKeepsTheFirstDefinitionAndNamesFaultyLines(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "# comment\n\nINT x\nFRUIT apple|pear\r\n")
	write("b", "FRUIT plum\nBROKEN (a\n")
	write(".hidden", "not a pattern")
	library := NewLibrary()
	if err := library.LoadDir(dir); err != nil {
		t.Fatal(err)
	}
	p, err := library.Compile("^%{FRUIT:f} %{INT:n}$")
	if err != nil {
		t.Fatal(err)
	}
	captures := make([]string, 2)
	if !p.Match("pear 7", captures, &Scratch{}) || captures[0] != "pear" || captures[1] != "7" {
		t.Errorf("captures are %q", captures)
	}
	if _, err := library.Compile("%{BROKEN:b}"); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "b")+":2: pattern BROKEN: missing closing )") {
		t.Errorf("error %v does not name the line", err)
	}
	write("c", "LONELY\nTWICE a\nTWICE b\n")
	err = NewLibrary().LoadDir(dir)
	for _, want := range []string{`c:1: "LONELY" is not a pattern line`, "c:3: pattern TWICE is already defined in " + filepath.Join(dir, "c") + ":2"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
