package syslog

import (
	"bytes"
	"time"

	"github.com/leodido/go-syslog/v4/common"
)

// What records hold, the values of emit.
const (
	emitLine    = "line"
	emitRaw     = "raw"
	emitNoPRI   = "no_pri"
	emitMessage = "message"
)

// headerNames are the headers that a record can have, in their order.
func headerNames() []string {
	return []string{"facility", "severity", "host", "app", "pid", "msgid", "peer", headerData}
}

// headerData stands for a header for each parameter of the structured data.
const headerData = "structured_data"

// form is how messages become records. It is shared and only read.
type form struct {
	emit      string
	headers   map[string]bool
	malformed bool           // pass on what follows neither RFC
	zone      *time.Location // of times without one; nil passes them on as they are

	facilities, severities [][]byte
}

func newForm(c *Config) (*form, error) {
	f := &form{emit: c.Emit, headers: make(map[string]bool), malformed: c.Malformed == malformedPass}
	for _, name := range c.Headers {
		f.headers[name] = true
	}
	if c.Timezone != "" {
		zone, err := time.LoadLocation(c.Timezone)
		if err != nil {
			return nil, err
		}
		f.zone = zone
	}
	for i := range uint8(len(common.FacilityKeywords)) {
		f.facilities = append(f.facilities, []byte(common.FacilityKeywords[i]))
	}
	for i := range uint8(len(common.SeverityLevelsShort)) {
		f.severities = append(f.severities, []byte(common.SeverityLevelsShort[i]))
	}
	return f, nil
}

// outcome is what became of a message.
type outcome int

const (
	added outcome = iota
	full          // the batch has no room for it: put it, and add again
	empty
	malformed // it follows neither RFC and is left out
)

// recorder makes records of messages. It is one goroutine's.
type recorder struct {
	*form
	plain *plain
	m     message

	received     time.Time // that now was written for
	now          []byte
	stamp, dated []byte // the last time without a zone, and how it is written with one
	datedFor     int    // the day of the year of receipt that it was written for

	keys    map[string]string // names of headers for structured data, so that each is made once
	scratch []byte
}

// maxKeys bounds the names that are kept.
const maxKeys = 1024

func newRecorder(f *form) *recorder {
	return &recorder{form: f, plain: newPlain(), keys: make(map[string]string)}
}

// add makes a record of a message from a peer: its address, or the name of
// this machine for a local socket. The peer's bytes must not change any more.
func (r *recorder) add(b *batch, raw, peer []byte, received time.Time) outcome {
	raw = trim(raw)
	if len(raw) == 0 {
		return empty
	}
	read := r.m.fast(raw) || r.plain.read(&r.m, raw)
	if !read && !r.malformed {
		return malformed
	}
	if len(r.m.rest) == 0 {
		return empty
	}
	headers := len(r.m.params)
	if !r.headers[headerData] {
		headers = 0
	}
	if !b.room(2*(len(raw)+len(peer))+64, headers+len(r.headers)) {
		return full
	}
	host := r.m.host
	if host == nil {
		host = peer
	}
	first := len(b.headers)
	if len(r.headers) > 0 {
		r.addHeaders(b, host, peer)
	}
	start := len(b.text)
	b.text = r.line(b.text, raw, host, received, read)
	if len(b.text) == start { // a message without text
		b.headers = b.headers[:first]
		return empty
	}
	b.add(b.text[start:len(b.text):len(b.text)], first, received)
	return added
}

func (r *recorder) addHeaders(b *batch, host, peer []byte) {
	m := &r.m
	if m.pri >= 0 {
		if r.headers["facility"] {
			b.header("facility", r.facilities[m.pri/8])
		}
		if r.headers["severity"] {
			b.header("severity", r.severities[m.pri%8])
		}
	}
	if r.headers["host"] {
		b.header("host", b.copy(host))
	}
	if r.headers["app"] {
		b.header("app", b.copy(m.app))
	}
	if r.headers["pid"] {
		b.header("pid", b.copy(m.pid))
	}
	if r.headers["msgid"] {
		b.header("msgid", b.copy(m.msgID))
	}
	if r.headers["peer"] {
		b.header("peer", peer)
	}
	if r.headers[headerData] {
		for _, p := range m.params {
			b.header(r.key(p), b.copy(p.value))
		}
	}
}

// key returns the name of a parameter's header: sd.ID.NAME.
func (r *recorder) key(p param) string {
	s := append(r.scratch[:0], "sd."...)
	s = append(append(append(s, p.id...), '.'), p.name...)
	r.scratch = s
	if k, ok := r.keys[string(s)]; ok {
		return k
	}
	k := string(s)
	if len(r.keys) < maxKeys { // peers choose the names
		r.keys[k] = k
	}
	return k
}

// line appends what the record holds.
func (r *recorder) line(to, raw, host []byte, received time.Time, read bool) []byte {
	m := &r.m
	switch {
	case r.emit == emitRaw:
		return append(to, raw...)
	case r.emit == emitNoPRI:
		return append(to, m.rest...)
	case r.emit == emitMessage && read:
		return append(to, m.text...)
	case r.emit == emitMessage:
		return append(to, m.rest...)
	}
	to = r.time(to, m.stamp, received)
	to = append(to, ' ')
	to = append(to, host...)
	to = append(to, ' ')
	switch {
	case !read:
		return append(to, bytes.TrimLeft(m.rest, " ")...)
	case !m.modern:
		return append(to, m.tail...)
	}
	if m.app == nil {
		to = append(to, '-')
	} else {
		to = append(to, m.app...)
	}
	if isPID(m.pid) {
		to = append(append(append(to, '['), m.pid...), ']')
	}
	return append(append(to, ": "...), m.text...)
}

// isPID tells whether a process id is a number: other ones are no part of a line
// that rules for files of syslog daemons know.
func isPID(b []byte) bool {
	_, ok := number(b)
	return ok && len(b) > 0 && len(b) <= 10
}

// time appends the time of a line: the message's as it was sent, with year and
// zone where one is configured, or else the time of receipt.
func (r *recorder) time(to, stamp []byte, received time.Time) []byte {
	switch {
	case stamp == nil:
		if !received.Equal(r.received) || r.now == nil {
			r.received, r.now = received, received.UTC().AppendFormat(r.now[:0], lineTime)
		}
		return append(to, r.now...)
	case r.zone == nil || isDigit(stamp[0]):
		return append(to, stamp...)
	}
	if !bytes.Equal(stamp, r.stamp) || r.datedFor != received.YearDay() {
		t, ok := dated(stamp, r.zone, received)
		if !ok {
			return append(to, stamp...)
		}
		r.stamp, r.datedFor = append(r.stamp[:0], stamp...), received.YearDay()
		r.dated = t.AppendFormat(r.dated[:0], lineTime)
	}
	return append(to, r.dated...)
}

// lineTime is how times are written that were not sent so.
const lineTime = "2006-01-02T15:04:05.000000Z07:00"
