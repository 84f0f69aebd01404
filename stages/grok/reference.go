package grok

import (
	"fmt"
	"regexp"
)

// Reference is the plain matcher of an expression: the standard regexp.
type Reference struct {
	re    *regexp.Regexp
	names []string
	index []int // of the group of each name
}

// CompileReference builds the plain matcher. The fast one must equal it.
func (l *Library) CompileReference(expr string) (*Reference, error) {
	x, err := l.expand(expr)
	if err != nil {
		return nil, fmt.Errorf("grok %q: %w", shorten(expr), err)
	}
	re, index, err := x.compile()
	if err != nil {
		return nil, fmt.Errorf("grok %q: %w", shorten(expr), err)
	}
	return &Reference{re: re, names: x.names, index: index}, nil
}

func shorten(s string) string {
	if len(s) > 120 {
		return s[:117] + "..."
	}
	return s
}

// Names is as Pattern's.
func (r *Reference) Names() []string { return r.names }

// Match is as Pattern's.
func (r *Reference) Match(s string, captures []string) bool {
	if len(r.names) == 0 {
		return false
	}
	m := r.re.FindStringSubmatchIndex(s)
	if m == nil {
		return false
	}
	for i, g := range r.index {
		captures[i] = ""
		if from := m[2*g]; from >= 0 {
			captures[i] = s[from:m[2*g+1]]
		}
	}
	return true
}
