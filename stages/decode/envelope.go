package decode

import "time"

// Reason is why a record cannot be decoded: few values, for counters.
type Reason string

// The reasons.
const (
	// ReasonTruncated: the envelope ends too early.
	ReasonTruncated Reason = "json_truncated"
	// ReasonBadJSON: the envelope is not JSON.
	ReasonBadJSON Reason = "json_invalid"
	// ReasonTooDeep: the envelope nests deeper than max_depth.
	ReasonTooDeep Reason = "json_too_deep"
	// ReasonNoMessage: the envelope has no message, or null, at its path.
	ReasonNoMessage Reason = "no_message"
)

// Error is a record that cannot be decoded.
type Error struct {
	Reason Reason
	// Detail says more, for dead letters.
	Detail string
}

// Error gives reason and detail.
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Detail }

// nextEnvelope steps to the next envelope that gives a line.
func (r *Reader) nextEnvelope() bool {
	for r.err == nil && r.findEnvelope() {
		if r.takeEnvelope() {
			return true
		}
	}
	return false
}

// findEnvelope moves the scanner to the next envelope of the record.
func (r *Reader) findEnvelope() bool {
	s := &r.scan
	for {
		c := s.space()
		switch {
		case r.list && c == ']':
			s.pos++
			r.list, r.first = false, false
		case r.list && r.first:
			r.first = false
			return true
		case r.list && c == ',':
			s.pos++
			return true
		case r.list:
			r.err = s.unexpected("a comma or ]")
			return false
		case s.pos >= len(s.data):
			return false
		case c == '[' && r.d.format == FormatJSON:
			s.pos++
			r.list, r.first = true, true
		case r.d.format == FormatCloudTrail && r.index > 0:
			return false // what follows the entry was walked over before
		default:
			return true
		}
	}
}

// takeEnvelope reads the envelope at the scanner; false when it gives no
// line. A mistake in the structure ends the record; one within the envelope
// is kept for Err while the ones after it are read.
func (r *Reader) takeEnvelope() bool {
	clear(r.found)
	r.scan.found = r.found
	v, err := r.scan.value(&r.d.paths.root, 0)
	if err != nil {
		r.err = err
		return false
	}
	text, err := r.message(v)
	if err == nil {
		err = r.lineLabels()
	}
	if err != nil {
		r.index++
		r.flaw = err
		return false
	}
	r.takeTime()
	return r.emit(trimEnd(text))
}

// message returns the text of the envelope v.
func (r *Reader) message(v span) ([]byte, *Error) {
	if v.kind != kindObject {
		return nil, &Error{ReasonBadJSON, "the envelope is not a JSON object"}
	}
	m := r.found[r.d.paths.message]
	if m.kind == kindNone || m.kind == kindNull {
		return nil, &Error{ReasonNoMessage, "the envelope has nothing at " + r.d.paths.paths[r.d.paths.message]}
	}
	return r.text(m)
}

func (r *Reader) takeTime() {
	r.line.Time, r.line.BadTime = time.Time{}, false
	if r.d.paths.timestamp == noPath {
		return
	}
	s := r.found[r.d.paths.timestamp]
	if s.kind == kindNone || s.kind == kindNull {
		return
	}
	t, ok := parseTime(r.scan.data[s.start:s.end])
	r.line.Time, r.line.BadTime = t, !ok
}

// text returns a value's text: a string unescaped, anything else as its JSON.
func (r *Reader) text(s span) ([]byte, *Error) {
	raw := r.scan.data[s.start:s.end]
	if !s.escaped {
		return raw, nil
	}
	out, err := unescape(r.arena.room(len(raw)), raw)
	if err != nil {
		return nil, err
	}
	r.arena.keep(out)
	return out, nil
}

// enterRecords walks over a CloudTrail file and, when it has Records, moves
// the scanner to the first entry. A mistake in the file's structure is
// noticed here, before any entry of it is read.
func (r *Reader) enterRecords() bool {
	if r.scan.space(); r.scan.pos == len(r.scan.data) {
		return false
	}
	var found [1]span
	r.scan.found = found[:]
	if _, err := r.scan.value(&recordsPlan.root, 0); err != nil {
		r.err = err
		return false
	}
	data := r.rec.Value
	if found[0].kind != kindArray {
		r.scan.reset(data)
		return false
	}
	r.scan.reset(data[:found[0].end])
	r.scan.pos = found[0].start + 1
	return true
}

// recordsPlan finds the Records of a CloudTrail file. It is never written to.
var recordsPlan = func() (p pathPlan) {
	p.add("Records")
	return p
}()
