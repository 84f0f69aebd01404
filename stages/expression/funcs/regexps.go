package funcs

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// regexpSet is a file of type regexp: a line matches when one of them does.
//
// Running hundreds of regexps on each line is slow, so each is kept behind a
// literal that every match of it holds, and only those whose literal is there
// run. The plain loop over all of them is the reference; a test holds the two together.
type regexpSet struct {
	all []guarded
}

type guarded struct {
	re *regexp.Regexp
	// literal is in every match, in lower case when fold is set; "" when none is known.
	literal string
	fold    bool
}

func (s *regexpSet) add(line string) error {
	re, err := regexp.Compile(line)
	if err != nil {
		return fmt.Errorf("not a regular expression: %w", err)
	}
	g := guarded{re: re}
	if tree, err := syntax.Parse(line, syntax.Perl); err == nil {
		g.literal, g.fold = longestLiteral(tree)
	}
	s.all = append(s.all, g)
	return nil
}

func (s *regexpSet) build() *regexpSet { return s }

func (s *regexpSet) match(text string) bool {
	var lower string
	for i := range s.all {
		g := &s.all[i]
		if g.literal != "" {
			in := text
			if g.fold {
				if lower == "" {
					lower = lowerASCII(text)
				}
				in = lower
			}
			if !strings.Contains(in, g.literal) {
				continue
			}
		}
		if g.re.MatchString(text) {
			return true
		}
	}
	return false
}

// lowerASCII leaves all but A to Z alone, so that offsets and other
// characters stay what they are.
func lowerASCII(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; 'A' <= c && c <= 'Z' {
					b[i] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// longestLiteral returns the longest literal that every match holds.
func longestLiteral(re *syntax.Regexp) (literal string, fold bool) {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return string(re.Rune), false
		}
		// Some letters fold with others outside of ASCII (k with the Kelvin
		// sign, s with the long s): a literal must not hold them.
		best, run := "", ""
		for _, r := range re.Rune {
			if r >= 0x80 || strings.ContainsRune("kKsS", r) {
				run = ""
				continue
			}
			run += lowerASCII(string(r))
			if len(run) > len(best) {
				best = run
			}
		}
		return best, true
	case syntax.OpCapture, syntax.OpPlus:
		return longestLiteral(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return longestLiteral(re.Sub[0])
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if l, f := longestLiteral(sub); len(l) > len(literal) {
				literal, fold = l, f
			}
		}
	}
	return literal, fold
}
