package pipeline

import (
	"encoding/binary"
	"errors"
	"time"
)

// ErrCut is the error of a StoredReader that met the end too early or found
// what no writer writes. The state's checksums keep damaged files away from
// it: it means a version that writes another way, or a fault of ours.
var ErrCut = errors.New("a record of state is cut short or was written by another version")

// StoredReader reads the parts of a record's value in the order in which they
// were appended. The first error stays: what is read after it is zero.
type StoredReader struct {
	b   []byte
	err error
}

// NewStoredReader reads from b.
func NewStoredReader(b []byte) StoredReader { return StoredReader{b: b} }

// Err returns the first error.
func (r *StoredReader) Err() error { return r.err }

// Rest returns what was not read.
func (r *StoredReader) Rest() []byte { return r.b }

// Len is how many bytes are left; counts that a record holds are checked
// against it before memory is made for them.
func (r *StoredReader) Len() int { return len(r.b) }

// Fail sets the error, if there is none yet.
func (r *StoredReader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// End returns the error, which is ErrCut when something is left over.
func (r *StoredReader) End() error {
	if r.err == nil && len(r.b) > 0 {
		return ErrCut
	}
	return r.err
}

// Byte reads one byte.
func (r *StoredReader) Byte() byte {
	if len(r.b) == 0 {
		r.Fail(ErrCut)
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// Uvarint reads what binary.AppendUvarint wrote.
func (r *StoredReader) Uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // most are small
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.Fail(ErrCut)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Varint reads what binary.AppendVarint wrote.
func (r *StoredReader) Varint() int64 {
	u := r.Uvarint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

// Int32 reads a number that AppendUvarint wrote and that fits 31 bits.
func (r *StoredReader) Int32() int32 {
	v := r.Uvarint()
	if v > 1<<31-1 {
		r.Fail(ErrCut)
		return 0
	}
	return int32(v)
}

// Number reads a number of the Dictionary.
func (r *StoredReader) Number() uint32 { return uint32(r.Int32()) }

// Count reads how many items follow, each of at least size bytes.
func (r *StoredReader) Count(size int) int {
	n := r.Uvarint()
	if n > uint64(len(r.b)/max(size, 1)) {
		r.Fail(ErrCut)
		return 0
	}
	return int(n)
}

// Uint64 reads what binary.LittleEndian.AppendUint64 wrote.
func (r *StoredReader) Uint64() uint64 {
	if len(r.b) < 8 {
		r.Fail(ErrCut)
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// Bytes reads what AppendText wrote, without copying.
func (r *StoredReader) Bytes() []byte { return r.Take(r.Uvarint()) }

// Take reads the next n bytes, without copying.
func (r *StoredReader) Take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.Fail(ErrCut)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Text reads a copy of what AppendText wrote.
func (r *StoredReader) Text() string { return string(r.Bytes()) }

// AppendText appends a text behind its length.
func AppendText(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

// The zones that a stored time can be in.
const (
	zoneUTC   = 0
	zoneLocal = 1 // this process's
	zoneFixed = 2 // its offset and name follow
	zoneBits  = 2
)

// AppendTime appends a time with its zone, as seconds since a base, which is
// close to it where there is one.
func AppendTime(to []byte, t time.Time, base int64) []byte {
	zone := uint64(zoneFixed)
	switch t.Location() {
	case time.UTC:
		zone = zoneUTC
	case time.Local:
		zone = zoneLocal
	}
	to = binary.AppendVarint(to, t.Unix()-base)
	to = binary.AppendUvarint(to, uint64(t.Nanosecond())<<zoneBits|zone)
	if zone == zoneFixed {
		name, offset := t.Zone()
		to = AppendText(binary.AppendVarint(to, int64(offset)), name)
	}
	return to
}

// Time reads what AppendTime wrote.
func (r *StoredReader) Time(base int64) time.Time {
	sec := r.Varint() + base
	n := r.Uvarint()
	nsec, zone := n>>zoneBits, n&(1<<zoneBits-1)
	if nsec >= 1e9 {
		r.Fail(ErrCut)
		return time.Time{}
	}
	t := time.Unix(sec, int64(nsec))
	switch zone {
	case zoneUTC:
		return t.UTC()
	case zoneLocal:
		return t
	case zoneFixed:
		offset := r.Varint()
		name := r.Text()
		if r.err == nil && -1<<31 < offset && offset < 1<<31 {
			return t.In(time.FixedZone(name, int(offset)))
		}
	}
	r.Fail(ErrCut)
	return time.Time{}
}
