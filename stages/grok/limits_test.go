package grok

import (
	"strings"
	"testing"
)

// mustCompile compiles with the base library.
func mustCompile(t *testing.T, expr string) (*Pattern, *Reference) {
	t.Helper()
	library := NewLibrary()
	fast, err := library.Compile(expr)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := library.CompileReference(expr)
	if err != nil {
		t.Fatal(err)
	}
	return fast, plain
}

func TestExpressionsThatBacktrackWithoutEndAreGivenUp(t *testing.T) {
	for _, expr := range []string{
		`(a+)+%{WORD:w}?$`, `^(a|aa)*b%{DATA:w}$`, `^(?:a?){28}a{28}%{INT:n}$`, `^(\w+\s?)*%{INT:n}:$`,
		`^(?:%{WORD:a}|%{NOTSPACE:b}|%{DATA:c})+!$`, `(?:.*a){12}%{INT:n}$`,
	} {
		t.Run(expr, func(t *testing.T) {
			fast, plain := mustCompile(t, expr)
			line := strings.Repeat("a", 200) + " -"
			if what := difference(fast, plain, line, &Scratch{}); what != "" {
				t.Error(what)
			}
		})
	}
}

func TestRepetitionsThatMultiplyAreAnError(t *testing.T) {
	library := NewLibrary().Scope()
	if err := library.Add("BOMB", `((a{0,100}){0,100}){0,100}`); err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]string{
		`%{INT:n}((a{0,100}){0,100}){0,100}`: `((a{0,100}){0,100}){0,100}`,
		`%{BOMB:b}`:                          `pattern BOMB: invalid repeat count`,
		`%{INT:n}` + strings.Repeat("(", 2000) + "a" + strings.Repeat(")", 2000): `nests too deeply`,
		`%{INT:n}(?:x{1000}){1000}`: `invalid repeat count`,
	} {
		_, err := library.Compile(expr)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", excerpt(expr), err, want)
		}
	}
}

func TestPatternsThatDoubleAreAnError(t *testing.T) {
	library := NewLibrary().Scope()
	names := "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if err := library.Add("A", "xxxxxxxx"); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(names); i++ {
		before := "%{" + names[i-1:i] + "}"
		if err := library.Add(names[i:i+1], before+before); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := library.Compile("%{Z:z}"); err == nil || !strings.Contains(err.Error(), "expands to more than") {
		t.Errorf("error %v, want one about the expansion", err)
	}
}

func TestLongLines(t *testing.T) {
	size := 10 << 20
	if testing.Short() || raceEnabled {
		size = 1 << 20
	}
	for _, c := range []struct {
		what, expr, line string
		want             bool
	}{
		{"a field of 10 MiB", `^%{IP:ip} "%{DATA:path}" %{INT:n}$`, `192.0.2.1 "` + strings.Repeat("x", size) + `" 7`, true},
		{"the rest of the line", `%{WORD:w}: %{GREEDYDATA:rest}`, "x: " + strings.Repeat("é ", size/3), true},
		{"a loop round a group", `^(?:%{WORD:w} )+$`, strings.Repeat("ab ", size/64), true},
		{"words that nearly match", `%{WORD:w}=%{WORD:v};`, strings.Repeat("word ", size/5) + "=;", false},
		{"no address", `%{IP:ip}`, strings.Repeat("x.y.z:", size/6), false},
		{"addresses that nearly match", `%{IP:ip} port %{INT:n} `, strings.Repeat("10.0.0.1 ", size/256) + " port 1 ", false},
		{"NULs", `%{NOTSPACE:x} %{INT:n}`, strings.Repeat("\x00", size) + " 7", true},
		{"bytes that are no UTF-8", `^%{DATA:x} %{INT:n}$`, strings.Repeat("\xff", size) + " 7", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			p, _ := mustCompile(t, c.expr)
			captures := make([]string, len(p.Names()))
			var scratch Scratch
			if got := p.Match(c.line, captures, &scratch); got != c.want {
				t.Errorf("match is %v, want %v", got, c.want)
			}
			if cap(scratch.stack) > keptFrames {
				t.Errorf("the scratch keeps %d frames", cap(scratch.stack))
			}
		})
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p, _ := mustCompile(t, `%{COMBINEDAPACHELOG}`)
	line := `192.0.2.1 - - [29/Sep/2021:14:11:34 +0200] "GET / HTTP/1.1" 200 1 "-" "x"`
	captures := make([]string, len(p.Names()))
	var scratch Scratch
	p.Match(line, captures, &scratch)
	if n := testing.AllocsPerRun(100, func() { p.Match(line, captures, &scratch) }); n != 0 {
		t.Errorf("%v allocations a match", n)
	}
}

func TestAPatternIsSafeForConcurrentUse(t *testing.T) {
	fast, _ := mustCompile(t, `(a+)+%{WORD:w}?$`) // both matchers take part
	done := make(chan bool)
	for range 4 {
		go func() {
			captures := make([]string, len(fast.Names()))
			var scratch Scratch
			ok := true
			for range 20 {
				ok = fast.Match(strings.Repeat("a", 50), captures, &scratch) && !fast.Match(strings.Repeat("a", 50)+"-", captures, &scratch) && ok
			}
			done <- ok
		}()
	}
	for range 4 {
		if !<-done {
			t.Error("a match went wrong")
		}
	}
}
