package expression

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

// boolFunc and textFunc are expressions compiled to closures. An error makes
// the whole program fail, as it does on the VM.
type (
	boolFunc func(*Context) (bool, error)
	textFunc func(*Context) (string, error)
)

// fast compiles what it understands of a tree. What it does not understand
// between &&, || and not runs on the VM; any other such part leaves the whole
// program to the VM. It must equal Reference mode in value, in failure, and in
// what is evaluated when.
type fast struct {
	c      *Compiler
	frozen bool // fields no longer change: functions of a field are shared
	vars   map[string]variable
	// fallible counts parts compiled that can fail at run time.
	fallible int
}

// variable is a let: of a bool or of a text.
type variable struct {
	boolean boolFunc
	text    *text
}

// text is a part that gives a string.
type text struct {
	fn textFunc
	// constant: it is always value.
	constant bool
	value    string
	// field: it is a slot, through chain.
	field bool
	slot  pipeline.Slot
	chain []func(string) string
	name  string
}

func constant(s string) *text {
	return &text{constant: true, value: s, fn: func(*Context) (string, error) { return s, nil }}
}

// text compiles a whole program that gives a string, or returns nil.
func (f *fast) text(n ast.Node) textFunc {
	if t := f.str(n); t != nil {
		return t.fn
	}
	return nil
}

func (f *fast) str(n ast.Node) *text {
	switch n := n.(type) {
	case *ast.StringNode:
		return constant(n.Value)
	case *ast.MemberNode:
		if field, ok := fieldOf(n); ok {
			return f.field(f.c.schema.Slot(field.Space, field.Name), nil, field.String())
		}
	case *ast.IdentifierNode:
		return f.vars[n.Value].text
	case *ast.CallNode:
		return f.callText(n)
	case *ast.BinaryNode:
		if n.Operator != "+" {
			return nil
		}
		l, r := f.str(n.Left), f.str(n.Right)
		if l == nil || r == nil {
			return nil
		}
		return &text{fn: func(ctx *Context) (string, error) {
			a, err := l.fn(ctx)
			if err != nil {
				return "", err
			}
			b, err := r.fn(ctx)
			return a + b, err
		}}
	case *ast.ConditionalNode:
		cond, a, b := f.boolean(n.Cond), f.str(n.Exp1), f.str(n.Exp2)
		if cond == nil || a == nil || b == nil {
			return nil
		}
		return &text{fn: func(ctx *Context) (string, error) {
			ok, err := cond(ctx)
			if err != nil {
				return "", err
			}
			if ok {
				return a.fn(ctx)
			}
			return b.fn(ctx)
		}}
	}
	return nil
}

func (f *fast) field(slot pipeline.Slot, chain []func(string) string, name string) *text {
	t := &text{field: true, slot: slot, chain: chain, name: name}
	switch {
	case len(chain) == 0:
		t.fn = func(ctx *Context) (string, error) { return ctx.Event.Get(slot), nil }
	case f.frozen:
		c, o := f.c, f.c.operand(name, slot, chain)
		t.fn = func(ctx *Context) (string, error) { return c.Operand(o, ctx), nil }
	case len(chain) == 1:
		one := chain[0]
		t.fn = func(ctx *Context) (string, error) { return one(ctx.Event.Get(slot)), nil }
	default:
		t.fn = func(ctx *Context) (string, error) {
			v := ctx.Event.Get(slot)
			for _, one := range chain {
				v = one(v)
			}
			return v, nil
		}
	}
	return t
}

func (f *fast) callText(call *ast.CallNode) *text {
	id, ok := call.Callee.(*ast.IdentifierNode)
	if !ok {
		return nil
	}
	h := f.c.helpers[id.Value]
	if h == nil || !h.Pure {
		return nil
	}
	if h.String1 != nil && len(call.Arguments) == 1 {
		in := f.str(call.Arguments[0])
		switch {
		case in == nil:
			return nil
		case in.constant:
			return constant(h.String1(in.value))
		case in.field:
			return f.field(in.slot, append(slices.Clip(in.chain), h.String1), id.Value+"("+in.name+")")
		}
		return &text{fn: func(ctx *Context) (string, error) {
			s, err := in.fn(ctx)
			if err != nil {
				return "", err
			}
			return h.String1(s), nil
		}}
	}
	run := f.pureCall(h, call.Arguments, reflect.String)
	if run == nil {
		return nil
	}
	return &text{fn: func(ctx *Context) (string, error) {
		out, err := run(ctx)
		if err != nil {
			return "", err
		}
		return out.(string), nil
	}}
}

// pureCall compiles a call of a pure helper of strings, or returns nil.
func (f *fast) pureCall(h *funcs.Function, args []ast.Node, result reflect.Kind) func(*Context) (any, error) {
	if !h.Pure || len(h.Types) != 1 {
		return nil
	}
	t := reflect.TypeOf(h.Types[0]).Elem()
	if t.IsVariadic() || t.NumIn() != len(args) || t.NumOut() == 0 || t.Out(0).Kind() != result {
		return nil
	}
	in := make([]*text, len(args))
	for i, a := range args {
		if in[i] = f.str(a); in[i] == nil || t.In(i).Kind() != reflect.String {
			return nil
		}
	}
	f.fallible++
	return func(ctx *Context) (any, error) {
		values := make([]any, len(in))
		for i, t := range in {
			s, err := t.fn(ctx)
			if err != nil {
				return nil, err
			}
			values[i] = s
		}
		return h.Call(values...)
	}
}

// boolean compiles a part that gives a bool, or returns nil.
func (f *fast) boolean(n ast.Node) boolFunc {
	switch n := n.(type) {
	case *ast.BoolNode:
		v := n.Value
		return func(*Context) (bool, error) { return v, nil }
	case *ast.IdentifierNode:
		return f.vars[n.Value].boolean
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			if in := f.operandBool(n.Node); in != nil {
				return func(ctx *Context) (bool, error) {
					v, err := in(ctx)
					return !v, err
				}
			}
		}
	case *ast.BinaryNode:
		return f.binary(n)
	case *ast.CallNode:
		return f.callBool(n)
	case *ast.BuiltinNode:
		return f.anyLine(n)
	case *ast.VariableDeclaratorNode:
		return f.let(n)
	}
	return nil
}

// operandBool compiles an operand of &&, || or not, on the VM if need be.
func (f *fast) operandBool(n ast.Node) boolFunc {
	if b := f.boolean(n); b != nil {
		return b
	}
	return f.onVM(n)
}

// onVM compiles a part of a tree for the VM, from its printed form.
func (f *fast) onVM(n ast.Node) boolFunc {
	for name := range f.vars {
		id := &identFinder{name: name}
		if ast.Walk(&n, id); id.found {
			return nil
		}
	}
	src := n.String()
	options := append([]expr.Option{expr.Env(env{}), expr.Patch(&patcher{c: f.c, slots: true})}, f.c.options...)
	prog, err := expr.Compile(src, options...)
	if err != nil {
		return nil
	}
	f.fallible++
	view := usesEvt(prog.Node())
	return func(ctx *Context) (bool, error) {
		out, err := ctx.run(prog, view)
		if err != nil {
			return false, runError(err)
		}
		v, ok := out.(bool)
		if !ok {
			return false, fmt.Errorf("%s gives %T, not a bool", shorten(src), out)
		}
		return v, nil
	}
}

func (f *fast) binary(n *ast.BinaryNode) boolFunc {
	switch n.Operator {
	case "&&", "and", "||", "or":
		l, r := f.operandBool(n.Left), f.operandBool(n.Right)
		if l == nil || r == nil {
			return nil
		}
		stop := n.Operator == "||" || n.Operator == "or"
		return func(ctx *Context) (bool, error) {
			v, err := l(ctx)
			if err != nil || v == stop {
				return v, err
			}
			return r(ctx)
		}
	case "==", "!=":
		return f.equal(n)
	case "in":
		return f.in(n)
	case "contains", "startsWith", "endsWith":
		l, r := f.str(n.Left), f.str(n.Right)
		if l == nil || r == nil {
			return nil
		}
		return compare(l, r, textOps[n.Operator])
	case "matches":
		return f.matches(n)
	}
	return nil
}

var textOps = map[string]func(s, part string) bool{
	"contains": strings.Contains, "startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix,
}

func compare(l, r *text, op func(a, b string) bool) boolFunc {
	if r.constant {
		if lit := r.value; l.field && len(l.chain) == 0 {
			slot := l.slot
			return func(ctx *Context) (bool, error) { return op(ctx.Event.Get(slot), lit), nil }
		}
		lit, lf := r.value, l.fn
		return func(ctx *Context) (bool, error) {
			a, err := lf(ctx)
			return err == nil && op(a, lit), err
		}
	}
	lf, rf := l.fn, r.fn
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
	if _, isNil := n.Right.(*ast.NilNode); isNil {
		if l := f.str(n.Left); l != nil {
			return func(ctx *Context) (bool, error) { // a text is never nil
				_, err := l.fn(ctx)
				return not && err == nil, err
			}
		}
		return nil
	}
	l, r := f.str(n.Left), f.str(n.Right)
	if l == nil || r == nil {
		return nil
	}
	if l.constant {
		l, r = r, l
	}
	return compare(l, r, func(a, b string) bool { return (a == b) != not })
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
	l, list := f.str(n.Left), f.literals(n.Right)
	if l == nil || list == nil {
		return nil
	}
	if len(list) <= 4 {
		return func(ctx *Context) (bool, error) {
			s, err := l.fn(ctx)
			return err == nil && slices.Contains(list, s), err
		}
	}
	set := make(map[string]bool, len(list))
	for _, s := range list {
		set[s] = true
	}
	return func(ctx *Context) (bool, error) {
		s, err := l.fn(ctx)
		return err == nil && set[s], err
	}
}

// literals returns the texts of a list that holds nothing but fixed texts and nil.
func (f *fast) literals(n ast.Node) []string {
	array, ok := n.(*ast.ArrayNode)
	if !ok {
		return nil
	}
	list := []string{}
	for _, e := range array.Nodes {
		if _, isNil := e.(*ast.NilNode); isNil {
			continue
		}
		t := f.str(e)
		if t == nil || !t.constant {
			return nil
		}
		list = append(list, t.value)
	}
	return list
}

func (f *fast) matches(n *ast.BinaryNode) boolFunc {
	l, r := f.str(n.Left), f.str(n.Right)
	if l == nil || r == nil || !r.constant {
		return nil
	}
	re, err := regexp.Compile(r.value)
	if err != nil {
		return nil
	}
	return func(ctx *Context) (bool, error) {
		s, err := l.fn(ctx)
		return err == nil && re.MatchString(s), err
	}
}

func (f *fast) callBool(call *ast.CallNode) boolFunc {
	id, ok := call.Callee.(*ast.IdentifierNode)
	if !ok || f.c.helpers[id.Value] == nil {
		return nil
	}
	if id.Value == "IpInRange" && len(call.Arguments) == 2 {
		if b := f.inRange(call.Arguments[0], call.Arguments[1]); b != nil {
			return b
		}
	}
	var op func(a, b string) bool
	switch id.Value {
	case "RegexpInFile":
		op = f.c.data.RegexpInFile
	case "IsIPV6":
		if len(call.Arguments) == 1 {
			if s := f.str(call.Arguments[0]); s != nil {
				return func(ctx *Context) (bool, error) {
					v, err := s.fn(ctx)
					return err == nil && funcs.IsIPV6(v), err
				}
			}
		}
		return nil
	}
	if op != nil && len(call.Arguments) == 2 {
		if l, r := f.str(call.Arguments[0]), f.str(call.Arguments[1]); l != nil && r != nil {
			return compare(l, r, op)
		}
		return nil
	}
	run := f.pureCall(f.c.helpers[id.Value], call.Arguments, reflect.Bool)
	if run == nil {
		return nil
	}
	return func(ctx *Context) (bool, error) {
		out, err := run(ctx)
		if err != nil {
			return false, err
		}
		return out.(bool), nil
	}
}

// inRange compiles IpInRange of a fixed network, which is read once.
func (f *fast) inRange(ip, network ast.Node) boolFunc {
	l, r := f.str(ip), f.str(network)
	if l == nil || r == nil || !r.constant {
		return nil
	}
	prefix, err := funcs.ParseRange(r.value)
	if err != nil {
		return func(ctx *Context) (bool, error) {
			_, err := l.fn(ctx)
			return false, err
		}
	}
	return func(ctx *Context) (bool, error) {
		s, err := l.fn(ctx)
		if err != nil {
			return false, err
		}
		a, bad := netip.ParseAddr(s)
		return bad == nil && a.Zone() == "" && prefix.Contains(a.Unmap()), nil
	}
}

// anyLine compiles any(File('f'), {text contains #}) and its like.
func (f *fast) anyLine(n *ast.BuiltinNode) boolFunc {
	l, op, lines := f.lineTest(n)
	if l == nil {
		return nil
	}
	return func(ctx *Context) (bool, error) {
		if len(lines) == 0 {
			return false, nil
		}
		s, err := l.fn(ctx)
		if err != nil {
			return false, err
		}
		for _, line := range lines {
			if op(s, line) {
				return true, nil
			}
		}
		return false, nil
	}
}

// lineTest takes any(File('f'), {text op #}) apart; # may stand in pure
// functions. l is nil when the node is something else.
func (f *fast) lineTest(n *ast.BuiltinNode) (l *text, op func(a, b string) bool, lines []string) {
	if n.Name != "any" || len(n.Arguments) != 2 {
		return nil, nil, nil
	}
	call, ok := n.Arguments[0].(*ast.CallNode)
	if !ok || len(call.Arguments) != 1 {
		return nil, nil, nil
	}
	id, ok := call.Callee.(*ast.IdentifierNode)
	name, isText := call.Arguments[0].(*ast.StringNode)
	pred, isPred := n.Arguments[1].(*ast.PredicateNode)
	if !ok || id.Value != "File" || !isText || !isPred {
		return nil, nil, nil
	}
	test, ok := pred.Node.(*ast.BinaryNode)
	if !ok {
		return nil, nil, nil
	}
	op = textOps[test.Operator]
	if test.Operator == "==" {
		op = func(a, b string) bool { return a == b }
	}
	change := f.onLine(test.Right)
	if l = f.str(test.Left); l == nil || op == nil || change == nil {
		return nil, nil, nil
	}
	raw, _ := f.c.data.Lines(name.Value)
	lines = make([]string, len(raw))
	for i, line := range raw {
		lines[i] = change(line)
	}
	return l, op, lines
}

// onLine returns what an expression does to #, or nil.
func (f *fast) onLine(n ast.Node) func(string) string {
	switch n := n.(type) {
	case *ast.PointerNode:
		if n.Name == "" {
			return func(s string) string { return s }
		}
	case *ast.CallNode:
		id, ok := n.Callee.(*ast.IdentifierNode)
		if !ok || len(n.Arguments) != 1 {
			return nil
		}
		h := f.c.helpers[id.Value]
		in := f.onLine(n.Arguments[0])
		if h == nil || h.String1 == nil || !h.Pure || in == nil {
			return nil
		}
		return func(s string) string { return h.String1(in(s)) }
	}
	return nil
}

// let compiles a variable whose value cannot fail, so that it does not matter
// that it is evaluated where it is used.
func (f *fast) let(n *ast.VariableDeclaratorNode) boolFunc {
	before := f.fallible
	v := variable{boolean: f.boolean(n.Value)}
	if v.boolean == nil {
		v.text = f.str(n.Value)
	}
	if v.boolean == nil && v.text == nil || f.fallible != before {
		return nil
	}
	f.vars[n.Name] = v
	return f.boolean(n.Expr)
}
