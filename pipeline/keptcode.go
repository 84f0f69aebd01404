package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice/pipeline/state"
)

// ScenarioID is what a scenario document is known by in stored state.
type ScenarioID struct {
	// Name and Filter are those of the group that shares buckets (FIDELITY 14).
	Name, Filter string
	// Hash is the digest of what decides detection (rules.Scenario.Hash).
	Hash string
}

var _ Coder = (*KeptCoder)(nil)

// ErrUnknownScenario says that a record belongs to a scenario that the rules
// do not have, or no longer define in the same way.
var ErrUnknownScenario = errors.New("the scenario is not among the rules any more")

// KeptCoder writes kept events, overflows and pours for the state store, and
// reads them back, also where schema and rules have changed since: fields and
// scenarios go by numbers of the dictionary. It is safe for concurrent use;
// Clone makes a faster one for one goroutine.
//
// Every encoding begins with its version. A new field of what is encoded
// takes a new version, and the old one stays readable: keptcode_test.go
// reads bytes of all of them.
type KeptCoder struct {
	*codeTables
	// What follows are the caches of a clone.
	caches        bool
	lastPartition Partition
	lastNumber    uint32
	partitions    []Partition // by number
}

// codeTables translate between what this process and what the dictionary
// calls things. They are read-only.
type codeTables struct {
	schema *Schema
	dict   *state.Dictionary

	numbers []uint32 // of fields, by slot
	slots   []Slot   // by number; NoSlot for what is no field of the schema

	groups      []uint32 // of scenarios, by index
	definitions []uint32
	// members are one index for each group, documents one for each definition, by number; -1 is none.
	members   []int32
	documents []int32
}

// NewKeptCoder returns a coder for events of a schema and for scenarios,
// whose indexes are those of Pour and Overflow. Both must be complete.
func NewKeptCoder(schema *Schema, dict *state.Dictionary, scenarios []ScenarioID) *KeptCoder {
	t := &codeTables{schema: schema, dict: dict}
	for slot := range schema.fields {
		n := dict.Number(state.NumberField, fieldName(schema.fields[slot]))
		t.numbers = append(t.numbers, n)
		t.slots = setAt(t.slots, n, Slot(slot), NoSlot)
	}
	seen := make(map[string]int)
	for i := range scenarios {
		sc := &scenarios[i]
		g := dict.Number(state.NumberGroup, groupName(sc.Name, sc.Filter))
		// Documents that are defined alike are told apart by their order.
		hash := sc.Hash
		if n := seen[sc.Hash]; n > 0 {
			hash += "#" + strconv.Itoa(n)
		}
		seen[sc.Hash]++
		d := dict.Number(state.NumberDefinition, hash)
		t.groups, t.definitions = append(t.groups, g), append(t.definitions, d)
		if at(t.members, g, -1) < 0 {
			t.members = setAt(t.members, g, int32(i), -1)
		}
		t.documents = setAt(t.documents, d, int32(i), -1)
	}
	return &KeptCoder{codeTables: t}
}

// Clone returns a coder for one goroutine, which remembers partitions.
func (c *KeptCoder) Clone() *KeptCoder { return &KeptCoder{codeTables: c.codeTables, caches: true} }

// Dictionary returns the dictionary that the coder's numbers are of.
func (c *KeptCoder) Dictionary() *state.Dictionary { return c.dict }

func setAt[T any](list []T, i uint32, v, none T) []T {
	for int(i) >= len(list) {
		list = append(list, none)
	}
	list[i] = v
	return list
}

func at[T any](list []T, i uint32, none T) T {
	if int(i) >= len(list) {
		return none
	}
	return list[i]
}

func groupName(name, filter string) string { return name + "\x00" + filter }

// GroupOf returns the name and filter of the group that has a number.
func GroupOf(dict *state.Dictionary, n uint32) (name, filter string, ok bool) {
	full, ok := dict.Name(state.NumberGroup, n)
	name, filter, _ = strings.Cut(full, "\x00")
	return name, filter, ok
}

// GroupNumber and DefinitionNumber return the numbers of a scenario document.
func (c *KeptCoder) GroupNumber(scenario int32) uint32 { return c.groups[scenario] }

// DefinitionNumber returns the number of a scenario document's definition.
func (c *KeptCoder) DefinitionNumber(scenario int32) uint32 { return c.definitions[scenario] }

// GroupMember returns a document of the group that has a number; ok is false
// when the rules have none.
func (c *KeptCoder) GroupMember(group uint32) (scenario int32, ok bool) {
	i := at(c.members, group, -1)
	return i, i >= 0
}

// Document returns the document whose definition has a number; ok is false
// when the rules do not define one so.
func (c *KeptCoder) Document(definition uint32) (scenario int32, ok bool) {
	i := at(c.documents, definition, -1)
	return i, i >= 0
}

// spaceCodes are how the dictionary writes namespaces, by namespace.
const spaceCodes = "clpme"

func fieldName(f Field) string { return spaceCodes[f.Space:f.Space+1] + ":" + f.Name }

// fieldOf reads what fieldName wrote.
func fieldOf(name string) (Field, bool) {
	if len(name) < 2 || name[1] != ':' {
		return Field{}, false
	}
	space := strings.IndexByte(spaceCodes, name[0])
	return Field{Namespace(max(space, 0)), name[2:]}, space >= 0
}

// Partition returns the number of a partition.
func (c *KeptCoder) Partition(p Partition) uint32 {
	if !c.caches {
		return PartitionNumber(c.dict, p)
	}
	if c.lastNumber == 0 || c.lastPartition != p {
		c.lastPartition, c.lastNumber = p, PartitionNumber(c.dict, p)
		c.lastPartition.Source, c.lastPartition.Topic = strings.Clone(p.Source), strings.Clone(p.Topic)
	}
	return c.lastNumber
}

// PartitionOf returns the partition that has a number.
func (c *KeptCoder) PartitionOf(n uint32) (Partition, error) {
	if p := at(c.partitions, n, Partition{}); p != (Partition{}) {
		return p, nil
	}
	p, ok := PartitionOf(c.dict, n)
	if !ok {
		return p, fmt.Errorf("the state's dictionary has no partition %d", n)
	}
	if c.caches {
		c.partitions = setAt(c.partitions, n, p, Partition{})
	}
	return p, nil
}

// A kept event begins with its version, in the high half of a byte, and what it has.
const (
	keptVersion = 1 << 4

	keptIsOverflow     = 1 << 0
	keptHasSpill       = 1 << 1
	keptHasUnmarshaled = 1 << 2
	keptHasOverflow    = 1 << 3
)

// Append appends the encoding of an event.
func (c *KeptCoder) Append(to []byte, k *Kept) []byte {
	has := byte(keptVersion)
	if k.Type == OverflowEvent {
		has |= keptIsOverflow
	}
	if len(k.spill) > 0 {
		has |= keptHasSpill
	}
	if k.Unmarshaled != nil {
		has |= keptHasUnmarshaled
	}
	if k.Overflow != nil {
		has |= keptHasOverflow
	}
	to = append(to, has)
	to = c.appendPosition(to, k.Position)
	to = AppendTime(to, k.Time, 0)
	to = AppendTime(to, k.Received, k.Time.Unix())
	for i := range k.fields {
		f := &k.fields[i]
		to = AppendText(binary.AppendUvarint(to, uint64(c.numbers[f.slot])), f.value)
	}
	for rest := k.packed; rest != ""; {
		var slot int
		slot, rest = unpack(rest)
		n, value := unpack(rest)
		end := len(rest) - len(value) + n
		to = binary.AppendUvarint(to, uint64(c.numbers[slot]))
		to = append(to, rest[:end]...) // the length is written alike
		rest = rest[end:]
	}
	to = append(to, 0) // no field has the number 0
	if has&keptHasSpill != 0 {
		to = appendSpill(to, k.spill)
	}
	if has&keptHasUnmarshaled != 0 {
		to = appendMap(to, k.Unmarshaled)
	}
	if has&keptHasOverflow != 0 {
		to = appendAlert(to, k.Overflow)
	}
	return to
}

// Decode reads an event back; it owns its memory. rest is what follows it.
func (c *KeptCoder) Decode(b []byte) (k *Kept, rest []byte, err error) {
	r := NewStoredReader(b)
	k = new(Kept)
	c.Read(&r, k)
	if r.Err() != nil {
		return nil, nil, fmt.Errorf("reading a kept event: %w", r.Err())
	}
	return k, r.Rest(), nil
}

// Read reads what Append wrote into k.
func (c *KeptCoder) Read(r *StoredReader, k *Kept) {
	has := r.Byte()
	if has&0xf0 != keptVersion {
		r.Fail(ErrCut)
		return
	}
	*k = Kept{schema: c.schema, Type: EventType(has & keptIsOverflow)}
	k.Position = c.readPosition(r)
	k.Time = r.Time(0)
	k.Received = r.Time(k.Time.Unix())
	// The text is put together here and copied once: few are longer.
	var room [512]byte
	packed := c.readFields(r, k, room[:0])
	if has&keptHasSpill != 0 {
		packed = c.readSpill(r, k, packed)
	}
	k.packed = string(packed)
	if has&keptHasUnmarshaled != 0 {
		k.Unmarshaled = readMap(r, 0)
	}
	if has&keptHasOverflow != 0 {
		k.Overflow = readAlert(r)
	}
}

func (c *KeptCoder) readFields(r *StoredReader, k *Kept, packed []byte) []byte {
	for {
		n := r.Number()
		if n == 0 {
			return packed
		}
		value := r.Bytes()
		if slot := at(c.slots, n, NoSlot); slot != NoSlot {
			packed = pack(pack(packed, int(slot)), len(value))
			packed = append(packed, value...)
			continue
		}
		// A rule that is gone gave it its slot: it stays readable by its name.
		name, ok := c.dict.Name(state.NumberField, n)
		f, known := fieldOf(name)
		if !ok || !known {
			r.Fail(fmt.Errorf("the state's dictionary has no field %d", n))
			return packed
		}
		k.setSpill(f, string(value))
	}
}

func (k *Kept) setSpill(f Field, value string) {
	if k.spill == nil {
		k.spill = make(map[Field]string)
	}
	k.spill[f] = value
}

func appendSpill(to []byte, spill map[Field]string) []byte {
	names := make([]Field, 0, len(spill))
	for f := range spill {
		names = append(names, f)
	}
	slices.SortFunc(names, func(a, b Field) int { return strings.Compare(fieldName(a), fieldName(b)) })
	to = binary.AppendUvarint(to, uint64(len(names)))
	for _, f := range names {
		to = AppendText(AppendText(to, fieldName(f)), spill[f])
	}
	return to
}

// readSpill reads fields that were known by their names. Those that the rules
// mention by now get their slots.
func (c *KeptCoder) readSpill(r *StoredReader, k *Kept, packed []byte) []byte {
	for n := r.Count(2); n > 0; n-- {
		name := r.Text()
		value := r.Bytes()
		f, ok := fieldOf(name)
		if !ok {
			r.Fail(ErrCut)
			return packed
		}
		if slot := c.schema.Lookup(f.Space, f.Name); slot != NoSlot {
			packed = pack(pack(packed, int(slot)), len(value))
			packed = append(packed, value...)
		} else {
			k.setSpill(f, string(value))
		}
	}
	return packed
}

func (c *KeptCoder) appendPosition(to []byte, p Position) []byte {
	to = binary.AppendUvarint(to, uint64(c.Partition(p.Partition)))
	to = binary.AppendVarint(to, p.Offset)
	return binary.AppendVarint(to, int64(p.Line))
}

func (c *KeptCoder) readPosition(r *StoredReader) Position {
	n := r.Number()
	if r.Err() != nil {
		return Position{}
	}
	p, err := c.PartitionOf(n)
	if err != nil {
		r.Fail(err)
	}
	return Position{Partition: p, Offset: r.Varint(), Line: int32(r.Varint())}
}
