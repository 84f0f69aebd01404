package syslog

import (
	"bytes"
	"maps"
	"slices"

	lib "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc3164"
	"github.com/leodido/go-syslog/v4/rfc5424"
)

// plain reads messages with the library's parsers. It takes every form that
// they take; it allocates. It is one goroutine's.
//
// The library refuses two things that real messages hold: control characters
// in the text, and IPv6 addresses as the host of RFC 3164. So it gets a copy
// in which they are masked, and fields are taken from the message itself.
type plain struct {
	bsd, modern lib.Machine
	copy        []byte
}

func newPlain() *plain {
	return &plain{
		bsd: rfc3164.NewMachine(rfc3164.WithRFC3339(), rfc3164.WithSecondFractions(), rfc3164.WithLenientDay(),
			rfc3164.WithOptionalPriority()),
		modern: rfc5424.NewMachine(),
	}
}

// read takes a message apart; false when it follows neither RFC: then pri and
// rest are all that is known of it.
func (p *plain) read(m *message, b []byte) bool {
	m.reset()
	m.pri, m.rest, _ = readPRI(b)
	p.copy = mask(append(p.copy[:0], b...))
	if len(m.rest) > 1 && isDigit(m.rest[0]) && m.pri >= 0 {
		got, err := p.modern.Parse(p.copy)
		if msg, ok := got.(*rfc5424.SyslogMessage); ok && err == nil { // it may return neither a message nor an error
			m.fromModern(b, msg)
			return true
		}
	}
	stamp := m.rest[skipSpaces(m.rest):]
	n := stampLen(stamp)
	if n == 0 {
		return false
	}
	stamp, rest := stamp[:n], stamp[n:]
	host := rest[skipSpaces(rest):]
	host = host[:wordLen(host)]
	v6 := bytes.IndexByte(host, ':') >= 0 && isIPv6(host)
	if v6 {
		at := len(b) - len(rest) + skipSpaces(rest)
		for i := range host {
			p.copy[at+i] = 'x'
		}
	}
	got, err := p.bsd.Parse(p.copy)
	msg, ok := got.(*rfc3164.SyslogMessage)
	if err != nil || !ok {
		return false
	}
	m.fromBSD(b, msg)
	m.stamp = stamp
	if m.host != nil {
		m.host = host // the library mistakes where one with a bracket begins
	}
	return true
}

// mask replaces control characters.
func mask(b []byte) []byte {
	for i, c := range b {
		if c < ' ' && c != '\t' || c == 0x7F {
			b[i] = '.'
		}
	}
	return b
}

func (m *message) fromModern(b []byte, msg *rfc5424.SyslogMessage) {
	m.modern = true
	if msg.Timestamp != nil {
		stamp := m.rest[bytes.IndexByte(m.rest, ' ')+1:]
		m.stamp = stamp[:wordLen(stamp)]
	}
	m.host, m.app, m.pid, m.msgID = field(msg.Hostname), field(msg.Appname), field(msg.ProcID), field(msg.MsgID)
	if msg.Message != nil {
		m.text = bytes.TrimPrefix(b[len(b)-len(*msg.Message):], byteOrderMark())
	}
	if msg.StructuredData == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(*msg.StructuredData)) {
		element := (*msg.StructuredData)[id]
		for _, name := range slices.Sorted(maps.Keys(element)) {
			if len(m.params) < maxParams {
				m.params = append(m.params, param{[]byte(id), []byte(name), []byte(element[name])})
			}
		}
	}
}

// fromBSD takes the library's fields over. It remembers a tag also when it
// found later that it was none, as in "a:b c"; so what stands before the text decides.
func (m *message) fromBSD(b []byte, msg *rfc3164.SyslogMessage) {
	m.host = field(msg.Hostname)
	if msg.Message != nil {
		m.text = b[len(b)-len(*msg.Message):]
	}
	m.tail = m.text
	app, pid := field(msg.Appname), field(msg.ProcID)
	before := len(b) - len(m.text)
	tag := append([]byte(nil), app...)
	if pid != nil {
		tag = append(append(append(tag, '['), pid...), ']')
	}
	tag = append(tag, ": "...)
	if app == nil || !bytes.HasSuffix(mask(bytes.Clone(b[:before])), tag) {
		return
	}
	m.app, m.pid = app, pid
	m.tail = b[before-len(tag):]
}

// field returns an absent or empty one as nil.
func field(s *string) []byte {
	if s == nil || *s == "" {
		return nil
	}
	return []byte(*s)
}

// stampLen is bsdStampLen, and takes fractions of a second.
func stampLen(b []byte) int {
	n := bsdStampLen(b)
	if n == 0 || isDigit(b[0]) || n == len(b) || b[n] != '.' {
		return n
	}
	for n++; n < len(b) && isDigit(b[n]); n++ {
	}
	return n
}

func skipSpaces(b []byte) int { return len(b) - len(bytes.TrimLeft(b, " ")) }

// wordLen is how many bytes there are before a space.
func wordLen(b []byte) int {
	if i := bytes.IndexByte(b, ' '); i >= 0 {
		return i
	}
	return len(b)
}
