package match

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/stages/expression"
)

// fields builds operands over a schema of its own.
type fields struct{ schema *pipeline.Schema }

func newFields() fields { return fields{pipeline.NewSchema()} }

func (f fields) operand(name string) expression.Operand {
	return expression.Operand{Slot: f.schema.Slot(pipeline.Meta, name), Memo: -1, Text: "evt.Meta." + name}
}

func (f fields) equals(name string, literals ...string) expression.Conjunct {
	return expression.Conjunct{Op: expression.Equals, Operand: f.operand(name), Literals: literals}
}

func (f fields) contains(name string, literals ...string) expression.Conjunct {
	return expression.Conjunct{Op: expression.Contains, Operand: f.operand(name), Literals: literals}
}

func (f fields) event(keysAndValues ...string) *pipeline.Event {
	ev := pipeline.NewEvent(f.schema)
	for i := 0; i < len(keysAndValues); i += 2 {
		ev.SetField(pipeline.Meta, keysAndValues[i], keysAndValues[i+1])
	}
	return ev
}

// find returns the candidates among n documents.
func find(x *index, ev *pipeline.Event) []int32 {
	s := newSearch(x)
	x.candidates(&s, nil, &expression.Context{Event: ev})
	out := []int32{}
	for i := range int32(x.words * 64) {
		if has(s.alive, i) {
			out = append(out, i)
		}
	}
	return out
}

func TestIndexRulesOut(t *testing.T) {
	f := newFields()
	entries := []entry{
		{0, []expression.Conjunct{f.equals("service", "http"), f.contains("path", "/login", "/admin")}},
		{1, []expression.Conjunct{f.equals("service", "http"), f.contains("path", "/setup")}},
		{2, []expression.Conjunct{f.equals("service", "ssh"), f.equals("type", "fail")}},
		{3, nil},
		{4, []expression.Conjunct{f.equals("service", "http", "ssh")}},
		{5, []expression.Conjunct{f.equals("type", "")}},
		{6, []expression.Conjunct{f.equals("service", "ssh"), f.equals("service", "http")}},
		{7, []expression.Conjunct{f.equals("service")}},
		{8, []expression.Conjunct{f.contains("path", "")}},
		{70, []expression.Conjunct{f.equals("service", "http"), {Op: expression.EndsWith, Operand: f.operand("path"), Literals: []string{".php"}}}},
		{71, []expression.Conjunct{f.equals("service", "http"), {Op: expression.StartsWith, Operand: f.operand("path"), Literals: []string{"/wp"}}}},
	}
	x := newIndex(72, entries)
	for _, tc := range []struct {
		name string
		ev   *pipeline.Event
		want []int32
	}{
		{"an empty event meets only what asks for nothing or for nothing there", f.event(), []int32{3, 5, 8}},
		{"a value and a literal", f.event("service", "http", "path", "/admin/x", "type", "t"), []int32{0, 3, 4, 8}},
		{"the start and the end of a text", f.event("service", "http", "path", "/wp/setup.php", "type", "t"), []int32{1, 3, 4, 8, 70, 71}},
		{"another value", f.event("service", "ssh", "path", "/admin/x", "type", "fail"), []int32{2, 3, 4, 8}},
		{"a value that nobody asks for", f.event("service", "ftp", "path", "/admin/x", "type", "fail"), []int32{3, 8}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// A document behind a gate with few others may be left in: the filter decides.
			got := find(x, tc.ev)
			for _, d := range tc.want {
				if !slices.Contains(got, d) {
					t.Errorf("document %d was ruled out: got %v, want %v", d, got, tc.want)
				}
			}
			for _, d := range got {
				if !slices.Contains(tc.want, d) && d != 2 {
					t.Errorf("document %d was left in: got %v, want %v", d, got, tc.want)
				}
			}
		})
	}
}

func TestIndexCostsNothingForDocumentsBehindOtherGates(t *testing.T) {
	f := newFields()
	var entries []entry
	for i := range int32(600) {
		entries = append(entries, entry{i, []expression.Conjunct{f.equals("service", "sysmon"), f.equals("id", "1"), f.contains("command", fmt.Sprintf("tool%d.exe", i))}})
	}
	entries = append(entries, entry{600, []expression.Conjunct{f.equals("service", "http")}})
	x := newIndex(601, entries)
	if got := find(x, f.event("service", "http", "command", "tool7.exe")); !slices.Equal(got, []int32{600}) {
		t.Errorf("http: %v", got)
	}
	if got := find(x, f.event("service", "sysmon", "id", "3", "command", "tool7.exe")); len(got) != 0 {
		t.Errorf("another id: %v", got)
	}
	if got := find(x, f.event("service", "sysmon", "id", "1", "command", "c:\\tool7.exe -v")); !slices.Equal(got, []int32{7}) {
		t.Errorf("the literal: %v", got)
	}
	if st := x.stats; st.Gated != 601 || st.Scanned != 600 || st.Always != 0 || st.Operands != 1 {
		t.Errorf("stats: %+v", st)
	}
}

// TestIndexNeverRulesOutWhatHolds compares random indexes with the conditions themselves.
func TestIndexNeverRulesOutWhatHolds(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	names := []string{"a", "b", "c", "d"}
	values := []string{"", "x", "y", "xy", "yx", "xyxy", "z"}
	some := func() []string {
		out := make([]string, 1+rng.IntN(6))
		for i := range out {
			out[i] = values[rng.IntN(len(values))]
		}
		return out
	}
	for range 300 {
		f := newFields()
		entries := make([]entry, 1+rng.IntN(200))
		for i := range entries {
			entries[i].doc = int32(i)
			for range rng.IntN(5) {
				entries[i].conjuncts = append(entries[i].conjuncts, expression.Conjunct{
					Op: expression.ConjunctOp(rng.IntN(4)), Operand: f.operand(names[rng.IntN(4)]), Literals: some(),
				})
			}
		}
		x := newIndex(len(entries), entries)
		for range 20 {
			ev := f.event()
			for _, n := range names {
				if rng.IntN(4) > 0 {
					ev.SetField(pipeline.Meta, n, values[rng.IntN(len(values))])
				}
			}
			got := find(x, ev)
			for _, e := range entries {
				if allHold(e.conjuncts, ev) && !slices.Contains(got, e.doc) {
					t.Fatalf("document %d was ruled out: %+v", e.doc, e.conjuncts)
				}
			}
		}
	}
}

func allHold(conjuncts []expression.Conjunct, ev *pipeline.Event) bool {
	for _, c := range conjuncts {
		v := ev.Get(c.Operand.Slot)
		if !slices.ContainsFunc(c.Literals, func(l string) bool {
			if c.Op == expression.Equals {
				return v == l
			}
			return needle{op: c.Op, literal: l}.holds(v)
		}) {
			return false
		}
	}
	return true
}

func TestIndexSkipsAScanThatCostsMoreThanItSaves(t *testing.T) {
	f := newFields()
	x := newIndex(4, []entry{
		{0, []expression.Conjunct{f.contains("path", "abc")}},
		{1, []expression.Conjunct{f.contains("path", "def")}},
		{2, []expression.Conjunct{f.contains("path", "ghi")}},
		{3, []expression.Conjunct{f.contains("path", "jkl")}},
	})
	if got := find(x, f.event("path", strings.Repeat("-", 10<<20))); len(got) != 4 {
		t.Errorf("four filters do not pay a scan of 10 MiB: %v", got)
	}
	if got := find(x, f.event("path", "--abc--")); !slices.Equal(got, []int32{0}) {
		t.Errorf("%v", got)
	}
}
