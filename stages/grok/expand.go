package grok

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"sluice/pipeline/component"
)

// maxExpansion bounds the regular expression an expression may grow into, in
// bytes: names that each use the former twice would else fill the memory.
const maxExpansion = 256 << 10

// referenceSyntax is what stands for another pattern: %{NAME},
// %{NAME:capture} or %{NAME:capture:type}. The type means nothing: captures
// are text. CrowdSec knows neither types nor names with dashes and takes such
// a reference for text that no line holds; here it captures.
var referenceSyntax = regexp.MustCompile(`%\{(\w+)(?::([\w.-]+)(?::\w+)?)?\}`)

// brokenReference is what looks like a reference and is none.
var brokenReference = regexp.MustCompile(`%\{[A-Za-z_][^}]*\}?`)

// expansion is an expression with its references replaced by groups.
type expansion struct {
	pieces []piece
	// names holds each capture's name once, in order of appearance; group[i]
	// is the number of the group whose text names[i] takes.
	names []string
	group []int
}

// groupName is the name, in the expanded text, of the i-th group that takes a
// capture. It is chosen not to collide with groups that a rule names itself.
func groupName(i int) string { return "sluice_capture_" + strconv.Itoa(i) }

// expand replaces the references of an expression, by FIDELITY 4's rules:
// a name that is used at one level hides the same name in the patterns used
// there, and of several occurrences the last one counts.
func (l *Library) expand(expr string) (*expansion, error) {
	e := expander{library: l, last: make(map[string]int)}
	if err := e.walk(expr, nil, nil); err != nil {
		return nil, err
	}
	out := &expansion{pieces: e.pieces, names: e.names}
	for i := range out.pieces {
		p := &out.pieces[i]
		p.takes = p.open && e.last[p.text] == p.occurrence
	}
	for _, name := range e.names {
		out.group = append(out.group, e.last[name])
	}
	return out, nil
}

// text writes the regular expression.
func (x *expansion) text() string {
	var b strings.Builder
	for _, p := range x.pieces {
		switch {
		case p.takes:
			b.WriteString("(?P<" + groupName(p.occurrence) + ">")
		case p.open:
			b.WriteString("(?:")
		default:
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// expander collects the pieces of an expansion.
type expander struct {
	library *Library
	pieces  []piece
	names   []string
	last    map[string]int // name → its last occurrence
	count   int            // occurrences of visible names so far
	size    int
}

// piece is a bit of text, or the opening of a group. The text of a group's
// closing is a piece of its own.
type piece struct {
	text       string // the text, or the capture's name, "" when the group has none
	open       bool
	closes     bool
	takes      bool // the group is its name's last: the capture takes its text
	occurrence int
}

// walk expands one expression. hidden holds the names that the enclosing
// expressions use; path the patterns that are being expanded, outermost first.
func (e *expander) walk(expr string, hidden map[string]bool, path []string) error {
	references := referenceSyntax.FindAllStringSubmatchIndex(expr, -1)
	inner := hidden
	for _, r := range references {
		if r[4] < 0 {
			continue
		}
		if len(inner) == len(hidden) {
			inner = copySet(hidden)
		}
		inner[expr[r[4]:r[5]]] = true
	}
	at := 0
	for _, r := range references {
		if err := e.between(expr[at:r[0]]); err != nil {
			return err
		}
		at = r[1]
		capture := ""
		if r[4] >= 0 {
			capture = expr[r[4]:r[5]]
		}
		if err := e.reference(expr[r[2]:r[3]], capture, hidden, inner, path); err != nil {
			return err
		}
	}
	return e.between(expr[at:])
}

// between adds the text between references.
func (e *expander) between(text string) error {
	if broken := brokenReference.FindString(text); broken != "" {
		if !strings.HasSuffix(broken, "}") {
			return fmt.Errorf("the reference %s has no closing brace", excerpt(broken))
		}
		return fmt.Errorf("the reference %s is not of the form %%{NAME} or %%{NAME:capture}", excerpt(broken))
	}
	return e.literal(text)
}

// reference expands one %{name:capture}.
func (e *expander) reference(name, capture string, hidden, inner map[string]bool, path []string) error {
	d, ok := e.library.lookup(name)
	if !ok {
		return e.library.unknown(name)
	}
	for _, used := range path {
		if used == name {
			return fmt.Errorf("pattern %s uses itself: %s", name, strings.Join(append(path, name), " > "))
		}
	}
	path = append(path[:len(path):len(path)], name)
	if err := e.library.check(name, d, path); err != nil {
		return err
	}
	if capture != "" && !hidden[capture] {
		if _, seen := e.last[capture]; !seen {
			e.names = append(e.names, capture)
		}
		e.last[capture] = e.count
		e.pieces = append(e.pieces, piece{text: capture, open: true, occurrence: e.count})
		e.count++
	} else {
		e.pieces = append(e.pieces, piece{open: true, occurrence: -1})
	}
	if err := e.walk(d.pattern, inner, path); err != nil {
		return err
	}
	e.pieces = append(e.pieces, piece{text: ")", closes: true})
	return nil
}

// literal adds text as it is.
func (e *expander) literal(text string) error {
	if text == "" {
		return nil
	}
	e.size += len(text)
	if e.size > maxExpansion {
		return fmt.Errorf("the expression expands to more than %d bytes", maxExpansion)
	}
	e.pieces = append(e.pieces, piece{text: text})
	return nil
}

func copySet(set map[string]bool) map[string]bool {
	out := make(map[string]bool, len(set)+4)
	for k := range set {
		out[k] = true
	}
	return out
}

// unknown is the error for a name that nothing defines.
func (l *Library) unknown(name string) error {
	if near := component.Nearest(name, l.names()); near != "" {
		return fmt.Errorf("pattern %%{%s} is not defined; did you mean %%{%s}?", name, near)
	}
	return fmt.Errorf("pattern %%{%s} is not defined", name)
}

// definitionError says which definition is at fault. Those that use it are not named as well.
type definitionError struct {
	origin, name string
	err          error
}

func (e *definitionError) Error() string {
	if e.origin == "" {
		return fmt.Sprintf("pattern %s: %s", e.name, e.err)
	}
	return fmt.Sprintf("%s: pattern %s: %s", e.origin, e.name, e.err)
}

func (e *definitionError) Unwrap() error { return e.err }

// check tells whether a definition, expanded, is a regular expression on its
// own: "a)|(b" must not become one by being put between parentheses.
func (l *Library) check(name string, d definition, path []string) error {
	if cached, ok := l.checked.Load(name); ok {
		err, _ := cached.(error)
		return err
	}
	e := expander{library: l, last: make(map[string]int)}
	err := e.walk(d.pattern, nil, path)
	if err == nil {
		x := expansion{pieces: e.pieces}
		if _, parseErr := syntax.Parse(x.text(), syntax.Perl); parseErr != nil {
			err = errors.New(explain(parseErr))
		}
	}
	var inner *definitionError
	if err != nil && !errors.As(err, &inner) {
		err = &definitionError{origin: d.origin, name: name, err: err}
	}
	l.checked.Store(name, err)
	return err
}

// explain words an error of the regular expression parser.
func explain(err error) string {
	var e *syntax.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	switch e.Code {
	case syntax.ErrInvalidRepeatSize:
		return fmt.Sprintf("invalid repeat count %q: it goes beyond 1000, alone or multiplied by those around it, or backwards", excerpt(e.Expr))
	case syntax.ErrLarge:
		return fmt.Sprintf("the expression is too large once its repetitions are written out: %q", excerpt(e.Expr))
	case syntax.ErrNestingDepth:
		return fmt.Sprintf("the expression nests too deeply: %q", excerpt(e.Expr))
	}
	return fmt.Sprintf("%s: %q", e.Code, excerpt(e.Expr))
}
