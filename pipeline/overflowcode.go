package pipeline

import (
	"encoding/binary"
	"fmt"
)

// The versions of the encodings of overflows and pours.
const (
	overflowVersion = 1
	pourVersion     = 1
)

// AppendOverflow appends the encoding of an overflow.
func (c *KeptCoder) AppendOverflow(to []byte, o *Overflow) []byte {
	to = append(to, overflowVersion)
	to = c.appendScenario(to, o.Scenario)
	to = AppendText(to, o.Key)
	to = c.appendPosition(to, o.Cause)
	to = c.appendPosition(to, o.First)
	to = c.appendPosition(to, o.Last)
	to = binary.AppendVarint(to, int64(o.Line))
	to = binary.AppendVarint(to, int64(o.Ordinal))
	to = binary.AppendVarint(to, int64(o.Depth))
	to = binary.AppendVarint(to, int64(o.Count))
	to = AppendTime(to, o.LastTime, 0)
	to = AppendTime(to, o.FirstTime, o.LastTime.Unix())
	to = binary.AppendUvarint(to, uint64(len(o.Queue)))
	for _, k := range o.Queue {
		to = c.Append(to, k)
	}
	return appendTexts(to, o.Scopes)
}

// DecodeOverflow reads an overflow back; it owns its memory. Where the error
// is ErrUnknownScenario, o is whole but for Scenario, which is -1, and rest is what follows.
func (c *KeptCoder) DecodeOverflow(b []byte) (o Overflow, rest []byte, err error) {
	r := NewStoredReader(b)
	if r.Byte() != overflowVersion {
		r.Fail(ErrCut)
	}
	known := false
	o.Scenario, known = c.readScenario(&r)
	o.Key = r.Text()
	o.Cause, o.First, o.Last = c.readPosition(&r), c.readPosition(&r), c.readPosition(&r)
	o.Line, o.Ordinal = int32(r.Varint()), int32(r.Varint())
	o.Depth, o.Count = int32(r.Varint()), int32(r.Varint())
	o.LastTime = r.Time(0)
	o.FirstTime = r.Time(o.LastTime.Unix())
	o.Queue = c.readQueue(&r)
	o.Scopes = readTexts(&r)
	if r.Err() != nil {
		return Overflow{}, nil, fmt.Errorf("reading an overflow: %w", r.Err())
	}
	if !known {
		return o, r.Rest(), fmt.Errorf("an overflow of key %q waits for its alert: %w", o.Key, ErrUnknownScenario)
	}
	return o, r.Rest(), nil
}

// keptLeast is the least that an event takes.
const keptLeast = 9

func (c *KeptCoder) readQueue(r *StoredReader) []*Kept {
	out := make([]*Kept, r.Count(keptLeast))
	for i := range out {
		out[i] = new(Kept)
		c.Read(r, out[i])
	}
	return out
}

// appendScenario appends a document's group and definition.
func (c *KeptCoder) appendScenario(to []byte, scenario int32) []byte {
	to = binary.AppendUvarint(to, uint64(c.groups[scenario]))
	return binary.AppendUvarint(to, uint64(c.definitions[scenario]))
}

// readScenario reads what appendScenario wrote; an unknown one is -1.
func (c *KeptCoder) readScenario(r *StoredReader) (scenario int32, known bool) {
	group, definition := r.Number(), r.Number()
	i, known := c.Document(definition)
	if !known || c.groups[i] != group {
		return -1, false
	}
	return i, true
}

// What a pour's flags say.
const (
	pourAlertLane = 1 << iota
	pourCancel
	pourFailed
)

// AppendPour appends the encoding of a pour and its event.
func (c *KeptCoder) AppendPour(to []byte, p *Pour) []byte {
	var flags byte
	if p.AlertLane {
		flags |= pourAlertLane
	}
	if p.Cancel {
		flags |= pourCancel
	}
	if p.Failed {
		flags |= pourFailed
	}
	to = c.appendScenario(append(to, pourVersion, flags), p.Scenario)
	to = binary.AppendVarint(to, int64(p.Line))
	to = binary.LittleEndian.AppendUint64(to, p.Route)
	to = AppendText(AppendText(AppendText(to, p.Key), p.Distinct), p.Scope)
	return c.Append(to, p.Event)
}

// DecodePour reads a pour back; it owns its memory. p is nil when its
// scenario is not among the rules any more. rest is what follows it.
func (c *KeptCoder) DecodePour(b []byte) (p *Pour, rest []byte, err error) {
	r := NewStoredReader(b)
	if r.Byte() != pourVersion {
		r.Fail(ErrCut)
	}
	flags := r.Byte()
	scenario, known := c.readScenario(&r)
	p = &Pour{
		Scenario: scenario, Line: int32(r.Varint()), Route: r.Uint64(),
		Key: r.Text(), Distinct: r.Text(), Scope: r.Text(),
		AlertLane: flags&pourAlertLane != 0, Cancel: flags&pourCancel != 0, Failed: flags&pourFailed != 0,
		Event: new(Kept),
	}
	c.Read(&r, p.Event)
	switch {
	case r.Err() != nil:
		return nil, nil, fmt.Errorf("reading a pour: %w", r.Err())
	case !known:
		return nil, r.Rest(), nil
	}
	return p, r.Rest(), nil
}
