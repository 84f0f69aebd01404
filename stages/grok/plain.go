package grok

import (
	"strconv"
	"strings"

	vjeantet "github.com/vjeantet/grok"
)

// plain matches with vjeantet/grok. It is what a Pattern falls back on: for
// expressions that the fast matcher leaves alone, and for lines on which it
// spent its budget; the standard regexp below it is linear in the line.
//
// vjeantet/grok's own capture rules differ from FIDELITY 4's: inner names are
// not hidden, raw groups capture. It is held to ours by the library it is
// given: one pattern for each capture that counts, the others written out.
type plain struct {
	grok    *vjeantet.Grok
	expr    string
	results []string // the name, there, of each capture
}

// newPlain makes the matcher of an expansion.
func newPlain(x *expansion) (*plain, error) {
	patterns := make(map[string]string)
	expr, _ := x.rewrite(0, patterns)
	g, err := vjeantet.NewWithConfig(&vjeantet.Config{NamedCapturesOnly: true, SkipDefaultPatterns: true, Patterns: patterns})
	if err != nil {
		return nil, err
	}
	// The first use compiles the expression.
	if _, err := g.Match(expr, ""); err != nil {
		return nil, err
	}
	p := &plain{grok: g, expr: expr}
	for _, group := range x.group {
		p.results = append(p.results, groupName(group))
	}
	return p, nil
}

// rewrite writes the pieces from i on, up to the end of their group, as an
// expression for vjeantet/grok, and adds the captured groups' patterns.
func (x *expansion) rewrite(i int, patterns map[string]string) (string, int) {
	var b strings.Builder
	for ; i < len(x.pieces) && !x.pieces[i].closes; i++ {
		p := x.pieces[i]
		if !p.open {
			b.WriteString(p.text)
			continue
		}
		var inner string
		inner, i = x.rewrite(i+1, patterns)
		if !p.takes {
			b.WriteString("(?:" + inner + ")")
			continue
		}
		name := "P" + strconv.Itoa(p.occurrence)
		patterns[name] = inner
		b.WriteString("%{" + name + ":" + groupName(p.occurrence) + "}")
	}
	return b.String(), i
}

// match is as Pattern's Match.
func (p *plain) match(s string, captures []string) bool {
	found, err := p.grok.Parse(p.expr, s)
	if err != nil || len(found) == 0 {
		return false
	}
	for i, name := range p.results {
		captures[i] = found[name]
	}
	return true
}
