package funcs

import (
	"slices"
	"strings"
)

// automaton finds, in one pass over a text, where literals may stand in it
// (Aho and Corasick, with all transitions resolved). It reports candidates:
// with fold it does not tell ASCII case apart, and when the literals are so
// many that the table would be too large they are cut to a prefix. Callers
// verify what it reports, unless exact says that they need not.
type automaton struct {
	classes [256]uint8 // bytes that no literal tells apart share a class
	width   uint32     // number of classes: the length of a row
	next    []uint32   // next[row+class] is a row: a state's number times width
	// Rows from accepting on report something: outputs[row/width - accepting/width].
	accepting uint32
	outputs   []output
	exact     bool // what is reported does stand there
}

// output is what a state reports: the literals that end there, and then those
// of link, a state with a shorter suffix.
type output struct {
	ids    []int32
	length int32 // of the (cut) literal
	link   int32 // index into outputs, or -1
}

// maxTable bounds a table's entries, of four bytes each.
const maxTable = 4 << 20

// newAutomaton returns an automaton for literals that are not empty; the ids
// that it reports are their places in the list.
func newAutomaton(literals []string, fold bool) *automaton {
	lits := slices.Clone(literals)
	if fold {
		for i := range lits {
			lits[i] = lowerASCII(lits[i])
		}
	}
	a := &automaton{exact: !fold}
	a.classify(lits, fold)
	for _, limit := range []int{1 << 20, 32, 16, 8, 6, 4, 3, 2, 1} {
		if a.fits(lits, limit) {
			a.cut(lits, limit)
			break
		}
	}
	b := newTrie(a, lits)
	b.link()
	a.finish(b)
	return a
}

// classify numbers the bytes that occur in literals; 0 is all others.
func (a *automaton) classify(lits []string, fold bool) {
	var used [256]bool
	for _, l := range lits {
		for i := range len(l) {
			used[l[i]] = true
		}
	}
	classes := 1
	for c := range used {
		// All 256 bytes in use: the last one shares the class of the others, and nothing is exact.
		if used[c] && classes < 256 {
			a.classes[c] = uint8(classes)
			classes++
		} else if used[c] {
			a.exact = false
		}
	}
	if fold {
		for c := 'A'; c <= 'Z'; c++ {
			a.classes[c] = a.classes[c+'a'-'A']
		}
	}
	a.width = uint32(classes)
}

// fits tells whether the literals' prefixes of that length fit into the table.
func (a *automaton) fits(lits []string, limit int) bool {
	sorted := slices.Clone(lits)
	slices.Sort(sorted)
	states, last := 1, ""
	for _, l := range sorted {
		l = l[:min(limit, len(l))]
		shared := 0
		for shared < len(l) && shared < len(last) && l[shared] == last[shared] {
			shared++
		}
		states += len(l) - shared
		last = l
	}
	return states*int(a.width) <= maxTable
}

func (a *automaton) cut(lits []string, limit int) {
	for i, l := range lits {
		if len(l) > limit {
			lits[i] = l[:limit]
			a.exact = false
		}
	}
}

// trie is an automaton being built: states in the order of insertion.
type trie struct {
	width uint32
	next  []uint32 // states, not rows; 0 is none, until linked
	ids   [][]int32
	depth []int32
	fail  []uint32
	order []uint32 // states, shorter ones first
}

func newTrie(a *automaton, lits []string) *trie {
	t := &trie{width: a.width}
	t.add(0)
	for id, l := range lits {
		state := uint32(0)
		for i := range len(l) {
			at := state*t.width + uint32(a.classes[l[i]])
			if t.next[at] == 0 {
				child := t.add(int32(i + 1))
				t.next[at] = child
			}
			state = t.next[at]
		}
		t.ids[state] = append(t.ids[state], int32(id))
	}
	return t
}

func (t *trie) add(depth int32) uint32 {
	t.next = append(t.next, make([]uint32, t.width)...)
	t.ids = append(t.ids, nil)
	t.depth = append(t.depth, depth)
	t.fail = append(t.fail, 0)
	return uint32(len(t.depth) - 1)
}

// link resolves all transitions, shorter states first, so that a state's fail
// state is complete when it is read.
func (t *trie) link() {
	t.order = append(t.order, 0)
	for i := 0; i < len(t.order); i++ {
		state := t.order[i]
		for c := range t.width {
			at := state*t.width + c
			child, back := t.next[at], uint32(0)
			if state != 0 {
				back = t.next[t.fail[state]*t.width+c]
			}
			if child == 0 {
				t.next[at] = back
				continue
			}
			t.fail[child] = back
			t.order = append(t.order, child)
		}
	}
}

// finish renumbers the states so that those that report come last.
func (a *automaton) finish(t *trie) {
	n := len(t.depth)
	reports := make([]bool, n)
	linked := make([]int32, n) // the state of the nearest reporting proper suffix, or -1
	linked[0] = -1
	silent := 1
	for _, s := range t.order[1:] {
		f := t.fail[s]
		linked[s] = linked[f]
		if len(t.ids[f]) > 0 {
			linked[s] = int32(f)
		}
		if reports[s] = len(t.ids[s]) > 0 || linked[s] >= 0; !reports[s] {
			silent++
		}
	}
	number := make([]uint32, n)
	quiet, loud := uint32(0), uint32(silent)
	for s := range n {
		if reports[s] {
			number[s] = loud
			loud++
		} else {
			number[s] = quiet
			quiet++
		}
	}
	a.accepting = uint32(silent) * a.width
	a.next = make([]uint32, len(t.next))
	a.outputs = make([]output, n-silent)
	for s := range n {
		row := number[s] * a.width
		for c := range a.width {
			a.next[row+c] = number[t.next[uint32(s)*a.width+c]] * a.width
		}
		if reports[s] {
			o := output{ids: t.ids[s], length: t.depth[s], link: -1}
			if linked[s] >= 0 {
				o.link = int32(number[linked[s]]) - int32(silent)
			}
			a.outputs[number[s]-uint32(silent)] = o
		}
	}
}

// step reads s from pos, in the state row, up to the first place where
// something is reported. It returns the place after it and the state there;
// -1 at the end. Begin with 0, 0.
func (a *automaton) step(s string, pos int, row uint32) (int, uint32) {
	next, accepting := a.next, a.accepting
	for ; pos < len(s); pos++ {
		row = next[row+uint32(a.classes[s[pos]])]
		if row >= accepting {
			return pos + 1, row
		}
	}
	return -1, row
}

// output returns the index of what a reporting state reports.
func (a *automaton) output(row uint32) int32 { return int32((row - a.accepting) / a.width) }

// textSet tells whether a text holds any of some lines.
type textSet struct {
	lines []string
	auto  *automaton // nil without lines
}

func newTextSet(lines []string) *textSet {
	t := &textSet{lines: lines}
	if len(lines) > 0 {
		t.auto = newAutomaton(lines, false)
	}
	return t
}

// in is the fast form of a loop over the lines with strings.Contains.
func (t *textSet) in(s string) bool {
	if t.auto == nil {
		return false
	}
	a := t.auto
	for pos, row := a.step(s, 0, 0); pos >= 0; pos, row = a.step(s, pos, row) {
		if a.exact {
			return true
		}
		for o := a.output(row); o >= 0; o = a.outputs[o].link {
			out := &a.outputs[o]
			for _, id := range out.ids {
				if strings.HasPrefix(s[pos-int(out.length):], t.lines[id]) {
					return true
				}
			}
		}
	}
	return false
}

// first returns which line stands leftmost in s, of several that begin there
// the first in the list, -1 when none does.
func (t *textSet) first(s string) int {
	best, bestStart := -1, len(s)
	if t.auto == nil {
		return best
	}
	a := t.auto
	for pos, row := a.step(s, 0, 0); pos >= 0; pos, row = a.step(s, pos, row) {
		for o := a.output(row); o >= 0; o = a.outputs[o].link {
			out := &a.outputs[o]
			start := pos - int(out.length)
			if start > bestStart {
				continue
			}
			for _, id := range out.ids {
				better := best < 0 || start < bestStart || int(id) < best
				if better && strings.HasPrefix(s[start:], t.lines[id]) {
					best, bestStart = int(id), start
				}
			}
		}
	}
	return best
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
