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
	// An event in an arena has fields; one that owns itself has the same
	// packed into one text (see Own), which costs two allocations in all.
	fields []keptField
	packed string
	spill  map[Field]string
	view   *View
}

type keptField struct {
	slot  Slot
	value string
}

// each calls f for every kept field that has a slot, until f returns false.
func (k *Kept) each(f func(slot Slot, value string) bool) {
	for i := range k.fields {
		if !f(k.fields[i].slot, k.fields[i].value) {
			return
		}
	}
	for rest := k.packed; rest != ""; {
		var slot, n int
		slot, rest = unpack(rest)
		n, rest = unpack(rest)
		if !f(Slot(slot), rest[:n]) {
			return
		}
		rest = rest[n:]
	}
}

// pack appends a number, seven bits a byte, the last with its high bit clear.
func pack(to []byte, n int) []byte {
	for n >= 0x80 {
		to = append(to, byte(n)|0x80)
		n >>= 7
	}
	return append(to, byte(n))
}

func unpack(s string) (n int, rest string) {
	if s[0] < 0x80 { // most are small
		return int(s[0]), s[1:]
	}
	return unpackLong(s)
}

func unpackLong(s string) (n int, rest string) {
	for i := 0; ; i++ {
		n |= int(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			return n, s[i+1:]
		}
	}
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
	value, _ := k.find(slot)
	return value
}

// Has tells whether a slot was present and kept.
func (k *Kept) Has(slot Slot) bool {
	_, present := k.find(slot)
	return present
}

func (k *Kept) find(slot Slot) (value string, present bool) {
	for i := range k.fields {
		if k.fields[i].slot == slot {
			return k.fields[i].value, true
		}
	}
	if k.packed != "" {
		k.each(func(s Slot, v string) bool {
			if s == slot {
				value, present = v, true
			}
			return !present
		})
	}
	return value, present
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
	k.each(func(slot Slot, value string) bool {
		if fl := k.schema.fields[slot]; fl.Space == space {
			f(fl.Name, value)
		}
		return true
	})
	for fl, v := range k.spill {
		if fl.Space == space {
			f(fl.Name, v)
		}
	}
}

// Own returns a copy that outlives the arena.
func (k *Kept) Own() *Kept {
	size := len(k.packed)
	for _, f := range k.fields {
		size += len(f.value) + 2
		for n := int(f.slot) | len(f.value); n >= 0x80; n >>= 7 {
			size += 2
		}
	}
	buf := make([]byte, 0, size)
	for _, f := range k.fields {
		buf = pack(pack(buf, int(f.slot)), len(f.value))
		buf = append(buf, f.value...)
	}
	buf = append(buf, k.packed...)
	return &Kept{
		Type: k.Type, Position: k.Position, Received: k.Received, Time: k.Time,
		Unmarshaled: k.Unmarshaled, Overflow: k.Overflow, schema: k.schema,
		packed: aliasString(buf), spill: k.spill,
	}
}

// Size is about how many bytes the event takes once it owns itself.
func (k *Kept) Size() int {
	size := int(unsafe.Sizeof(*k)) + 8 + len(k.packed)
	for i := range k.fields {
		size += 2 + len(k.fields[i].value)
	}
	for f, v := range k.spill {
		size += 64 + len(f.Name) + len(v)
	}
	if k.Unmarshaled != nil || k.Overflow != nil {
		size += 1 << 10 // few rules keep these
	}
	return size
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
	put := func(fl Field, value string) {
		switch fl.Space {
		case Parsed:
			v.Parsed[fl.Name] = value
		case Meta:
			v.Meta[fl.Name] = value
		case Enriched:
			v.Enriched[fl.Name] = value
		case Label:
			v.Line.Labels[fl.Name] = value
		}
	}
	k.each(func(slot Slot, value string) bool {
		put(k.schema.fields[slot], value)
		return true
	})
	for fl, value := range k.spill {
		put(fl, value)
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
