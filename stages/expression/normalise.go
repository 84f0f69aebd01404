package expression

import (
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/optimizer"
	"github.com/expr-lang/expr/parser"
)

// normalise does to a tree what expr's optimizer does to it where that can be
// noticed. It drops what stands beside a constant (x && false is false, also
// when x would have failed or written), and it makes one loop of two over the
// same list (any(l, a) || any(l, b)), which changes what is evaluated when.
// The rest of the optimizer's work changes nothing but speed.
func (f *fast) normalise(root *node) {
	if f.fold(root) {
		f.foldLiterals(root)
	}
}

// fold normalises a tree, but for those that consist of literals and
// operators alone, of which it says so.
func (f *fast) fold(n *node) (literal bool) {
	operands := children(*n)
	literals := 0
	isLiteral := make([]bool, len(operands))
	for i, child := range operands {
		if isLiteral[i] = f.fold(child); isLiteral[i] {
			literals++
		}
	}
	switch (*n).(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return true
	case *ast.BinaryNode, *ast.UnaryNode:
		if literals == len(operands) {
			return true
		}
	}
	for i, child := range operands {
		if isLiteral[i] {
			f.foldLiterals(child)
		}
	}
	f.foldNode(n)
	return false
}

// foldNode folds a node whose operands are folded.
func (f *fast) foldNode(n *node) {
	switch node := (*n).(type) {
	case *ast.UnaryNode:
		if b, ok := node.Node.(*ast.BoolNode); ok && (node.Operator == "not" || node.Operator == "!") {
			ast.Patch(n, &ast.BoolNode{Value: !b.Value})
		}
	case *ast.BinaryNode:
		switch node.Operator {
		case "&&", "and":
			foldJunction(n, node, true)
		case "||", "or":
			foldJunction(n, node, false)
		case "==":
			l, ok := node.Left.(*ast.BoolNode)
			if r, both := node.Right.(*ast.BoolNode); ok && both {
				ast.Patch(n, &ast.BoolNode{Value: l.Value == r.Value})
			}
		}
	}
}

// foldLiterals asks the optimizer itself whether a tree of literals is a constant condition.
func (f *fast) foldLiterals(n *node) {
	if !isOperation(*n) {
		return
	}
	tree := &parser.Tree{Node: clone(*n), Source: f.source}
	if _, err := new(checker.Checker).Check(tree, f.c.config); err != nil {
		return
	}
	if err := optimizer.Optimize(&tree.Node, f.c.config); err != nil {
		return
	}
	if b, ok := tree.Node.(*ast.BoolNode); ok {
		ast.Patch(n, &ast.BoolNode{Value: b.Value})
	}
}

func isOperation(n node) bool {
	switch n.(type) {
	case *ast.BinaryNode, *ast.UnaryNode:
		return true
	}
	return false
}

// foldJunction folds an && (or an ||) beside a constant, and joins loops.
func foldJunction(n *node, b *ast.BinaryNode, and bool) {
	l, left := b.Left.(*ast.BoolNode)
	r, right := b.Right.(*ast.BoolNode)
	switch {
	case left && l.Value == and:
		*n = b.Right
	case right && r.Value == and:
		*n = b.Left
	case left || right:
		ast.Patch(n, &ast.BoolNode{Value: !and})
	default:
		joinLoops(n, b, and)
	}
}

// joinLoops makes one loop of two over the same list, as the optimizer does.
func joinLoops(n *node, b *ast.BinaryNode, and bool) {
	l, ok := b.Left.(*ast.BuiltinNode)
	r, ok2 := b.Right.(*ast.BuiltinNode)
	if !ok || !ok2 || l.Name != r.Name || len(l.Arguments) != 2 || len(r.Arguments) != 2 {
		return
	}
	operator := b.Operator
	switch {
	case l.Name == "all" && and, l.Name == "any" && !and:
	case l.Name == "none" && operator == "and":
		operator = "or"
	case l.Name == "none" && operator == "&&":
		operator = "||"
	default:
		return
	}
	a, isPred := l.Arguments[1].(*ast.PredicateNode)
	c, isPred2 := r.Arguments[1].(*ast.PredicateNode)
	if !isPred || !isPred2 || l.Arguments[0].String() != r.Arguments[0].String() {
		return
	}
	body := &ast.BinaryNode{Operator: operator, Left: a.Node, Right: c.Node}
	body.SetLocation(b.Location())
	pred := &ast.PredicateNode{Node: body}
	pred.SetLocation(a.Location())
	joinLoops(&pred.Node, body, operator == "and" || operator == "&&")
	ast.Patch(n, &ast.BuiltinNode{Name: l.Name, Arguments: []node{l.Arguments[0], pred}})
}
