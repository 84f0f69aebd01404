package pipeline

import (
	"strings"
	"time"
	"unsafe"
)

// Kept is the part of an event that leaves its worker: the fields that an
// alert, a scenario's expressions or the alert context can read. One made by
// a KeptArena lives until the arena is reset; Own gives a copy that lives on.
type Kept struct {
	Type        EventType
	Position    Position
	Received    time.Time
	Time        time.Time
	Unmarshaled map[string]any // set only when the KeepSet asks for it
	Overflow    *RuntimeAlert

	schema *Schema
	fields []keptField
	spill  map[Field]string
	view   *View
}

type keptField struct {
	slot  Slot
	value string
}

// KeepSet says which fields are kept; Meta always is.
type KeepSet struct {
	// Slots are kept when present.
	Slots []Slot
	// Unmarshaled keeps evt.Unmarshaled: some expression that runs after the match reads it.
	Unmarshaled bool
	// Whole keeps every field: an expression that the compiler could not see through.
	Whole bool

	wanted []bool
}

// Wants tells whether the set keeps a slot of the schema.
func (k *KeepSet) wants(schema *Schema, slot Slot) bool {
	if k.wanted == nil {
		k.Prepare(schema)
	}
	return k.wanted[slot]
}

// Prepare indexes the set for a finished schema. Call it before sharing the set between goroutines.
func (k *KeepSet) Prepare(schema *Schema) {
	k.wanted = make([]bool, schema.Len())
	for i := range k.wanted {
		f := schema.fields[i]
		k.wanted[i] = k.Whole || f.Space == Meta || Slot(i) == SlotMarshaledTime
	}
	for _, s := range k.Slots {
		k.wanted[s] = true
	}
}

// Get returns the value of a slot, "" when it was absent or not kept.
func (k *Kept) Get(slot Slot) string {
	for i := range k.fields {
		if k.fields[i].slot == slot {
			return k.fields[i].value
		}
	}
	return ""
}

// Has tells whether a slot was present and kept.
func (k *Kept) Has(slot Slot) bool {
	for i := range k.fields {
		if k.fields[i].slot == slot {
			return true
		}
	}
	return false
}

// Field reads a kept field by its name.
func (k *Kept) Field(space Namespace, name string) (value string, present bool) {
	if slot := k.schema.Lookup(space, name); slot != NoSlot {
		return k.Get(slot), k.Has(slot)
	}
	value, present = k.spill[Field{space, name}]
	return value, present
}

// Each calls f for every kept field of a namespace, in no promised order.
func (k *Kept) Each(space Namespace, f func(name, value string)) {
	for _, kf := range k.fields {
		if fl := k.schema.fields[kf.slot]; fl.Space == space {
			f(fl.Name, kf.value)
		}
	}
	for fl, v := range k.spill {
		if fl.Space == space {
			f(fl.Name, v)
		}
	}
}

// Own returns a copy that outlives the arena.
func (k *Kept) Own() *Kept {
	size := 0
	for _, f := range k.fields {
		size += len(f.value)
	}
	out := &Kept{
		Type: k.Type, Position: k.Position, Received: k.Received, Time: k.Time,
		Unmarshaled: k.Unmarshaled, Overflow: k.Overflow, schema: k.schema,
		fields: make([]keptField, len(k.fields)), spill: k.spill,
	}
	buf := make([]byte, 0, size)
	for i, f := range k.fields {
		start := len(buf)
		buf = append(buf, f.value...)
		out.fields[i] = keptField{f.slot, aliasString(buf[start:])}
	}
	return out
}

// View returns the event in CrowdSec's shape, built once.
func (k *Kept) View() *View {
	if k.view != nil {
		return k.view
	}
	v := &View{
		Type: int(k.Type), ExpectMode: 1, Time: k.Time,
		Parsed: make(map[string]string), Enriched: make(map[string]string), Meta: make(map[string]string),
		Unmarshaled: k.Unmarshaled,
		Line:        LineView{Labels: make(map[string]string), Time: k.Received, Process: true},
		Process:     true,
	}
	for _, f := range k.fields {
		fl := k.schema.fields[f.slot]
		switch fl.Space {
		case Parsed:
			v.Parsed[fl.Name] = f.value
		case Meta:
			v.Meta[fl.Name] = f.value
		case Enriched:
			v.Enriched[fl.Name] = f.value
		case Label:
			v.Line.Labels[fl.Name] = f.value
		}
	}
	for fl, val := range k.spill {
		switch fl.Space {
		case Parsed:
			v.Parsed[fl.Name] = val
		case Meta:
			v.Meta[fl.Name] = val
		case Enriched:
			v.Enriched[fl.Name] = val
		case Label:
			v.Line.Labels[fl.Name] = val
		}
	}
	v.Line.Raw, v.Line.Src, v.Line.Module = k.Get(SlotLineRaw), k.Get(SlotLineSrc), k.Get(SlotLineModule)
	v.StrTime, v.StrTimeFormat = k.Get(SlotStrTime), k.Get(SlotStrTimeFormat)
	v.MarshaledTime, v.WhitelistReason = k.Get(SlotMarshaledTime), k.Get(SlotWhitelistReason)
	if k.Overflow != nil {
		v.Overflow = *k.Overflow
	}
	k.view = v
	return v
}

// KeptArena holds the Kept events of one batch without an allocation for each.
type KeptArena struct {
	bytes  []byte
	fields []keptField
	kept   []*Kept
	used   int
}

// Keep copies what set wants of ev into the arena.
func (a *KeptArena) Keep(ev *Event, set *KeepSet) *Kept {
	if a.used == len(a.kept) {
		a.kept = append(a.kept, &Kept{})
	}
	k := a.kept[a.used]
	a.used++
	*k = Kept{
		Type: ev.Type, Position: ev.Position, Received: ev.Received, Time: ev.Time,
		Overflow: ev.Overflow, schema: ev.schema,
	}
	start := len(a.fields)
	for _, slot := range ev.touched {
		if set.wants(ev.schema, slot) {
			a.fields = append(a.fields, keptField{slot, a.Copy(ev.values[slot])})
		}
	}
	k.fields = a.fields[start:len(a.fields):len(a.fields)]
	for f, v := range ev.spill {
		if set.Whole || f.Space == Meta {
			if k.spill == nil {
				k.spill = make(map[Field]string)
			}
			k.spill[f] = strings.Clone(v)
		}
	}
	if set.Unmarshaled || set.Whole {
		k.Unmarshaled, _ = cloneValue(ev.Unmarshaled).(map[string]any)
	}
	return k
}

// Copy copies a string into the arena.
func (a *KeptArena) Copy(s string) string {
	if len(a.bytes)+len(s) > cap(a.bytes) {
		// Strings handed out alias the old block: leave it to them, start a new one.
		a.bytes = make([]byte, 0, max(2*cap(a.bytes), len(s), 16<<10))
	}
	start := len(a.bytes)
	a.bytes = append(a.bytes, s...)
	return aliasString(a.bytes[start:])
}

// Reset forgets all Kept events and keeps the memory for the next batch.
func (a *KeptArena) Reset() {
	a.bytes, a.fields, a.used = a.bytes[:0], a.fields[:0], 0
}

// Poison overwrites the arena's bytes, so that a test finds whoever still reads them.
func (a *KeptArena) Poison() {
	b := a.bytes[:cap(a.bytes)]
	for i := range b {
		b[i] = 0xA5
	}
}

func aliasString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// cloneValue copies what UnmarshalJSON and kin make, strings included, which
// may alias the line.
func cloneValue(v any) any {
	switch v := v.(type) {
	case string:
		return strings.Clone(v)
	case map[string]any:
		if v == nil {
			return nil
		}
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[strings.Clone(k)] = cloneValue(e)
		}
		return out
	case map[string]string:
		out := make(map[string]string, len(v))
		for k, e := range v {
			out[strings.Clone(k)] = strings.Clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = cloneValue(e)
		}
		return out
	case []string:
		out := make([]string, len(v))
		for i, e := range v {
			out[i] = strings.Clone(e)
		}
		return out
	}
	return v
}
