package funcs

import (
	"regexp"
	"regexp/syntax"
	"sync"
)

// regexpSet tells whether any of some regexps matches a text. It equals a loop
// over them (matchPlain; TestRegexpSetEqualsLoop and FuzzRegexpSet hold it to
// that), but looks for a literal of each first, for all in one pass, and runs
// only those whose literal is there.
type regexpSet struct {
	all    []*regexp.Regexp
	always []*regexp.Regexp // without a required literal
	auto   *automaton       // nil when no regexp has a literal
	probes []probe          // by the automaton's ids
	tried  sync.Pool        // of *[]uint64, a bit for each of all
}

// probe is what to do where a literal was found.
type probe struct {
	check bounded // the literal; with edges when it decides by itself
	whole bool    // check decides: the regexp need not run
	re    int32   // index into all
}

func newRegexpSet(all []*regexp.Regexp) *regexpSet {
	s := &regexpSet{all: all}
	var literals []string
	for i, re := range all {
		tree, err := syntax.Parse(re.String(), syntax.Perl)
		if err != nil {
			s.always = append(s.always, re)
			continue
		}
		if b, ok := asBounded(tree); ok {
			s.probes = append(s.probes, probe{check: b, whole: true, re: int32(i)})
			literals = append(literals, b.text)
			continue
		}
		list := required(tree)
		if len(list) == 0 {
			s.always = append(s.always, re)
		}
		for _, l := range list {
			s.probes = append(s.probes, probe{check: bounded{text: l.text, fold: l.fold}, re: int32(i)})
			literals = append(literals, l.text)
		}
	}
	if len(literals) > 0 {
		s.auto = newAutomaton(literals, true)
	}
	words := (len(all) + 63) / 64
	s.tried.New = func() any { b := make([]uint64, words); return &b }
	return s
}

// match tells whether any regexp matches.
func (s *regexpSet) match(text string) bool {
	if s.auto != nil && s.matchByLiteral(text) {
		return true
	}
	for _, re := range s.always {
		if re.MatchString(text) {
			return true
		}
	}
	return false
}

func (s *regexpSet) matchByLiteral(text string) bool {
	var tried *[]uint64
	found := false
	a := s.auto
scan:
	for pos, row := a.step(text, 0, 0); pos >= 0; pos, row = a.step(text, pos, row) {
		for o := a.output(row); o >= 0; o = a.outputs[o].link {
			out := &a.outputs[o]
			for _, id := range out.ids {
				p := &s.probes[id]
				if !p.check.at(text, pos-int(out.length)) {
					continue
				}
				if !p.whole {
					if tried == nil {
						tried = s.tried.Get().(*[]uint64)
					}
					if !firstTry(*tried, p.re) || !s.all[p.re].MatchString(text) {
						continue
					}
				}
				found = true
				break scan
			}
		}
	}
	if tried != nil {
		clear(*tried)
		s.tried.Put(tried)
	}
	return found
}

// firstTry tells whether a regexp was not run yet, and remembers it.
func firstTry(tried []uint64, re int32) bool {
	bit := uint64(1) << (re & 63)
	if tried[re>>6]&bit != 0 {
		return false
	}
	tried[re>>6] |= bit
	return true
}

// matchPlain is what match must equal.
func (s *regexpSet) matchPlain(text string) bool {
	for _, re := range s.all {
		if re.MatchString(text) {
			return true
		}
	}
	return false
}
