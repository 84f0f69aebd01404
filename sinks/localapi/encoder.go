package localapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"sluice/pipeline/decisions"
)

// encoder writes lists in JSON to a client, a part at a time: there may be a
// million decisions, which it writes as the API shows them, without reflection.
type encoder struct {
	to   http.ResponseWriter
	now  time.Time
	buf  []byte // what is not written
	some bool   // of the list
	sent bool
	err  error // of the client, which has gone away
}

func newEncoder(to http.ResponseWriter, now time.Time) *encoder { return &encoder{to: to, now: now} }

func (e *encoder) begin(text string) { e.buf, e.some = append(e.buf, text...), false }
func (e *encoder) end(text string)   { e.buf = append(e.buf, text...) }

// partSize is how much is worth a write, in bytes.
const partSize = 64 << 10

// part writes what there is, once it is worth it, and tells whether the client still reads.
func (e *encoder) part() bool { return len(e.buf) < partSize && e.err == nil || e.flush() == nil }

// flush writes what there is. An error is the client's, and stays.
func (e *encoder) flush() error {
	if e.err != nil {
		return e.err
	}
	if !e.sent {
		e.to.Header().Set("Content-Type", "application/json")
		e.sent = true
	}
	_, e.err = e.to.Write(e.buf)
	e.buf = e.buf[:0]
	return e.err
}

// close ends a list, whole or broken off by an error. Where a part of it is
// written already, all that is left is to cut the connection: nobody is to take
// what came for the whole.
func (e *encoder) close(s *Sink, err error) {
	switch {
	case err == nil:
		e.end("]")
		_ = e.flush() // who has gone away needs no answer
	case e.sent:
		s.log.Error("an answer was broken off", "error", err)
		panic(http.ErrAbortHandler)
	default:
		s.broken(e.to, err)
	}
}

// item adds an item to the list.
func (e *encoder) item(v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		e.next()
		e.buf = append(e.buf, text...)
	}
	return err
}

func (e *encoder) next() {
	if e.some {
		e.buf = append(e.buf, ',')
	}
	e.some = true
}

// decision adds a decision to the list.
func (e *encoder) decision(d *decisions.Decision) {
	e.next()
	e.buf = append(e.buf, `{"id":`...)
	e.buf = strconv.AppendInt(e.buf, d.ID, 10)
	for _, f := range [...]struct{ name, value string }{
		{`,"uuid":`, d.UUID.String()}, {`,"origin":`, d.Origin}, {`,"type":`, d.Type}, {`,"scope":`, d.Scope}, {`,"value":`, d.Value},
		{`,"scenario":`, d.Scenario}, {`,"duration":`, left(d.Until.Sub(e.now)).String()},
	} {
		e.buf = appendText(append(e.buf, f.name...), f.value)
	}
	if d.Simulated {
		e.buf = append(e.buf, `,"simulated":true`...)
	}
	e.buf = append(e.buf, '}')
}

// left is what is left of a decision in whole seconds, as CrowdSec tells it:
// its bouncer in nginx reads no parts of them, and keeps for good what lasts for
// as long as it cannot read, or for no second. So none is rounded down to that.
func left(d time.Duration) time.Duration {
	whole := d.Truncate(time.Second)
	if whole < d {
		whole += time.Second
	}
	return whole
}

// appendText writes a text as JSON.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			var out bytes.Buffer
			enc := json.NewEncoder(&out)
			enc.SetEscapeHTML(false)
			_ = enc.Encode(s) // a text always has JSON
			return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
