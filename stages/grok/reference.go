package grok

import (
	"fmt"
	"regexp"
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
	r, err := e.reference()
	if err != nil {
		return nil, fmt.Errorf("grok expression %q: %s", excerpt(expr), explain(err))
	}
	return r, nil
}

// reference compiles an expansion plainly.
func (x *expansion) reference() (*Reference, error) {
	re, err := regexp.Compile(x.text())
	if err != nil {
		return nil, err
	}
	r := &Reference{names: x.names, re: re}
	for _, g := range x.group {
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
