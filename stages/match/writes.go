package match

import (
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"

	"sluice/pipeline"
	"sluice/stages/expression"
)

// writes are the fields of an event that the documents compiled so far may
// write while they run. What reads such a field behind them must neither be
// ruled out by the index, which looks at the event before, nor remembered.
type writes struct {
	slots []pipeline.Slot
	// all: some document writes fields that cannot be told.
	all bool
}

// add adds what a program writes besides evt.Unmarshaled, which neither the
// index nor the memos look at.
func (w *writes) add(p *expression.Program, schema *pipeline.Schema) {
	tree, err := parser.Parse(p.Source())
	if err != nil {
		w.all = true
		return
	}
	var f writeFinder
	ast.Walk(&tree.Node, &f)
	if f.unclear() {
		w.all = true
		return
	}
	for _, field := range f.fields {
		w.slots = append(w.slots, schema.Slot(field.Space, field.Name))
	}
}

// touch tells whether a program reads what may have been written.
func (w *writes) touch(p *expression.Program) bool {
	if w.all {
		return true
	}
	if len(w.slots) == 0 {
		return false
	}
	a := p.Analysis()
	return a.ReadsWhole || slices.ContainsFunc(a.Reads, func(s pipeline.Slot) bool { return slices.Contains(w.slots, s) })
}

// writeFinder finds the calls evt.SetMeta('name', …) and evt.SetParsed of an
// expression, and whether it uses evt or a map of it in any other way than by
// a member: then a function may write to it.
type writeFinder struct {
	fields []pipeline.Field
	// Uses, and those that are known to be harmless.
	setters, knownSetters int
	events, eventMembers  int
	maps, mapMembers      int
}

// Visit implements ast.Visitor.
func (f *writeFinder) Visit(n *ast.Node) {
	switch n := (*n).(type) {
	case *ast.IdentifierNode:
		if n.Value == "evt" {
			f.events++
		}
	case *ast.MemberNode:
		f.member(n)
	case *ast.CallNode:
		f.call(n)
	}
}

func (f *writeFinder) member(n *ast.MemberNode) {
	if isMap(n.Node) {
		f.mapMembers++
	}
	root, ok := n.Node.(*ast.IdentifierNode)
	if !ok || root.Value != "evt" {
		return
	}
	if _, ok := n.Property.(*ast.StringNode); ok {
		f.eventMembers++
	}
	if isMap(n) {
		f.maps++
	}
	if strings.HasPrefix(memberName(n), "Set") {
		f.setters++
	}
}

func (f *writeFinder) call(n *ast.CallNode) {
	callee, ok := n.Callee.(*ast.MemberNode)
	if !ok || len(n.Arguments) == 0 {
		return
	}
	root, ok := callee.Node.(*ast.IdentifierNode)
	name, literal := n.Arguments[0].(*ast.StringNode)
	if !ok || !literal || root.Value != "evt" {
		return
	}
	switch memberName(callee) {
	case "SetMeta":
		f.fields = append(f.fields, pipeline.Field{Space: pipeline.Meta, Name: name.Value})
		f.knownSetters++
	case "SetParsed":
		f.fields = append(f.fields, pipeline.Field{Space: pipeline.Parsed, Name: name.Value})
		f.knownSetters++
	}
}

func (f *writeFinder) unclear() bool {
	return f.setters != f.knownSetters || f.events != f.eventMembers || f.maps != f.mapMembers
}

// isMap tells whether a node is evt.Meta, evt.Parsed or evt.Enriched.
func isMap(n ast.Node) bool {
	m, ok := n.(*ast.MemberNode)
	if !ok {
		return false
	}
	root, ok := m.Node.(*ast.IdentifierNode)
	return ok && root.Value == "evt" && slices.Contains([]string{"Meta", "Parsed", "Enriched"}, memberName(m))
}

// memberName returns the name after the dot, "" when it is computed.
func memberName(n *ast.MemberNode) string {
	if s, ok := n.Property.(*ast.StringNode); ok {
		return s.Value
	}
	return ""
}
