package objects

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// maxDepth is how deep a value may nest. CloudTrail's own nest less than twenty deep.
const maxDepth = 512

// scan finds the end of a value of JSON. It checks that strings end and that
// brackets match, and looks on its way for the time of an entry: a member
// eventTime of the outermost object.
type scan struct {
	depth    int
	arrays   [maxDepth / 64]uint64 // which of the open brackets are square
	inString bool
	escaped  bool // the next byte of the string is escaped
	scalar   bool // in a number or a word outside of all brackets

	names   bool // strings at depth 1 are names of members, until a colon comes
	expects bool // the next value at depth 1 is that of eventTime
	began   int  // where in the text the string under way began; -1 when that is not there any more

	eventTime time.Time
}

// feed goes on at text[from:], where text is what is there of the value. It
// returns where it stands, and whether that is the value's end. A number or a
// word outside of all brackets ends before the byte that ends it.
func (s *scan) feed(text []byte, from int) (at int, done bool, err error) {
	for i := from; i < len(text); i++ {
		switch {
		case s.inString:
			if i = s.string(text, i); i < len(text) && !s.inString && s.depth == 0 {
				return i + 1, true, nil
			}
		case s.scalar:
			if !isScalar(text[i]) {
				return i, true, nil
			}
		default:
			if done, err := s.structure(text[i], i); done || err != nil {
				return i + 1, done, err
			}
		}
	}
	return len(text), false, nil
}

// forget says that the text fed next does not hold what was fed so far.
func (s *scan) forget() { s.began = -1 }

// string goes on in a string, to its last byte or one that begins an escape.
func (s *scan) string(text []byte, i int) int {
	if s.escaped {
		s.escaped = false
		return i
	}
	for i < len(text) && text[i] != '"' && text[i] != '\\' {
		i++
	}
	if i == len(text) {
		return i
	}
	if text[i] == '\\' {
		s.escaped = true
		return i
	}
	s.inString = false
	if s.depth == 1 && s.began >= 0 {
		s.word(text[s.began+1 : i])
	}
	return i
}

// word is told of a string in the outermost object.
func (s *scan) word(word []byte) {
	switch {
	case s.names:
		s.expects = string(word) == "eventTime"
	case s.expects:
		s.expects = false
		if t, err := time.Parse(time.RFC3339, string(word)); err == nil {
			s.eventTime = t
		}
	}
}

// structure takes a byte that is in no string.
func (s *scan) structure(c byte, at int) (done bool, err error) {
	switch c {
	case '"':
		s.inString, s.began = true, at
	case '{', '[':
		if s.depth == maxDepth {
			return false, fmt.Errorf("%w: it nests more than %d deep", errFormat, maxDepth)
		}
		s.open(c == '[')
	case '}', ']':
		if s.depth == 0 || s.isArray() != (c == ']') {
			return false, fmt.Errorf("%w: %q closes what it did not open", errFormat, c)
		}
		s.depth--
		return s.depth == 0, nil
	case ',':
		s.names, s.expects = s.depth == 1 && !s.isArray(), false
	case ':':
		s.names = false
	case ' ', '\t', '\r', '\n':
	default:
		if !isScalar(c) {
			return false, fmt.Errorf("%w: %q is out of place", errFormat, c)
		}
		s.scalar = s.depth == 0
	}
	if s.depth == 0 && !s.inString && !s.scalar {
		return false, fmt.Errorf("%w: %q is no value", errFormat, c)
	}
	return false, nil
}

func (s *scan) open(array bool) {
	word, bit := s.depth/64, uint64(1)<<(s.depth%64)
	if array {
		s.arrays[word] |= bit
	} else {
		s.arrays[word] &^= bit
	}
	s.depth++
	s.names, s.expects = s.depth == 1 && !array, false
}

func (s *scan) isArray() bool {
	d := s.depth - 1
	return s.arrays[d/64]&(1<<(d%64)) != 0
}

// isScalar tells of bytes that numbers and words are made of.
func isScalar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'E'
}

// isRecords tells whether a string of JSON is "Records", however it is written.
func isRecords(text []byte) bool {
	if !bytes.ContainsRune(text, '\\') {
		return string(text) == `"Records"`
	}
	var name string
	return json.Unmarshal(text, &name) == nil && name == "Records"
}
