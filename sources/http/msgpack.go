package http

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"

	"sluice/sources/internal/httpd"
)

// readMsgpack makes records of MessagePack, as JSON: of Fluent Bit's events, which are
// [TIME, {…}] or [[TIME, METADATA], {…}] one after the other; of maps; or of an array of these.
// The time of an event is the record's time.
func readMsgpack(r *httpd.Request) error {
	body, err := r.Whole()
	if err != nil {
		return err
	}
	g, err := r.Batch.Group()
	if err != nil {
		return err
	}
	p := packed{request: r, group: g, limit: r.MaxBody()}
	for rest := body; len(rest) > 0; {
		if rest, err = p.value(rest); err != nil {
			return err
		}
	}
	return nil
}

// packed makes records of the values of a body.
type packed struct {
	request *httpd.Request
	group   *httpd.Group
	limit   int // of an event's JSON

	number int    // of the event
	text   []byte // its JSON
	held   int    // how much of text's memory is counted
}

// maxPackDepth is how deep an event may nest.
const maxPackDepth = 128

var errPackDeep = fmt.Errorf("it nests deeper than %d", maxPackDepth)

// value reads an event, a map, or an array of them, off the front.
func (p *packed) value(b []byte) ([]byte, error) {
	if msgp.NextType(b) != msgp.ArrayType {
		return p.event(b, p.request.Batch.Now())
	}
	n, rest, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return nil, p.bad(err)
	}
	if at, behind, ok := eventTime(rest); ok && n == 2 {
		return p.event(behind, at)
	}
	for range n {
		if msgp.NextType(rest) == msgp.ArrayType { // an event within an array
			var pair uint32
			if pair, rest, err = msgp.ReadArrayHeaderBytes(rest); err != nil {
				return nil, p.bad(err)
			}
			at, behind, ok := eventTime(rest)
			if !ok || pair != 2 {
				return nil, p.bad(errNoEvent)
			}
			rest, err = p.event(behind, at)
		} else {
			rest, err = p.event(rest, p.request.Batch.Now())
		}
		if err != nil {
			return nil, err
		}
	}
	return rest, nil
}

var errNoEvent = errors.New("it is neither a map nor a time and a map")

func (p *packed) bad(err error) error {
	return httpd.Malformed("event %d of the MessagePack: %v", max(1, p.number), err)
}

// event makes a record of a map.
func (p *packed) event(b []byte, at time.Time) ([]byte, error) {
	p.number++
	if msgp.NextType(b) != msgp.MapType {
		return nil, p.bad(errNoEvent)
	}
	p.text = p.text[:0]
	rest, err := p.append(b, 0)
	if err != nil {
		return nil, p.bad(err)
	}
	if more := cap(p.text) - p.held; more > 0 {
		if err := p.request.Batch.Reserve(more); err != nil {
			return nil, err
		}
		p.held += more
	}
	line, err := p.request.Batch.Copy(p.text)
	if err != nil {
		return nil, err
	}
	return rest, p.group.Add(line, at, nil)
}

// eventTime reads what Fluent Bit writes before an event's map: its time, or
// an array of that and of metadata, which nobody asks for.
func eventTime(b []byte) (at time.Time, rest []byte, ok bool) {
	if msgp.NextType(b) != msgp.ArrayType {
		return packedTime(b)
	}
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil || n != 2 {
		return at, nil, false
	}
	if at, b, ok = packedTime(b); !ok || msgp.NextType(b) != msgp.MapType {
		return at, nil, false
	}
	rest, err = skip(b, 0)
	return at, rest, err == nil
}

// packedTime reads a time: Fluent Bit's extension 0, or seconds.
func packedTime(b []byte) (at time.Time, rest []byte, ok bool) {
	switch msgp.NextType(b) {
	case msgp.IntType, msgp.UintType:
		seconds, rest, err := msgp.ReadInt64Bytes(b)
		at = time.Unix(seconds, 0)
		return at, rest, err == nil && !at.Before(earliest) && !at.After(latest)
	case msgp.Float64Type:
		seconds, rest, err := msgp.ReadFloat64Bytes(b)
		if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > float64(latest.Unix()) {
			return at, nil, false
		}
		whole, part := math.Modf(seconds)
		return time.Unix(int64(whole), int64(part*1e9)), rest, true
	}
	kind, data, rest, ok := extension(b)
	if !ok || kind != 0 || len(data) != 8 {
		return at, nil, false
	}
	return time.Unix(int64(binary.BigEndian.Uint32(data)), int64(binary.BigEndian.Uint32(data[4:]))), rest, true
}

// extension reads an extension.
func extension(b []byte) (kind int8, data, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, nil, false
	}
	size, head := 0, 2
	switch lead := b[0]; {
	case lead >= 0xd4 && lead <= 0xd8: // of 1, 2, 4, 8 and 16 bytes
		size = 1 << (lead - 0xd4)
	case lead >= 0xc7 && lead <= 0xc9: // with a length of 1, 2 and 4 bytes
		wide := 1 << (lead - 0xc7)
		if head += wide; len(b) < head {
			return 0, nil, nil, false
		}
		for _, c := range b[1 : 1+wide] {
			size = size<<8 | int(c)
		}
	default:
		return 0, nil, nil, false
	}
	if len(b)-head < size {
		return 0, nil, nil, false
	}
	return int8(b[head-1]), b[head : head+size], b[head+size:], true
}

// maxMetadataText bounds the metadata of an event, as JSON.
const maxMetadataText = 64 << 10

// skip passes over a value.
func skip(b []byte, depth int) ([]byte, error) {
	p := packed{limit: maxMetadataText}
	return p.append(b, depth)
}

// append writes the JSON of the value at the front behind the text.
func (p *packed) append(b []byte, depth int) (rest []byte, err error) {
	switch {
	case depth > maxPackDepth:
		return nil, errPackDeep
	case len(p.text) > p.limit:
		return nil, fmt.Errorf("its JSON is longer than %d bytes", p.limit)
	case len(b) == 0:
		return nil, msgp.ErrShortBytes
	}
	if kind, data, rest, ok := extension(b); ok {
		if at, _, isTime := packedTime(b); isTime {
			p.text = append(p.text, '"')
			p.text = at.UTC().AppendFormat(p.text, time.RFC3339Nano)
			p.text = append(p.text, '"')
			return rest, nil
		}
		p.text = appendQuoted(p.text, fmt.Appendf(nil, "extension %d of %d bytes", kind, len(data)))
		return rest, nil
	}
	switch kind := msgp.NextType(b); kind {
	case msgp.MapType:
		return p.appendMap(b, depth)
	case msgp.ArrayType:
		return p.appendArray(b, depth)
	default:
		return p.appendScalar(b, kind)
	}
}

func (p *packed) appendMap(b []byte, depth int) ([]byte, error) {
	n, b, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return nil, err
	}
	p.text = append(p.text, '{')
	for i := range n {
		if i > 0 {
			p.text = append(p.text, ',')
		}
		start := len(p.text)
		if b, err = p.append(b, depth+1); err != nil {
			return nil, err
		}
		if key := p.text[start:]; key[0] != '"' { // JSON's keys are strings
			name := string(key)
			p.text = appendQuoted(p.text[:start], []byte(name))
		}
		p.text = append(p.text, ':')
		if b, err = p.append(b, depth+1); err != nil {
			return nil, err
		}
	}
	p.text = append(p.text, '}')
	return b, nil
}

func (p *packed) appendArray(b []byte, depth int) ([]byte, error) {
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return nil, err
	}
	p.text = append(p.text, '[')
	for i := range n {
		if i > 0 {
			p.text = append(p.text, ',')
		}
		if b, err = p.append(b, depth+1); err != nil {
			return nil, err
		}
	}
	p.text = append(p.text, ']')
	return b, nil
}

func (p *packed) appendScalar(b []byte, kind msgp.Type) (rest []byte, err error) {
	var text []byte
	var number float64
	switch kind {
	case msgp.StrType:
		if text, rest, err = msgp.ReadStringZC(b); err == nil {
			p.text = appendQuoted(p.text, text)
		}
	case msgp.BinType:
		if text, rest, err = msgp.ReadBytesZC(b); err == nil {
			p.text = appendQuoted(p.text, text)
		}
	case msgp.IntType:
		var n int64
		n, rest, err = msgp.ReadInt64Bytes(b)
		p.text = strconv.AppendInt(p.text, n, 10)
	case msgp.UintType:
		var n uint64
		n, rest, err = msgp.ReadUint64Bytes(b)
		p.text = strconv.AppendUint(p.text, n, 10)
	case msgp.Float32Type:
		var f float32
		f, rest, err = msgp.ReadFloat32Bytes(b)
		number = float64(f)
		p.text = appendFloat(p.text, number, 32)
	case msgp.Float64Type:
		number, rest, err = msgp.ReadFloat64Bytes(b)
		p.text = appendFloat(p.text, number, 64)
	case msgp.BoolType:
		var v bool
		v, rest, err = msgp.ReadBoolBytes(b)
		p.text = strconv.AppendBool(p.text, v)
	case msgp.NilType:
		rest, err = msgp.ReadNilBytes(b)
		p.text = append(p.text, "null"...)
	default:
		return nil, fmt.Errorf("a value begins with the byte 0x%02x, which is none", b[0])
	}
	return rest, err
}

// appendFloat writes a number; what JSON has none for is null.
func appendFloat(to []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(to, "null"...)
	}
	return strconv.AppendFloat(to, f, 'g', -1, bits)
}

// appendQuoted writes a JSON string. Bytes that are no UTF-8 are replaced.
func appendQuoted(to, text []byte) []byte {
	plain := utf8.Valid(text)
	for _, c := range text {
		plain = plain && c >= 0x20 && c != '"' && c != '\\'
	}
	if plain {
		to = append(to, '"')
		to = append(to, text...)
		return append(to, '"')
	}
	quoted, err := json.Marshal(string(text))
	if err != nil { // which a string never is
		return append(to, `""`...)
	}
	return append(to, quoted...)
}
