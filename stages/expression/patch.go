package expression

import (
	"github.com/expr-lang/expr/ast"

	"sluice/pipeline"
)

// patcher rewrites an expression's tree so that reads of evt become reads of
// slots. It sees children before their parents, so it changes a node only
// when all of the path is known; wholes then does the namespaces that are
// left. An evt that remains makes the program run on a View.
//
// What pipeline.View does not have (evt.SetMeta, evt.Appsec) and the helpers
// that need the context are patched in every mode.
type patcher struct {
	c     *Compiler
	slots bool // off for the plain VM
}

// Visit implements ast.Visitor.
func (p *patcher) Visit(n *ast.Node) {
	switch node := (*n).(type) {
	case *ast.CallNode:
		p.call(n, node)
	case *ast.MemberNode:
		if isEvt(node.Node) && propertyOf(node) == "Appsec" {
			ast.Patch(n, callOf(fnAppsec))
		} else if p.slots {
			p.member(n, node)
		}
	case *ast.BinaryNode:
		if node.Operator == "in" && p.slots {
			p.presence(n, node)
		}
	}
}

func (p *patcher) call(n *ast.Node, call *ast.CallNode) {
	if id, ok := call.Callee.(*ast.IdentifierNode); ok && contextual[id.Value] {
		call.Arguments = append([]ast.Node{context()}, call.Arguments...)
		return
	}
	m, ok := call.Callee.(*ast.MemberNode)
	if !ok || !isEvt(m.Node) {
		return
	}
	switch name := propertyOf(m); {
	case name == "SetMeta" && len(call.Arguments) == 2:
		ast.Patch(n, callOf(fnSet, append([]ast.Node{integer(int(pipeline.Meta))}, call.Arguments...)...))
	case name == "SetParsed" && len(call.Arguments) == 2:
		ast.Patch(n, callOf(fnSet, append([]ast.Node{integer(int(pipeline.Parsed))}, call.Arguments...)...))
	case !p.slots:
	case name == "GetType" && len(call.Arguments) == 0:
		ast.Patch(n, callOf(fnType))
	case name == "GetMeta" && len(call.Arguments) == 1:
		ast.Patch(n, callOf(fnGetMeta, call.Arguments[0]))
	}
}

func (p *patcher) member(n *ast.Node, m *ast.MemberNode) {
	if f, ok := fieldOf(m); ok {
		ast.Patch(n, callOf(fnSlot, integer(int(p.c.schema.Slot(f.Space, f.Name)))))
		return
	}
	if space, ok := namespaceOf(m.Node); ok && !m.Method {
		ast.Patch(n, callOf(fnField, integer(int(space)), m.Property))
		return
	}
	if isEvt(m.Node) {
		switch propertyOf(m) {
		case "Unmarshaled":
			ast.Patch(n, &ast.IdentifierNode{Value: unmarshaledName})
		case "Overflow":
			ast.Patch(n, &ast.IdentifierNode{Value: overflowName})
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
	space, ok := namespaceOf(in.Right)
	if !ok {
		return
	}
	if name, ok := in.Left.(*ast.StringNode); ok {
		ast.Patch(n, callOf(fnHas, integer(int(p.c.schema.Slot(space, name.Value)))))
	}
}

// wholes is the patcher's second pass: namespaces that are used as a whole.
type wholes struct{}

// Visit implements ast.Visitor.
func (wholes) Visit(n *ast.Node) {
	if space, ok := namespaceOf(*n); ok {
		ast.Patch(n, callOf(fnSpace, integer(int(space))))
	}
}

func callOf(name string, args ...ast.Node) ast.Node {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: append([]ast.Node{context()}, args...)}
}

func context() ast.Node { return &ast.IdentifierNode{Value: ctxName} }

func integer(i int) ast.Node { return &ast.IntegerNode{Value: i} }

func isEvt(n ast.Node) bool { return isNamed(n, "evt") }

func isNamed(n ast.Node, name string) bool {
	id, ok := n.(*ast.IdentifierNode)
	return ok && id.Value == name
}

// propertyOf returns the fixed name that a member node reads, or "". Below
// evt nothing is nil as far as names are fixed, so evt?.Meta is evt.Meta.
func propertyOf(m *ast.MemberNode) string {
	if s, ok := m.Property.(*ast.StringNode); ok {
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
	name, ok := m.Property.(*ast.StringNode)
	if !ok {
		return pipeline.Field{}, false
	}
	if space, ok := namespaceOf(m.Node); ok {
		return pipeline.Field{Space: space, Name: name.Value}, true
	}
	if isEvt(m.Node) {
		switch name.Value {
		case "StrTime", "StrTimeFormat", "MarshaledTime", "WhitelistReason":
			return pipeline.Field{Space: pipeline.Core, Name: name.Value}, true
		}
		return pipeline.Field{}, false
	}
	if line, ok := m.Node.(*ast.MemberNode); ok && isEvt(line.Node) && propertyOf(line) == "Line" {
		switch name.Value {
		case "Raw", "Src", "Module":
			return pipeline.Field{Space: pipeline.Core, Name: "Line." + name.Value}, true
		}
	}
	return pipeline.Field{}, false
}
