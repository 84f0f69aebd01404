package match

import (
	"cmp"
	"math/bits"
	"slices"

	"sluice/pipeline"
	"sluice/stages/expression"
)

// index finds the documents that an event may pour into. It rules out only
// documents with a condition that is false; what it leaves is a superset.
type index struct {
	words    int // length of a bitset over the documents
	operands []expression.Operand
	root     *gate
	scans    []*scan
	stats    IndexStats
}

// entry is a document on its way into the index.
type entry struct {
	doc       int32
	conjuncts []expression.Conjunct
}

// docEntry is an entry after normalize: at most one condition of equality and
// one of text for each operand.
type docEntry struct {
	doc    int32
	equals []condition
	texts  []condition
}

// condition says that operands[operand] relates to one of the literals.
type condition struct {
	operand  int
	op       expression.ConjunctOp
	literals []string
}

// newIndex builds the index of entries over documents 0 … docs-1.
func newIndex(docs int, entries []entry) *index {
	x := &index{words: (docs + 63) / 64}
	normal := x.normalize(entries)
	x.scans = newScans(x, normal)
	x.root = newGateBuilder(x).build(normal, 0)
	x.count(normal)
	return x
}

// normalize gives the operands their numbers and reduces each document's
// conjuncts to those the index can use.
func (x *index) normalize(entries []entry) []docEntry {
	type operandKey struct {
		slot pipeline.Slot
		memo int
	}
	numbers := make(map[operandKey]int)
	number := func(o expression.Operand) int {
		k := operandKey{o.Slot, o.Memo}
		if o.Memo >= 0 {
			k.slot = 0 // the memo alone says what is computed
		}
		n, ok := numbers[k]
		if !ok {
			n = len(x.operands)
			numbers[k] = n
			x.operands = append(x.operands, o)
		}
		return n
	}
	out := make([]docEntry, 0, len(entries))
	for _, e := range entries {
		d := docEntry{doc: e.doc}
		for _, cj := range e.conjuncts {
			if cj.Op == expression.Equals {
				d.equals = addEquals(d.equals, condition{number(cj.Operand), cj.Op, cj.Literals})
			} else if shortest(cj.Literals) > 0 { // every text contains the empty one
				d.texts = addText(d.texts, condition{number(cj.Operand), cj.Op, cj.Literals})
			}
		}
		out = append(out, d)
	}
	return out
}

// addEquals adds a condition of equality; two on one operand leave the
// literals that are in both.
func addEquals(to []condition, c condition) []condition {
	c.literals = slices.Clone(c.literals)
	slices.Sort(c.literals)
	c.literals = slices.Compact(c.literals)
	for i := range to {
		if to[i].operand == c.operand {
			to[i].literals = slices.DeleteFunc(to[i].literals, func(l string) bool {
				return !slices.Contains(c.literals, l)
			})
			return to
		}
	}
	return append(to, c)
}

// addText adds a condition on a text; of two on one operand the one with the
// longer literals stays: it is true less often.
func addText(to []condition, c condition) []condition {
	for i := range to {
		if to[i].operand == c.operand {
			if shortest(c.literals) > shortest(to[i].literals) {
				to[i] = c
			}
			return to
		}
	}
	return append(to, c)
}

// shortest returns the length of the shortest literal, 0 without any.
func shortest(literals []string) int {
	if len(literals) == 0 {
		return 0
	}
	return len(slices.MinFunc(literals, func(a, b string) int { return cmp.Compare(len(a), len(b)) }))
}

func (x *index) count(normal []docEntry) {
	x.stats.Documents = len(normal)
	for _, d := range normal {
		scanned := slices.ContainsFunc(x.scans, func(s *scan) bool { return has(s.needs, d.doc) })
		if scanned {
			x.stats.Scanned++
		}
		if len(d.equals) > 0 {
			x.stats.Gated++
		}
		if !scanned && len(d.equals) == 0 {
			x.stats.Always++
		}
	}
	x.stats.Operands = len(x.scans)
	for _, s := range x.scans {
		x.stats.States += s.automaton.states()
		x.stats.Bytes += s.automaton.bytes()
	}
}

// search is the scratch memory of one goroutine that searches an index.
type search struct {
	alive []uint64 // documents that are still candidates
	hit   []uint64 // documents whose text a scan found
}

func newSearch(x *index) search {
	return search{alive: make([]uint64, x.words), hit: make([]uint64, x.words)}
}

// candidates sets s.alive to the documents that may be true on the context's
// event. It does not allocate, unless an operand's functions do.
func (x *index) candidates(s *search, c *expression.Compiler, ctx *expression.Context) {
	clear(s.alive)
	x.root.open(x, s.alive, c, ctx)
	for _, sc := range x.scans {
		waiting := 0
		for w, need := range sc.needs {
			if both := s.alive[w] & need; both != 0 {
				waiting += bits.OnesCount64(both)
			}
		}
		if waiting < sc.atLeast {
			continue
		}
		text := x.operand(sc.operand, c, ctx)
		if sc.automaton.reads(len(text)) > waiting*sc.bytesPerFilter {
			continue // running the filters is cheaper
		}
		clear(s.hit)
		sc.automaton.scan(text, s.hit)
		for w, need := range sc.needs {
			s.alive[w] &^= need &^ s.hit[w]
		}
	}
}

// operand computes an operand for the context's event.
func (x *index) operand(i int, c *expression.Compiler, ctx *expression.Context) string {
	o := &x.operands[i]
	if o.Memo < 0 {
		return ctx.Event.Get(o.Slot)
	}
	return c.Operand(*o, ctx)
}

func set(b []uint64, doc int32)      { b[doc>>6] |= 1 << (doc & 63) }
func has(b []uint64, doc int32) bool { return b[doc>>6]&(1<<(doc&63)) != 0 }
