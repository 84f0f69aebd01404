package grok

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// randomExpression writes an expression over few characters, so that its parts often compete for the same ones.
func randomExpression(r *rand.Rand, depth int) string {
	atoms := []string{"a", "b", "ab", "é", "[ab]", "[^a]", "[^é]", ".", `\w`, `\W`, `\s`, `\S`, `\d`, "[aé]", "(?i:k)", "(?s:.)", `\x{FFFD}`, `[^\n]`, "a.c", " "}
	asserts := []string{`\b`, `\B`, "^", "$", "(?m:^)", "(?m:$)"}
	if depth == 0 {
		return atoms[r.IntN(len(atoms))]
	}
	inner := func() string { return randomExpression(r, depth-1) }
	switch r.IntN(10) {
	case 0, 1, 2:
		return inner() + inner()
	case 3:
		return "(?:" + inner() + "|" + inner() + ")"
	case 4:
		return "(?:" + inner() + "|" + inner() + "|" + inner() + inner() + ")"
	case 5:
		return "%{" + []string{"A", "B", "C"}[r.IntN(3)] + ":" + []string{"x", "y"}[r.IntN(2)] + "}"
	case 6:
		return asserts[r.IntN(len(asserts))] + inner()
	case 7:
		return inner() + asserts[r.IntN(len(asserts))]
	}
	counts := []string{"*", "+", "?", "*?", "+?", "??", "{0,2}", "{2}", "{1,3}?", "{2,}", "{2,}?", "{0}"}
	return "(?:" + inner() + ")" + counts[r.IntN(len(counts))]
}

// TestGeneratedExpressionsEqualReference compares the matchers on expressions
// and lines made by chance, the same in each run.
func TestGeneratedExpressionsEqualReference(t *testing.T) {
	random := newRandom(1)
	_, _, effort := effort()
	bits := []string{"a", "a", "b", "b", "é", " ", "k", "K", "\u212a", "c", "1", "\n", "\xff", "\x80", "\xc3", "\ufffd", "日"}
	fastOnes := 0
	for range 150 * effort {
		library := NewLibrary()
		for _, name := range []string{"A", "B", "C"} {
			if err := library.Add(name, strings.ReplaceAll(randomExpression(random, 1+random.IntN(3)), "%{A", "%{INT")); err != nil {
				t.Fatal(err)
			}
		}
		expr := "%{DATA:d}" + randomExpression(random, 4) + "%{A:x}"
		if random.IntN(2) == 0 {
			expr = randomExpression(random, 4) + "%{B:y}" + randomExpression(random, 2)
		}
		fast, err := library.Compile(expr)
		plain, plainErr := library.CompileReference(expr)
		if (err == nil) != (plainErr == nil) {
			t.Fatalf("%q: the fast matcher's compiler says %v, the reference's %v", expr, err, plainErr)
		}
		if err != nil {
			continue // B and C may use themselves
		}
		if fast.program != nil {
			fastOnes++
		}
		var scratch Scratch
		for range 12 {
			var line strings.Builder
			for range random.IntN(12) {
				line.WriteString(bits[random.IntN(len(bits))])
			}
			if what := difference(fast, plain, line.String(), &scratch); what != "" {
				t.Fatalf("%q (A %q, B %q, C %q) on %q: %s", expr, library.definitions["A"].pattern, library.definitions["B"].pattern,
					library.definitions["C"].pattern, line.String(), what)
			}
		}
	}
	if fastOnes == 0 {
		t.Error("no expression was given to the fast matcher")
	}
	t.Logf("%d expressions in the fast matcher", fastOnes)
}
