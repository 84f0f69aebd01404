package match

import (
	"fmt"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"sluice/pipeline"
	"sluice/stages/expression"
)

// value is a groupby, distinct or scope expression: it gives a string.
type value struct {
	program *expression.Program
	form    valueForm
	// slot is the field of a fieldValue.
	slot pipeline.Slot
	// constant is the text of a constValue.
	constant string
	// parts are the operands of the expression's concatenation, in order, for the routing.
	parts []ast.Node
}

// valueForm says how a value is computed.
type valueForm uint8

const (
	// The zero form runs the program and looks at what type it gave.
	_ valueForm = iota
	// textValue runs the program's fast form, which can only give a string.
	textValue
	// fieldValue reads a field.
	fieldValue
	// constValue is a literal.
	constValue
)

func newValue(p *expression.Program, src string, schema *pipeline.Schema) *value {
	v := &value{program: p, slot: pipeline.NoSlot}
	tree, err := parser.Parse(src)
	if err != nil {
		return v // the compiler understood it: leave it to its program
	}
	v.parts = concatenation(tree.Node, nil)
	if len(v.parts) == 1 {
		switch n := v.parts[0].(type) {
		case *ast.StringNode:
			v.form, v.constant = constValue, n.Value
			return v
		case *ast.MemberNode:
			if f, ok := fieldOf(n); ok {
				v.form, v.slot = fieldValue, schema.Slot(f.Space, f.Name)
				return v
			}
		}
	}
	if p != nil {
		if _, fast := p.Fast(); fast {
			v.form = textValue
		}
	}
	return v
}

// concatenation lists the operands of nested additions from left to right.
func concatenation(n ast.Node, into []ast.Node) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && b.Operator == "+" {
		return concatenation(b.Right, concatenation(b.Left, into))
	}
	return append(into, n)
}

// fieldOf returns the field that evt.Meta.name, evt.Meta["name"] and their
// like for Parsed and Enriched read: a string, "" when it is absent (FIDELITY 8).
func fieldOf(n ast.Node) (pipeline.Field, bool) {
	member, ok := n.(*ast.MemberNode)
	if !ok {
		return pipeline.Field{}, false
	}
	name, ok := member.Property.(*ast.StringNode)
	if !ok {
		return pipeline.Field{}, false
	}
	space, ok := member.Node.(*ast.MemberNode)
	if !ok {
		return pipeline.Field{}, false
	}
	root, ok := space.Node.(*ast.IdentifierNode)
	spaceName, isName := space.Property.(*ast.StringNode)
	if !ok || !isName || root.Value != "evt" {
		return pipeline.Field{}, false
	}
	for _, ns := range []pipeline.Namespace{pipeline.Parsed, pipeline.Meta, pipeline.Enriched} {
		if ns.String() == "evt."+spaceName.Value {
			return pipeline.Field{Space: ns, Name: name.Value}, true
		}
	}
	return pipeline.Field{}, false
}

// text computes the value. isString is false when the expression gave
// something else, which CrowdSec takes as the empty string in distinct and
// scope, and as fatal in groupby. evalText is its plain form.
func (v *value) text(ctx *expression.Context) (text string, isString bool, err error) {
	switch v.form {
	case constValue:
		return v.constant, true, nil
	case fieldValue:
		return ctx.Event.Get(v.slot), true, nil
	case textValue:
		text, _, err = v.program.Text(ctx)
		return text, err == nil, err
	}
	return v.evalText(ctx)
}

// evalText computes the value without any short cut.
func (v *value) evalText(ctx *expression.Context) (text string, isString bool, err error) {
	got, err := v.program.Eval(ctx)
	if err != nil {
		return "", false, err
	}
	text, isString = got.(string)
	return text, isString, nil
}

// keep returns the value's text where it outlives the scratch event: in the
// kept event, when it is one of its fields, else copied.
func (v *value) keep(text string, kept *pipeline.Kept, arena *pipeline.KeptArena) string {
	switch {
	case text == "":
		return ""
	case v.form == constValue:
		return v.constant
	case v.form == fieldValue:
		if s := kept.Get(v.slot); s != "" {
			return s
		}
	}
	return arena.Copy(text)
}

// notString is the error of a groupby that gave something else than a string.
func (v *value) notString() error {
	return fmt.Errorf("groupby %q gave something else than a string", v.program.Source())
}
