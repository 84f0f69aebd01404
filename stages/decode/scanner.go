package decode

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// noPath is the index of a path that was not asked for.
const noPath = -1

// pathPlan is the set of paths that are taken from an envelope, as a tree, so
// that one pass over the text finds all.
type pathPlan struct {
	paths              []string
	root               pathNode
	message, timestamp int
}

type pathNode struct {
	leaf     []int // paths that end here
	children []pathChild
}

type pathChild struct {
	key  string
	node *pathNode
}

// add returns the index of a path, adding it when it is new.
func (p *pathPlan) add(path string) int {
	for i, known := range p.paths {
		if known == path {
			return i
		}
	}
	p.paths = append(p.paths, path)
	n := &p.root
	if path != "." {
		for _, key := range splitPath(path) {
			n = n.child(key)
		}
	}
	n.leaf = append(n.leaf, len(p.paths)-1)
	return len(p.paths) - 1
}

func (n *pathNode) child(key string) *pathNode {
	for _, c := range n.children {
		if c.key == key {
			return c.node
		}
	}
	c := &pathNode{}
	n.children = append(n.children, pathChild{key, c})
	return c
}

// splitPath splits at dots that no backslash stands before.
func splitPath(path string) []string {
	var keys []string
	var key strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path):
			i++
			key.WriteByte(path[i])
		case path[i] == '.':
			keys = append(keys, key.String())
			key.Reset()
		default:
			key.WriteByte(path[i])
		}
	}
	return append(keys, key.String())
}

// kind is the kind of a JSON value.
type kind uint8

const (
	kindNone kind = iota
	kindString
	kindNumber
	kindBool
	kindNull
	kindObject
	kindArray
)

// span is a value within the text. A string's quotes are not in it.
type span struct {
	start, end int
	kind       kind
	escaped    bool
}

// maxKey is the length of key, in bytes as written, from which on no path can mean it.
const maxKey = 4 << 10

// scanner walks over JSON once, noting where the values of a plan stand. It
// checks the structure (so that a truncated envelope is noticed), but not the
// spelling of numbers nor the characters of strings that nobody asked for.
type scanner struct {
	data     []byte
	pos      int
	maxDepth int
	found    []span
	key      []byte // a key that had to be unescaped
}

func (s *scanner) reset(data []byte) { s.data, s.pos = data, 0 }

// space skips white space and returns the byte after it, 0 at the end.
func (s *scanner) space() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// value walks over one value; n says what to note in it, and may be nil.
func (s *scanner) value(n *pathNode, depth int) (span, *Error) {
	c := s.space()
	if s.pos >= len(s.data) {
		return span{}, s.fail(ReasonTruncated, "the JSON ends where a value is expected")
	}
	var v span
	var err *Error
	switch c {
	case '"':
		v, err = s.str()
	case '{':
		v, err = s.object(n, depth+1)
	case '[':
		v, err = s.array(depth + 1)
	default:
		v, err = s.word()
	}
	if err == nil && n != nil {
		for _, i := range n.leaf {
			s.found[i] = v
		}
	}
	return v, err
}

func (s *scanner) object(n *pathNode, depth int) (span, *Error) {
	if depth > s.maxDepth {
		return span{}, s.fail(ReasonTooDeep, fmt.Sprintf("the JSON nests deeper than max_depth (%d)", s.maxDepth))
	}
	v := span{start: s.pos, kind: kindObject}
	s.pos++
	if s.space() == '}' {
		s.pos++
		v.end = s.pos
		return v, nil
	}
	for {
		child, err := s.member(n)
		if err != nil {
			return v, err
		}
		if _, err = s.value(child, depth); err != nil {
			return v, err
		}
		switch s.space() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			v.end = s.pos
			return v, nil
		default:
			return v, s.unexpected("a comma or }")
		}
	}
}

// member walks over a key and its colon and returns what to note in its value.
func (s *scanner) member(n *pathNode) (*pathNode, *Error) {
	if s.space() != '"' {
		return nil, s.unexpected("a key")
	}
	key, err := s.str()
	if err != nil {
		return nil, err
	}
	if s.space() != ':' {
		return nil, s.unexpected("a colon")
	}
	s.pos++
	if n == nil || len(n.children) == 0 {
		return nil, nil
	}
	text := s.data[key.start:key.end]
	if len(text) > maxKey {
		return nil, nil
	}
	if key.escaped {
		s.key = s.key[:0]
		if text, err = unescape(s.key, text); err != nil {
			return nil, err
		}
		s.key = text
	}
	for _, c := range n.children {
		if c.key == string(text) {
			return c.node, nil
		}
	}
	return nil, nil
}

func (s *scanner) array(depth int) (span, *Error) {
	if depth > s.maxDepth {
		return span{}, s.fail(ReasonTooDeep, fmt.Sprintf("the JSON nests deeper than max_depth (%d)", s.maxDepth))
	}
	v := span{start: s.pos, kind: kindArray}
	s.pos++
	if s.space() == ']' {
		s.pos++
		v.end = s.pos
		return v, nil
	}
	for {
		if _, err := s.value(nil, depth); err != nil {
			return v, err
		}
		switch s.space() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			v.end = s.pos
			return v, nil
		default:
			return v, s.unexpected("a comma or ]")
		}
	}
}

// str walks over a string: to the next quote before which the number of
// backslashes is even.
func (s *scanner) str() (span, *Error) {
	v := span{start: s.pos + 1, kind: kindString}
	for i := v.start; ; {
		quote := bytes.IndexByte(s.data[i:], '"')
		if quote < 0 {
			s.pos = len(s.data)
			return v, s.fail(ReasonTruncated, "the JSON ends within a string")
		}
		end := i + quote
		slashes := 0
		for end-slashes > v.start && s.data[end-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			v.end, s.pos = end, end+1
			v.escaped = v.escaped || bytes.IndexByte(s.data[i:end], '\\') >= 0
			return v, nil
		}
		v.escaped = true
		i = end + 1
	}
}

// word walks over a number, true, false or null.
func (s *scanner) word() (span, *Error) {
	v := span{start: s.pos}
	for s.pos < len(s.data) && wordByte[s.data[s.pos]] {
		s.pos++
	}
	v.end = s.pos
	switch text := s.data[v.start:v.end]; {
	case len(text) == 0:
		return v, s.unexpected("a value")
	case text[0] == '-' || text[0] >= '0' && text[0] <= '9':
		v.kind = kindNumber
	case string(text) == "null":
		v.kind = kindNull
	case string(text) == "true", string(text) == "false":
		v.kind = kindBool
	case s.pos == len(s.data):
		return v, s.fail(ReasonTruncated, "the JSON ends within a word")
	default:
		s.pos = v.start
		return v, s.unexpected("a value")
	}
	return v, nil
}

// wordByte has the bytes of numbers and literals.
var wordByte = func() (t [256]bool) {
	for _, c := range "+-.0123456789abcdefghijklmnopqrstuvwxyzE" {
		t[c] = true
	}
	return t
}()

func (s *scanner) unexpected(wanted string) *Error {
	if s.pos >= len(s.data) {
		return s.fail(ReasonTruncated, "the JSON ends where "+wanted+" is expected")
	}
	return s.fail(ReasonBadJSON, fmt.Sprintf("%q where %s is expected", s.data[s.pos], wanted))
}

func (s *scanner) fail(reason Reason, detail string) *Error {
	return &Error{Reason: reason, Detail: fmt.Sprintf("at byte %d: %s", s.pos, detail)}
}

// unescape appends the text of a JSON string to out. It never gives more bytes than it reads.
func unescape(out, in []byte) ([]byte, *Error) {
	for {
		i := bytes.IndexByte(in, '\\')
		if i < 0 {
			return append(out, in...), nil
		}
		out = append(out, in[:i]...)
		in = in[i+1:]
		if len(in) == 0 {
			return out, badEscape("")
		}
		if in[0] == 'u' {
			r, size := unicodeEscape(in)
			if size == 0 {
				return out, badEscape("u")
			}
			out = utf8.AppendRune(out, r)
			in = in[size:]
			continue
		}
		c := shortEscapes[in[0]]
		if c == 0 {
			return out, badEscape(string(in[:1]))
		}
		out = append(out, c)
		in = in[1:]
	}
}

var shortEscapes = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func badEscape(what string) *Error {
	return &Error{Reason: ReasonBadJSON, Detail: fmt.Sprintf("%q is no escape of JSON", `\`+what)}
}
