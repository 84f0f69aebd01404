package expression

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"

	"sluice/stages/expression/funcs"
)

func textOp(operator string) func(s, part string) bool {
	switch operator {
	case "contains":
		return strings.Contains
	case "startsWith":
		return strings.HasPrefix
	case "endsWith":
		return strings.HasSuffix
	case "==":
		return func(a, b string) bool { return a == b }
	}
	return nil
}

// compare compiles a test of two texts, the left one computed first.
func compare(l, r *text, op func(a, b string) bool) boolFunc {
	lf, rf := l.fn, r.fn
	if r.constant {
		lit := r.value
		if l.field && len(l.chain) == 0 {
			slot := l.slot
			return func(ctx *Context) (bool, error) { return op(ctx.Event.Get(slot), lit), nil }
		}
		return func(ctx *Context) (bool, error) {
			a, err := lf(ctx)
			return err == nil && op(a, lit), err
		}
	}
	return func(ctx *Context) (bool, error) {
		a, err := lf(ctx)
		if err != nil {
			return false, err
		}
		b, err := rf(ctx)
		return err == nil && op(a, b), err
	}
}

func (f *fast) equal(n *ast.BinaryNode) boolFunc {
	not := n.Operator == "!="
	l := f.str(n.Left)
	if _, isNil := n.Right.(*ast.NilNode); isNil && l != nil {
		return func(ctx *Context) (bool, error) { // a text is never nil
			_, err := l.fn(ctx)
			return not && err == nil, err
		}
	}
	r := f.str(n.Right)
	switch {
	case l == nil && r == nil:
		if b := f.equalNumbers(n); b != nil {
			return b
		}
		return f.equalValue(n.Left, n.Right, n)
	case r == nil:
		return f.equalValue(n.Right, n.Left, n)
	case l == nil:
		return f.equalValue(n.Left, n.Right, n)
	case l.constant:
		l, r = r, l // a constant cannot fail, so the order does not matter
	}
	if r.constant && l.field && len(l.chain) == 0 {
		slot, lit := l.slot, r.value
		return func(ctx *Context) (bool, error) { return (ctx.Event.Get(slot) == lit) != not, nil }
	}
	return compare(l, r, func(a, b string) bool { return (a == b) != not })
}

// textTest compiles contains, startsWith and endsWith.
func (f *fast) textTest(n *ast.BinaryNode) boolFunc {
	l, r := f.str(n.Left), f.str(n.Right)
	if r == nil {
		return nil
	}
	op := textOp(n.Operator)
	if l == nil {
		if !r.constant {
			return nil
		}
		return f.testValue(n.Left, n, func(s string) bool { return op(s, r.value) })
	}
	return compare(l, r, op)
}

// in compiles tests of presence and of membership in a list of fixed texts.
func (f *fast) in(n *ast.BinaryNode) boolFunc {
	if space, ok := namespaceOf(n.Right); ok {
		name, ok := n.Left.(*ast.StringNode)
		if !ok {
			return nil
		}
		slot := f.c.schema.Slot(space, name.Value)
		return func(ctx *Context) (bool, error) { return ctx.Event.Has(slot), nil }
	}
	list, ok := f.literals(n.Right)
	if !ok {
		return nil
	}
	has := member(list)
	l := f.str(n.Left)
	if l == nil {
		return f.testValue(n.Left, n, has)
	}
	return func(ctx *Context) (bool, error) {
		s, err := l.fn(ctx)
		return err == nil && has(s), err
	}
}

// member returns the test for being in a list.
func member(list []string) func(string) bool {
	if len(list) <= 4 {
		return func(s string) bool { return slices.Contains(list, s) }
	}
	set := make(map[string]struct{}, len(list))
	for _, s := range list {
		set[s] = struct{}{}
	}
	return func(s string) bool { _, ok := set[s]; return ok }
}

// literals returns the texts of a list that holds nothing but fixed texts and
// nil, which no text equals; or of File('x').
func (f *fast) literals(n node) ([]string, bool) {
	if call, ok := n.(*ast.CallNode); ok {
		return f.fileOf(call)
	}
	array, ok := n.(*ast.ArrayNode)
	if !ok {
		return nil, false
	}
	list := make([]string, 0, len(array.Nodes))
	for _, e := range array.Nodes {
		if _, isNil := e.(*ast.NilNode); isNil {
			continue
		}
		t := f.str(e)
		if t == nil || !t.constant {
			return nil, false
		}
		list = append(list, t.value)
	}
	return list, true
}

// callBool compiles calls of pure helpers of strings that give a bool.
func (f *fast) callBool(call *ast.CallNode) boolFunc {
	h := f.helper(call)
	if h == nil {
		return nil
	}
	args := make([]*text, len(call.Arguments))
	for i, a := range call.Arguments {
		if args[i] = f.str(a); args[i] == nil {
			return nil
		}
	}
	switch {
	case h.Name == "IpInRange" && len(args) == 2 && args[1].constant:
		return inRange(args[0], args[1].value)
	case h.Name == "IsIPV6" && len(args) == 1:
		in := args[0].fn
		return func(ctx *Context) (bool, error) {
			s, err := in(ctx)
			return err == nil && funcs.IsIPV6(s), err
		}
	case h.Name == "RegexpInFile" && len(args) == 2:
		return compare(args[0], args[1], f.c.data.RegexpInFile)
	case h.Name == "Match" && len(args) == 2:
		return compare(args[0], args[1], funcs.Match)
	}
	run := f.pureCall(h, call.Arguments, reflect.Bool)
	if run == nil {
		return nil
	}
	return func(ctx *Context) (bool, error) {
		out, err := run(ctx)
		if err != nil {
			return false, err
		}
		return boolOf(out)
	}
}

// inRange compiles IpInRange of a fixed network, which is read once.
func inRange(ip *text, network string) boolFunc {
	prefix, bad := funcs.ParseRange(network)
	in := ip.fn
	return func(ctx *Context) (bool, error) {
		s, err := in(ctx)
		if err != nil || bad != nil || s == "" {
			return false, err
		}
		a, e := netip.ParseAddr(s)
		return e == nil && a.Zone() == "" && prefix.Contains(a.Unmap()), nil
	}
}
