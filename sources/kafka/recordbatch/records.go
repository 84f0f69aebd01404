package recordbatch

import "encoding/binary"

// Record is one record. Its bytes alias the payload.
type Record struct {
	Offset     int64
	Time       int64  // in ms since 1970
	Key, Value []byte // nil when absent, which empty is not
	// HeaderCount headers are left in Headers, to be taken by NextHeader.
	HeaderCount int
	Headers     []byte
}

// Records walks the records of a batch.
type Records struct {
	batch *Batch
	data  []byte
	left  int
	last  int64 // offset of the record before, to hold their order
	err   error
}

// Records begins a walk over a batch's payload, decompressed.
func (b *Batch) Records(payload []byte) Records {
	return Records{batch: b, data: payload, left: b.Count, last: b.BaseOffset - 1}
}

// Next reads the next record into r. It is false at the end and at the first
// record that is broken, which Err tells of.
func (rs *Records) Next(r *Record) bool {
	if rs.left == 0 || rs.err != nil {
		return false
	}
	if rs.err = rs.read(r); rs.err != nil {
		return false
	}
	rs.left--
	return true
}

// Err returns what ended the walk early, or nil.
func (rs *Records) Err() error { return rs.err }

// read reads: length, attributes, time and offset as deltas, key, value, headers.
func (rs *Records) read(r *Record) error {
	d := cursor{data: rs.data}
	size := d.varint()
	if d.bad || size < 0 || size > int64(len(d.data)) {
		return rs.broken("its length is not that of what follows")
	}
	rs.data = d.data[size:]
	d.data = d.data[:size]
	d.take(1) // no attribute is in use
	r.Time = rs.batch.BaseTime + d.varint()
	r.Offset = rs.batch.BaseOffset + d.varint()
	r.Key = d.bytes()
	r.Value = d.bytes()
	count := d.varint()
	r.Headers = d.data
	// A header is at least two bytes.
	if d.bad || count < 0 || count > int64(len(d.data)/2) {
		return rs.broken("a field is longer than the record")
	}
	r.HeaderCount = int(count)
	if r.Offset <= rs.last || r.Offset > rs.batch.LastOffset {
		return rs.broken("its offset is out of order")
	}
	rs.last = r.Offset
	if rs.batch.Attributes.LogAppendTime() {
		r.Time = rs.batch.MaxTime
	}
	return nil
}

func (rs *Records) broken(what string) error {
	return corrupt("record %d of the one at offset %d: %s", rs.batch.Count-rs.left, rs.batch.BaseOffset, what)
}

// NextHeader takes the next of the record's headers. It is false when there is
// none, and, with an error, when it is broken.
func (r *Record) NextHeader() (key, value []byte, ok bool, err error) {
	if r.HeaderCount == 0 {
		return nil, nil, false, nil
	}
	d := cursor{data: r.Headers}
	key, value = d.bytes(), d.bytes()
	if d.bad || key == nil {
		r.HeaderCount = 0
		return nil, nil, false, corrupt("a header of the record at offset %d is longer than the record", r.Offset)
	}
	r.Headers = d.data
	r.HeaderCount--
	return key, value, true, nil
}

// cursor reads fields off bytes; bad says that one was not whole.
type cursor struct {
	data []byte
	bad  bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.data) {
		c.bad, c.data = true, nil
		return nil
	}
	out := c.data[:n:n]
	c.data = c.data[n:]
	return out
}

func (c *cursor) varint() int64 {
	// One byte is enough for most fields.
	if len(c.data) > 0 && c.data[0] < 0x80 {
		u := c.data[0]
		c.data = c.data[1:]
		return int64(u>>1) ^ -int64(u&1)
	}
	v, n := binary.Varint(c.data)
	if n <= 0 {
		c.bad, c.data = true, nil
		return 0
	}
	c.data = c.data[n:]
	return v
}

// bytes reads a field behind its length; -1 is none.
func (c *cursor) bytes() []byte {
	n := c.varint()
	if n == -1 && !c.bad {
		return nil
	}
	if n < 0 || n > int64(len(c.data)) {
		c.bad, c.data = true, nil
		return nil
	}
	return c.take(int(n))
}
