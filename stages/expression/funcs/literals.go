package funcs

import (
	"regexp/syntax"
	"slices"
	"unicode/utf8"
)

// literal is a text that must stand in what a regexp matches. With fold, ASCII
// letters match in either case.
type literal struct {
	text string
	fold bool
}

// maxAlternatives bounds the literals that one regexp is looked up by.
const maxAlternatives = 64

// required returns literals of which at least one stands in every text that
// the regexp matches; none when there is no such list.
func required(re *syntax.Regexp) []literal {
	switch re.Op {
	case syntax.OpLiteral:
		if l := longestRun(re); l.text != "" {
			return []literal{l}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []literal
		for _, sub := range re.Sub {
			if l := required(sub); score(l) > score(best) {
				best = l
			}
		}
		return best
	case syntax.OpAlternate:
		var all []literal
		for _, sub := range re.Sub {
			l := required(sub)
			if len(l) == 0 || len(all)+len(l) > maxAlternatives {
				return nil
			}
			all = append(all, l...)
		}
		return all
	}
	return nil
}

// score prefers long literals, then few of them.
func score(list []literal) int {
	if len(list) == 0 {
		return 0
	}
	shortest := slices.MinFunc(list, func(a, b literal) int { return len(a.text) - len(b.text) })
	return len(shortest.text)*(maxAlternatives+1) - len(list)
}

// longestRun returns the longest part of a literal that bytes can stand for.
// What cannot: U+FFFD, which also matches any invalid byte; and when case is
// folded, all but ASCII, and k and s, which also match the Kelvin sign and
// the long s.
func longestRun(re *syntax.Regexp) literal {
	fold := re.Flags&syntax.FoldCase != 0
	best, run := "", ""
	for _, r := range re.Rune {
		if !plainRune(r, fold) {
			run = ""
			continue
		}
		run += string(r)
		if len(run) > len(best) {
			best = run
		}
	}
	return literal{best, fold}
}

func plainRune(r rune, fold bool) bool {
	if fold {
		return r < utf8.RuneSelf && r != 'k' && r != 'K' && r != 's' && r != 'S'
	}
	return r != utf8.RuneError
}

// edge is what a regexp asks of one end of its literal.
type edge uint8

const (
	edgeAny  edge = iota
	edgeWord      // \b
	edgeText      // ^ or $
)

// bounded is a regexp that is one literal between edges, such as \bcurl\b: it
// is checked without running it.
type bounded struct {
	text        string
	fold        bool
	left, right edge
}

// asBounded reads a regexp as a bounded literal.
func asBounded(re *syntax.Regexp) (b bounded, ok bool) {
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	if len(parts) > 1 {
		if b.left, ok = edgeOf(parts[0], syntax.OpBeginText); ok {
			parts = parts[1:]
		}
	}
	if len(parts) > 1 {
		if b.right, ok = edgeOf(parts[len(parts)-1], syntax.OpEndText); ok {
			parts = parts[:len(parts)-1]
		}
	}
	if len(parts) != 1 || parts[0].Op != syntax.OpLiteral {
		return b, false
	}
	l := longestRun(parts[0])
	b.text, b.fold = l.text, l.fold
	return b, b.text != "" && utf8.RuneCountInString(b.text) == len(parts[0].Rune)
}

func edgeOf(re *syntax.Regexp, end syntax.Op) (edge, bool) {
	switch re.Op {
	case syntax.OpWordBoundary:
		return edgeWord, true
	case end:
		return edgeText, true
	}
	return edgeAny, false
}

// at tells whether the literal stands at s[start:], with its edges.
func (b *bounded) at(s string, start int) bool {
	end := start + len(b.text)
	if end > len(s) || !sameText(s[start:end], b.text, b.fold) {
		return false
	}
	return holds(b.left, s, start, 0) && holds(b.right, s, end, len(s))
}

func sameText(a, b string, fold bool) bool {
	if !fold {
		return a == b
	}
	for i := range len(a) {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

func holds(e edge, s string, at, textEdge int) bool {
	switch e {
	case edgeText:
		return at == textEdge
	case edgeWord:
		before := at > 0 && isWordByte(s[at-1])
		after := at < len(s) && isWordByte(s[at])
		return before != after
	}
	return true
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
