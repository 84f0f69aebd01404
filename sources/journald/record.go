package journald

import (
	"strconv"
	"time"

	"sluice/pipeline"
)

// record makes a record of an entry; ok is false where it has no message.
func (s *Source) record(e *entry) (r pipeline.Record, ok bool) {
	message := e.get("MESSAGE")
	if len(message) == 0 {
		return r, false
	}
	r.Time = e.realtime
	if r.Time.IsZero() {
		r.Time = s.clock.Now()
	}
	r.Value = message
	if s.config.Emit == emitLine {
		r.Value = line(e, r.Time, message)
	}
	for _, name := range s.config.Headers {
		if value := e.get(name); value != nil {
			r.Headers = append(r.Headers, pipeline.Header{Key: name, Value: value})
		}
	}
	return r, true
}

// stamp is journalctl's short-iso-precise with the zone as RFC 3339 has it.
const stamp = "2006-01-02T15:04:05.000000Z07:00"

// line writes an entry as "time host program[pid]: message", of the fields
// that journalctl takes for it in its short formats.
func line(e *entry, at time.Time, message []byte) []byte {
	if micros, err := strconv.ParseInt(string(e.get("_SOURCE_REALTIME_TIMESTAMP")), 10, 64); err == nil && micros > 0 {
		at = time.UnixMicro(micros).UTC()
	}
	program, pid := first(e, "SYSLOG_IDENTIFIER", "_COMM"), first(e, "_PID", "SYSLOG_PID")
	b := make([]byte, 0, len(stamp)+len(program)+len(message)+64)
	b = at.AppendFormat(b, stamp)
	b = append(b, ' ')
	if host := e.get("_HOSTNAME"); len(host) > 0 {
		b = append(b, host...)
	} else {
		b = append(b, "localhost"...)
	}
	b = append(b, ' ')
	if len(program) == 0 {
		program = []byte("unknown")
	}
	b = append(b, program...)
	if len(pid) > 0 {
		b = append(append(append(b, '['), pid...), ']')
	}
	b = append(b, ": "...)
	return append(b, message...)
}

func first(e *entry, names ...string) []byte {
	for _, name := range names {
		if v := e.get(name); len(v) > 0 {
			return v
		}
	}
	return nil
}
