package outbox

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"sluice/pipeline"
)

// An alert is stored field by field, in the order of the struct: reading it
// back is most of what the outbox does, and JSON took ten times as long.
// TestEveryFieldOfAnAlertIsStored finds a field that is missing here. What is
// added later goes to the end, under a new version.

// appendAlert appends an alert.
func appendAlert(b []byte, a *pipeline.Alert) ([]byte, error) {
	for _, s := range []string{a.UUID, a.CreatedAt, a.Kind, a.Scenario, a.ScenarioHash, a.ScenarioVersion, a.Message} {
		b = appendBytes(b, s)
	}
	b = binary.AppendVarint(b, int64(a.EventsCount))
	b = appendBytes(appendBytes(b, a.StartAt), a.StopAt)
	b = binary.AppendVarint(b, int64(a.Capacity))
	b = appendBytes(b, a.Leakspeed)
	b = appendBool(appendBool(b, a.Simulated), a.Remediation)
	b = appendCount(b, a.Labels)
	for _, s := range a.Labels {
		b = appendBytes(b, s)
	}
	b = appendBool(b, a.Source != nil)
	if a.Source != nil {
		b = appendSource(b, a.Source)
	}
	b = appendMeta(b, a.Meta)
	b = appendCount(b, a.Events)
	for i := range a.Events {
		b = appendMeta(appendBytes(b, a.Events[i].Timestamp), a.Events[i].Meta)
	}
	b = appendCount(b, a.Decisions)
	for i := range a.Decisions {
		b = appendDecision(b, &a.Decisions[i])
	}
	return appendOrigin(b, a)
}

func appendSource(b []byte, s *pipeline.Source) []byte {
	for _, s := range []string{s.Scope, s.Value, s.IP, s.Range, s.AsNumber, s.AsName, s.Cn} {
		b = appendBytes(b, s)
	}
	b = binary.LittleEndian.AppendUint32(b, math.Float32bits(s.Latitude))
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(s.Longitude))
}

func appendDecision(b []byte, d *pipeline.Decision) []byte {
	for _, s := range []string{d.UUID, d.Origin, d.Type, d.Scope, d.Value, d.Duration, d.Until, d.Scenario} {
		b = appendBytes(b, s)
	}
	return appendBool(b, d.Simulated)
}

func appendOrigin(b []byte, a *pipeline.Alert) ([]byte, error) {
	o := &a.Sluice
	b = binary.AppendVarint(appendBytes(b, o.Key), int64(o.Ordinal))
	b = binary.AppendVarint(b, int64(o.Depth))
	b = appendPosition(appendPosition(b, &o.Cause), &o.First)
	b = appendBytes(b, o.Allowlisted)
	if o.Labels == nil {
		return appendBytes(b, ""), nil
	}
	labels, err := json.Marshal(o.Labels)
	if err != nil {
		return nil, fmt.Errorf("the labels of alert %s of scenario %s have no JSON: %w", a.UUID, a.Scenario, err)
	}
	return appendBytes(b, labels), nil
}

func appendPosition(b []byte, p *pipeline.Position) []byte {
	b = appendBytes(appendBytes(b, p.Source), p.Topic)
	b = binary.AppendVarint(b, int64(p.ID))
	b = binary.AppendVarint(b, p.Offset)
	return binary.AppendVarint(b, int64(p.Line))
}

func appendMeta(b []byte, meta []pipeline.MetaItem) []byte {
	b = appendCount(b, meta)
	for i := range meta {
		b = appendBytes(appendBytes(b, meta[i].Key), meta[i].Value)
	}
	return b
}

// appendCount appends the length of a list, told apart from none.
func appendCount[T any](b []byte, list []T) []byte {
	if list == nil {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(len(list))+1)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// alertReader reads what appendAlert wrote. All texts are parts of one string.
type alertReader struct {
	s    string
	torn bool
}

// readAlert reads an alert. It keeps nothing of b.
func readAlert(b []byte) (*pipeline.Alert, error) {
	r := &alertReader{s: string(b)}
	a := &pipeline.Alert{
		UUID: r.text(), CreatedAt: r.text(), Kind: r.text(), Scenario: r.text(), ScenarioHash: r.text(), ScenarioVersion: r.text(),
		Message: r.text(), EventsCount: r.int32(), StartAt: r.text(), StopAt: r.text(), Capacity: r.int32(), Leakspeed: r.text(),
		Simulated: r.bool(), Remediation: r.bool(),
	}
	a.Labels = list(r, 1, func(s *string) { *s = r.text() })
	if r.bool() {
		a.Source = &pipeline.Source{
			Scope: r.text(), Value: r.text(), IP: r.text(), Range: r.text(), AsNumber: r.text(), AsName: r.text(), Cn: r.text(),
			Latitude: r.float32(), Longitude: r.float32(),
		}
	}
	a.Meta = r.meta()
	a.Events = list(r, 2, func(e *pipeline.AlertEvent) { e.Timestamp, e.Meta = r.text(), r.meta() })
	a.Decisions = list(r, 9, func(d *pipeline.Decision) {
		*d = pipeline.Decision{
			UUID: r.text(), Origin: r.text(), Type: r.text(), Scope: r.text(), Value: r.text(), Duration: r.text(), Until: r.text(),
			Scenario: r.text(), Simulated: r.bool(),
		}
	})
	a.Sluice = pipeline.AlertOrigin{Key: r.text(), Ordinal: r.int32(), Depth: r.int32(), Cause: r.position(), First: r.position(), Allowlisted: r.text()}
	if labels := r.text(); labels != "" && json.Unmarshal([]byte(labels), &a.Sluice.Labels) != nil {
		r.torn = true
	}
	if r.torn || r.s != "" {
		return nil, fmt.Errorf("%w: its alert cannot be read", errTorn)
	}
	return a, nil
}

func (r *alertReader) fail() {
	r.s, r.torn = "", true
}

func (r *alertReader) uvarint() uint64 {
	var v uint64
	for i := range len(r.s) {
		c := r.s[i]
		if i == binary.MaxVarintLen64 || i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.s = r.s[i+1:]
			return v
		}
	}
	r.fail()
	return 0
}

func (r *alertReader) varint() int64 {
	u := r.uvarint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

func (r *alertReader) int32() int32 {
	v := r.varint()
	if v != int64(int32(v)) {
		r.fail()
	}
	return int32(v)
}

func (r *alertReader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.s)) {
		r.fail()
		return ""
	}
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *alertReader) bool() bool {
	if r.s == "" || r.s[0] > 1 {
		r.fail()
		return false
	}
	v := r.s[0] == 1
	r.s = r.s[1:]
	return v
}

func (r *alertReader) float32() float32 {
	if len(r.s) < 4 {
		r.fail()
		return 0
	}
	v := uint32(r.s[0]) | uint32(r.s[1])<<8 | uint32(r.s[2])<<16 | uint32(r.s[3])<<24
	r.s = r.s[4:]
	return math.Float32frombits(v)
}

func (r *alertReader) position() pipeline.Position {
	p := pipeline.Position{Partition: pipeline.Partition{Source: r.text(), Topic: r.text(), ID: r.int32()}}
	p.Offset, p.Line = r.varint(), r.int32()
	return p
}

func (r *alertReader) meta() []pipeline.MetaItem {
	return list(r, 2, func(m *pipeline.MetaItem) { m.Key, m.Value = r.text(), r.text() })
}

// list reads what appendCount and as many elements wrote, each of at least so many bytes.
func list[T any](r *alertReader, least int, read func(*T)) []T {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	if n--; n > uint64(len(r.s)/least) {
		r.fail()
		return nil
	}
	out := make([]T, n)
	for i := range out {
		read(&out[i])
	}
	return out
}
