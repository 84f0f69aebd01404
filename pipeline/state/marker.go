package state

import (
	"encoding/binary"
	"fmt"
	"time"
)

// totals is what a load must come to.
type totals struct {
	sum     Sum
	records int64
}

// chunkRef is what a marker says about one chunk of its epoch.
type chunkRef struct {
	low, high int // its records are of slots low <= slot < high
	sum       uint64
	size, raw int // bytes of its content, compressed and not
}

// marker makes an epoch whole: it names the chunks and what the records come to with them.
type marker struct {
	epoch  uint64
	at     time.Time
	after  totals
	next   uint64 // the outbox's next sequence number
	chunks []chunkRef
}

func (m *marker) size() int64 {
	var n int64
	for _, c := range m.chunks {
		n += int64(c.size)
	}
	return n
}

func (m *marker) raw() int64 {
	var n int64
	for _, c := range m.chunks {
		n += int64(c.raw)
	}
	return n
}

// markerVersion is the first byte of markers and of the folded entry.
const markerVersion = 1

func (m *marker) encode() []byte {
	b := m.encodeHead()
	b = binary.AppendUvarint(b, uint64(len(m.chunks)))
	for _, c := range m.chunks {
		b = append(b, byte(c.low), byte(c.high))
		b = binary.LittleEndian.AppendUint64(b, c.sum)
		b = binary.AppendUvarint(b, uint64(c.size))
		b = binary.AppendUvarint(b, uint64(c.raw))
	}
	return b
}

// encodeHead writes all but the chunks: that is what remains of an epoch once it is folded.
func (m *marker) encodeHead() []byte {
	b := []byte{markerVersion}
	b = binary.AppendUvarint(b, m.epoch)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.at.UnixNano()))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.after.sum))
	b = binary.AppendUvarint(b, uint64(m.after.records))
	return binary.AppendUvarint(b, m.next)
}

func decodeMarker(b []byte, head bool) (*marker, error) {
	r := reader{b: b}
	if v := r.byte(); v != markerVersion {
		return nil, fmt.Errorf("its version is %d, not %d", v, markerVersion)
	}
	m := &marker{epoch: r.uvarint(), at: time.Unix(0, int64(r.uint64()))}
	m.after.sum, m.after.records = Sum(r.uint64()), int64(r.uvarint())
	m.next = r.uvarint()
	if !head {
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			c := chunkRef{low: int(r.byte()), high: int(r.byte()), sum: r.uint64()}
			c.size, c.raw = int(r.uvarint()), int(r.uvarint())
			if c.low >= c.high || c.high > slots {
				r.bad = true
			}
			m.chunks = append(m.chunks, c)
		}
	}
	if r.bad || len(r.b) > 0 {
		return nil, errTorn
	}
	return m, nil
}
