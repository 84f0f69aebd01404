package expression

import (
	"slices"

	"github.com/expr-lang/expr/ast"
)

// ConjunctOp is the kind of a Conjunct.
type ConjunctOp uint8

// The kinds of conjunct. A disjunction of the same kind on the same operand
// (a == 'x' || a == 'y', contains … || contains …) is one conjunct.
const (
	Equals     ConjunctOp = iota // the operand equals one of Literals
	Contains                     // the operand contains one of Literals
	StartsWith                   // the operand starts with one of Literals
	EndsWith                     // the operand ends with one of Literals
)

// Conjunct is a necessary condition of a filter.
type Conjunct struct {
	Op       ConjunctOp
	Operand  Operand
	Literals []string
}

// maxLiterals bounds what or-chains may add up to in one conjunct.
const maxLiterals = 4096

func conjunctOp(operator string) (op ConjunctOp, ok bool) {
	switch operator {
	case "==":
		return Equals, true
	case "contains":
		return Contains, true
	case "startsWith":
		return StartsWith, true
	case "endsWith":
		return EndsWith, true
	}
	return 0, false
}

// conjuncts lists conditions without which a tree cannot be true, in the
// order in which they are evaluated. Where one does not hold, the tree is
// false and nothing in it has written to the event or a stash: so they end at
// the first part that does.
func (f *fast) conjuncts(n node) []Conjunct {
	switch n := n.(type) {
	case *ast.VariableDeclaratorNode:
		if f.effect(n.Value)&(writes|stash) != 0 {
			return nil
		}
		f.lets = append(f.lets, &let{name: n.Name, value: n.Value, text: f.str(n.Value)})
		defer func() { f.lets = f.lets[:len(f.lets)-1] }()
		return f.conjuncts(n.Expr)
	case *ast.ConditionalNode:
		if isFalse(n.Exp2) {
			return f.inTurn([]node{n.Cond, n.Exp1})
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&", "and":
			return f.inTurn(chainOf(n, true))
		case "||", "or":
			return f.either(chainOf(n, false))
		}
		if cj, ok := f.conjunct(n); ok {
			return []Conjunct{cj}
		}
	case *ast.BuiltinNode:
		if tests, ok := f.lineTests(n); ok {
			return f.ofLines(tests)
		}
	}
	return nil
}

// ofLines are the conjuncts of any(File('f'), {…}): when no test holds of a
// line, nothing else of the predicate runs.
func (f *fast) ofLines(tests []lineTest) []Conjunct {
	var common []Conjunct
	for i, t := range tests {
		op, _ := conjunctOp(t.operator)
		own := f.single(op, t.text, t.literals)
		if i > 0 {
			own = merge(common, own)
		}
		common = own
	}
	for i := range common {
		common[i].Literals = slices.Compact(slices.Sorted(slices.Values(common[i].Literals)))
	}
	return common
}

// inTurn lists the conjuncts of parts that must all be true.
func (f *fast) inTurn(parts []node) []Conjunct {
	var out []Conjunct
	for _, p := range parts {
		out = append(out, f.conjuncts(p)...)
		if f.effect(p)&(writes|stash) != 0 {
			break
		}
	}
	return out
}

// either keeps what all sides of an or need: one of all sides' literals. A
// side that can never be true does not count.
func (f *fast) either(sides []node) []Conjunct {
	var common []Conjunct
	first := true
	for _, side := range sides {
		if f.constFalse(side) {
			continue
		}
		own := f.conjuncts(side)
		if first {
			common, first = own, false
		} else {
			common = merge(common, own)
		}
		if len(common) == 0 {
			return nil
		}
	}
	for i := range common {
		common[i].Literals = slices.Compact(slices.Sorted(slices.Values(common[i].Literals)))
	}
	return common
}

// merge pairs the conjuncts of two sides that are on the same operand.
func merge(a, b []Conjunct) []Conjunct {
	var out []Conjunct
	for _, x := range a {
		for _, y := range b {
			op := weaker(x.Op, y.Op)
			if x.Operand != y.Operand || len(x.Literals)+len(y.Literals) > maxLiterals ||
				op != Equals && (slices.Contains(x.Literals, "") || slices.Contains(y.Literals, "")) {
				continue
			}
			out = append(out, Conjunct{op, x.Operand, append(slices.Clip(x.Literals), y.Literals...)})
			break
		}
	}
	return out
}

// weaker returns the kind that both kinds imply of the same literal.
func weaker(a, b ConjunctOp) ConjunctOp {
	switch {
	case a == b, b == Equals:
		return a
	case a == Equals:
		return b
	}
	return Contains
}

func (f *fast) conjunct(n *ast.BinaryNode) (cj Conjunct, ok bool) {
	l := f.str(n.Left)
	one := func(op ConjunctOp, l *text, literals []string) (Conjunct, bool) {
		list := f.single(op, l, literals)
		if len(list) == 0 {
			return Conjunct{}, false
		}
		return list[0], true
	}
	switch n.Operator {
	case "in":
		list, ok := f.literals(n.Right)
		if !ok {
			return cj, false
		}
		return one(Equals, l, list)
	case "matches":
		if r := f.str(n.Right); r != nil && r.constant {
			if literals := required(r.value); literals != nil {
				return one(Contains, l, literals)
			}
		}
		return cj, false
	}
	op, known := conjunctOp(n.Operator)
	r := f.str(n.Right)
	if !known || l == nil || r == nil {
		return cj, false
	}
	if op == Equals && l.constant {
		l, r = r, l
	}
	if !r.constant {
		return cj, false
	}
	return one(op, l, []string{r.value})
}

// single makes a conjunct of a test, if it is one that can be indexed.
func (f *fast) single(op ConjunctOp, l *text, literals []string) []Conjunct {
	if l == nil || !l.field || op != Equals && slices.Contains(literals, "") {
		return nil // every text contains the empty one
	}
	return []Conjunct{{op, f.c.operand(l), literals}}
}

// constFalse tells whether a tree can never be true and never has an effect.
func (f *fast) constFalse(n node) bool {
	switch n := n.(type) {
	case *ast.BoolNode:
		return !n.Value
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&", "and":
			for _, p := range chainOf(n, true) {
				if f.constFalse(p) {
					return true
				}
				if f.effect(p)&(writes|stash) != 0 {
					return false
				}
			}
		case "||", "or":
			for _, p := range chainOf(n, false) {
				if !f.constFalse(p) {
					return false
				}
			}
			return true
		case "in":
			list, ok := f.literals(n.Right)
			l := f.str(n.Left)
			return ok && len(list) == 0 && l != nil
		}
		l, r := f.str(n.Left), f.str(n.Right)
		if l == nil || r == nil || !l.constant || !r.constant {
			return f.neverEqual(n)
		}
		op := textOp(n.Operator)
		return op != nil && !op(l.value, r.value) || n.Operator == "!=" && l.value == r.value
	}
	return false
}

// neverEqual recognises comparisons of two numbers, such as 1 == 0.
func (f *fast) neverEqual(n *ast.BinaryNode) bool {
	l, ok := n.Left.(*ast.IntegerNode)
	r, ok2 := n.Right.(*ast.IntegerNode)
	return ok && ok2 && (n.Operator == "==" && l.Value != r.Value || n.Operator == "!=" && l.Value == r.Value)
}
