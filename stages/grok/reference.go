package grok

import (
	"fmt"
	"regexp"
	"strings"
)

// Reference is the plain matcher of an expression: the standard regexp on the
// expanded text. It says what an expression means; Pattern must equal it.
type Reference struct {
	names []string
	re    *regexp.Regexp
	group []int // the number of the group that names[i] takes
}

// CompileReference builds the plain matcher: the standard regexp. The fast one must equal it.
func (l *Library) CompileReference(expr string) (*Reference, error) {
	e, err := l.expand(expr)
	if err != nil {
		return nil, fmt.Errorf("grok expression %q: %w", excerpt(expr), err)
	}
	re, err := regexp.Compile(e.text)
	if err != nil {
		return nil, fmt.Errorf("grok expression %q: %s", excerpt(expr), explain(err))
	}
	r := &Reference{names: e.names, re: re}
	for _, g := range e.group {
		r.group = append(r.group, re.SubexpIndex(groupName(g)))
	}
	return r, nil
}

// Names is as Pattern's.
func (r *Reference) Names() []string { return r.names }

// Match is as Pattern's.
func (r *Reference) Match(s string, captures []string) bool {
	if len(r.names) == 0 {
		return false
	}
	found := r.re.FindStringSubmatchIndex(s)
	if found == nil {
		return false
	}
	for i, g := range r.group {
		captures[i] = ""
		if found[2*g] >= 0 {
			captures[i] = s[found[2*g]:found[2*g+1]]
		}
	}
	return true
}

// String returns the regular expression that the expression expands to.
func (r *Reference) String() string { return strings.ReplaceAll(r.re.String(), "\n", `\n`) }
