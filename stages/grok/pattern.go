package grok

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"sync"
)

// Pattern is a compiled expression; it is immutable and safe for concurrent use.
//
// It is the fast matcher: a backtracking program over what is known of each
// position (compile.go, match.go). It equals Reference on every line, which
// TestPatternEqualsReference and FuzzMatch hold it to.
type Pattern struct {
	names    []string
	literals []string
	program  *program // nil when the expression is left to the plain matcher
	plain    func() plainMatcher
}

// plainMatcher matches as Pattern does, without a scratch.
type plainMatcher func(s string, captures []string) bool

// Compile builds the fast matcher of an expression such as "^%{IP:src} %{GREEDYDATA:rest}".
func (l *Library) Compile(expr string) (*Pattern, error) {
	x, err := l.expand(expr)
	if err != nil {
		return nil, fmt.Errorf("grok expression %q: %w", excerpt(expr), err)
	}
	parsed, err := syntax.Parse(x.text(), syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("grok expression %q: %s", excerpt(expr), explain(err))
	}
	p := &Pattern{names: x.names, plain: sync.OnceValue(x.plainMatcher)}
	b := builder{slots: make(map[string]int), classes: make(map[string]*class)}
	for i, g := range x.group {
		b.slots[groupName(g)] = i
	}
	root, err := b.build(parsed)
	if err == nil {
		p.literals = distinct(required(root, nil))
		p.program, err = compileTree(root, len(x.names))
	}
	if err != nil && !errors.Is(err, errPlainOnly) {
		return nil, fmt.Errorf("grok expression %q: %w", excerpt(expr), err)
	}
	return p, nil
}

// plainMatcher makes the matcher that decides where the fast one does not.
// The expression was parsed before, so that the standard regexp takes it.
func (x *expansion) plainMatcher() plainMatcher {
	if p, err := newPlain(x); err == nil {
		return p.match
	}
	// vjeantet/grok takes some text for a reference that is none, such as "%{-}".
	r, err := x.reference()
	if err != nil {
		return func(string, []string) bool { return false }
	}
	return r.Match
}

// Names returns the names of the captures, each once, in the order in which they appear.
func (p *Pattern) Names() []string { return p.names }

// Literals returns strings of which every matching line holds all; nil when none is known.
func (p *Pattern) Literals() []string { return slices.Clone(p.literals) }

// Match searches s, unanchored, leftmost-first. On success captures[i]
// is the text captured for Names()[i], a part of s ("" when the last
// occurrence of the name took no part). captures must have len(Names()).
// A Scratch belongs to one goroutine.
func (p *Pattern) Match(s string, captures []string, scratch *Scratch) bool {
	if len(p.names) == 0 {
		return false // FIDELITY 4
	}
	if p.program == nil {
		return p.plain()(s, captures)
	}
	switch p.program.search(s, scratch) {
	case noMatch:
		return false
	case gaveUp:
		return p.plain()(s, captures)
	}
	for i := range captures[:len(p.names)] {
		from, to := scratch.slots[2*i], scratch.slots[2*i+1]
		if from < 0 || to < 0 {
			captures[i] = ""
		} else {
			captures[i] = s[from:to]
		}
	}
	return true
}
