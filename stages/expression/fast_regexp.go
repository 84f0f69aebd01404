package expression

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// matches compiles a test with a fixed regular expression, behind the
// literals that every match has.
func (f *fast) matches(n *ast.BinaryNode) boolFunc {
	r := f.str(n.Right)
	if r == nil || !r.constant {
		return nil
	}
	re, err := regexp.Compile(r.value)
	if err != nil {
		return nil // fails at run time, when it is reached: leave it to the VM
	}
	match := re.MatchString
	if literals := required(r.value); literals != nil {
		possible := oneOf("contains", literals)
		match = func(s string) bool { return possible(s) && re.MatchString(s) }
	}
	l := f.str(n.Left)
	if l == nil {
		return f.testValue(n.Left, n, match)
	}
	return func(ctx *Context) (bool, error) {
		s, err := l.fn(ctx)
		return err == nil && match(s), err
	}
}

// required returns literals of which every match of a pattern contains one, or nil.
func required(pattern string) []string {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	return requiredIn(tree)
}

const maxRequired = 64

func requiredIn(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		// An invalid byte of the text counts as U+FFFD for the regexp, not for contains.
		if s := string(re.Rune); re.Flags&syntax.FoldCase == 0 && !strings.ContainsRune(s, utf8.RuneError) {
			return []string{s}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return requiredIn(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredIn(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if l := requiredIn(sub); l != nil && (best == nil || shortest(l) > shortest(best)) {
				best = l
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			l := requiredIn(sub)
			if l == nil || len(all)+len(l) > maxRequired {
				return nil
			}
			all = append(all, l...)
		}
		return all
	}
	return nil
}

func shortest(list []string) int {
	n := len(list[0])
	for _, s := range list {
		n = min(n, len(s))
	}
	return n
}
