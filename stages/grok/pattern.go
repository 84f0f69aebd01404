package grok

import (
	"regexp/syntax"
	"strings"
)

// Pattern is a compiled expression; it is immutable and safe for concurrent use.
type Pattern struct {
	reference *Reference
	literals  []string
}

// Scratch is a goroutine's working memory, usable with every Pattern.
type Scratch struct{}

// Compile builds the fast matcher of an expression.
func (l *Library) Compile(expr string) (*Pattern, error) {
	ref, err := l.CompileReference(expr)
	if err != nil {
		return nil, err
	}
	p := &Pattern{reference: ref}
	tree, err := syntax.Parse(ref.re.String(), syntax.Perl)
	if err == nil {
		p.literals = required(tree, nil)
	}
	return p, nil
}

// Names returns the names of the captures, each once, in order of appearance.
func (p *Pattern) Names() []string { return p.reference.names }

// Literals returns strings of which every matching line holds all.
func (p *Pattern) Literals() []string { return p.literals }

// Match searches s; see the package's rules. On success captures[i] is the
// text captured for Names()[i], a part of s.
func (p *Pattern) Match(s string, captures []string, _ *Scratch) bool {
	for _, lit := range p.literals {
		if !strings.Contains(s, lit) {
			return false
		}
	}
	return p.reference.Match(s, captures)
}

// required lists the literals that every match of a tree holds.
func required(re *syntax.Regexp, out []string) []string {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 && len(re.Rune) > 0 {
			out = append(out, string(re.Rune))
		}
	case syntax.OpCapture, syntax.OpPlus:
		out = required(re.Sub[0], out)
	case syntax.OpRepeat:
		if re.Min > 0 {
			out = required(re.Sub[0], out)
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			out = required(sub, out)
		}
	}
	return out
}
