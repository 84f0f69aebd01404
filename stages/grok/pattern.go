package grok

// Pattern is a compiled expression; it is immutable and safe for concurrent use.
type Pattern struct {
	reference *Reference
}

// Scratch is a goroutine's working memory, usable with every Pattern. The zero value is ready.
type Scratch struct{}

// Compile builds the fast matcher of an expression such as "^%{IP:src} %{GREEDYDATA:rest}".
func (l *Library) Compile(expr string) (*Pattern, error) {
	r, err := l.CompileReference(expr)
	if err != nil {
		return nil, err
	}
	return &Pattern{reference: r}, nil
}

// Names returns the names of the captures, each once, in the order in which they appear.
func (p *Pattern) Names() []string { return p.reference.Names() }

// Literals returns strings of which every matching line holds all; nil when none is known.
func (p *Pattern) Literals() []string { return nil }

// Match searches s, unanchored, leftmost-first. On success captures[i]
// is the text captured for Names()[i], a part of s ("" when the last
// occurrence of the name took no part). captures must have len(Names()).
// A Scratch belongs to one goroutine.
func (p *Pattern) Match(s string, captures []string, scratch *Scratch) bool {
	return p.reference.Match(s, captures)
}
