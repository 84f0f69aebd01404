package parse

import (
	"math/bits"
	"strings"

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
}

type prefix struct {
	text string
	bit  int
}

func newIndex(nodes []*node) index {
	ix := index{words: (len(nodes) + 63) / 64}
	ix.always = make([]uint64, ix.words)
	for i, n := range nodes {
		c, ok := condition(n)
		if !ok {
			set(ix.always, i)
			continue
		}
		g := ix.gate(c.Operand.Slot)
		for _, lit := range c.Literals {
			if c.Op == expression.StartsWith {
				g.prefixes = append(g.prefixes, prefix{lit, i})
				continue
			}
			if g.equals[lit] == nil {
				g.equals[lit] = make([]uint64, ix.words)
			}
			set(g.equals[lit], i)
		}
	}
	return ix
}

// condition picks the conjunct that a node is indexed by. Filters that write
// or touch a stash are always run.
func condition(n *node) (expression.Conjunct, bool) {
	if n.filter == nil {
		return expression.Conjunct{}, false
	}
	a := n.filter.Analysis()
	if a.Writes || a.Stash {
		return expression.Conjunct{}, false
	}
	for _, op := range [...]expression.ConjunctOp{expression.Equals, expression.StartsWith} {
		for _, c := range a.Conjuncts {
			if c.Op == op && c.Operand.Memo < 0 && c.Operand.Slot != pipeline.NoSlot {
				return c, true
			}
		}
	}
	return expression.Conjunct{}, false
}

func (ix *index) gate(slot pipeline.Slot) *gate {
	for i := range ix.gates {
		if ix.gates[i].slot == slot {
			return &ix.gates[i]
		}
	}
	ix.gates = append(ix.gates, gate{slot: slot, equals: make(map[string][]uint64)})
	return &ix.gates[len(ix.gates)-1]
}

// candidates writes the set of nodes that may run on the event as it is now.
func (ix *index) candidates(ev *pipeline.Event, into []uint64) []uint64 {
	into = append(into[:0], ix.always...)
	for i := range ix.gates {
		g := &ix.gates[i]
		value := ev.Get(g.slot)
		for w, bitset := range g.equals[value] {
			into[w] |= bitset
		}
		for _, p := range g.prefixes {
			if strings.HasPrefix(value, p.text) {
				set(into, p.bit)
			}
		}
	}
	return into
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
