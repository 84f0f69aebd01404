package syslog

import "bytes"

// message is one syslog message taken apart. Its fields alias the bytes that
// it was read from, or memory of its own; they are valid until the next one is read.
type message struct {
	pri    int    // facility*8 + severity; -1 without one
	modern bool   // RFC 5424, else RFC 3164
	stamp  []byte // the time as it was sent; nil when absent
	host   []byte // nil when absent, as are app, pid and msgID
	app    []byte
	pid    []byte
	msgID  []byte
	params []param // of the structured data
	text   []byte  // the message proper, without tag and byte order mark
	tail   []byte  // of RFC 3164: tag and text as they were sent

	// rest is everything behind the PRI. It is also there when nothing else is,
	// in messages that follow neither RFC.
	rest []byte
}

// param is one parameter of an element of the structured data.
type param struct{ id, name, value []byte }

// maxParams bounds the parameters of structured data that become headers.
const maxParams = 64

func (m *message) reset() { *m = message{pri: -1, params: m.params[:0]} }

// trim takes off what frames end with.
func trim(b []byte) []byte { return bytes.TrimRight(b, "\r\n\x00") }

// readPRI takes the PRI off a message, "<13>"; ok is false where there is none.
func readPRI(b []byte) (pri int, rest []byte, ok bool) {
	if len(b) < 3 || b[0] != '<' {
		return -1, b, false
	}
	i := 1
	for pri = 0; i < len(b) && i < 4 && isDigit(b[i]); i++ {
		pri = pri*10 + int(b[i]-'0')
	}
	if i == 1 || i == len(b) || b[i] != '>' || pri > 191 || b[1] == '0' && i > 2 {
		return -1, b, false
	}
	return pri, b[i+1:], true
}

// fast reads the usual forms of both RFCs without allocating. It returns
// false for all others, which is for plain to decide: what fast reads, plain
// reads alike (TestFastReadsAsPlainDoes, FuzzFastReadsAsPlainDoes).
func (m *message) fast(b []byte) bool {
	m.reset()
	var ok bool
	if m.pri, m.rest, ok = readPRI(b); !ok {
		return false
	}
	if len(m.rest) > 2 && m.rest[0] == '1' && m.rest[1] == ' ' {
		m.modern = true
		return m.fastModern(m.rest[2:])
	}
	return m.fastBSD(m.rest)
}

// fastModern reads what follows the version of RFC 5424.
func (m *message) fastModern(b []byte) bool {
	var ok bool
	if m.stamp, b, ok = word(b, 32); !ok || m.stamp != nil && !isTimestamp(m.stamp) {
		return false
	}
	for _, f := range [...]struct {
		to  *[]byte
		max int
	}{{&m.host, 255}, {&m.app, 48}, {&m.pid, 128}, {&m.msgID, 32}} {
		if *f.to, b, ok = word(b, f.max); !ok {
			return false
		}
	}
	if len(b) == 0 {
		return false
	}
	if b[0] == '-' {
		b = b[1:]
	} else if b, ok = m.fastData(b); !ok {
		return false
	}
	switch {
	case len(b) == 0:
		return true
	case b[0] != ' ':
		return false
	}
	m.text = bytes.TrimPrefix(b[1:], byteOrderMark())
	return true
}

func byteOrderMark() []byte { return []byte("\xEF\xBB\xBF") }

// word takes a field of printable characters and the space behind it; "-" is an absent one.
func word(b []byte, limit int) (w, rest []byte, ok bool) {
	i := 0
	for i < len(b) && isGraph(b[i]) {
		i++
	}
	if i == 0 || i > limit || i == len(b) || b[i] != ' ' {
		return nil, b, false
	}
	if i == 1 && b[0] == '-' {
		return nil, b[2:], true
	}
	return b[:i], b[i+1:], true
}

// fastData reads structured data of printable ASCII without escapes.
func (m *message) fastData(b []byte) (rest []byte, ok bool) {
	for first := true; len(b) > 0 && b[0] == '['; first = false {
		id := name(b[1:])
		if id == nil || !first && m.hasElement(id) {
			return b, false
		}
		b = b[1+len(id):]
		any := false
		for len(b) > 0 && b[0] == ' ' {
			key := name(b[1:])
			b = b[1+len(key):]
			if key == nil || len(b) < 3 || b[0] != '=' || b[1] != '"' || len(m.params) == maxParams {
				return b, false
			}
			end := 2
			for end < len(b) && b[end] != '"' {
				if c := b[end]; c < ' ' || c > '~' || c == '\\' || c == ']' {
					return b, false
				}
				end++
			}
			if end == len(b) {
				return b, false
			}
			m.params = append(m.params, param{id, key, b[2:end]})
			b, any = b[end+1:], true
		}
		if len(b) == 0 || b[0] != ']' || !any { // an element without parameters would leave no trace of its id
			return b, false
		}
		b = b[1:]
	}
	return b, len(m.params) > 0
}

func (m *message) hasElement(id []byte) bool {
	for _, p := range m.params {
		if bytes.Equal(p.id, id) {
			return true
		}
	}
	return false
}

// name reads an SD-NAME; nil when there is none.
func name(b []byte) []byte {
	i := 0
	for i < len(b) && isGraph(b[i]) && b[i] != '=' && b[i] != ']' && b[i] != '"' {
		i++
	}
	if i == 0 || i > 32 {
		return nil
	}
	return b[:i]
}

// fastBSD reads what follows the PRI of RFC 3164: time, host, tag and text, with or without the host.
func (m *message) fastBSD(b []byte) bool {
	n := bsdStampLen(b)
	if n == 0 || len(b) < n+2 || b[n] != ' ' {
		return false
	}
	m.stamp = b[:n:n]
	b = b[n+1:]
	if m.fastTag(b) {
		return true
	}
	i, colon := 0, false
	for i < len(b) && isGraph(b[i]) && b[i] != '[' {
		colon = colon || b[i] == ':'
		i++
	}
	if i == 0 || i > 255 || i == len(b) || b[i] != ' ' || colon && !isIPv6(b[:i]) {
		return false
	}
	if i > 1 || b[0] != '-' {
		m.host = b[:i:i]
	}
	return m.fastTag(b[i+1:])
}

// fastTag reads "app[pid]: text" or "app: text".
func (m *message) fastTag(b []byte) bool {
	i := 0
	for i < len(b) && isGraph(b[i]) && b[i] != ':' && b[i] != '[' {
		i++
	}
	if i == 0 || i > 48 || i == len(b) || i == 1 && b[0] == '-' {
		return false
	}
	app, rest := b[:i:i], b[i:]
	var pid []byte
	if rest[0] == '[' {
		j := 1
		for j < len(rest) && isGraph(rest[j]) && rest[j] != '[' && rest[j] != ']' {
			j++
		}
		if j == 1 || j == len(rest) || rest[j] != ']' || j == 2 && rest[1] == '-' {
			return false
		}
		pid, rest = rest[1:j:j], rest[j+1:]
	}
	if len(rest) < 3 || rest[0] != ':' || rest[1] != ' ' {
		return false
	}
	m.app, m.pid, m.text, m.tail = app, pid, rest[2:], b
	return true
}

func isDigit(c byte) bool { return c-'0' < 10 }
func isGraph(c byte) bool { return c > ' ' && c <= '~' }
