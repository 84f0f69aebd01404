package journal

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"

	"sluice/pipeline"
)

// Stream is what a journal's records are told apart by: each keeps its order,
// and has a position of its own.
type Stream struct {
	Topic string
	ID    int32
}

// Entry is what is appended at once: records of one stream, and marks.
type Entry struct {
	Stream
	Labels map[string]string
	// Records are written but for their offsets, which are given by the journal.
	Records []pipeline.Record
	// Marks are kept with the records, by name, the last of each; "" forgets one.
	Marks map[string]string
}

// A frame is
//
//	length   4 bytes  of what follows
//	key      bytes    the stream and the labels: topic, varint id, pairs sorted by name
//	marks    pairs
//	count    uvarint
//	records  each: seconds as a varint against the record before, nanoseconds, value, key, headers
//
// where bytes are a uvarint length and as many bytes, pairs are a uvarint count
// and as many of twice bytes, and values and keys have a length one larger, with 0 for none (nil).

// maxEncoded bounds the length of an entry's frame from above, without building it.
func maxEncoded(e *Entry) int {
	const number = binary.MaxVarintLen64
	n := 4 + 5*number + len(e.Topic)
	for k, v := range e.Labels {
		n += 2*number + len(k) + len(v)
	}
	for k, v := range e.Marks {
		n += 2*number + len(k) + len(v)
	}
	for i := range e.Records {
		r := &e.Records[i]
		n += 5*number + len(r.Value) + len(r.Key)
		for _, h := range r.Headers {
			n += 2*number + len(h.Key) + len(h.Value)
		}
	}
	return n
}

// encoder writes frames; it keeps its scratch memory.
type encoder struct {
	key   []byte
	names []string
}

// append appends an entry's frame.
func (c *encoder) append(to []byte, e *Entry) []byte {
	at := len(to)
	to = append(to, 0, 0, 0, 0)
	c.key = appendString(c.key[:0], e.Topic)
	c.key = binary.AppendVarint(c.key, int64(e.ID))
	c.key = c.pairs(c.key, e.Labels)
	to = appendString(to, string(c.key))
	to = c.pairs(to, e.Marks)
	to = binary.AppendUvarint(to, uint64(len(e.Records)))
	before := int64(0)
	for i := range e.Records {
		r := &e.Records[i]
		seconds := r.Time.Unix()
		to = binary.AppendVarint(to, seconds-before)
		before = seconds
		to = binary.AppendUvarint(to, uint64(r.Time.Nanosecond()))
		to = appendBytes(to, r.Value)
		to = appendBytes(to, r.Key)
		to = binary.AppendUvarint(to, uint64(len(r.Headers)))
		for _, h := range r.Headers {
			to = appendString(to, h.Key)
			to = appendBytes(to, h.Value)
		}
	}
	binary.LittleEndian.PutUint32(to[at:], uint32(len(to)-at-4))
	return to
}

func (c *encoder) pairs(to []byte, pairs map[string]string) []byte {
	to = binary.AppendUvarint(to, uint64(len(pairs)))
	c.names = slices.AppendSeq(c.names[:0], maps.Keys(pairs))
	slices.Sort(c.names)
	for _, k := range c.names {
		to = appendString(to, k)
		to = appendString(to, pairs[k])
	}
	return to
}

func appendString(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

func appendBytes(to, b []byte) []byte {
	if b == nil {
		return append(to, 0)
	}
	return append(binary.AppendUvarint(to, uint64(len(b))+1), b...)
}

// decoder reads what was appended. Once something does not fit it is bad, and gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() {
	d.b, d.bad = nil, true
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }

func (d *decoder) optional() []byte {
	n := d.uvarint()
	if n == 0 || d.bad {
		return nil
	}
	return d.take(n - 1)
}

// count reads a number of things that take at least a few bytes each.
func (d *decoder) count(each int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/each) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) pairs() map[string]string {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	out := make(map[string]string, min(n, 64))
	for range n {
		k := string(d.bytes())
		out[k] = string(d.bytes())
	}
	return out
}

func (d *decoder) uint32() uint32 {
	b := d.take(4)
	if d.bad {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

// frame is an entry as it lies in a group: its parts alias the group.
type frame struct {
	key     []byte
	marks   map[string]string
	count   int
	records []byte
}

// nextFrame takes a frame off a group's body.
func (d *decoder) nextFrame() (frame, bool) {
	in := decoder{b: d.take(uint64(d.uint32())), bad: d.bad}
	f := frame{key: in.bytes(), marks: in.pairs(), count: in.count(minRecord)}
	f.records = in.b
	if in.bad {
		d.fail()
	}
	return f, !d.bad
}

// minRecord is the least that a record takes.
const minRecord = 5

// decodeKey reads a frame's key into memory of its own.
func decodeKey(key []byte) (s Stream, labels map[string]string, ok bool) {
	d := decoder{b: key}
	s.Topic = string(d.bytes())
	id := d.varint()
	labels = d.pairs()
	if id < math.MinInt32 || id > math.MaxInt32 || len(d.b) > 0 {
		d.fail()
	}
	s.ID = int32(id)
	return s, labels, !d.bad
}

// appendRecords decodes the frame's records, those from the offset from on.
// They alias the frame.
func (f *frame) appendRecords(to []pipeline.Record, first, from int64) ([]pipeline.Record, bool) {
	d := decoder{b: f.records}
	seconds := int64(0)
	for i := range f.count {
		seconds += d.varint()
		nanoseconds := d.uvarint()
		r := pipeline.Record{Value: d.optional(), Key: d.optional(), Offset: first + int64(i)}
		if n := d.count(2); n > 0 && r.Offset >= from {
			r.Headers = make([]pipeline.Header, 0, min(n, 64))
			for range n {
				r.Headers = append(r.Headers, pipeline.Header{Key: string(d.bytes()), Value: d.optional()})
			}
		} else {
			for range n {
				d.bytes()
				d.optional()
			}
		}
		if d.bad || nanoseconds >= 1e9 {
			return to, false
		}
		if r.Offset >= from {
			r.Time = time.Unix(seconds, int64(nanoseconds)).UTC()
			to = append(to, r)
		}
	}
	return to, len(d.b) == 0
}
