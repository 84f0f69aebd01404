package httpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep the JSON of a body may nest.
const maxDepth = 512

// JSON makes a record of every element of an array, or of every value where
// several follow each other, with or without blanks between them.
func (r *Request) JSON() error {
	g, err := r.Batch.Group()
	if err != nil {
		return err
	}
	v := values{feed: feed{r: r}, what: "value"}
	first, err := v.blanks()
	if err != nil || first == 0 {
		return err
	}
	if first == '[' {
		v.what = "element"
		v.start++
		return v.array(g)
	}
	for first != 0 && err == nil {
		if err = v.take(g); err == nil {
			first, err = v.blanks()
		}
	}
	return err
}

// values cuts JSON values out of a body.
type values struct {
	feed
	what   string // they are called, and how many there were
	number int
}

// blanks passes over blanks and returns the first byte that is none; 0 at the
// end of the body, and Malformed for a NUL in it.
func (v *values) blanks() (byte, error) {
	for {
		for v.start < v.end {
			switch c := v.buf[v.start]; c {
			case ' ', '\t', '\r', '\n':
				v.start++
			case 0:
				return 0, Malformed("behind %s %d: there is a NUL", v.what, v.number)
			default:
				return c, nil
			}
		}
		if v.ended {
			return 0, nil
		}
		if err := v.more(); err != nil {
			return 0, err
		}
	}
}

// array takes the elements behind the bracket that was read.
func (v *values) array(g *Group) error {
	for {
		c, err := v.blanks()
		if err != nil {
			return err
		}
		if c == ']' && v.number == 0 {
			break
		}
		if err := v.take(g); err != nil {
			return err
		}
		if c, err = v.blanks(); err != nil {
			return err
		}
		if c == ']' {
			break
		}
		if c != ',' {
			return v.unexpected(c, "a comma or the end of the array")
		}
		v.start++
	}
	v.start++
	c, err := v.blanks()
	if err == nil && c != 0 {
		err = v.unexpected(c, "the end of the body")
	}
	return err
}

func (v *values) unexpected(c byte, want string) error {
	if c == 0 {
		return Malformed("behind %s %d: the body ends where %s should be", v.what, v.number, want)
	}
	return Malformed("behind %s %d: %q stands where %s should be", v.what, v.number, c, want)
}

// take makes a record of the value that begins here.
func (v *values) take(g *Group) error {
	v.number++
	var s scan
	for !s.step(v.rest()) {
		if v.ended {
			if s.ends() {
				break
			}
			return Malformed("%s %d: the body ends inside it", v.what, v.number)
		}
		if err := v.more(); err != nil {
			return err
		}
	}
	value := v.buf[v.start : v.start+s.at : v.start+s.at]
	v.start += s.at
	if s.depth > maxDepth {
		return Malformed("%s %d: %v", v.what, v.number, errDeep)
	}
	if err := CheckJSON(value); err != nil {
		return Malformed("%s %d: %v", v.what, v.number, err)
	}
	return g.Add(value, v.r.Batch.now, nil)
}

// scan finds where a JSON value ends, however it is cut. It knows brackets and
// strings only: whether the value is sound is for CheckJSON.
type scan struct {
	at      int // how much was looked at
	depth   int
	text    bool // inside a string
	escaped bool // behind a backslash
	scalar  bool // inside a number or a word
}

// step looks at data, which begins with what it was given before; true when
// the value ends at s.at.
func (s *scan) step(data []byte) bool {
	for ; s.at < len(data); s.at++ {
		c := data[s.at]
		switch {
		case s.escaped:
			s.escaped = false
		case s.text && c == '\\':
			s.escaped = true
		case s.text && c == '"':
			s.text = false
			if s.depth == 0 {
				s.at++
				return true
			}
		case s.text:
		case s.scalar && s.depth == 0:
			if isDelimiter(c) {
				return true
			}
		case c == '"':
			s.text = true
		case c == '{' || c == '[':
			if s.depth++; s.depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			if s.depth--; s.depth <= 0 {
				s.at++
				return true
			}
		case s.depth == 0:
			s.scalar = true
			if isDelimiter(c) { // there is no value
				s.at++
				return true
			}
		}
	}
	return false
}

func isDelimiter(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ']', '}', '[', '{', '"', ':':
		return true
	}
	return false
}

// ends tells whether the value may end where the body does.
func (s *scan) ends() bool { return s.scalar && s.depth == 0 }

var errDeep = fmt.Errorf("it nests deeper than %d", maxDepth)

// CheckJSON tells whether a text is one JSON value that does not nest too
// deep. Its error says what is wrong, and where in the text.
func CheckJSON(text []byte) error {
	if json.Valid(text) {
		return checkDepth(text)
	}
	var raw json.RawMessage
	err := json.Unmarshal(text, &raw)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("%w, at byte %d of it", err, syntax.Offset)
	}
	return fmt.Errorf("it is no JSON: %w", err)
}

// checkDepth bounds how deep a sound text nests.
func checkDepth(text []byte) error {
	if len(text) < 2*maxDepth {
		return nil // it cannot
	}
	var s scan
	if s.step(text); s.depth > maxDepth {
		return errDeep
	}
	return nil
}

// Members calls do with each member of a sound JSON object, in order. Key and
// value alias the text where they hold no escape. It returns false when the text is none.
func Members(object []byte, do func(key, value []byte) error) (ok bool, err error) {
	rest := bytes.TrimSpace(object)
	if len(rest) == 0 || rest[0] != '{' {
		return false, nil
	}
	for rest = rest[1:]; ; {
		rest = bytes.TrimLeft(rest, " \t\r\n,")
		if len(rest) == 0 || rest[0] == '}' {
			return true, nil
		}
		key, behind := cut(rest)
		value, next := cut(bytes.TrimLeft(behind, " \t\r\n:"))
		name, ok := Text(key)
		if !ok {
			return false, nil
		}
		if err := do(name, value); err != nil {
			return true, err
		}
		rest = next
	}
}

// Elements calls do with each element of a sound JSON array, in order. It
// returns false when the text is none.
func Elements(array []byte, do func(value []byte) error) (ok bool, err error) {
	rest := bytes.TrimSpace(array)
	if len(rest) == 0 || rest[0] != '[' {
		return false, nil
	}
	for rest = rest[1:]; ; {
		rest = bytes.TrimLeft(rest, " \t\r\n,")
		if len(rest) == 0 || rest[0] == ']' {
			return true, nil
		}
		value, next := cut(rest)
		if err := do(value); err != nil {
			return true, err
		}
		rest = next
	}
}

// cut takes the first value off a sound text.
func cut(text []byte) (value, rest []byte) {
	var s scan
	s.step(text)
	return text[:s.at:s.at], text[s.at:]
}

// Text returns what a JSON string says; false when the value is none.
func Text(value []byte) (text []byte, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	inside := value[1 : len(value)-1]
	if bytes.IndexByte(inside, '\\') < 0 {
		return inside[:len(inside):len(inside)], true
	}
	return unescape(inside)
}

// unescape returns what the inside of a string with escapes says; it must
// equal what the standard library makes of it, as FuzzText finds. False when an escape is none.
func unescape(s []byte) (text []byte, ok bool) {
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			i = len(s)
		}
		out, s = append(out, s[:i]...), s[i:]
		switch {
		case len(s) == 0:
		case len(s) == 1:
			return nil, false
		case s[1] == 'u':
			r, n := unescapeRune(s)
			if n == 0 {
				return nil, false
			}
			out, s = utf8.AppendRune(out, r), s[n:]
		default:
			j := strings.IndexByte(`"\/bfnrt`, s[1])
			if j < 0 {
				return nil, false
			}
			out, s = append(out, "\"\\/\b\f\n\r\t"[j]), s[2:]
		}
	}
	return out, true
}

// unescapeRune reads \uXXXX, or two of them that are one character, off the
// front. n is how long it is, 0 when it is none. Half of a pair alone is U+FFFD.
func unescapeRune(s []byte) (r rune, n int) {
	first := hexRune(s)
	if first < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(first) {
		return first, 6
	}
	if second := hexRune(s[6:]); second >= 0 {
		if both := utf16.DecodeRune(first, second); both != utf8.RuneError {
			return both, 12
		}
	}
	return utf8.RuneError, 6
}

// hexRune reads \uXXXX; -1 when it is none.
func hexRune(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(s[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
