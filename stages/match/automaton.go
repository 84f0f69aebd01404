package match

import (
	"slices"

	"sluice/stages/expression"
)

// automaton finds, in one pass over a text, the documents of which a literal
// stands in it (Aho and Corasick, with all transitions resolved). Long
// literals are cut, so it may find more documents than it should, never fewer:
// TestAutomatonFindsWhatTheStringsPackageFinds holds it to package strings.
type automaton struct {
	classes [256]uint8 // bytes that no literal tells apart share a class
	shift   uint       // log2 of a row's length
	next    []uint16   // next[state<<shift | class]
	// States from accepting on report something: outputs[state-accepting].
	accepting uint16
	outputs   []output
	// maxLen is the length of the longest literal.
	maxLen int
	// onlyStart, onlyEnd: all literals stand at that end of the text.
	onlyStart, onlyEnd bool
}

// output is what a state reports.
type output struct {
	anywhere []int32    // documents found wherever the literal stands
	anchored []anchored // found when it stands at the right place
}

// anchored is a document to be found when its literal is the text's start or end.
type anchored struct {
	doc    int32
	length int32 // of the literal, for a start; 0 asks for the end
}

// needle is a literal that a document looks for: Contains, StartsWith or EndsWith.
type needle struct {
	op      expression.ConjunctOp
	literal string
	doc     int32
}

// maxStates is what a uint16 numbers; longest the first try at cutting
// literals, shortestCut the last.
const (
	maxStates   = 1 << 16
	longest     = 12
	shortestCut = 4
)

// newAutomaton returns the automaton of the needles, cut as far as it takes
// to number the states; nil when that is too far.
func newAutomaton(needles []needle) *automaton {
	for limit := longest; limit >= shortestCut; limit /= 2 {
		t := newTrie()
		fits := true
		for _, n := range needles {
			if n.literal = cut(n, limit); !t.add(n) {
				fits = false
				break
			}
		}
		if fits {
			return t.automaton()
		}
	}
	return nil
}

// cut shortens a literal from the side that leaves its anchor in place. Of
// one that stands anywhere the end stays: paths differ there.
func cut(n needle, limit int) string {
	switch {
	case len(n.literal) <= limit:
		return n.literal
	case n.op == expression.StartsWith:
		return n.literal[:limit]
	}
	return n.literal[len(n.literal)-limit:]
}

// scan sets the bits of the documents found in text.
func (a *automaton) scan(text string, found []uint64) {
	size := len(text)
	start := 0
	if size > a.maxLen {
		if a.onlyEnd {
			start = size - a.maxLen
		} else if a.onlyStart {
			text = text[:a.maxLen]
		}
	}
	next, classes, shift, accepting := a.next, &a.classes, a.shift&15, a.accepting
	state := uint16(0)
	for i := start; i < len(text); i++ {
		state = next[uint(state)<<shift|uint(classes[text[i]])]
		if state >= accepting {
			a.outputs[state-a.accepting].report(found, i+1, size)
		}
	}
}

// report sets the bits of what is found when a literal ends at end in a text of size bytes.
func (o *output) report(found []uint64, end, size int) {
	for _, d := range o.anywhere {
		set(found, d)
	}
	for _, an := range o.anchored {
		if int(an.length) == end || an.length == 0 && end == size {
			set(found, an.doc)
		}
	}
}

// reads returns how many bytes of a text of size bytes a scan reads.
func (a *automaton) reads(size int) int {
	if a.onlyStart || a.onlyEnd {
		return min(size, a.maxLen)
	}
	return size
}

func (a *automaton) states() int { return len(a.next) >> a.shift }

// bytes returns the size of the transitions.
func (a *automaton) bytes() int { return 2 * len(a.next) }

// trie is an automaton being built.
type trie struct {
	nodes              []trieNode
	used               [256]bool
	maxLen             int
	starts, ends, free int
}

type trieNode struct {
	children map[byte]int32
	fail     int32
	out      output
}

func newTrie() *trie { return &trie{nodes: []trieNode{{}}} }

// add inserts a needle; it is false when there are too many states.
func (t *trie) add(n needle) bool {
	at := int32(0)
	for i := 0; i < len(n.literal); i++ {
		b := n.literal[i]
		t.used[b] = true
		next, ok := t.nodes[at].children[b]
		if !ok {
			if len(t.nodes) == maxStates-1 { // the last number stays free: accepting may be one past the states
				return false
			}
			next = int32(len(t.nodes))
			t.nodes = append(t.nodes, trieNode{})
			if t.nodes[at].children == nil {
				t.nodes[at].children = make(map[byte]int32)
			}
			t.nodes[at].children[b] = next
		}
		at = next
	}
	t.maxLen = max(t.maxLen, len(n.literal))
	out := &t.nodes[at].out
	switch n.op {
	case expression.StartsWith:
		t.starts++
		out.anchored = append(out.anchored, anchored{n.doc, int32(len(n.literal))})
	case expression.EndsWith:
		t.ends++
		out.anchored = append(out.anchored, anchored{n.doc, 0})
	default:
		t.free++
		out.anywhere = append(out.anywhere, n.doc)
	}
	return true
}

// link gives each node the longest proper suffix that is a node too, and its
// outputs. It returns the nodes in order of depth.
func (t *trie) link() []int32 {
	order := []int32{0}
	for i := 0; i < len(order); i++ {
		parent := order[i]
		for _, b := range sortedBytes(t.nodes[parent].children) {
			child := t.nodes[parent].children[b]
			order = append(order, child)
			if parent != 0 {
				t.nodes[child].fail = t.step(t.nodes[parent].fail, b)
			}
			// The suffix is shorter, so its outputs are complete.
			suffix := t.nodes[t.nodes[child].fail].out
			out := &t.nodes[child].out
			out.anywhere = append(slices.Clip(out.anywhere), suffix.anywhere...)
			slices.Sort(out.anywhere)
			out.anywhere = slices.Compact(out.anywhere)
			out.anchored = append(slices.Clip(out.anchored), suffix.anchored...)
		}
	}
	return order
}

// step follows a byte from a node, through its suffixes.
func (t *trie) step(at int32, b byte) int32 {
	for {
		if next, ok := t.nodes[at].children[b]; ok {
			return next
		}
		if at == 0 {
			return 0
		}
		at = t.nodes[at].fail
	}
}

// automaton lays the trie out: quiet states first, in order of depth, so that
// the ones most visited lie together; then those that report.
func (t *trie) automaton() *automaton {
	a := &automaton{maxLen: t.maxLen, onlyStart: t.ends+t.free == 0, onlyEnd: t.starts+t.free == 0}
	classes := 1 // class 0: bytes that stand in no literal
	for b := range t.used {
		if t.used[b] {
			a.classes[b] = uint8(classes)
			classes++
		}
	}
	if classes > 256 { // all bytes used: no class for others is needed
		classes = 256
		for b := range a.classes {
			a.classes[b] = uint8(b)
		}
	}
	for 1<<a.shift < classes {
		a.shift++
	}
	order := t.link()
	number := t.number(order, a)
	a.next = make([]uint16, len(order)<<a.shift)
	for _, n := range order { // by depth: a node's suffix has its row already
		row := int(number[n]) << a.shift
		if n != 0 {
			suffix := int(number[t.nodes[n].fail]) << a.shift
			copy(a.next[row:row+1<<a.shift], a.next[suffix:suffix+1<<a.shift])
		}
		for b, child := range t.nodes[n].children {
			a.next[row|int(a.classes[b])] = number[child]
		}
	}
	return a
}

// number gives the nodes their states and fills the outputs.
func (t *trie) number(order []int32, a *automaton) []uint16 {
	number := make([]uint16, len(t.nodes))
	quiet := func(n int32) bool { return len(t.nodes[n].out.anywhere)+len(t.nodes[n].out.anchored) == 0 }
	next := uint16(0)
	for _, n := range order {
		if quiet(n) {
			number[n] = next
			next++
		}
	}
	a.accepting = next
	for _, n := range order {
		if !quiet(n) {
			number[n] = next
			next++
			a.outputs = append(a.outputs, t.nodes[n].out)
		}
	}
	return number
}

func sortedBytes(m map[byte]int32) []byte {
	out := make([]byte, 0, len(m))
	for b := range m {
		out = append(out, b)
	}
	slices.Sort(out)
	return out
}
