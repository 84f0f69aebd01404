package expression

import (
	"slices"

	"github.com/expr-lang/expr/ast"
)

// lineTest is what any(File('f'), {…}) comes down to: text op one of the
// lines, each changed by a pure function.
type lineTest struct {
	text     *text
	operator string
	literals []string
	// certain: the test says it all. Otherwise any is false when no literal
	// fits, and when one does, the VM decides.
	certain bool
}

// fileOf returns the lines of File('f'), when the file is loaded.
func (f *fast) fileOf(n node) ([]string, bool) {
	call, ok := n.(*ast.CallNode)
	if !ok || len(call.Arguments) != 1 || !isNamed(call.Callee, "File") {
		return nil, false
	}
	name, ok := call.Arguments[0].(*ast.StringNode)
	if !ok {
		return nil, false
	}
	return f.c.data.Lines(name.Value)
}

// anyLine compiles any(File('f'), {text contains #}) and its like.
func (f *fast) anyLine(n *ast.BuiltinNode) boolFunc {
	tests, ok := f.lineTests(n)
	if !ok {
		return nil
	}
	certain := true
	fits := make([]func(*Context) (bool, error), len(tests))
	for i, t := range tests {
		in, fit := t.text.fn, oneOf(t.operator, t.literals)
		fits[i] = func(ctx *Context) (bool, error) {
			s, err := in(ctx)
			return err == nil && fit(s), err
		}
		certain = certain && t.certain
	}
	test := fits[0]
	if len(tests[0].literals) == 0 { // any of nothing
		return func(*Context) (bool, error) { return false, nil }
	}
	if len(fits) > 1 {
		test = func(ctx *Context) (bool, error) {
			for _, fit := range fits {
				if ok, err := fit(ctx); ok || err != nil {
					return ok, err
				}
			}
			return false, nil
		}
	}
	if certain {
		return test
	}
	slow := f.onVM(n)
	if slow == nil {
		return nil
	}
	return func(ctx *Context) (bool, error) {
		if ok, err := test(ctx); err != nil || !ok {
			return false, err
		}
		return slow.boolean(ctx)
	}
}

// lineTests takes any(File('f'), {…}) apart: one of the tests has to hold.
// None of them can fail.
func (f *fast) lineTests(n node) ([]lineTest, bool) {
	b, ok := n.(*ast.BuiltinNode)
	if !ok || b.Name != "any" || len(b.Arguments) != 2 {
		return nil, false
	}
	lines, ok := f.fileOf(b.Arguments[0])
	pred, isPred := b.Arguments[1].(*ast.PredicateNode)
	if !ok || !isPred {
		return nil, false
	}
	var tests []lineTest
	for _, side := range chainOf(pred.Node, false) {
		t, ok := f.lineTest(side, lines)
		if !ok {
			return nil, false
		}
		tests = append(tests, t)
	}
	return tests, true
}

// lineTest takes one side of the predicate apart.
func (f *fast) lineTest(n node, lines []string) (t lineTest, ok bool) {
	test, certain := f.lineCondition(n)
	if test == nil || textOp(test.Operator) == nil {
		return t, false
	}
	t = lineTest{text: f.str(test.Left), operator: test.Operator, certain: certain, literals: make([]string, len(lines))}
	if t.text == nil || t.text.fallible {
		return t, false
	}
	for i, line := range lines {
		if t.literals[i], ok = f.onLine(test.Right, line); !ok {
			return t, false
		}
	}
	return t, true
}

// lineCondition returns the comparison that has to hold of a line for the
// predicate to be true, and whether that is all.
func (f *fast) lineCondition(n node) (test *ast.BinaryNode, certain bool) {
	switch n := n.(type) {
	case *ast.ConditionalNode:
		if isFalse(n.Exp2) {
			test, _ = f.lineCondition(n.Cond)
		}
		return test, false
	case *ast.BinaryNode:
		if n.Operator != "&&" && n.Operator != "and" {
			return n, true
		}
		if f.notEmptyLine(n.Left) {
			return f.lineCondition(n.Right)
		}
		test, _ = f.lineCondition(n.Left)
		return test, false
	}
	return nil, false
}

// notEmptyLine recognises len(#) > 0, which holds of every line (FIDELITY 10).
func (f *fast) notEmptyLine(n node) bool {
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != ">" {
		return false
	}
	zero, ok := b.Right.(*ast.IntegerNode)
	length, isLen := b.Left.(*ast.BuiltinNode)
	return ok && zero.Value == 0 && isLen && length.Name == "len" && len(length.Arguments) == 1 && isLine(length.Arguments[0])
}

func isLine(n node) bool {
	p, ok := n.(*ast.PointerNode)
	return ok && p.Name == ""
}

func isFalse(n node) bool {
	b, ok := n.(*ast.BoolNode)
	return ok && !b.Value
}

// onLine computes an expression over # for a line: # itself, literals, and
// pure helpers of such.
func (f *fast) onLine(n node, line string) (string, bool) {
	switch n := n.(type) {
	case *ast.PointerNode:
		return line, isLine(n)
	case *ast.StringNode:
		return n.Value, true
	case *ast.CallNode:
		h := f.helper(n)
		if h == nil {
			return "", false
		}
		args := make([]any, len(n.Arguments))
		for i, a := range n.Arguments {
			s, ok := f.onLine(a, line)
			if !ok {
				return "", false
			}
			args[i] = s
		}
		out, err := guarded(h.Call, args)
		s, ok := out.(string)
		return s, ok && err == nil
	}
	return "", false
}

// oneOf returns the test for text op one of the literals.
func oneOf(operator string, literals []string) func(string) bool {
	switch {
	case operator == "==":
		return member(literals)
	case operator == "contains" && len(literals) > 8:
		return newLiteralSet(literals).in
	}
	op := textOp(operator)
	return func(s string) bool {
		return slices.ContainsFunc(literals, func(l string) bool { return op(s, l) })
	}
}

// literalSet finds out whether a text contains one of many literals, in one
// pass over the text: the first two bytes of each literal say where to look.
type literalSet struct {
	always bool // one of them is empty
	one    [256]bool
	pairs  [1 << 10]uint64 // bit for each pair of bytes
	longer map[uint16][]string
}

func newLiteralSet(literals []string) *literalSet {
	set := &literalSet{longer: make(map[uint16][]string)}
	for _, l := range literals {
		switch len(l) {
		case 0:
			set.always = true
		case 1:
			set.one[l[0]] = true
		default:
			p := uint16(l[0])<<8 | uint16(l[1])
			set.pairs[p>>6] |= 1 << (p & 63)
			set.longer[p] = append(set.longer[p], l[2:])
		}
	}
	return set
}

func (set *literalSet) in(s string) bool {
	if set.always {
		return true
	}
	for i := range len(s) {
		if set.one[s[i]] {
			return true
		}
		if i+1 == len(s) {
			break
		}
		p := uint16(s[i])<<8 | uint16(s[i+1])
		if set.pairs[p>>6]&(1<<(p&63)) == 0 {
			continue
		}
		rest := s[i+2:]
		for _, l := range set.longer[p] {
			if len(rest) >= len(l) && rest[:len(l)] == l {
				return true
			}
		}
	}
	return false
}
