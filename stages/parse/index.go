package parse

import (
	"math/bits"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"sluice/pipeline"
	"sluice/stages/expression"
)

// index tells which nodes of a stage may have a true filter, by the fields
// that the filters compare with literals. Its plain counterpart is trying
// every node, as Options.Reference does: TestIndexChangesNothing holds them together.
type index struct {
	words  int
	always []uint64 // nodes without a usable condition
	gates  []gate
}

// gate is a field with what filters want of it.
type gate struct {
	slot     pipeline.Slot
	equals   map[string][]uint64
	prefixes []prefix
	// folded holds what filters want of Upper or Lower of the field, in lower
	// case; foldedAll are all nodes in it.
	folded    map[string][]uint64
	foldedAll []uint64
}

type prefix struct {
	text string
	bit  int
}

// requirement is a condition without which a filter is not true.
type requirement struct {
	expression.Conjunct
	folded bool // of Upper or Lower of the field
}

func newIndex(nodes []*node, c *compiler) index {
	ix := index{words: (len(nodes) + 63) / 64}
	ix.always = make([]uint64, ix.words)
	for i, n := range nodes {
		req, ok := c.requirement(n)
		if !ok {
			set(ix.always, i)
			continue
		}
		g := ix.gate(req.Operand.Slot)
		for _, lit := range req.Literals {
			switch {
			case req.Op == expression.StartsWith:
				g.prefixes = append(g.prefixes, prefix{lit, i})
			case req.folded:
				ix.add(g.folded, strings.ToLower(lit), i)
				set(g.foldedAll, i)
			default:
				ix.add(g.equals, lit, i)
			}
		}
	}
	return ix
}

func (ix *index) add(to map[string][]uint64, literal string, bit int) {
	if to[literal] == nil {
		to[literal] = make([]uint64, ix.words)
	}
	set(to[literal], bit)
}

// requirement picks the conjunct that a node is indexed by. Of a filter that
// writes, only what && asks first will do: when that is false, nothing was
// written. Filters that touch a stash are always run.
func (c *compiler) requirement(n *node) (requirement, bool) {
	if n.filter == nil || n.filter.Analysis().Stash {
		return requirement{}, false
	}
	a := n.filter.Analysis()
	if a.Writes {
		first, err := c.Compiler.Compile(leading(n.filter.Source()))
		if err != nil || first.Analysis().Writes || first.Analysis().Stash {
			return requirement{}, false
		}
		a = first.Analysis()
	}
	for _, op := range [...]expression.ConjunctOp{expression.Equals, expression.StartsWith} {
		for _, conj := range a.Conjuncts {
			if conj.Op != op || conj.Operand.Slot == pipeline.NoSlot {
				continue
			}
			field := c.Schema.Field(conj.Operand.Slot).String()
			switch {
			case conj.Operand.Memo < 0 && conj.Operand.Text == field:
				return requirement{conj, false}, true
			case op == expression.Equals && isFold(conj, field):
				return requirement{conj, true}, true
			}
		}
	}
	return requirement{}, false
}

// isFold tells whether a conjunct compares the field in one case with
// literals in ASCII.
func isFold(conj expression.Conjunct, field string) bool {
	for _, lit := range conj.Literals {
		if !isASCII(lit) {
			return false
		}
	}
	return conj.Operand.Text == "Upper("+field+")" || conj.Operand.Text == "Lower("+field+")"
}

// leading returns the operand that the expression's && evaluates first: the
// whole expression when it is no conjunction.
func leading(src string) string {
	tree, err := parser.Parse(src)
	if err != nil {
		return src
	}
	n := tree.Node
	for {
		b, ok := n.(*ast.BinaryNode)
		if !ok || b.Operator != "&&" && b.Operator != "and" {
			return n.String()
		}
		n = b.Left
	}
}

func (ix *index) gate(slot pipeline.Slot) *gate {
	for i := range ix.gates {
		if ix.gates[i].slot == slot {
			return &ix.gates[i]
		}
	}
	ix.gates = append(ix.gates, gate{
		slot: slot, equals: make(map[string][]uint64), folded: make(map[string][]uint64), foldedAll: make([]uint64, ix.words),
	})
	return &ix.gates[len(ix.gates)-1]
}

// candidates writes the set of nodes that may run on the event as it is now.
func (ix *index) candidates(ev *pipeline.Event, into []uint64) []uint64 {
	into = append(into[:0], ix.always...)
	for i := range ix.gates {
		g := &ix.gates[i]
		value := ev.Get(g.slot)
		unite(into, g.equals[value])
		for _, p := range g.prefixes {
			if strings.HasPrefix(value, p.text) {
				set(into, p.bit)
			}
		}
		if len(g.folded) > 0 {
			unite(into, g.fold(value))
		}
	}
	return into
}

// fold returns the nodes that may take the value in one case. Some letters
// beyond ASCII have counterparts within it, so such values rule nothing out.
func (g *gate) fold(value string) []uint64 {
	var lower [48]byte
	if len(value) > len(lower) || !isASCII(value) {
		return g.foldedAll
	}
	for i := range len(value) {
		c := value[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return g.folded[string(lower[:len(value)])]
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func unite(into, words []uint64) {
	for i, w := range words {
		into[i] |= w
	}
}

func set(words []uint64, bit int) { words[bit/64] |= 1 << (bit % 64) }

// nextCandidate returns the first candidate at or after k.
func nextCandidate(words []uint64, k int) int {
	w := k / 64
	if w >= len(words) {
		return k
	}
	word := words[w] >> (k % 64) << (k % 64)
	for word == 0 {
		if w++; w == len(words) {
			return w * 64
		}
		word = words[w]
	}
	return w*64 + bits.TrailingZeros64(word)
}
