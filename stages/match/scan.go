package match

import (
	"cmp"
	"math/bits"
	"slices"
)

// scan rules out documents by the text of one operand.
type scan struct {
	operand int
	// needs are the documents that have to be found in the text.
	needs     []uint64
	automaton *automaton
	// atLeast is the number of candidates from which on a scan pays.
	atLeast int
	// bytesPerFilter is how much text the automaton reads while one filter runs.
	bytesPerFilter int
}

// A filter that looks for one literal takes about as long as the automaton
// takes for 10 bytes, and no less than it takes for 40. A scan has costs of
// its own, about those of 16 literals.
const (
	bytesPerLiteral = 10
	minFilterBytes  = 40
	scanLiterals    = 16
	fewestLiterals  = 4 // a filter has other costs too: count it as that many
)

// newScans makes a scan for each operand that enough literals are looked for
// in, the one with the most documents first.
func newScans(x *index, entries []docEntry) []*scan {
	needles := make([][]needle, len(x.operands))
	needs := make([][]uint64, len(x.operands))
	for _, e := range entries {
		for _, c := range e.texts {
			if needs[c.operand] == nil {
				needs[c.operand] = make([]uint64, x.words)
			}
			set(needs[c.operand], e.doc)
			for _, l := range c.literals {
				needles[c.operand] = append(needles[c.operand], needle{c.op, l, e.doc})
			}
		}
	}
	var out []*scan
	for i := range needles {
		docs := count(needs[i])
		if docs == 0 {
			continue
		}
		perDoc := max(len(needles[i])/docs, fewestLiterals)
		atLeast := (scanLiterals + perDoc - 1) / perDoc
		if docs < atLeast {
			continue
		}
		if a := newAutomaton(needles[i]); a != nil {
			out = append(out, &scan{
				operand: i, needs: needs[i], automaton: a, atLeast: atLeast,
				bytesPerFilter: max(perDoc*bytesPerLiteral, minFilterBytes),
			})
		}
	}
	slices.SortStableFunc(out, func(a, b *scan) int { return cmp.Compare(count(b.needs), count(a.needs)) })
	return out
}

func count(b []uint64) int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}
