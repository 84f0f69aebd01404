package syslog

import "bytes"

// Framings, as RFC 6587 names them.
const (
	framingAuto    = "auto"
	framingOctet   = "octet"
	framingNewline = "newline"
)

// event is what a framer found.
type event int

const (
	more    event = iota // the frame is not complete
	whole                // a message
	shorter              // a message that was cut
	refused              // a message that is too long and was left out
	broken               // the stream cannot be read on: an octet count that is none
)

// framer finds the messages in a stream: those with an octet count before
// them, "12 <34>hello …", and those with a line end behind them. It keeps no
// bytes: of what is not complete, the caller presents the same bytes again,
// with more behind them. That is never more than limit and a count's digits.
type framer struct {
	framing string
	limit   int  // bytes of a message
	cut     bool // cut longer ones, or refuse them

	scanned int  // the frame's first bytes that hold no line end
	counted bool // the last frame had an octet count
	skip    int  // bytes of the current frame that are left out
	line    bool // the line is left out up to its end
}

// maxCount is how many digits an octet count has at most.
const maxCount = 9

// next finds the first message of b and says how many bytes of b are done
// with. last says that nothing will follow.
func (f *framer) next(b []byte, last bool) (msg []byte, done int, e event) {
	done = f.pass(b)
	if f.skip > 0 || f.line {
		return nil, done, more
	}
	b = b[done:]
	if len(b) == 0 {
		return nil, done, more
	}
	header, count, kind := f.kind(b, last)
	switch kind {
	case kindOpen:
		return nil, done, more
	case kindBroken:
		return nil, done, broken
	case kindCounted:
		f.counted = true
		msg, n, e := f.octets(b, header, count)
		return msg, done + n, e
	}
	f.counted = false
	msg, n, e := f.newline(b, last)
	return msg, done + n, e
}

// pass leaves out the rest of a long message, and what some senders put between frames.
func (f *framer) pass(b []byte) (n int) {
	if f.skip > 0 {
		n = min(f.skip, len(b))
		f.skip -= n
	}
	if f.line {
		n = bytes.IndexByte(b, '\n') + 1
		if n == 0 {
			return len(b)
		}
		f.line = false
	}
	if f.scanned > 0 || f.skip > 0 {
		return n
	}
	for n < len(b) && (b[n] == '\n' || b[n] == '\r' || b[n] == 0) {
		n++
	}
	return n
}

type frameKind int

const (
	kindOpen frameKind = iota // too few bytes to tell
	kindCounted
	kindLine
	kindBroken
)

// kind tells the framing of the frame that b begins with. In auto, an octet
// count is one only with a PRI behind it, since a line may begin with a number; and behind a
// counted frame something else than a count or a PRI shows that the count was wrong.
func (f *framer) kind(b []byte, last bool) (header, count int, k frameKind) {
	if f.framing == framingNewline || f.scanned > 0 {
		return 0, 0, kindLine
	}
	none := kindLine
	if f.framing == framingOctet || f.counted && b[0] != '<' {
		none = kindBroken
	}
	if b[0] < '1' || b[0] > '9' {
		return 0, 0, none
	}
	n := 0
	for n < len(b) && n <= maxCount && isDigit(b[n]) {
		count = count*10 + int(b[n]-'0')
		n++
	}
	open := kindOpen
	if last {
		open = none
	}
	switch {
	case n > maxCount:
		return 0, 0, none
	case n == len(b):
		return 0, 0, open
	case b[n] != ' ':
		return 0, 0, none
	case f.framing == framingOctet:
		return n + 1, count, kindCounted
	case n+1 == len(b):
		return 0, 0, open
	case b[n+1] != '<':
		return 0, 0, none
	}
	return n + 1, count, kindCounted
}

// octets takes a counted message.
func (f *framer) octets(b []byte, header, count int) (msg []byte, done int, e event) {
	have := len(b) - header
	switch {
	case count <= f.limit && have < count:
		return nil, 0, more
	case count <= f.limit:
		return b[header : header+count], header + count, whole
	case !f.cut:
		done = min(len(b), header+count)
		f.skip = header + count - done
		return nil, done, refused
	case have < f.limit:
		return nil, 0, more
	}
	done = min(len(b), header+count)
	f.skip = header + count - done
	return b[header : header+f.limit], done, shorter
}

// newline takes a line, or what there is of it at the end of the stream.
func (f *framer) newline(b []byte, last bool) (msg []byte, done int, e event) {
	i := bytes.IndexByte(b[f.scanned:], '\n')
	switch {
	case i < 0 && f.long(b):
		f.line = true // the rest of it comes later
		done = len(b)
	case i < 0 && !last:
		f.scanned = len(b)
		return nil, 0, more
	case i < 0:
		done = len(b)
	default:
		b = b[:f.scanned+i]
		done = len(b) + 1
	}
	f.scanned = 0
	switch {
	case !f.long(b):
		return b, done, whole
	case !f.cut:
		return nil, done, refused
	}
	return b[:f.limit], done, shorter
}

// long tells whether a line is too long; a CR at its end does not count.
func (f *framer) long(b []byte) bool {
	return len(b) > f.limit+1 || len(b) == f.limit+1 && b[f.limit] != '\r'
}
