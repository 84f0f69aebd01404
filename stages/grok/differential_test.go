package grok

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// difference runs both matchers and tells how they differ, "" when they do not.
func difference(fast *Pattern, plain *Reference, line string, scratch *Scratch) string {
	got, want := make([]string, len(fast.Names())), make([]string, len(plain.Names()))
	gotOK, wantOK := fast.Match(line, got, scratch), plain.Match(line, want)
	if gotOK != wantOK {
		return fmt.Sprintf("the fast matcher says %v, the reference %v", gotOK, wantOK)
	}
	if !wantOK {
		return ""
	}
	for i, name := range plain.Names() {
		if fast.Names()[i] != name || got[i] != want[i] {
			return fmt.Sprintf("%s is %q in the fast matcher, %s is %q in the reference", fast.Names()[i], got[i], name, want[i])
		}
	}
	for _, literal := range fast.Literals() {
		if !strings.Contains(line, literal) {
			return fmt.Sprintf("the line matches without the literal %q", literal)
		}
	}
	return ""
}

// smallest shortens a line while the matchers still differ on it.
func smallest(fast *Pattern, plain *Reference, line string) string {
	var scratch Scratch
	for size := len(line) / 2; size > 0; {
		shorter := ""
		for at := 0; at+size <= len(line); at += size {
			candidate := line[:at] + line[at+size:]
			if difference(fast, plain, candidate, &scratch) != "" {
				shorter = candidate
				break
			}
		}
		if shorter == "" {
			size /= 2
		} else {
			line, size = shorter, min(size, len(shorter))
		}
	}
	return line
}

// report fails a test with the smallest line and the command that shows it again.
func report(t *testing.T, e hubExpression, fast *Pattern, plain *Reference, line string) {
	t.Helper()
	line = smallest(fast, plain, line)
	t.Errorf("%s: %q on %q: %s\nagain: SLUICE_GROK_FILE='%s' SLUICE_GROK_EXPR=%s SLUICE_GROK_LINE=%s go test ./stages/grok -run TestOneLine",
		e.file, e.expr, line, difference(fast, plain, line, &Scratch{}), e.file, shellQuote(strconv.Quote(e.expr)), shellQuote(strconv.Quote(line)))
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// TestOneLine repeats one comparison of those above: SLUICE_GROK_EXPR and
// SLUICE_GROK_LINE are Go strings in quotes, SLUICE_GROK_FILE the name of the
// rule file whose patterns the expression uses, "own" or "" for none.
func TestOneLine(t *testing.T) {
	expr, err := strconv.Unquote(os.Getenv("SLUICE_GROK_EXPR"))
	if err != nil {
		t.Skip("SLUICE_GROK_EXPR is not set: there is no line to repeat")
	}
	line, err := strconv.Unquote(os.Getenv("SLUICE_GROK_LINE"))
	if err != nil {
		t.Fatalf("SLUICE_GROK_LINE is not a string in quotes: %v", err)
	}
	e := hubExpression{file: os.Getenv("SLUICE_GROK_FILE"), expr: expr, scope: NewLibrary()}
	if e.file != "" && e.file != "own" {
		hub := hubDir(t)
		for _, of := range hubExpressions(t, hub, hubLibrary(t, hub, e.scope)) {
			if of.file == e.file && of.expr == expr {
				e.scope = of.scope
			}
		}
	}
	fast, err := e.scope.Compile(expr)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := e.scope.CompileReference(expr)
	if err != nil {
		t.Fatal(err)
	}
	if what := difference(fast, plain, line, &Scratch{}); what != "" {
		t.Errorf("%q on %q: %s", expr, line, what)
	}
}

// sampled picks one in n of all (expression, line) pairs, the same in each run.
func sampled(expr, line string, n uint64) bool {
	h := fnv.New64a()
	h.Write([]byte(expr))
	h.Write([]byte(line))
	return h.Sum64()%n == 0
}

// effort says how much of the product of expressions and lines is compared:
// one in misses of the lines that do not match, one in matches of those that
// do, and the number of mutations an expression.
func effort() (misses, matches uint64, mutations int) {
	switch {
	case os.Getenv("SLUICE_FULL") != "":
		return 1, 1, 400
	case testing.Short() || raceEnabled:
		return 300, 4, 3
	}
	return 600, 8, 16
}

// TestPatternEqualsReference compares the matchers on each grok expression of
// the hub with the lines of all its test logs and with mutations of lines that
// match. By default it samples; SLUICE_FULL=1 compares all.
func TestPatternEqualsReference(t *testing.T) {
	hub := hubDir(t)
	library := hubLibrary(t, hub, NewLibrary())
	expressions := hubExpressions(t, hub, library)
	lines := hubLines(t, hub)
	var total, matching int
	var mu sync.Mutex
	inParallel(expressions, func(i int, e hubExpression) {
		compared, matched := compareExpression(t, e, lines, uint64(i))
		mu.Lock()
		total, matching = total+compared, matching+matched
		mu.Unlock()
	})
	t.Logf("%d expressions, %d lines: %d pairs compared, %d pairs match", len(expressions), len(lines), total, matching)
}

// TestPlainMatcherEqualsReference holds what the fast matcher falls back on to
// the reference, on lines that match and on mutations of them.
func TestPlainMatcherEqualsReference(t *testing.T) {
	hub := hubDir(t)
	lines := hubLines(t, hub)
	_, _, mutations := effort()
	inParallel(hubExpressions(t, hub, hubLibrary(t, hub, NewLibrary())), func(i int, e hubExpression) {
		fast, err := e.scope.Compile(e.expr)
		if err != nil || len(fast.Names()) == 0 {
			return // the other tests report an error
		}
		x, err := e.scope.expand(e.expr)
		if err != nil {
			t.Error(err)
			return
		}
		p, err := newPlain(x)
		if err != nil {
			t.Errorf("%s: %q: %v", e.file, e.expr, err)
			return
		}
		plain, err := e.scope.CompileReference(e.expr)
		if err != nil {
			t.Error(err)
			return
		}
		onlyPlain := &Pattern{names: fast.names, plain: func() plainMatcher { return p.match }}
		random := newRandom(uint64(i))
		var scratch Scratch
		captures := make([]string, len(fast.Names()))
		compared := 0
		for _, line := range lines {
			if !fast.Match(line, captures, &scratch) {
				continue
			}
			for _, line := range []string{line, mutate(random, line)} {
				if what := difference(onlyPlain, plain, line, &scratch); what != "" {
					t.Errorf("%s: %q on %q: %s", e.file, e.expr, line, what)
					return
				}
			}
			if compared++; compared >= mutations/2 {
				return
			}
		}
	})
}

// inParallel calls do for each expression, on all processors.
func inParallel(expressions []hubExpression, do func(int, hubExpression)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				do(i, expressions[i])
			}
		})
	}
	for i := range expressions {
		next <- i
	}
	close(next)
	wg.Wait()
}

func compareExpression(t *testing.T, e hubExpression, lines []string, seed uint64) (compared, matched int) {
	fast, err := e.scope.Compile(e.expr)
	if err != nil {
		t.Errorf("%s: %v", e.file, err)
		return 0, 0
	}
	plain, err := e.scope.CompileReference(e.expr)
	if err != nil {
		t.Errorf("%s: %v", e.file, err)
		return 0, 0
	}
	misses, matches, mutations := effort()
	var scratch Scratch
	var hits []string
	captures := make([]string, len(fast.Names()))
	for _, line := range lines {
		one := misses
		if fast.Match(line, captures, &scratch) {
			hits = append(hits, line)
			one = matches
		}
		if !sampled(e.expr, line, one) {
			continue
		}
		compared++
		if difference(fast, plain, line, &scratch) != "" {
			report(t, e, fast, plain, line)
			return compared, matched
		}
	}
	if len(hits) == 0 {
		hits = lines[:min(len(lines), 50)]
	}
	random := newRandom(seed)
	for range mutations {
		line := mutate(random, hits[random.IntN(len(hits))])
		compared++
		if fast.Match(line, captures, &scratch) {
			matched++
		}
		if difference(fast, plain, line, &scratch) != "" {
			report(t, e, fast, plain, line)
			return compared, matched
		}
	}
	return compared, matched + len(hits)
}

// newRandom gives the same numbers in each run.
func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// specials are what mutations insert: separators, things that look like other
// fields, characters of several bytes, and bytes that are no UTF-8.
var specials = []string{
	" ", "  ", "\"", "-", ":", "::", ".", "..", "[", "]", "(", ")", "\n", "\r", "\t", "\x00", "\\", "/", "%", "?", "=", ",",
	"127.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "fe80::1%eth0", "999.1.1.1", "a.b.c", "0", "65536", "Jan", "Mar", "März",
	"é", "ſ", "\u212a", "日本", "\U0001f600", "\ufffd", "\x80", "\xff", "\xe2\x82", "\xc3", "\xf0\x9f",
}

// mutate changes a line in one to four places.
func mutate(random *rand.Rand, line string) string {
	for range 1 + random.IntN(4) {
		at := random.IntN(len(line) + 1)
		to := at + random.IntN(min(len(line)-at, 20)+1)
		switch random.IntN(8) {
		case 0:
			line = line[:at]
		case 1:
			line = line[:at] + line[to:]
		case 2:
			line = line[:to] + line[at:to] + line[to:]
		case 3:
			line = line[:at] + strings.ToUpper(line[at:to]) + line[to:]
		case 4:
			line = line[:at] + strings.ToLower(line[at:to]) + line[to:]
		case 5:
			if at < len(line) {
				line = line[:at] + string([]byte{line[at] ^ 1<<random.IntN(8)}) + line[at+1:]
			}
		default:
			line = line[:at] + specials[random.IntN(len(specials))] + line[at:]
		}
	}
	return line
}

// TestBaseLibraryCapturesWhatTheHubsBaseDoes holds our base library to the one
// that the hub's patterns were written for, on all of the hub's logs.
func TestBaseLibraryCapturesWhatTheHubsBaseDoes(t *testing.T) {
	hub := hubDir(t)
	theirBase := newEmptyLibrary()
	if err := theirBase.LoadDir(hub + "/base-patterns"); err != nil {
		t.Fatal(err)
	}
	names := theirBase.names()
	ours, theirs := hubLibrary(t, hub, NewLibrary()), hubLibrary(t, hub, theirBase)
	our, their := hubExpressions(t, hub, ours), hubExpressions(t, hub, theirs)
	for _, name := range names {
		if !ours.Has(name) {
			t.Errorf("the base library lacks %s", name)
			continue
		}
		for _, expr := range []string{"%{" + name + ":x}", `^%{` + name + `:x}$`, `[ \["]%{` + name + `:x}[]" ,:]`} {
			our = append(our, hubExpression{file: "base", expr: expr, scope: ours})
			their = append(their, hubExpression{file: "base", expr: expr, scope: theirs})
		}
	}
	lines := hubLines(t, hub)
	_, _, mutations := effort()
	inParallel(our, func(i int, e hubExpression) {
		a, err := e.scope.Compile(e.expr)
		if err != nil {
			t.Error(err)
			return
		}
		b, err := their[i].scope.Compile(e.expr)
		if err != nil {
			t.Error(err)
			return
		}
		// Both are the fast matcher, so that all lines can be compared.
		compareLibraries(t, e, a, b, lines, mutations)
	})
}

func compareLibraries(t *testing.T, e hubExpression, a, b *Pattern, lines []string, mutations int) {
	var scratch Scratch
	got, want := make([]string, len(a.Names())), make([]string, len(b.Names()))
	random := newRandom(uint64(len(e.expr)))
	compare := func(line string) bool {
		gotOK, wantOK := a.Match(line, got, &scratch), b.Match(line, want, &scratch)
		if gotOK == wantOK && (!gotOK || strings.Join(got, "\x1f") == strings.Join(want, "\x1f")) {
			return true
		}
		t.Errorf("%s: %q on %q: our base gives %v %q, the hub's %v %q", e.file, e.expr, line, gotOK, got, wantOK, want)
		return false
	}
	// The expressions made from the base's names match nearly everywhere; those
	// of the hub are compared on every line.
	one := uint64(1)
	if misses, _, _ := effort(); e.file == "base" && misses > 1 {
		one = 8
	}
	for _, line := range lines {
		if (one == 1 || sampled(e.expr, line, one)) && !compare(line) {
			return
		}
	}
	for range 10 * mutations {
		if !compare(mutate(random, lines[random.IntN(len(lines))])) {
			return
		}
	}
}
