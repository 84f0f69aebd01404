package funcs

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func compileAll(lines []string) []*regexp.Regexp {
	var all []*regexp.Regexp
	for _, l := range lines {
		if re, err := regexp.Compile(l); err == nil {
			all = append(all, re)
		}
	}
	return all
}

var setPatterns = []string{
	`\bcurl\b`, `^/admin`, `\.php$`, `(?i)sKip`, `(?i)\bGET\b`, `foo|bar+baz`, `[a-z]+-\d+\.example\.com.$`, `(ab){2,3}c`, `a?b*`, `x.y`, "\uFFFDz", `(?i)éa`,
	`\bé\b`, `\x{10FFFF}`, `(?m)^line$`, `\Bnot\B`, `(?i)\bkk\b`, `$`, `(?s).*secret.*`, `\b\.\b`,
}

var setTexts = []string{
	"", "curl", "curly", "-curl-", "/admin", "x/admin", "a.php", "a.php\n", "\u212Aip s\u212Aip", "\u017Fkip", "get GET", "barrbaz", "bot-12.example.com.",
	"ababc", "xay", "\xffz", "\uFFFDz", "ÉA", " é ", "kk \u212Ak", "a\nline\nb", "knots", "secret", "a.b", ".", strings.Repeat("curly ", 50) + "curl",
}

func checkSet(t *testing.T, lines []string, text string) {
	t.Helper()
	set := newRegexpSet(compileAll(lines))
	for range 2 {
		if got, want := set.match(text), set.matchPlain(text); got != want {
			t.Errorf("%q on %q: %v, want %v", lines, text, got, want)
		}
	}
}

func TestRegexpSetEqualsLoop(t *testing.T) {
	for _, text := range setTexts {
		for _, p := range setPatterns {
			checkSet(t, []string{p}, text)
		}
		checkSet(t, setPatterns[:8], text)
		checkSet(t, nil, text)
	}
}

func TestRegexpSetEqualsLoopOnHubUserAgents(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(hub(t), "data", "bad_user_agents.regex.txt"))
	if err != nil {
		t.Fatal(err) // the hub is there, and this file belongs to it
	}
	lines := slices.DeleteFunc(strings.Split(string(b), "\n"), func(l string) bool { return l == "" || l[0] == '#' })
	set := newRegexpSet(compileAll(lines))
	rng := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range 3000 {
		text := "Mozilla/5.0 (compatible; " + strings.Trim(lines[rng.IntN(len(lines))], `\b`) + "/1.0)"
		mutated := []byte(text)
		for range rng.IntN(3) {
			mutated[rng.IntN(len(mutated))] = "aZ_ /\\-\xc5"[rng.IntN(8)]
		}
		got := set.match(string(mutated))
		if want := set.matchPlain(string(mutated)); got != want {
			t.Fatalf("%q: %v, want %v", mutated, got, want)
		}
		if got {
			found++
		}
	}
	if found == 0 || found == 3000 {
		t.Errorf("%d of 3000 texts match: the test shows nothing", found)
	}
}

func TestRegexpSetRunsEachCandidateOnce(t *testing.T) {
	// Ten thousand places of a literal must not mean ten thousand runs over the text.
	checkSet(t, []string{`a[^b]*$x`}, strings.Repeat("a", 10_000))
}

func TestTextSetEqualsLoops(t *testing.T) {
	for _, lines := range [][]string{{"a"}, {"ab", "b", "abc"}, {"bc", "abcd"}, {"aa", "aaa", "a"}, {"x", "x"}, nil, {"he", "she", "his", "hers"}} {
		set := newTextSet(lines)
		for _, text := range append(words("abc", 5), "ushers", "xx", "") {
			first, at := -1, len(text)+1
			for i, l := range lines {
				if n := strings.Index(text, l); n >= 0 && n < at {
					first, at = i, n
				}
			}
			if got := set.first(text); got != first {
				t.Fatalf("first of %q in %q is %d, want %d", lines, text, got, first)
			}
			if got := set.in(text); got != (first >= 0) {
				t.Fatalf("%q in %q: %v", lines, text, got)
			}
		}
	}
}

// A list too large for the table is cut to prefixes, and every answer verified.
func TestTextSetOfManyLongLines(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	lines := make([]string, 20_000)
	for i := range lines {
		b := make([]byte, 60)
		for j := range b {
			b[j] = byte(rng.IntN(256))
		}
		lines[i] = string(b)
	}
	set := newTextSet(lines)
	if set.auto.exact {
		t.Error("the table should be too large for whole lines")
	}
	if len(set.auto.next) > maxTable {
		t.Errorf("the table has %d entries", len(set.auto.next))
	}
	for range 200 {
		n := rng.IntN(len(lines))
		if got := set.first("\x00\x00" + lines[n]); got != n {
			t.Fatalf("line %d is found as %d", n, got)
		}
		if set.in(lines[n][:59]) {
			t.Fatal("a part of a line is found")
		}
	}
}

func FuzzRegexpSet(f *testing.F) {
	for i, p := range setPatterns {
		f.Add(p+"\n"+setPatterns[(i+7)%len(setPatterns)], setTexts[i%len(setTexts)])
	}
	f.Fuzz(func(t *testing.T, patterns, text string) {
		if len(patterns) < 200 && len(text) < 2000 {
			checkSet(t, strings.Split(patterns, "\n"), text)
		}
	})
}
