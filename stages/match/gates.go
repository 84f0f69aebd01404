package match

import (
	"encoding/binary"
	"slices"

	"sluice/stages/expression"
)

// gate is a node of the tree over conditions of equality. An event that
// reaches it has satisfied the conditions on the way.
type gate struct {
	// docs have no further condition; in bits when there are many.
	docs []int32
	bits []uint64
	// branches lead on, each by the value of one operand.
	branches []branch
}

// branch goes from a gate to the next by the value of an operand.
type branch struct {
	operand int
	few     []door           // when there are few values, or
	many    map[string]*gate // many
}

type door struct {
	value string
	gate  *gate
}

const (
	// fewDoors is how many values are compared one by one: that beats hashing.
	fewDoors = 4
	// maxDepth bounds the tree: a document with many lists of values would
	// stand behind each combination of them.
	maxDepth = 4
	// leafDocs is how many documents are not worth another look-up.
	leafDocs = 2
)

// open adds the documents behind the gate to alive.
func (g *gate) open(x *index, alive []uint64, c *expression.Compiler, ctx *expression.Context) {
	for w, b := range g.bits {
		alive[w] |= b
	}
	for _, d := range g.docs {
		set(alive, d)
	}
	for i := range g.branches {
		b := &g.branches[i]
		value := x.operand(b.operand, c, ctx)
		if b.many != nil {
			if next := b.many[value]; next != nil {
				next.open(x, alive, c, ctx)
			}
			continue
		}
		for j := range b.few {
			if b.few[j].value == value {
				b.few[j].gate.open(x, alive, c, ctx)
				break
			}
		}
	}
}

// gateBuilder builds the tree.
type gateBuilder struct {
	x *index
}

func newGateBuilder(x *index) *gateBuilder { return &gateBuilder{x} }

// build returns the gate of documents of which the conditions left are in
// their entries. The operand that most documents have a condition on comes
// first, so that an event passes few branches.
func (b *gateBuilder) build(entries []docEntry, depth int) *gate {
	g := &gate{}
	rest := entries
	for depth < maxDepth && (depth == 0 || len(rest) > leafDocs) {
		operand := b.commonest(rest)
		if operand < 0 {
			break
		}
		var with, without []docEntry
		for _, e := range rest {
			if slices.ContainsFunc(e.equals, func(c condition) bool { return c.operand == operand }) {
				with = append(with, e)
			} else {
				without = append(without, e)
			}
		}
		g.branches = append(g.branches, b.branch(operand, with, depth))
		rest = without
	}
	b.hold(g, rest)
	return g
}

// commonest returns the operand that most entries have a condition on, or -1.
// A field goes before a function on a field: reading it costs nothing.
func (b *gateBuilder) commonest(entries []docEntry) int {
	counts := make([]int, len(b.x.operands))
	for _, e := range entries {
		for _, c := range e.equals {
			counts[c.operand]++
		}
	}
	best := -1
	better := func(i int) bool {
		if best < 0 {
			return true
		}
		fieldI, fieldBest := b.x.operands[i].Memo < 0, b.x.operands[best].Memo < 0
		if fieldI != fieldBest {
			return fieldI
		}
		return counts[i] > counts[best]
	}
	for i, n := range counts {
		if n == 0 || n == 1 && b.x.operands[i].Memo >= 0 {
			continue // a function for one document: its filter costs the same
		}
		if better(i) {
			best = i
		}
	}
	return best
}

// branch splits entries, which all have a condition on the operand, by its
// values. Values with the same documents share a gate.
func (b *gateBuilder) branch(operand int, entries []docEntry, depth int) branch {
	var values []string
	behind := make(map[string][]docEntry)
	for _, e := range entries {
		i := slices.IndexFunc(e.equals, func(c condition) bool { return c.operand == operand })
		next := docEntry{doc: e.doc, texts: e.texts}
		next.equals = append(next.equals, e.equals[:i]...)
		next.equals = append(next.equals, e.equals[i+1:]...)
		for _, v := range e.equals[i].literals {
			if _, seen := behind[v]; !seen {
				values = append(values, v)
			}
			behind[v] = append(behind[v], next)
		}
	}
	gates := make(map[string]*gate)
	doors := make([]door, 0, len(values))
	for _, v := range values {
		key := docsKey(behind[v])
		g := gates[key]
		if g == nil {
			g = b.build(behind[v], depth+1)
			gates[key] = g
		}
		doors = append(doors, door{v, g})
	}
	if len(doors) <= fewDoors {
		return branch{operand: operand, few: doors}
	}
	many := make(map[string]*gate, len(doors))
	for _, d := range doors {
		many[d.value] = d.gate
	}
	return branch{operand: operand, many: many}
}

// hold puts the documents into the gate in the form that is quicker to add.
func (b *gateBuilder) hold(g *gate, entries []docEntry) {
	if len(entries) > b.x.words {
		g.bits = make([]uint64, b.x.words)
		for _, e := range entries {
			set(g.bits, e.doc)
		}
		return
	}
	for _, e := range entries {
		g.docs = append(g.docs, e.doc)
	}
}

// docsKey is a map key for a list of documents.
func docsKey(entries []docEntry) string {
	key := make([]byte, 0, 4*len(entries))
	for _, e := range entries {
		key = binary.LittleEndian.AppendUint32(key, uint32(e.doc))
	}
	return string(key)
}
