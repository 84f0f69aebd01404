package expression

import (
	"github.com/expr-lang/expr/ast"

	"sluice/pipeline"
)

// Analysis is what a program was found to do, at compile time.
type Analysis struct {
	// Reads are the fields it reads by fixed names.
	Reads []pipeline.Slot
	// ReadsUnmarshaled: it reads evt.Unmarshaled.
	ReadsUnmarshaled bool
	// ReadsWhole: it uses a namespace or the event as a whole.
	ReadsWhole bool
	// Overflow: it mentions evt.Overflow, evt.GetType, evt.Type or evt.GetMeta,
	// which for an alert asks the alert's events.
	Overflow bool
	// Stash: it calls GetFromStash or SetInStash.
	Stash bool
	// Writes: it may write to the event (UnmarshalJSON, ParseKV and kin, evt.SetMeta, …).
	Writes bool
	// Outside: it asks the outside or the clock (decisions, look-ups, TimeNow).
	Outside bool
	// Conjuncts are conditions that must all hold for the program to be true.
	Conjuncts []Conjunct
	// ConstFalse: it can never be true.
	ConstFalse bool
}

// analyse walks a tree as it was written. f, when there is one, finds the conjuncts.
func (c *Compiler) analyse(n ast.Node, f *fast) Analysis {
	a := Analysis{}
	v := &reader{c: c, a: &a, part: make(map[ast.Node]bool), slots: make(map[pipeline.Slot]bool)}
	ast.Walk(&n, v)
	v.finish()
	if f == nil {
		return a
	}
	e := f.effect(n)
	a.Writes, a.Stash, a.Outside = e&writes != 0, e&stash != 0, e&outside != 0
	a.Conjuncts = f.conjuncts(n)
	a.ConstFalse = f.constFalse(n)
	return a
}

// reader collects what a tree reads. Children come before parents, so a node
// that is part of a longer path is marked as such when the parent is seen.
type reader struct {
	c      *Compiler
	a      *Analysis
	part   map[ast.Node]bool
	events []ast.Node // evt, and the events of a queue, wherever they stand
	spaces []ast.Node // namespaces as a whole
	slots  map[pipeline.Slot]bool
}

// Visit implements ast.Visitor.
func (r *reader) Visit(n *ast.Node) {
	switch node := (*n).(type) {
	case *ast.IdentifierNode:
		switch node.Value {
		case "evt":
			r.events = append(r.events, node)
		case "$env": // everything, by names that may be computed
			r.a.ReadsWhole, r.a.ReadsUnmarshaled, r.a.Overflow = true, true, true
		}
	case *ast.CallNode:
		r.call(node)
	case *ast.BinaryNode:
		if space, ok := namespaceOf(node.Right); ok && node.Operator == "in" {
			if s, ok := node.Left.(*ast.StringNode); ok {
				r.read(pipeline.Field{Space: space, Name: s.Value})
				r.part[node.Right] = true
			}
		}
	case *ast.MemberNode:
		r.member(node)
	}
}

func (r *reader) call(call *ast.CallNode) {
	switch callee := call.Callee.(type) {
	case *ast.IdentifierNode:
		if f := r.c.helpers[callee.Value]; f != nil {
			r.a.Writes = r.a.Writes || f.Writes
			r.a.Outside = r.a.Outside || f.Outside
		}
		if contextual[callee.Value] {
			stash := callee.Value == "GetFromStash" || callee.Value == "SetInStash"
			r.a.Stash = r.a.Stash || stash
			r.a.Outside = r.a.Outside || !stash
		}
	case *ast.MemberNode:
		if !isEvt(callee.Node) {
			return
		}
		switch propertyOf(callee) {
		case "SetMeta", "SetParsed":
			r.a.Writes = true
		case "GetMeta":
			if len(call.Arguments) == 1 {
				if s, ok := call.Arguments[0].(*ast.StringNode); ok {
					r.read(pipeline.Field{Space: pipeline.Meta, Name: s.Value})
				}
			}
		}
	}
}

func (r *reader) member(m *ast.MemberNode) {
	if f, ok := fieldOf(m); ok {
		r.read(f)
		r.consume(m)
		return
	}
	name := propertyOf(m)
	if inner, ok := m.Node.(*ast.MemberNode); ok && name != "" {
		// .Parsed.x of an event of a bucket's queue
		if space, ok := queueSpace(inner); ok && !isEvt(inner.Node) {
			r.read(pipeline.Field{Space: space, Name: name})
			r.part[inner] = true
			return
		}
	}
	if isEvt(m.Node) {
		r.part[m.Node] = true
		switch name {
		case "Unmarshaled":
			r.a.ReadsUnmarshaled = true
		case "Overflow", "GetType", "Type", "GetMeta":
			r.a.Overflow = true
		case "Time", "Whitelisted", "SetMeta", "SetParsed", "Appsec":
		case "Line":
			r.spaces = append(r.spaces, m)
		default:
			r.spaces = append(r.spaces, m)
		}
		return
	}
	switch name {
	case "Parsed", "Enriched":
		r.spaces = append(r.spaces, m)
	case "Unmarshaled":
		r.a.ReadsUnmarshaled = true
	case "Line", "StrTime":
		r.spaces = append(r.spaces, m)
	}
}

// queueSpace tells which namespace a member node names, whatever the event.
func queueSpace(m *ast.MemberNode) (pipeline.Namespace, bool) {
	switch propertyOf(m) {
	case "Parsed":
		return pipeline.Parsed, true
	case "Enriched":
		return pipeline.Enriched, true
	case "Meta":
		return pipeline.Meta, true
	}
	return 0, false
}

// consume marks everything below a field's path as part of it.
func (r *reader) consume(m *ast.MemberNode) {
	for n := m.Node; n != nil; {
		r.part[n] = true
		inner, ok := n.(*ast.MemberNode)
		if !ok {
			return
		}
		n = inner.Node
	}
}

func (r *reader) read(f pipeline.Field) {
	slot := r.c.schema.Slot(f.Space, f.Name)
	if !r.slots[slot] {
		r.slots[slot] = true
		r.a.Reads = append(r.a.Reads, slot)
	}
}

func (r *reader) finish() {
	for _, list := range [][]ast.Node{r.events, r.spaces} {
		for _, n := range list {
			if !r.part[n] {
				r.a.ReadsWhole = true
			}
		}
	}
}
