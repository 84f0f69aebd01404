package grok

import (
	"unicode"
	"unicode/utf8"
)

// wide says which characters beyond ASCII a class holds.
type wide uint8

const (
	wideNone wide = iota // none
	wideAll              // every one, a byte that is no UTF-8 included
	wideSome             // those of class.ranges
)

// class is a set of characters, laid out for matching bytes. A byte that is
// not part of a valid UTF-8 sequence is the character U+FFFD, one byte long,
// as it is to the standard regexp.
type class struct {
	// member holds, by byte, whether a member may begin with it: exact below
	// utf8.RuneSelf; above, true for all or none.
	member [256]bool
	wide   wide
	ranges []rune // pairs of first and last, sorted, of wideSome
	// stop is the only byte that is not a member, or -1 when there are others.
	stop int
}

// newClass makes a class of pairs of first and last characters, sorted.
func newClass(ranges []rune) *class {
	c := &class{stop: -1}
	covered := rune(utf8.RuneSelf)
	for i := 0; i+1 < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		for r := lo; r <= hi && r < utf8.RuneSelf; r++ {
			c.member[r] = true
		}
		if hi < utf8.RuneSelf {
			continue
		}
		lo = max(lo, utf8.RuneSelf)
		c.ranges = append(c.ranges, lo, hi)
		if lo == covered {
			covered = hi + 1
		}
	}
	switch {
	case len(c.ranges) == 0:
		return c
	case covered > unicode.MaxRune:
		c.wide, c.ranges = wideAll, nil
	default:
		c.wide = wideSome
	}
	for b := utf8.RuneSelf; b < 256; b++ {
		c.member[b] = true
	}
	if c.wide == wideAll {
		c.findStop()
	}
	return c
}

func (c *class) findStop() {
	for b := range utf8.RuneSelf {
		if c.member[b] {
			continue
		}
		if c.stop >= 0 {
			c.stop = -1
			return
		}
		c.stop = b
	}
}

// step returns the length of the character at s[p:] when it is a member, else 0.
func (c *class) step(s string, p int) int {
	b := s[p]
	if b < utf8.RuneSelf {
		if c.member[b] {
			return 1
		}
		return 0
	}
	if c.wide == wideNone {
		return 0
	}
	r, width := utf8.DecodeRuneInString(s[p:])
	if c.wide == wideAll {
		return width
	}
	for i := 0; i+1 < len(c.ranges); i += 2 {
		if r < c.ranges[i] {
			return 0
		}
		if r <= c.ranges[i+1] {
			return width
		}
	}
	return 0
}

// equal tells whether two classes have the same members.
func (c *class) equal(d *class) bool {
	if c == d {
		return true
	}
	if c.member != d.member || c.wide != d.wide || len(c.ranges) != len(d.ranges) {
		return false
	}
	for i := range c.ranges {
		if c.ranges[i] != d.ranges[i] {
			return false
		}
	}
	return true
}

// isBoundary tells whether a character begins at s[p] when s is read from its
// start. That can be told locally: a byte that can begin a sequence is never
// inside of another, so that decoding finds its feet at each of them.
func isBoundary(s string, p int) bool {
	if p >= len(s) || utf8.RuneStart(s[p]) {
		return true
	}
	for q := p - 1; q >= 0 && q > p-utf8.UTFMax; q-- {
		if utf8.RuneStart(s[q]) {
			_, width := utf8.DecodeRuneInString(s[q:])
			return q+width <= p
		}
	}
	return true
}

// first is what a match may begin with at a position.
type first struct {
	bytes [4]uint64
	end   bool // it may match at the end of the text
}

func (f *first) has(b byte) bool { return f.bytes[b>>6]&(1<<(b&63)) != 0 }

func (f *first) add(b byte) { f.bytes[b>>6] |= 1 << (b & 63) }

// at tells whether a match may begin at s[p:].
func (f *first) at(s string, p int) bool {
	if p < len(s) {
		return f.has(s[p])
	}
	return f.end
}

func (f first) union(g first) first {
	for i := range f.bytes {
		f.bytes[i] |= g.bytes[i]
	}
	f.end = f.end || g.end
	return f
}

// any reports that nothing can be ruled out.
func anything() first {
	const all = ^uint64(0)
	return first{bytes: [4]uint64{all, all, all, all}, end: true}
}

// begins returns the bytes that a class's members begin with.
func (c *class) begins() first {
	var f first
	for b := range 256 {
		if c.member[b] {
			f.add(byte(b))
		}
	}
	return f
}

// meets tells whether a member of the class may begin with a byte of f.
func (c *class) meets(f *first) bool {
	for b := range 256 {
		if c.member[b] && f.has(byte(b)) {
			return true
		}
	}
	return false
}
