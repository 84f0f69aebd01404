package expression

import (
	"github.com/expr-lang/expr/ast"

	"sluice/pipeline"
)

// patcher rewrites an expression's tree so that fixed reads of evt become
// reads of slots. It sees children before their parents and changes a node
// only when all of the path is known; an evt that is left makes the program
// run on a View.
type patcher struct {
	c     *Compiler
	slots bool // off for the reference: only the context is passed on
}

// Visit implements ast.Visitor.
func (p *patcher) Visit(n *ast.Node) {
	if call, ok := (*n).(*ast.CallNode); ok {
		p.call(n, call)
		return
	}
	if !p.slots {
		return
	}
	switch node := (*n).(type) {
	case *ast.MemberNode:
		p.member(n, node)
	case *ast.BinaryNode:
		if node.Operator == "in" {
			p.presence(n, node)
		}
	}
}

func (p *patcher) call(n *ast.Node, call *ast.CallNode) {
	if id, ok := call.Callee.(*ast.IdentifierNode); ok && contextual[id.Value] {
		if len(call.Arguments) > 0 && isContext(call.Arguments[0]) {
			return // patched before: visitors may run more than once
		}
		call.Arguments = append([]ast.Node{context()}, call.Arguments...)
		return
	}
	if !p.slots {
		return
	}
	m, ok := call.Callee.(*ast.MemberNode)
	if !ok || !isEvt(m.Node) {
		return
	}
	switch name := propertyOf(m); {
	case name == "GetType" && len(call.Arguments) == 0:
		ast.Patch(n, callOf(fnType))
	case name == "GetMeta" && len(call.Arguments) == 1:
		ast.Patch(n, callOf(fnGetMeta, call.Arguments[0]))
	case (name == "SetMeta" || name == "SetParsed") && len(call.Arguments) == 2:
		space := pipeline.Meta
		if name == "SetParsed" {
			space = pipeline.Parsed
		}
		ast.Patch(n, callOf(fnSet, &ast.IntegerNode{Value: int(space)}, call.Arguments[0], call.Arguments[1]))
	}
}

func (p *patcher) member(n *ast.Node, m *ast.MemberNode) {
	if f, ok := fieldOf(m); ok {
		ast.Patch(n, callOf(fnSlot, &ast.IntegerNode{Value: int(p.c.schema.Slot(f.Space, f.Name))}))
		return
	}
	if isEvt(m.Node) {
		switch propertyOf(m) {
		case "Unmarshaled":
			ast.Patch(n, &ast.IdentifierNode{Value: "sluice_unmarshaled"})
		case "Overflow":
			ast.Patch(n, &ast.IdentifierNode{Value: "sluice_overflow"})
		case "Type":
			ast.Patch(n, callOf(fnTypeNumber))
		case "Time":
			ast.Patch(n, callOf(fnTime))
		case "Whitelisted":
			ast.Patch(n, callOf(fnWhitelisted))
		}
		return
	}
	if line, ok := m.Node.(*ast.MemberNode); ok && isEvt(line.Node) && propertyOf(line) == "Line" && propertyOf(m) == "Time" {
		ast.Patch(n, callOf(fnReceived))
	}
}

// presence turns "x" in evt.Meta into a test for the slot.
func (p *patcher) presence(n *ast.Node, in *ast.BinaryNode) {
	name, ok := in.Left.(*ast.StringNode)
	if !ok {
		return
	}
	space, ok := namespaceOf(in.Right)
	if !ok {
		return
	}
	ast.Patch(n, callOf(fnHas, &ast.IntegerNode{Value: int(p.c.schema.Slot(space, name.Value))}))
}

func callOf(name string, args ...ast.Node) ast.Node {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: append([]ast.Node{context()}, args...)}
}

func context() ast.Node { return &ast.IdentifierNode{Value: ctxName} }

func isContext(n ast.Node) bool {
	id, ok := n.(*ast.IdentifierNode)
	return ok && id.Value == ctxName
}

func isEvt(n ast.Node) bool {
	id, ok := n.(*ast.IdentifierNode)
	return ok && id.Value == "evt"
}

// propertyOf returns the fixed name that a member node reads, or "".
func propertyOf(m *ast.MemberNode) string {
	if s, ok := m.Property.(*ast.StringNode); ok && !m.Optional {
		return s.Value
	}
	return ""
}

// namespaceOf tells which namespace a node names as a whole.
func namespaceOf(n ast.Node) (pipeline.Namespace, bool) {
	m, ok := n.(*ast.MemberNode)
	if !ok {
		return 0, false
	}
	if isEvt(m.Node) {
		switch propertyOf(m) {
		case "Parsed":
			return pipeline.Parsed, true
		case "Meta":
			return pipeline.Meta, true
		case "Enriched":
			return pipeline.Enriched, true
		}
		return 0, false
	}
	line, ok := m.Node.(*ast.MemberNode)
	if ok && isEvt(line.Node) && propertyOf(line) == "Line" && propertyOf(m) == "Labels" {
		return pipeline.Label, true
	}
	return 0, false
}

// fieldOf tells which string field a node reads: evt.Meta.x, evt.StrTime, evt.Line.Raw.
func fieldOf(n ast.Node) (pipeline.Field, bool) {
	m, ok := n.(*ast.MemberNode)
	if !ok {
		return pipeline.Field{}, false
	}
	name := propertyOf(m)
	if name == "" {
		return pipeline.Field{}, false
	}
	if space, ok := namespaceOf(m.Node); ok {
		return pipeline.Field{Space: space, Name: name}, true
	}
	if isEvt(m.Node) {
		switch name {
		case "StrTime", "StrTimeFormat", "MarshaledTime", "WhitelistReason":
			return pipeline.Field{Space: pipeline.Core, Name: name}, true
		}
		return pipeline.Field{}, false
	}
	if line, ok := m.Node.(*ast.MemberNode); ok && isEvt(line.Node) && propertyOf(line) == "Line" {
		switch name {
		case "Raw", "Src", "Module":
			return pipeline.Field{Space: pipeline.Core, Name: "Line." + name}, true
		}
	}
	return pipeline.Field{}, false
}
