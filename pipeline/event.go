package pipeline

import (
	"strings"
	"time"
)

// EventType says whether an event is a line of a log or an alert that is
// poured again.
type EventType uint8

// The types of event.
const (
	LogEvent EventType = iota
	OverflowEvent
)

// Event is what the parsers fill and the scenarios' filters read: one line of
// a log, or one alert (Overflow) on its way through postoverflow parsers.
//
// It is a scratch area that belongs to one worker and is reset for each line.
// Its strings may alias the record's bytes, so whatever outlives the batch is
// copied out, by Keep. A field that was not set reads as "" and Has is false:
// absent is not empty (FIDELITY 8).
type Event struct {
	Type     EventType
	Position Position
	// Received is the broker's time, or the time of receipt.
	Received time.Time
	// Time is the event's own time, once a date was parsed; before, Received.
	Time time.Time
	// Whitelisted events finish their stages and are not poured.
	Whitelisted bool
	// Unmarshaled is evt.Unmarshaled: what UnmarshalJSON, ParseKV and kin wrote. May be nil.
	Unmarshaled map[string]any
	// Overflow is the alert of an OverflowEvent, else nil.
	Overflow *RuntimeAlert

	schema  *Schema
	values  []string
	stamps  []uint32 // values[i] is present when stamps[i] == stamp
	stamp   uint32
	touched []Slot // present slots in the order they were first set
	spill   map[Field]string

	// scratch backs the texts that expressions make of fields; see Buffer.
	scratch []byte

	// memo holds the results of shared sub-expressions; see Memo.
	memo []memoEntry
}

type memoEntry struct {
	stamp uint32
	value string
}

// NewEvent returns an empty event of the schema.
func NewEvent(schema *Schema) *Event {
	return &Event{
		schema: schema,
		values: make([]string, schema.Len()),
		stamps: make([]uint32, schema.Len()),
		stamp:  1,
	}
}

// Schema returns the schema that gives the event's slots their names.
func (e *Event) Schema() *Schema { return e.schema }

// Reset empties the event for the next line, keeping its memory.
func (e *Event) Reset() {
	e.Type = LogEvent
	e.Position = Position{}
	e.Received, e.Time = time.Time{}, time.Time{}
	e.Whitelisted = false
	e.Overflow = nil
	e.Unmarshaled = nil
	e.touched = e.touched[:0]
	e.scratch = e.scratch[:0]
	if len(e.spill) > 0 {
		clear(e.spill)
	}
	e.stamp++
	if e.stamp == 0 { // the counter came round: old stamps must not match
		clear(e.stamps)
		for i := range e.memo {
			e.memo[i].stamp = 0
		}
		e.stamp = 1
	}
}

// Get returns the value of a slot, "" when it is absent.
func (e *Event) Get(slot Slot) string {
	if slot < 0 || e.stamps[slot] != e.stamp {
		return ""
	}
	return e.values[slot]
}

// Has tells whether a slot was set.
func (e *Event) Has(slot Slot) bool { return slot >= 0 && e.stamps[slot] == e.stamp }

// Set writes a slot.
func (e *Event) Set(slot Slot, value string) {
	if e.stamps[slot] != e.stamp {
		e.stamps[slot] = e.stamp
		e.touched = append(e.touched, slot)
	}
	e.values[slot] = value
}

// Field reads a field by its name: for names known only at run time.
func (e *Event) Field(space Namespace, name string) (value string, present bool) {
	if slot := e.schema.Lookup(space, name); slot != NoSlot {
		return e.Get(slot), e.Has(slot)
	}
	value, present = e.spill[Field{space, name}]
	return value, present
}

// SetField writes a field by its name: for names known only at run time.
func (e *Event) SetField(space Namespace, name, value string) {
	if slot := e.schema.Lookup(space, name); slot != NoSlot {
		e.Set(slot, value)
		return
	}
	if e.spill == nil {
		e.spill = make(map[Field]string)
	}
	e.spill[Field{space, strings.Clone(name)}] = value
}

// Touched returns the present slots in the order in which they were first
// set. It is valid until the next Set or Reset. Fields whose names no rule
// mentions are not in it: Each visits those too.
func (e *Event) Touched() []Slot { return e.touched }

// Each calls f for every present field of a namespace, in no promised order.
func (e *Event) Each(space Namespace, f func(name, value string)) {
	for _, slot := range e.touched {
		if fl := e.schema.fields[slot]; fl.Space == space {
			f(fl.Name, e.values[slot])
		}
	}
	for fl, v := range e.spill {
		if fl.Space == space {
			f(fl.Name, v)
		}
	}
}

// Memo returns the result remembered for shared sub-expression i of this line.
func (e *Event) Memo(i int) (value string, ok bool) {
	if i < len(e.memo) && e.memo[i].stamp == e.stamp {
		return e.memo[i].value, true
	}
	return "", false
}

// SetMemo remembers the result of shared sub-expression i until Reset or
// ForgetMemos. Only stages that run after the last write to the event's
// fields may use it.
func (e *Event) SetMemo(i int, value string) {
	for len(e.memo) <= i {
		e.memo = append(e.memo, memoEntry{})
	}
	e.memo[i] = memoEntry{e.stamp, value}
}

// Buffer returns size bytes that live as long as the line, to be filled and
// read as a text with Alias. It is for what expressions make of fields on
// every line, without an allocation for each.
func (e *Event) Buffer(size int) []byte {
	e.room(size)
	start := len(e.scratch)
	e.scratch = e.scratch[:start+size]
	return e.scratch[start : start+size : start+size]
}

// Alias reads bytes as a text without copying. They must not change while the text is used.
func Alias(b []byte) string { return aliasString(b) }

// Join puts two texts together in the event's memory: see Buffer.
func (e *Event) Join(a, b string) string {
	e.room(len(a) + len(b))
	start := len(e.scratch)
	e.scratch = append(append(e.scratch, a...), b...)
	return aliasString(e.scratch[start:])
}

// room makes room for size bytes. Texts that were handed out keep the block
// that they are in: a new one takes its place.
func (e *Event) room(size int) {
	if cap(e.scratch)-len(e.scratch) < size {
		e.scratch = make([]byte, 0, max(2*cap(e.scratch), size, 1<<10))
	}
}
