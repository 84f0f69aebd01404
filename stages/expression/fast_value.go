package expression

import (
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm/runtime"
)

// valueFunc gives a value of any type: what lies below evt.Unmarshaled.
type valueFunc func(*Context) (any, error)

// step is one key on the way below evt.Unmarshaled.
type step struct {
	key      string
	optional bool // ?. : nil before it ends the path with nil
	failure  error
}

// value compiles evt.Unmarshaled.a["b"]?.c, or returns nil.
func (f *fast) value(n node) valueFunc {
	chain, chained := n.(*ast.ChainNode)
	if chained {
		n = chain.Node
	}
	steps := unmarshaledPath(n, nil)
	if len(steps) == 0 || !chained && slices.ContainsFunc(steps, func(s step) bool { return s.optional }) {
		return nil
	}
	return func(ctx *Context) (any, error) {
		var v any = ctx.Event.Unmarshaled
		for i := range steps {
			s := &steps[i]
			if m, ok := v.(map[string]any); ok && (m != nil || i == 0) {
				v = m[s.key]
				continue
			}
			if s.optional && runtime.IsNil(v) {
				return nil, nil
			}
			if v == nil {
				return nil, s.failure
			}
			var err error
			if v, err = s.fetch(v); err != nil {
				return nil, err
			}
		}
		if chained && v != nil && runtime.IsNil(v) {
			return nil, nil
		}
		return v, nil
	}
}

// fetch reads the step's key of a value that is no map[string]any, as the VM does.
func (s *step) fetch(from any) (v any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return runtime.Fetch(from, s.key), nil
}

// unmarshaledPath lists the keys below evt.Unmarshaled that a node reads, or returns nil.
func unmarshaledPath(n node, after []step) []step {
	m, ok := n.(*ast.MemberNode)
	if !ok || m.Method {
		return nil
	}
	if isEvt(m.Node) && propertyOf(m) == "Unmarshaled" {
		return after
	}
	key, ok := m.Property.(*ast.StringNode)
	if !ok {
		return nil
	}
	one := step{key.Value, m.Optional, fmt.Errorf("cannot fetch %s from <nil>", key.Value)}
	return unmarshaledPath(m.Node, append([]step{one}, after...))
}

// testValue compiles a test of a value that is a string; of any other type,
// the VM runs the whole node again: reading has no effects.
func (f *fast) testValue(operand, whole node, test func(string) bool) boolFunc {
	v := f.value(operand)
	if v == nil {
		return nil
	}
	slow := f.onVM(whole)
	if slow == nil {
		return nil
	}
	return func(ctx *Context) (bool, error) {
		got, err := v(ctx)
		if err != nil {
			return false, err
		}
		if s, ok := got.(string); ok {
			return test(s), nil
		}
		return slow.boolean(ctx)
	}
}

// equalValue compiles == and != of a value and a fixed text, number, bool or nil.
func (f *fast) equalValue(operand, other node, whole *ast.BinaryNode) boolFunc {
	v := f.value(operand)
	if v == nil {
		v, other = f.value(other), operand
	}
	if v == nil {
		return nil
	}
	var want any
	switch o := other.(type) {
	case *ast.NilNode:
	case *ast.IntegerNode:
		want = o.Value
	case *ast.BoolNode:
		want = o.Value
	default:
		t := f.str(other)
		if t == nil || !t.constant {
			return nil
		}
		want = t.value
	}
	not := whole.Operator == "!="
	text, isText := want.(string)
	return func(ctx *Context) (bool, error) {
		got, err := v(ctx)
		if err != nil {
			return false, err
		}
		if isText {
			s, ok := got.(string)
			return (ok && s == text) != not, nil
		}
		return (runtime.Equal(got, want)) != not, nil
	}
}

// flag compiles a value that has to be a bool.
func (f *fast) flag(n node) boolFunc {
	v := f.value(n)
	if v == nil {
		return nil
	}
	return func(ctx *Context) (bool, error) {
		got, err := v(ctx)
		if err != nil {
			return false, err
		}
		return boolOf(got)
	}
}

// number compiles a part that gives an int: a literal, len or int of a text.
func (f *fast) number(n node) func(*Context) (int, error) {
	switch n := n.(type) {
	case *ast.IntegerNode:
		v := n.Value
		return func(*Context) (int, error) { return v, nil }
	case *ast.BuiltinNode:
		if len(n.Arguments) != 1 || n.Name != "len" && n.Name != "int" {
			return nil
		}
		t := f.str(n.Arguments[0])
		if t == nil {
			return nil
		}
		if n.Name == "len" {
			return func(ctx *Context) (int, error) {
				s, err := t.fn(ctx)
				return utf8.RuneCountInString(s), err
			}
		}
		return func(ctx *Context) (int, error) {
			s, err := t.fn(ctx)
			if err != nil {
				return 0, err
			}
			i, err := strconv.Atoi(s)
			if err != nil {
				return 0, errNotInt
			}
			return i, nil
		}
	}
	return nil
}

var errNotInt = fmt.Errorf("int of a text that is no whole number")

func (f *fast) equalNumbers(n *ast.BinaryNode) boolFunc {
	not := n.Operator == "!="
	return f.compareNumbers(n, func(a, b int) bool { return (a == b) != not })
}

// order compiles <, <=, > and >= of numbers.
func (f *fast) order(n *ast.BinaryNode) boolFunc {
	switch n.Operator {
	case "<":
		return f.compareNumbers(n, func(a, b int) bool { return a < b })
	case "<=":
		return f.compareNumbers(n, func(a, b int) bool { return a <= b })
	case ">":
		return f.compareNumbers(n, func(a, b int) bool { return a > b })
	}
	return f.compareNumbers(n, func(a, b int) bool { return a >= b })
}

func (f *fast) compareNumbers(n *ast.BinaryNode, op func(a, b int) bool) boolFunc {
	l, r := f.number(n.Left), f.number(n.Right)
	if l == nil || r == nil {
		return nil
	}
	return func(ctx *Context) (bool, error) {
		a, err := l(ctx)
		if err != nil {
			return false, err
		}
		b, err := r(ctx)
		return err == nil && op(a, b), err
	}
}
