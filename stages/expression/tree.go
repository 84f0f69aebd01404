package expression

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser/lexer"
)

// Bounds of an expression. expr counts nodes (10,000 at most), but its parser
// recurses over brackets and signs before it has made one.
const (
	maxSource  = 256 << 10
	maxNesting = 500
)

// guard refuses what the parser could not take without a very deep stack.
func guard(src string) error {
	if len(src) > maxSource {
		return &Error{Line: 1, Column: 1, Message: fmt.Sprintf("the expression is longer than %d KiB", maxSource>>10)}
	}
	tokens, err := lexer.Lex(file.NewSource(src))
	if err != nil {
		return nil // the parser will say it better
	}
	open, signs := 0, 0
	for _, t := range tokens {
		switch {
		case t.Kind == lexer.Bracket && strings.Contains("([{", t.Value):
			open++
		case t.Kind == lexer.Bracket:
			open--
		case t.Kind == lexer.Operator && (t.Value == "!" || t.Value == "not" || t.Value == "-" || t.Value == "+"):
			signs++
		default:
			signs = 0
		}
		if open > maxNesting || signs > maxNesting {
			line, column := place(src, t.From)
			return &Error{Line: line, Column: column, Message: fmt.Sprintf("the expression is nested deeper than %d levels", maxNesting)}
		}
	}
	return nil
}

// place turns an offset in runes into a line and a column, from 1.
func place(src string, offset int) (line, column int) {
	line, column = 1, 1
	for _, r := range src {
		if offset == 0 {
			break
		}
		offset--
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	return line, column
}

// children returns the places that hold a node's operands, in the order in
// which they stand.
func children(n ast.Node) []*ast.Node {
	switch n := n.(type) {
	case *ast.UnaryNode:
		return []*ast.Node{&n.Node}
	case *ast.BinaryNode:
		return []*ast.Node{&n.Left, &n.Right}
	case *ast.ChainNode:
		return []*ast.Node{&n.Node}
	case *ast.MemberNode:
		return []*ast.Node{&n.Node, &n.Property}
	case *ast.SliceNode:
		return present(&n.Node, &n.From, &n.To)
	case *ast.CallNode:
		return append([]*ast.Node{&n.Callee}, each(n.Arguments)...)
	case *ast.BuiltinNode:
		return append(each(n.Arguments), present(&n.Map)...)
	case *ast.PredicateNode:
		return []*ast.Node{&n.Node}
	case *ast.ConditionalNode:
		return []*ast.Node{&n.Cond, &n.Exp1, &n.Exp2}
	case *ast.VariableDeclaratorNode:
		return []*ast.Node{&n.Value, &n.Expr}
	case *ast.SequenceNode:
		return each(n.Nodes)
	case *ast.ArrayNode:
		return each(n.Nodes)
	case *ast.MapNode:
		return each(n.Pairs)
	case *ast.PairNode:
		return []*ast.Node{&n.Key, &n.Value}
	}
	return nil
}

func each(list []ast.Node) []*ast.Node {
	out := make([]*ast.Node, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

func present(list ...*ast.Node) []*ast.Node {
	out := list[:0]
	for _, n := range list {
		if *n != nil {
			out = append(out, n)
		}
	}
	return out
}

// clone copies a tree, so that a part of it can be patched and compiled alone.
func clone(n ast.Node) ast.Node {
	c := shallow(n)
	for _, child := range children(c) {
		*child = clone(*child)
	}
	return c
}

// shallow copies a node and its lists, not its operands.
func shallow(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.NilNode:
		c := *n
		return &c
	case *ast.IdentifierNode:
		c := *n
		return &c
	case *ast.IntegerNode:
		c := *n
		return &c
	case *ast.FloatNode:
		c := *n
		return &c
	case *ast.BoolNode:
		c := *n
		return &c
	case *ast.StringNode:
		c := *n
		return &c
	case *ast.BytesNode:
		c := *n
		return &c
	case *ast.ConstantNode:
		c := *n
		return &c
	case *ast.UnaryNode:
		c := *n
		return &c
	case *ast.BinaryNode:
		c := *n
		return &c
	case *ast.ChainNode:
		c := *n
		return &c
	case *ast.MemberNode:
		c := *n
		return &c
	case *ast.SliceNode:
		c := *n
		return &c
	case *ast.CallNode:
		c := *n
		c.Arguments = append([]ast.Node(nil), n.Arguments...)
		return &c
	case *ast.BuiltinNode:
		c := *n
		c.Arguments = append([]ast.Node(nil), n.Arguments...)
		return &c
	case *ast.PredicateNode:
		c := *n
		return &c
	case *ast.PointerNode:
		c := *n
		return &c
	case *ast.ConditionalNode:
		c := *n
		return &c
	case *ast.VariableDeclaratorNode:
		c := *n
		return &c
	case *ast.SequenceNode:
		c := *n
		c.Nodes = append([]ast.Node(nil), n.Nodes...)
		return &c
	case *ast.ArrayNode:
		c := *n
		c.Nodes = append([]ast.Node(nil), n.Nodes...)
		return &c
	case *ast.MapNode:
		c := *n
		c.Pairs = append([]ast.Node(nil), n.Pairs...)
		return &c
	case *ast.PairNode:
		c := *n
		return &c
	}
	return n
}

// names tells whether a tree mentions an identifier.
func names(n ast.Node, name string) bool {
	if id, ok := n.(*ast.IdentifierNode); ok {
		return id.Value == name
	}
	for _, child := range children(n) {
		if names(*child, name) {
			return true
		}
	}
	return false
}
