package expression

import "github.com/expr-lang/expr/ast"

// effect is what running a part of an expression does beside giving a value.
type effect uint8

const (
	// writes: it may write to the event.
	writes effect = 1 << iota
	// stash: it reads or writes a stash.
	stash
	// outside: it asks the outside or the clock.
	outside
)

// effect returns what a tree does, remembering it for every part.
func (f *fast) effect(n node) effect {
	if e, ok := f.effects[n]; ok {
		return e
	}
	e := f.c.ownEffect(n)
	for _, child := range children(n) {
		e |= f.effect(*child)
	}
	f.effects[n] = e
	return e
}

// ownEffect is the effect of a node without its operands.
func (c *Compiler) ownEffect(n node) effect {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		switch h := c.helpers[n.Value]; {
		case n.Value == "GetFromStash" || n.Value == "SetInStash":
			return stash
		case contextual[n.Value] || h != nil && h.Outside:
			return outside
		case h != nil && h.Writes:
			return writes
		}
	case *ast.BuiltinNode:
		if n.Name == "now" {
			return outside
		}
	case *ast.MemberNode:
		if name := propertyOf(n); name == "SetMeta" || name == "SetParsed" {
			return writes
		}
	}
	return 0
}
