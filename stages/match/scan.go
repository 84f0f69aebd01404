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
}

const (
	// minScanned is the number of candidates from which on a scan can pay.
	minScanned = 2
	// bytesPerFilter is how many bytes an automaton reads while one filter runs.
	bytesPerFilter = 40
)

// newScans makes a scan for each operand that at least minScanned documents
// have a condition on, the one with the most documents first.
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
		if count(needs[i]) < minScanned {
			continue
		}
		if a := newAutomaton(needles[i]); a != nil {
			out = append(out, &scan{operand: i, needs: needs[i], automaton: a})
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
