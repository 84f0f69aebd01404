package recordbatch

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entry is a record of a batch that build makes.
type entry struct {
	delta      int64
	time       int64 // after the batch's first
	key, value []byte
	headers    [][2][]byte
}

// spec is a batch that build makes.
type spec struct {
	base, producer int64
	lastDelta      int32 // that of the last entry when 0
	attributes     Attributes
	baseTime       int64
	maxTime        int64
	entries        []entry
}

func text(delta int64, value string) entry { return entry{delta: delta, value: []byte(value)} }

// marker is a control batch: the end of a transaction.
func marker(offset, producer int64, commit bool) spec {
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	return spec{base: offset, producer: producer, attributes: 1<<4 | 1<<5, entries: []entry{{key: key, value: make([]byte, 6)}}}
}

func appendField(b, field []byte) []byte {
	if field == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(field))), field...)
}

func (s spec) payload() []byte {
	var out []byte
	for _, e := range s.entries {
		r := binary.AppendVarint([]byte{0}, e.time)
		r = binary.AppendVarint(r, e.delta)
		r = appendField(appendField(r, e.key), e.value)
		r = binary.AppendVarint(r, int64(len(e.headers)))
		for _, h := range e.headers {
			r = appendField(appendField(r, h[0]), h[1])
		}
		out = append(binary.AppendVarint(out, int64(len(r))), r...)
	}
	return out
}

// build encodes a batch.
func (s spec) build(t testing.TB) []byte {
	t.Helper()
	delta := s.lastDelta
	if delta == 0 && len(s.entries) > 0 {
		delta = int32(s.entries[len(s.entries)-1].delta)
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(s.base))
	b = append(b, 0, 0, 0, 0) // length
	b = append(b, 0, 0, 0, 7) // leader epoch
	b = append(b, 2)
	b = append(b, 0, 0, 0, 0) // checksum
	b = binary.BigEndian.AppendUint16(b, uint16(s.attributes))
	b = binary.BigEndian.AppendUint32(b, uint32(delta))
	b = binary.BigEndian.AppendUint64(b, uint64(s.baseTime))
	b = binary.BigEndian.AppendUint64(b, uint64(s.maxTime))
	b = binary.BigEndian.AppendUint64(b, uint64(s.producer))
	b = append(b, 0, 0)       // producer epoch
	b = append(b, 0, 0, 0, 0) // base sequence
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.entries)))
	b = append(b, compressed(t, s.attributes.Codec(), s.payload())...)
	return seal(b)
}

// seal sets the length and the checksum.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-atLeaderEpoch))
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// xerialSnappy stands for snappy in snappy-java's frame; on the wire both are 2.
const xerialSnappy Codec = 64

func compressed(t testing.TB, codec Codec, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var err error
	switch codec {
	case None:
		return data
	case Gzip:
		w := gzip.NewWriter(&out)
		_, err = w.Write(data)
		w.Close()
	case Snappy:
		return snappy.Encode(nil, data)
	case xerialSnappy:
		out.Write(append(bytes.Clone(xerial), 0, 0, 0, 1, 0, 0, 0, 1))
		for len(data) > 0 {
			n := min(len(data), 1000)
			block := snappy.Encode(nil, data[:n])
			out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(block))))
			out.Write(block)
			data = data[n:]
		}
	case LZ4:
		w := lz4.NewWriter(&out)
		_, err = w.Write(data)
		w.Close()
	case Zstd:
		w, werr := zstd.NewWriter(&out)
		if werr != nil {
			t.Fatal(werr)
		}
		_, err = w.Write(data)
		w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
