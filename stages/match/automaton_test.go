package match

import (
	"math/rand/v2"
	"strings"
	"testing"

	"sluice/stages/expression"
)

// holds is what the strings package says of a needle.
func (n needle) holds(text string) bool {
	switch n.op {
	case expression.StartsWith:
		return strings.HasPrefix(text, n.literal)
	case expression.EndsWith:
		return strings.HasSuffix(text, n.literal)
	}
	return strings.Contains(text, n.literal)
}

// checkAutomaton compares a scan with the strings package. Documents of which
// a literal was cut may be found for nothing.
func checkAutomaton(t *testing.T, needles []needle, text string) {
	t.Helper()
	a := newAutomaton(needles)
	if a == nil {
		t.Fatal("no automaton")
	}
	docs := int32(0)
	for _, n := range needles {
		docs = max(docs, n.doc+1)
	}
	found := make([]uint64, (docs+63)/64)
	a.scan(text, found)
	want, exact := make([]bool, docs), make([]bool, docs)
	for i := range exact {
		exact[i] = true
	}
	for _, n := range needles {
		want[n.doc] = want[n.doc] || n.holds(text)
		exact[n.doc] = exact[n.doc] && len(n.literal) <= longest
	}
	for d := range docs {
		got := has(found, d)
		if want[d] && !got || exact[d] && got && !want[d] {
			t.Errorf("document %d: found %v, want %v in %q with %v", d, got, want[d], text, needles)
		}
	}
}

func TestAutomatonFindsWhatTheStringsPackageFinds(t *testing.T) {
	long := strings.Repeat("ab", 40)
	for _, tc := range []struct {
		name    string
		needles []needle
		texts   []string
	}{
		{"literals inside of each other", []needle{
			{expression.Contains, "she", 0}, {expression.Contains, "he", 1}, {expression.Contains, "hers", 2}, {expression.Contains, "his", 3},
		}, []string{"ushers", "", "h", "hishe", "HE"}},
		{"the same literal for several documents", []needle{
			{expression.Contains, "/x", 0}, {expression.Contains, "/x", 70}, {expression.EndsWith, "/x", 5}, {expression.StartsWith, "/x", 6},
		}, []string{"/x", "/x/", "a/x", "a/xb", "x"}},
		{"a start is no start further in", []needle{{expression.StartsWith, "ab", 0}, {expression.StartsWith, "abab", 1}}, []string{"abab", "cabab", "ab", "a"}},
		{"an end is no end further out", []needle{{expression.EndsWith, "ab", 0}, {expression.EndsWith, "bab", 1}}, []string{"abab", "ababc", "ab", "b"}},
		{"ends and starts beside each other", []needle{{expression.EndsWith, "ab", 0}, {expression.StartsWith, "ba", 1}}, []string{"bab", "ba", "ab", "abba", long + "ab", "ba" + long}},
		{"a literal that is cut", []needle{{expression.Contains, long, 0}, {expression.StartsWith, long + "x", 1}, {expression.EndsWith, "x" + long, 2}},
			[]string{long, "x" + long, long + "x", long[:60], long + long}},
		{"all bytes in use", allBytes(), []string{"\x00\xff", "abc", "\x80\x81"}},
		{"invalid UTF-8", []needle{{expression.Contains, "\xff\xfe", 0}, {expression.EndsWith, "é", 1}}, []string{"a\xff\xfe", "caf\xc3\xa9", "\xa9"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, text := range tc.texts {
				checkAutomaton(t, tc.needles, text)
			}
		})
	}
}

func allBytes() []needle {
	var out []needle
	for b := range 256 {
		out = append(out, needle{expression.Contains, string([]byte{byte(b), byte(255 - b)}), int32(b)})
	}
	return out
}

func TestAutomatonOnRandomTexts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]byte, 1+rng.IntN(n))
		for i := range b {
			b[i] = "ab/."[rng.IntN(4)]
		}
		return string(b)
	}
	for range 2000 {
		needles := make([]needle, 1+rng.IntN(12))
		for i := range needles {
			needles[i] = needle{expression.Contains + expression.ConjunctOp(rng.IntN(3)), word(5), int32(rng.IntN(80))}
		}
		checkAutomaton(t, needles, word(30))
	}
}

func TestAutomatonCutsWhatWouldBeTooManyStates(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	needles := make([]needle, 5000)
	for i := range needles {
		b := make([]byte, 30)
		for j := range b {
			b[j] = byte('a' + rng.IntN(26))
		}
		needles[i] = needle{expression.Contains, string(b), int32(i)}
	}
	a := newAutomaton(needles)
	if a == nil || a.states() >= maxStates {
		t.Fatal("the literals were not cut to fit")
	}
	found := make([]uint64, (len(needles)+63)/64)
	a.scan("GET /"+needles[4321].literal+"/", found)
	if !has(found, 4321) {
		t.Error("a literal that stands in the text was not found")
	}
}

func FuzzAutomaton(f *testing.F) {
	f.Add("she", "he", "hers", "ushers")
	f.Add("/x", "x/", "\xff", "a/x/")
	f.Fuzz(func(t *testing.T, a, b, c, text string) {
		if a == "" || b == "" || c == "" {
			return // the index drops conditions with empty literals
		}
		checkAutomaton(t, []needle{
			{expression.Contains, a, 0}, {expression.StartsWith, a, 1}, {expression.EndsWith, a, 2},
			{expression.Contains, b, 3}, {expression.StartsWith, b, 4}, {expression.EndsWith, c, 5},
			{expression.Contains, c, 64},
		}, text)
	})
}

func BenchmarkAutomaton(b *testing.B) {
	rng := rand.New(rand.NewPCG(5, 6))
	needles := make([]needle, 100)
	for i := range needles {
		w := make([]byte, 12+rng.IntN(12))
		for j := range w {
			w[j] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ/.-_"[rng.IntN(30)]
		}
		needles[i] = needle{expression.Contains, "/" + string(w), int32(i)}
	}
	a := newAutomaton(needles)
	found := make([]uint64, 2)
	text := "/WP-CONTENT/THEMES/TWENTYTEN/STYLE.CSS"
	b.ReportMetric(float64(a.bytes()), "table-bytes")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		a.scan(text, found)
	}
}
