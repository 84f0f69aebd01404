package decode

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unicodeEscape reads uXXXX, or two of them that make a surrogate pair, at
// the head of in, which begins after the backslash. size is 0 when it is none. A
// surrogate alone is U+FFFD.
func unicodeEscape(in []byte) (r rune, size int) {
	r, ok := hex4(in)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 5
	}
	if len(in) > 6 && in[5] == '\\' && in[6] == 'u' {
		if low, ok := hex4(in[6:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 11
			}
		}
	}
	return utf8.RuneError, 5
}

// hex4 reads the four digits of uXXXX.
func hex4(in []byte) (r rune, ok bool) {
	if len(in) < 5 {
		return 0, false
	}
	for _, c := range in[1:5] {
		r <<= 4
		switch {
		case c >= '0' && c <= '9':
			r |= rune(c - '0')
		case c >= 'a' && c <= 'f':
			r |= rune(c - 'a' + 10)
		case c >= 'A' && c <= 'F':
			r |= rune(c - 'A' + 10)
		default:
			return 0, false
		}
	}
	return r, true
}
