package grok

import (
	"regexp/syntax"
	"strings"
)

// opcode is what an instruction does.
type opcode uint8

const (
	opMatch    opcode = iota
	opFail            // no match this way
	opByte            // one byte
	opLit             // a string
	opOne             // one character of a class
	opTake            // a greedy run, of which nothing is ever given back
	opTakeTo          // the same up to the byte class.stop
	opGreedy          // a greedy run
	opLazy            // a lazy run
	opLazyFind        // a lazy run with a literal behind it
	opTwo             // two ways, the first one preferred
	opAlt             // several ways, the first one preferred
	opCap             // note the position in slot n
	opBeginText
	opEndText
	opBeginLine
	opEndLine
	opWord   // \b
	opNoWord // \B
)

// inst is an instruction. An instruction knows what a match from it on can
// begin with, so that a way that cannot succeed is not tried at all.
type inst struct {
	op       opcode
	b        byte  // of opByte
	next     int32 // the instruction behind
	other    int32 // the second way of opTwo
	slot     int32 // of opCap
	decision int32 // its number among the instructions that decide, from 1; else 0
	min, max int32 // of runs; max -1: any number
	class    *class
	lit      string // of opLit; for runs: what must stand behind, "" when unknown
	first    *first // what a match from here can begin with
	ways     *ways  // of opAlt
}

// ways are the branches of an alternation, by the byte they can begin with.
type ways struct {
	byByte [257]uint16 // the last is for the end of the text
	lists  [][]int32
}

// at returns the branches that can match at s[p:], the preferred first.
func (w *ways) at(s string, p int) []int32 {
	if p < len(s) {
		return w.lists[w.byByte[s[p]]]
	}
	return w.lists[w.byByte[256]]
}

// program is a compiled expression. A program is compiled from its end, so
// that each instruction is made with what follows it at hand.
type program struct {
	insts     []inst
	start     int32
	slots     int      // two a capture
	decisions int      // the number of instructions that decide
	needed    string   // the longest literal that each match holds, "" when none is known
	chain     []string // the literals that each match holds, in order
	// anchored: a match begins at the start of the text or not at all.
	anchored bool
	// lead, when set, is the unbounded run that the expression begins with,
	// leadWord that a \b stands before it. When an attempt at one position
	// fails, attempts inside of the run found there fail as well: each would
	// go on from a position that the first one tried.
	lead     *class
	leadWord bool
	prefix   string // the literal that every match begins with, "" when none
}

// maxInsts bounds a program; larger expressions are matched plainly.
const maxInsts = 100000

// compileTree makes the program of a tree with the given number of captures.
func compileTree(root *node, captures int) (*program, error) {
	c := &compiler{p: &program{slots: 2 * captures}, sets: make(map[first]*first)}
	c.p.insts = make([]inst, 0, min(weight(root)+captures+1, maxInsts))
	end := c.emit(inst{op: opMatch}, anything())
	c.p.start = c.compile(root, end)
	if len(c.p.insts) > maxInsts {
		return nil, errPlainOnly
	}
	c.p.chain = required(root, nil)
	for _, lit := range c.p.chain {
		if len(lit) > len(c.p.needed) {
			c.p.needed = lit
		}
	}
	c.p.anchored = anchored(root)
	c.p.findLead(root)
	return c.p, nil
}

// anchored tells whether a node matches at the start of the text only.
func anchored(n *node) bool {
	switch n.kind {
	case kindAssert:
		return n.assert == syntax.EmptyBeginText
	case kindCat, kindCap, kindPlus:
		return anchored(n.sub[0])
	case kindAlt:
		for _, sub := range n.sub {
			if !anchored(sub) {
				return false
			}
		}
		return true
	}
	return false
}

// findLead sets what the search for a start can make use of.
func (p *program) findLead(n *node) {
	for {
		switch n.kind {
		case kindCat:
			if n.sub[0].kind == kindAssert && n.sub[0].assert == syntax.EmptyWordBoundary && !p.leadWord {
				p.leadWord = true
				n = n.sub[1]
				continue
			}
			n = n.sub[0]
		case kindCap:
			n = n.sub[0]
		case kindRun:
			if n.max == -1 && n.min <= 1 {
				p.lead = n.class
			}
			return
		case kindLit:
			p.prefix = n.lit
			return
		default:
			return
		}
	}
}

// compiler emits a program.
type compiler struct {
	p    *program
	sets map[first]*first
}

// emit adds an instruction of which a match can begin with f.
func (c *compiler) emit(in inst, f first) int32 {
	in.first = c.intern(f)
	switch in.op {
	case opGreedy, opLazy, opLazyFind, opTwo, opAlt:
		c.p.decisions++
		in.decision = int32(c.p.decisions)
	}
	c.p.insts = append(c.p.insts, in)
	return int32(len(c.p.insts) - 1)
}

func (c *compiler) intern(f first) *first {
	if known, ok := c.sets[f]; ok {
		return known
	}
	c.sets[f] = &f
	return &f
}

func (c *compiler) first(at int32) first { return *c.p.insts[at].first }

// compile emits a node that is followed by an instruction, and returns where it begins.
func (c *compiler) compile(n *node, next int32) int32 {
	if len(c.p.insts) > maxInsts {
		return next // compileTree reports it
	}
	switch n.kind {
	case kindEmpty:
		return next
	case kindFail:
		return c.emit(inst{op: opFail}, first{})
	case kindLit:
		return c.literal(n, next)
	case kindRun:
		return c.run(n, next)
	case kindCat:
		for i := len(n.sub) - 1; i >= 0; i-- {
			next = c.compile(n.sub[i], next)
		}
		return next
	case kindAlt:
		return c.alternation(n, next)
	case kindOpt:
		return c.two(c.compile(n.sub[0], next), next, n.lazy)
	case kindStar, kindPlus:
		return c.loop(n, next)
	case kindCap:
		end := c.emit(inst{op: opCap, slot: int32(2*n.slot + 1), next: next}, c.first(next))
		body := c.compile(n.sub[0], end)
		return c.emit(inst{op: opCap, slot: int32(2 * n.slot), next: body}, c.first(body))
	default:
		return c.assertion(n, next)
	}
}

func (c *compiler) literal(n *node, next int32) int32 {
	f := firstOf(n, first{})
	if len(n.lit) == 1 {
		return c.emit(inst{op: opByte, b: n.lit[0], next: next}, f)
	}
	return c.emit(inst{op: opLit, lit: n.lit, next: next}, f)
}

// run chooses how a run is matched by what follows it.
func (c *compiler) run(n *node, next int32) int32 {
	if n.max == 0 {
		return next
	}
	follow := c.first(next)
	f := firstOf(n, follow)
	in := inst{op: opGreedy, class: n.class, min: int32(n.min), max: int32(n.max), next: next, lit: c.behind(next)}
	final := c.succeeds(next)
	switch {
	case n.min == 1 && n.max == 1:
		in.op = opOne
	case n.min == n.max:
		in.op = opTake
	case n.lazy && n.class.wide != wideSome && n.max < 0 && in.lit != "" && n.class.wide == wideAll && n.class.atMostOneOut():
		in.op = opLazyFind
	case n.lazy && !final && !n.class.meets(&follow):
		// What follows cannot begin inside the run: lazy and greedy are the same.
		in.op = opTake
	case n.lazy:
		in.op = opLazy
	case final || !n.class.meets(&follow):
		in.op = opTake
	}
	if in.op == opTake && n.max < 0 && n.min <= 1 && n.class.stop >= 0 {
		in.op = opTakeTo
	}
	return c.emit(in, f)
}

// atMostOneOut tells whether the class lacks one byte or none.
func (c *class) atMostOneOut() bool {
	if c.stop >= 0 {
		return true
	}
	for _, m := range c.member {
		if !m {
			return false
		}
	}
	return true
}

// behind returns the literal that must stand where an instruction begins.
func (c *compiler) behind(at int32) string {
	for {
		in := &c.p.insts[at]
		switch in.op {
		case opCap:
			at = in.next
		case opLit:
			return in.lit
		case opByte:
			return string([]byte{in.b})
		default:
			return ""
		}
	}
}

// succeeds tells whether nothing but captures stands between an instruction and success.
func (c *compiler) succeeds(at int32) bool {
	for c.p.insts[at].op == opCap {
		at = c.p.insts[at].next
	}
	return c.p.insts[at].op == opMatch
}

func (c *compiler) two(body, next int32, lazy bool) int32 {
	f := c.first(body).union(c.first(next))
	if lazy {
		body, next = next, body
	}
	return c.emit(inst{op: opTwo, next: body, other: next}, f)
}

// loop emits a star or plus: the decision whether to go round once more comes
// before the body of a star and behind that of a plus.
func (c *compiler) loop(n *node, next int32) int32 {
	f := firstOf(n.sub[0], anything()).union(c.first(next))
	again := c.emit(inst{op: opTwo}, f)
	body := c.compile(n.sub[0], again)
	in := &c.p.insts[again]
	in.next, in.other = body, next
	if n.lazy {
		in.next, in.other = next, body
	}
	if n.kind == kindPlus {
		return body
	}
	return again
}

func (c *compiler) alternation(n *node, next int32) int32 {
	var branches []int32
	var f first
	for _, sub := range n.sub {
		at := c.compile(sub, next)
		branches = append(branches, at)
		f = f.union(c.first(at))
	}
	if len(branches) == 2 {
		return c.emit(inst{op: opTwo, next: branches[0], other: branches[1]}, f)
	}
	return c.emit(inst{op: opAlt, ways: c.ways(branches)}, f)
}

// ways sorts branches by the bytes that they can begin with.
func (c *compiler) ways(branches []int32) *ways {
	w := &ways{}
	known := make(map[string]uint16)
	for b := range 257 {
		var list []int32
		var key strings.Builder
		for i, at := range branches {
			f := c.p.insts[at].first
			if b < 256 && f.has(byte(b)) || b == 256 && f.end {
				list = append(list, at)
				key.WriteRune(rune(i))
			}
		}
		number, ok := known[key.String()]
		if !ok {
			number = uint16(len(w.lists))
			known[key.String()] = number
			w.lists = append(w.lists, list)
		}
		w.byByte[b] = number
	}
	return w
}

func (c *compiler) assertion(n *node, next int32) int32 {
	op := map[syntax.EmptyOp]opcode{
		syntax.EmptyBeginText: opBeginText, syntax.EmptyEndText: opEndText,
		syntax.EmptyBeginLine: opBeginLine, syntax.EmptyEndLine: opEndLine,
		syntax.EmptyWordBoundary: opWord, syntax.EmptyNoWordBoundary: opNoWord,
	}[n.assert]
	return c.emit(inst{op: op, next: next}, firstOfAssert(n.assert, c.first(next)))
}
