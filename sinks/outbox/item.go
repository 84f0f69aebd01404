package outbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"sluice/pipeline"
)

// Item is what an entry of the log holds: an alert or a dead letter.
type Item struct {
	// To names the sinks that an alert is addressed to; nil means all.
	To []string
	// At is when an alert came into the log, to the second: it outlives restarts.
	// Zero is not known.
	At time.Time
	// Alert, with its decisions, or Dead is set.
	Alert *pipeline.Alert
	Dead  *pipeline.DeadLetter
}

// For tells whether an alert is addressed to a sink.
func (it *Item) For(sink string) bool { return it.To == nil || slices.Contains(it.To, sink) }

// Cause returns the position of what made the item.
func (it *Item) Cause() pipeline.Position {
	if it.Dead != nil {
		return it.Dead.Position
	}
	return it.Alert.Sluice.Cause
}

// An entry begins with these two bytes: the version and the kind of item.
// Version 1 has alerts as JSON; dead letters are still written so. Version 2
// does not tell when an alert was stored.
const (
	itemVersion = 3
	deadVersion = 1
	itemAlert   = 'a'
	itemDead    = 'd'
)

// ErrNewer says that a newer version of Sluice wrote an entry.
var ErrNewer = errors.New("a newer version of sluice wrote this entry of the outbox; use that version")

// errTorn says that an entry's bytes are not what Append writes.
var errTorn = errors.New("an entry of the outbox is damaged")

// Append appends the item's encoding to b.
func (it *Item) Append(b []byte) ([]byte, error) {
	if it.Dead != nil {
		return appendDead(append(b, deadVersion, itemDead), it.Dead), nil
	}
	b = append(b, itemVersion, itemAlert)
	if it.To == nil {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(len(it.To))+1)
		for _, name := range it.To {
			b = appendBytes(b, name)
		}
	}
	var at int64 // seconds
	if !it.At.IsZero() {
		at = it.At.Unix()
	}
	return appendAlert(binary.AppendVarint(b, at), it.Alert)
}

// alertJSON writes an alert as sinks and dead letters show it.
func alertJSON(a *pipeline.Alert) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(a); err != nil {
		return nil, fmt.Errorf("alert %s of scenario %s has no JSON: %w", a.UUID, a.Scenario, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// Decode reads an item. It keeps nothing of b.
func Decode(b []byte) (Item, error) {
	to, err := readAddress(b)
	if err != nil {
		return Item{}, err
	}
	if to.dead {
		d, err := readDead(to.body)
		return Item{Dead: d}, err
	}
	it := Item{Alert: new(pipeline.Alert), At: to.at}
	if to.names != nil {
		it.To = make([]string, len(to.names))
		for i, name := range to.names {
			it.To[i] = string(name)
		}
	}
	if to.json {
		if err := json.Unmarshal(to.body, it.Alert); err != nil {
			return Item{}, fmt.Errorf("%w: its alert cannot be read: %w", errTorn, err)
		}
		return it, nil
	}
	it.Alert, err = readAlert(to.body)
	return it, err
}

// address is what the head of an entry says: whom it is for.
type address struct {
	dead  bool
	json  bool     // its alert is JSON
	all   bool     // of the sinks
	names [][]byte // of the sinks; alias the entry
	at    time.Time
	body  []byte
}

// to tells whether an alert is for a sink.
func (a *address) to(sink string) bool {
	return a.all || slices.ContainsFunc(a.names, func(name []byte) bool { return string(name) == sink })
}

func readAddress(b []byte) (address, error) {
	if len(b) < 2 {
		return address{}, errTorn
	}
	if b[0] > itemVersion {
		return address{}, ErrNewer
	}
	switch {
	case b[0] < 1:
		return address{}, errTorn
	case b[1] == itemDead:
		return address{dead: true, body: b[2:]}, nil
	case b[1] != itemAlert:
		return address{}, errTorn
	}
	r := pipeline.NewStoredReader(b[2:])
	n := r.Uvarint()
	a := address{all: n == 0, json: b[0] == 1}
	if n > 0 {
		if n-1 > uint64(len(b)) {
			return address{}, errTorn
		}
		a.names = make([][]byte, 0, n-1)
		for range n - 1 {
			a.names = append(a.names, r.Bytes())
		}
	}
	if b[0] > 2 {
		if at := r.Varint(); at != 0 {
			a.at = time.Unix(at, 0)
		}
	}
	a.body = r.Rest()
	if r.Err() != nil {
		return address{}, errTorn
	}
	return a, nil
}

func appendDead(b []byte, d *pipeline.DeadLetter) []byte {
	b = appendBytes(b, string(d.Kind))
	b = appendBytes(b, d.Reason)
	b = appendBytes(b, d.Position.Source)
	b = appendBytes(b, d.Position.Topic)
	b = binary.AppendVarint(b, int64(d.Position.ID))
	b = binary.AppendVarint(b, d.Position.Offset)
	b = binary.AppendVarint(b, int64(d.Position.Line))
	if d.Time.IsZero() {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		b = binary.AppendVarint(b, d.Time.Unix())
		b = binary.AppendUvarint(b, uint64(d.Time.Nanosecond()))
	}
	b = appendBytes(b, d.Value)
	b = appendBytes(b, d.Key)
	b = binary.AppendUvarint(b, uint64(len(d.Headers)))
	for _, h := range d.Headers {
		b = appendBytes(b, h.Key)
		b = appendBytes(b, h.Value)
	}
	b = binary.AppendUvarint(b, uint64(d.Size))
	return appendBytes(b, d.Sink)
}

func readDead(b []byte) (*pipeline.DeadLetter, error) {
	r := pipeline.NewStoredReader(b)
	d := &pipeline.DeadLetter{Kind: pipeline.DeadKind(r.Text()), Reason: r.Text()}
	d.Position.Source, d.Position.Topic = r.Text(), r.Text()
	id, offset, line := r.Varint(), r.Varint(), r.Varint()
	d.Position.ID, d.Position.Offset, d.Position.Line = int32(id), offset, int32(line)
	torn := id != int64(d.Position.ID) || line != int64(d.Position.Line)
	if r.Uvarint() != 0 {
		seconds, nanos := r.Varint(), r.Uvarint()
		torn = torn || nanos >= uint64(time.Second)
		d.Time = time.Unix(seconds, int64(nanos)).UTC()
	}
	d.Value = bytes.Clone(r.Bytes())
	if key := r.Bytes(); len(key) > 0 {
		d.Key = bytes.Clone(key)
	}
	for range r.Count(2) {
		d.Headers = append(d.Headers, pipeline.Header{Key: r.Text(), Value: bytes.Clone(r.Bytes())})
	}
	size := r.Uvarint()
	d.Size = int(size)
	d.Sink = r.Text()
	if torn || r.End() != nil || size > math.MaxInt {
		return nil, errTorn
	}
	return d, nil
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
