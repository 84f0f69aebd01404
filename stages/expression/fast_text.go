package expression

import (
	"reflect"
	"slices"

	"github.com/expr-lang/expr/ast"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

// text is a part that gives a string.
type text struct {
	fn textFunc
	// fallible: fn can fail.
	fallible bool
	// constant: it is always value.
	constant bool
	value    string
	// field: it is a slot, through chain.
	field bool
	slot  pipeline.Slot
	chain []lineFunc
	name  string
}

func constant(s string) *text {
	return &text{constant: true, value: s, fn: func(*Context) (string, error) { return s, nil }}
}

// str compiles a part that gives a string whatever the event holds, or returns nil.
func (f *fast) str(n node) *text {
	switch n := n.(type) {
	case *ast.StringNode:
		return constant(n.Value)
	case *ast.ChainNode:
		if _, ok := fieldOf(n.Node); ok {
			return f.str(n.Node)
		}
	case *ast.MemberNode:
		if field, ok := fieldOf(n); ok {
			return f.field(&text{slot: f.c.schema.Slot(field.Space, field.Name), name: field.String()})
		}
	case *ast.IdentifierNode:
		if l := f.lookup(n.Value); l != nil {
			return l.text
		}
	case *ast.CallNode:
		return f.callText(n)
	case *ast.BinaryNode:
		if n.Operator == "+" {
			return f.concatenation(n)
		}
	case *ast.ConditionalNode:
		return f.choiceText(n)
	}
	return nil
}

func (f *fast) concatenation(n *ast.BinaryNode) *text {
	l, r := f.str(n.Left), f.str(n.Right)
	switch {
	case l == nil || r == nil:
		return nil
	case l.constant && r.constant:
		return constant(l.value + r.value)
	}
	return &text{fallible: l.fallible || r.fallible, fn: func(ctx *Context) (string, error) {
		a, err := l.fn(ctx)
		if err != nil {
			return "", err
		}
		b, err := r.fn(ctx)
		if err != nil {
			return "", err
		}
		return ctx.Event.Join(a, b), nil
	}}
}

func (f *fast) choiceText(n *ast.ConditionalNode) *text {
	a, b := f.str(n.Exp1), f.str(n.Exp2)
	if a == nil || b == nil {
		return nil
	}
	cond := f.condition(n.Cond)
	if cond == nil {
		return nil
	}
	return &text{fallible: true, fn: func(ctx *Context) (string, error) {
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

// field completes a text that is a slot, perhaps through functions.
func (f *fast) field(t *text) *text {
	t.field = true
	slot, chain := t.slot, t.chain
	switch {
	case len(chain) == 0:
		t.fn = func(ctx *Context) (string, error) { return ctx.Event.Get(slot), nil }
	case f.frozen:
		c, i := f.c, f.c.operand(t).Memo
		t.fn = func(ctx *Context) (string, error) { return c.memoValue(i, ctx.Event), nil }
	default:
		t.fn = func(ctx *Context) (string, error) {
			v := ctx.Event.Get(slot)
			for _, one := range chain {
				v = one(ctx.Event, v)
			}
			return v, nil
		}
	}
	return t
}

func (f *fast) callText(call *ast.CallNode) *text {
	if m, ok := call.Callee.(*ast.MemberNode); ok && isEvt(m.Node) {
		return f.eventMethod(propertyOf(m), call.Arguments)
	}
	h := f.helper(call)
	if h == nil {
		return nil
	}
	if h.String1 == nil || len(call.Arguments) != 1 {
		return f.helperText(h, call.Arguments)
	}
	in := f.str(call.Arguments[0])
	switch {
	case in == nil:
		return nil
	case in.constant:
		return constant(h.String1(in.value))
	case in.field:
		return f.field(&text{slot: in.slot, chain: append(slices.Clip(in.chain), lineHelper(h)), name: h.Name + "(" + in.name + ")"})
	}
	return &text{fallible: in.fallible, fn: func(ctx *Context) (string, error) {
		s, err := in.fn(ctx)
		if err != nil {
			return "", err
		}
		return h.String1(s), nil
	}}
}

// eventMethod compiles evt.GetType() and evt.GetMeta('x').
func (f *fast) eventMethod(name string, args []node) *text {
	switch {
	case name == "GetType" && len(args) == 0:
		return &text{fn: func(ctx *Context) (string, error) { return typeName(ctx), nil }}
	case name == "GetMeta" && len(args) == 1:
		key, ok := args[0].(*ast.StringNode)
		if !ok {
			return nil
		}
		slot := f.c.schema.Slot(pipeline.Meta, key.Value)
		return &text{fn: func(ctx *Context) (string, error) {
			if ctx.Event.Type == pipeline.OverflowEvent {
				return ctx.Event.View().GetMeta(key.Value), nil
			}
			return ctx.Event.Get(slot), nil
		}}
	}
	return nil
}

// helper returns the pure helper that a call calls, or nil.
func (f *fast) helper(call *ast.CallNode) *funcs.Function {
	id, ok := call.Callee.(*ast.IdentifierNode)
	if !ok {
		return nil
	}
	if h := f.c.helpers[id.Value]; h != nil && h.Pure {
		return h
	}
	return nil
}

// helperText compiles a pure helper of strings that gives a string.
func (f *fast) helperText(h *funcs.Function, args []node) *text {
	if h.Name == "LookupFile" && len(args) == 2 {
		l, r := f.str(args[0]), f.str(args[1])
		if l == nil || r == nil || !r.constant || l.fallible {
			return nil
		}
		data, in, name := f.c.data, l.fn, r.value
		return &text{fn: func(ctx *Context) (string, error) {
			s, err := in(ctx)
			return data.LookupFile(s, name), err
		}}
	}
	run := f.pureCall(h, args, reflect.String)
	if run == nil {
		return nil
	}
	return &text{fallible: true, fn: func(ctx *Context) (string, error) {
		out, err := run(ctx)
		if err != nil {
			return "", err
		}
		return out.(string), nil
	}}
}

// pureCall compiles a call of a pure helper of strings whose result is of one kind, or returns nil.
func (f *fast) pureCall(h *funcs.Function, args []node, result reflect.Kind) func(*Context) (any, error) {
	if len(h.Types) != 1 {
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
	return func(ctx *Context) (any, error) {
		values := make([]any, len(in))
		for i, t := range in {
			s, err := t.fn(ctx)
			if err != nil {
				return nil, err
			}
			values[i] = s
		}
		return guarded(h.Call, values)
	}
}
