package pipeline

import "fmt"

// Namespace is one of the string maps of an event that rules can read.
type Namespace uint8

// The namespaces, in the order in which their slots are listed.
const (
	// Core holds the scalar fields that every event has: see the Slot constants.
	Core Namespace = iota
	// Label holds evt.Line.Labels: what the source says of the line.
	Label
	// Parsed holds evt.Parsed: what parsers took from the line.
	Parsed
	// Meta holds evt.Meta: what scenarios and alerts read.
	Meta
	// Enriched holds evt.Enriched: what look-ups added.
	Enriched
	numNamespaces
)

// String returns the path of the namespace in an expression, such as "evt.Meta".
func (n Namespace) String() string {
	switch n {
	case Core:
		return "evt"
	case Label:
		return "evt.Line.Labels"
	case Parsed:
		return "evt.Parsed"
	case Meta:
		return "evt.Meta"
	case Enriched:
		return "evt.Enriched"
	}
	return fmt.Sprintf("Namespace(%d)", uint8(n))
}

// Slot is the index of a field whose name was known when the rules were compiled.
type Slot int32

// NoSlot is the slot of a name that no rule mentions.
const NoSlot Slot = -1

// The core slots: string fields of the event itself, the same in every Schema.
const (
	SlotLineRaw         Slot = iota // evt.Line.Raw: the whole line
	SlotLineSrc                     // evt.Line.Src: file path or topic
	SlotLineModule                  // evt.Line.Module: name of the source, such as "file"
	SlotStrTime                     // evt.StrTime: the date as it stood in the line
	SlotStrTimeFormat               // evt.StrTimeFormat: its format, when a parser knows it
	SlotMarshaledTime               // evt.MarshaledTime: RFC 3339, written by the date parser
	SlotWhitelistReason             // evt.WhitelistReason
	numCoreSlots
)

var coreNames = [numCoreSlots]string{
	"Line.Raw", "Line.Src", "Line.Module", "StrTime", "StrTimeFormat", "MarshaledTime", "WhitelistReason",
}

// Field is a namespace and a name in it.
type Field struct {
	Space Namespace
	Name  string
}

// String returns the field as an expression writes it, such as evt.Meta.source_ip.
func (f Field) String() string { return f.Space.String() + "." + f.Name }

// Schema gives every field name that the rules mention its slot. It grows
// while rules are compiled and must not be written to while events use it.
type Schema struct {
	fields []Field
	index  [numNamespaces]map[string]Slot
}

// NewSchema returns a schema that holds the core slots.
func NewSchema() *Schema {
	s := &Schema{}
	for i := range s.index {
		s.index[i] = make(map[string]Slot)
	}
	for _, n := range coreNames {
		s.Slot(Core, n)
	}
	return s
}

// Slot returns the slot of a field, giving it one if it has none yet.
func (s *Schema) Slot(space Namespace, name string) Slot {
	if slot, ok := s.index[space][name]; ok {
		return slot
	}
	slot := Slot(len(s.fields))
	s.fields = append(s.fields, Field{space, name})
	s.index[space][name] = slot
	return slot
}

// Lookup returns the slot of a field, or NoSlot when no rule mentions it.
func (s *Schema) Lookup(space Namespace, name string) Slot {
	if slot, ok := s.index[space][name]; ok {
		return slot
	}
	return NoSlot
}

// Field returns what a slot stands for.
func (s *Schema) Field(slot Slot) Field { return s.fields[slot] }

// Len returns the number of slots.
func (s *Schema) Len() int { return len(s.fields) }
