package expression

import (
	"slices"
	"strconv"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
)

type node = ast.Node

// boolFunc and textFunc are expressions compiled to closures. An error makes
// the whole program fail, as it does on the VM.
type (
	boolFunc func(*Context) (bool, error)
	textFunc func(*Context) (string, error)
)

// fast compiles what it understands of a tree that the checker accepted.
// Conditions that it does not understand run on the VM where they stand; any
// other such part leaves what is around it to the VM. It must equal Reference
// mode in value, in failure, and in what is evaluated when:
// TestHubExpressionsEqualReference and FuzzCompiled hold them together.
type fast struct {
	c       *Compiler
	source  file.Source
	frozen  bool // fields no longer change: functions of a field are shared
	lets    []*let
	effects map[node]effect
}

// let is a variable in view. Its value has no effects, so it may be computed
// where it is used, any number of times.
type let struct {
	name    string
	value   node
	boolean boolFunc
	text    *text
}

func (f *fast) lookup(name string) *let {
	for i := len(f.lets) - 1; i >= 0; i-- {
		if f.lets[i].name == name {
			return f.lets[i]
		}
	}
	return nil
}

// boolean compiles a condition, or returns nil when there is nothing to gain
// over the VM.
func (f *fast) boolean(n node) boolFunc {
	switch n := n.(type) {
	case *ast.BoolNode:
		v := n.Value
		return func(*Context) (bool, error) { return v, nil }
	case *ast.IdentifierNode:
		if l := f.lookup(n.Value); l != nil {
			return l.boolean
		}
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			return f.not(n)
		}
	case *ast.BinaryNode:
		return f.binary(n)
	case *ast.ConditionalNode:
		return f.choice(n)
	case *ast.MemberNode:
		if isEvt(n.Node) && propertyOf(n) == "Whitelisted" {
			return func(ctx *Context) (bool, error) { return ctx.Event.Whitelisted, nil }
		}
		return f.flag(n)
	case *ast.CallNode:
		return f.callBool(n)
	case *ast.BuiltinNode:
		return f.anyLine(n)
	case *ast.VariableDeclaratorNode:
		return f.let(n)
	}
	return nil
}

// condition compiles an operand of &&, ||, not and ?:, on the VM if need be.
func (f *fast) condition(n node) boolFunc {
	if b := f.boolean(n); b != nil {
		return b
	}
	if m := f.onVM(n); m != nil {
		return m.boolean
	}
	return nil
}

// onVM compiles a part for the VM, inside the lets that it mentions.
func (f *fast) onVM(n node) *machine {
	for i := len(f.lets) - 1; i >= 0; i-- {
		if l := f.lets[i]; names(n, l.name) {
			n = &ast.VariableDeclaratorNode{Name: l.name, Value: l.value, Expr: n}
		}
	}
	return f.c.part(f.source, n)
}

func (f *fast) not(n *ast.UnaryNode) boolFunc {
	in := f.boolean(n.Node)
	if in == nil {
		return nil
	}
	return func(ctx *Context) (bool, error) {
		v, err := in(ctx)
		return !v, err
	}
}

func (f *fast) binary(n *ast.BinaryNode) boolFunc {
	switch n.Operator {
	case "&&", "and", "||", "or":
		return f.junction(n)
	case "==", "!=":
		return f.equal(n)
	case "in":
		return f.in(n)
	case "contains", "startsWith", "endsWith":
		return f.textTest(n)
	case "matches":
		return f.matches(n)
	case "<", "<=", ">", ">=":
		return f.order(n)
	}
	return nil
}

// junction compiles a chain of && or of ||. All on the VM would be one
// program instead of several, so something in it has to be understood.
func (f *fast) junction(n *ast.BinaryNode) boolFunc {
	and := n.Operator == "&&" || n.Operator == "and"
	operands := chainOf(n, and)
	terms := make([]boolFunc, len(operands))
	understood := false
	for i, o := range operands {
		terms[i] = f.boolean(o)
		understood = understood || terms[i] != nil
	}
	if !understood {
		return nil
	}
	for i, o := range operands {
		if terms[i] == nil {
			m := f.onVM(o)
			if m == nil {
				return nil
			}
			terms[i] = m.boolean
		}
	}
	if len(terms) == 2 {
		l, r := terms[0], terms[1]
		return func(ctx *Context) (bool, error) {
			if v, err := l(ctx); err != nil || v != and {
				return v, err
			}
			return r(ctx)
		}
	}
	return func(ctx *Context) (bool, error) {
		for _, term := range terms {
			if v, err := term(ctx); err != nil || v != and {
				return v, err
			}
		}
		return and, nil
	}
}

// chainOf lists the operands of nested && or ||, in the order of evaluation.
func chainOf(n node, and bool) []node {
	var out []node
	stack := []node{n}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if b, ok := n.(*ast.BinaryNode); ok {
			if isAnd, isOr := b.Operator == "&&" || b.Operator == "and", b.Operator == "||" || b.Operator == "or"; and && isAnd || !and && isOr {
				stack = append(stack, b.Right, b.Left)
				continue
			}
		}
		out = append(out, n)
	}
	return out
}

func (f *fast) choice(n *ast.ConditionalNode) boolFunc {
	cond := f.boolean(n.Cond)
	if cond == nil {
		return nil
	}
	yes, no := f.condition(n.Exp1), f.condition(n.Exp2)
	if yes == nil || no == nil {
		return nil
	}
	return func(ctx *Context) (bool, error) {
		v, err := cond(ctx)
		if err != nil {
			return false, err
		}
		if v {
			return yes(ctx)
		}
		return no(ctx)
	}
}

// let compiles a variable. Its value is computed once where it stands, so
// that it fails there, and again where it is used; so nothing may write
// between the two.
func (f *fast) let(n *ast.VariableDeclaratorNode) boolFunc {
	if f.effect(n.Value) != 0 || !f.writesLast(n.Expr) {
		return nil
	}
	l := &let{name: n.Name, value: n.Value}
	var check func(*Context) error
	if l.text = f.str(n.Value); l.text != nil {
		if fn := l.text.fn; l.text.fallible {
			check = func(ctx *Context) error { _, err := fn(ctx); return err }
		}
	} else if l.boolean = f.boolean(n.Value); l.boolean != nil {
		fn := l.boolean
		check = func(ctx *Context) error { _, err := fn(ctx); return err }
	} else {
		return nil
	}
	f.lets = append(f.lets, l)
	body := f.boolean(n.Expr)
	f.lets = f.lets[:len(f.lets)-1]
	if body == nil || check == nil {
		return body
	}
	return func(ctx *Context) (bool, error) {
		if err := check(ctx); err != nil {
			return false, err
		}
		return body(ctx)
	}
}

// writesLast tells whether whatever writes in a tree is the last that runs of it.
func (f *fast) writesLast(n node) bool {
	if f.effect(n)&writes == 0 {
		return true
	}
	switch n := n.(type) {
	case *ast.ConditionalNode:
		return f.effect(n.Cond)&writes == 0 && f.writesLast(n.Exp1) && f.writesLast(n.Exp2)
	case *ast.VariableDeclaratorNode:
		return f.effect(n.Value)&writes == 0 && f.writesLast(n.Expr)
	case *ast.BinaryNode:
		if slices.Contains([]string{"&&", "and", "||", "or"}, n.Operator) {
			return f.effect(n.Left)&writes == 0 && f.writesLast(n.Right)
		}
	}
	return true // one part, which runs on the VM as a whole
}

// program compiles a program's Text, or returns nil. isText: it is always a string.
func (f *fast) program(n node) (run renderFunc, isText bool) {
	if t := f.str(n); t != nil {
		fn := t.fn
		return func(ctx *Context) (string, bool, error) {
			s, err := fn(ctx)
			return s, s != "" && err == nil, err
		}, true
	}
	if number := f.number(n); number != nil {
		return func(ctx *Context) (string, bool, error) {
			i, err := number(ctx)
			if err != nil {
				return "", false, err
			}
			return strconv.Itoa(i), true, nil // small ones are no allocation
		}, false
	}
	v := f.value(n)
	if v == nil {
		return nil, false
	}
	return func(ctx *Context) (string, bool, error) {
		out, err := v(ctx)
		if err != nil {
			return "", false, err
		}
		return Render(out)
	}, false
}
