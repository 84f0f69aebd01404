package pipeline

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// DeadKind says how something came to nothing.
type DeadKind string

// The kinds of dead letters.
const (
	DeadUnreadable  DeadKind = "unreadable"  // an object that its source could not read
	DeadUndecodable DeadKind = "undecodable" // a record that cannot be decoded
	DeadUnparsed    DeadKind = "unparsed"    // a line that no parser takes, or that one aborts at
	DeadRejected    DeadKind = "rejected"    // an alert that a sink refused for good
	DeadOverQuota   DeadKind = "over_quota"  // an alert that waited for a sink over its quota
	DeadUndelivered DeadKind = "undelivered" // an alert that a sink failed to take too often or too long
)

// DeadLetter is a record, a line or an alert that came to nothing, with where
// it came from and why. It owns its bytes.
type DeadLetter struct {
	Kind DeadKind
	// Reason says why, in a word or a sentence.
	Reason string
	// Position is that of the record or the line; Line is -1 for a record as a
	// whole. For an alert it is that of its cause.
	Position Position
	// Time is the record's time; zero for an alert.
	Time time.Time
	// Value is the record's value, the line, or the alert as JSON; Key and
	// Headers are the record's own.
	Value, Key []byte
	Headers    []Header
	// Size is the length of Value before it was cut to what is allowed, in bytes.
	Size int
	// Sink is the sink that did not take the alert.
	Sink string
}

// DeadRecord copies a record into a dead letter of at most limit bytes: its
// value is cut, and its key and headers are left out when they do not fit beside it.
func DeadRecord(kind DeadKind, reason string, p Partition, rec *Record, limit int) DeadLetter {
	d := DeadLetter{
		Kind: kind, Reason: strings.Clone(reason), Time: rec.Time, Size: len(rec.Value),
		Position: Position{Partition: p, Offset: rec.Offset, Line: -1},
		Value:    bytes.Clone(rec.Value[:min(len(rec.Value), limit)]),
	}
	d.addRecord(rec, limit)
	return d
}

// DeadLine copies a line of a record into a dead letter, as DeadRecord does.
func DeadLine(kind DeadKind, reason string, at Position, line string, rec *Record, limit int) DeadLetter {
	d := DeadLetter{
		Kind: kind, Reason: strings.Clone(reason), Time: rec.Time, Size: len(line), Position: at,
		Value: []byte(line[:min(len(line), limit)]),
	}
	d.addRecord(rec, limit)
	return d
}

func (d *DeadLetter) addRecord(rec *Record, limit int) {
	room := limit - len(d.Value)
	if len(rec.Key) <= room {
		d.Key = bytes.Clone(rec.Key)
		room -= len(rec.Key)
	}
	size := 0
	for _, h := range rec.Headers {
		size += len(h.Key) + len(h.Value)
	}
	if size > room || size == 0 {
		return
	}
	d.Headers = slices.Clone(rec.Headers)
	for i, h := range d.Headers {
		d.Headers[i] = Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)}
	}
}
