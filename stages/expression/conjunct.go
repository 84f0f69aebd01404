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

var conjunctOps = map[string]ConjunctOp{"==": Equals, "contains": Contains, "startsWith": StartsWith, "endsWith": EndsWith}

// conjuncts lists conditions without which a tree cannot be true, in the
// order in which they are evaluated, as far as the first part that writes to the event.
func (c *Compiler) conjuncts(n ast.Node, f *fast) []Conjunct {
	switch n := n.(type) {
	case *ast.VariableDeclaratorNode:
		if c.analyse(n.Value).Writes {
			return nil
		}
		return c.conjuncts(n.Expr, f)
	case *ast.BinaryNode:
		switch n.Operator {
		case "&&", "and":
			left := c.conjuncts(n.Left, f)
			if c.analyse(n.Left).Writes {
				return left
			}
			return append(left, c.conjuncts(n.Right, f)...)
		case "||", "or":
			if c.analyse(n).Writes {
				return nil
			}
			return either(c.conjuncts(n.Left, f), c.conjuncts(n.Right, f))
		}
		if cj, ok := f.conjunct(n); ok {
			return []Conjunct{cj}
		}
	case *ast.BuiltinNode:
		if cj, ok := f.lineConjunct(n); ok {
			return []Conjunct{cj}
		}
	}
	return nil
}

// either keeps what both sides of an or need: one of both sides' literals.
func either(a, b []Conjunct) []Conjunct {
	var out []Conjunct
	for _, x := range a {
		for _, y := range b {
			if x.Op == y.Op && x.Operand == y.Operand {
				literals := slices.Concat(x.Literals, y.Literals)
				slices.Sort(literals)
				out = append(out, Conjunct{x.Op, x.Operand, slices.Compact(literals)})
			}
		}
	}
	return out
}

func (f *fast) conjunct(n *ast.BinaryNode) (Conjunct, bool) {
	if n.Operator == "in" {
		l, list := f.str(n.Left), f.literals(n.Right)
		if l == nil || !l.field || list == nil {
			return Conjunct{}, false
		}
		return f.newConjunct(Equals, l, list)
	}
	op, known := conjunctOps[n.Operator]
	if !known {
		return Conjunct{}, false
	}
	l, r := f.str(n.Left), f.str(n.Right)
	if l == nil || r == nil {
		return Conjunct{}, false
	}
	if op == Equals && l.constant {
		l, r = r, l
	}
	if !l.field || !r.constant {
		return Conjunct{}, false
	}
	return f.newConjunct(op, l, []string{r.value})
}

func (f *fast) lineConjunct(n *ast.BuiltinNode) (Conjunct, bool) {
	l, _, lines := f.lineTest(n)
	if l == nil || !l.field || len(lines) == 0 {
		return Conjunct{}, false
	}
	test := n.Arguments[1].(*ast.PredicateNode).Node.(*ast.BinaryNode)
	return f.newConjunct(conjunctOps[test.Operator], l, slices.Clone(lines))
}

func (f *fast) newConjunct(op ConjunctOp, l *text, literals []string) (Conjunct, bool) {
	if op != Equals && slices.Contains(literals, "") {
		return Conjunct{}, false // every text contains the empty one
	}
	return Conjunct{op, f.c.operand(l.name, l.slot, l.chain), literals}, true
}
