package grok

import (
	"strings"
	"unicode/utf8"
)

// The steps of runs: how far they reach, and where what follows can begin.

// scan returns where a run may end at the earliest and at the latest, or -1
// for the latter when it is too short.
func (in *inst) scan(s string, at int) (from, end int) {
	c := in.class
	if c.wide == wideNone {
		limit := len(s)
		if in.max >= 0 {
			limit = min(limit, at+int(in.max))
		}
		for end = at; end < limit && c.member[s[end]]; end++ {
		}
		if from = at + int(in.min); end < from {
			return 0, -1
		}
		return from, end
	}
	from, end = at, at
	for taken := int32(0); end < len(s) && (in.max < 0 || taken < in.max); taken++ {
		if c.wide == wideAll && in.max < 0 && taken >= in.min {
			// Where characters need not be counted, bytes will do.
			if c.stop >= 0 {
				if i := strings.IndexByte(s[end:], byte(c.stop)); i >= 0 {
					return from, end + i
				}
				return from, len(s)
			}
			for end < len(s) && c.member[s[end]] {
				end++
			}
			return from, end
		}
		width := c.step(s, end)
		if width == 0 {
			if taken < in.min {
				return 0, -1
			}
			return from, end
		}
		end += width
		if taken < in.min {
			from = end
		}
		if end == len(s) && taken+1 < in.min {
			return 0, -1
		}
	}
	if in.min > 0 && from == at {
		return 0, -1
	}
	return from, end
}

// back returns the last position in from..end where what follows can begin, or -1.
func (in *inst) back(insts []inst, s string, from, end int) int {
	if in.lit != "" {
		b := in.lit[0]
		for end = min(end, len(s)-len(in.lit)); end >= from; end-- {
			if s[end] == b && s[end:end+len(in.lit)] == in.lit {
				return end
			}
		}
		return -1
	}
	follow := insts[in.next].first
	for ; end >= from; end-- {
		if follow.at(s, end) && (end == len(s) || s[end] < utf8.RuneSelf || isBoundary(s, end)) {
			return end
		}
	}
	return -1
}

// more returns the length of the character that a lazy run can take at s[at:], or 0.
func (in *inst) more(s string, at, taken int) int {
	if at >= len(s) || in.max >= 0 && taken >= int(in.max) {
		return 0
	}
	return in.class.step(s, at)
}

// forward returns the first position from at on, within the run, where what
// follows can begin, or -1, and the number of characters taken.
func (in *inst) forward(insts []inst, s string, at, taken int) (int, int) {
	follow := insts[in.next].first
	for !follow.at(s, at) {
		width := in.more(s, at, taken)
		if width == 0 {
			return -1, 0
		}
		at += width
		taken++
	}
	return at, taken
}

// find returns the first position from at on, within the run, where the
// literal behind it stands, or -1.
func (in *inst) find(s string, at int) int {
	i := strings.Index(s[at:], in.lit)
	if i < 0 || in.class.stop >= 0 && strings.IndexByte(s[at:at+i], byte(in.class.stop)) >= 0 {
		return -1
	}
	return at + i
}
