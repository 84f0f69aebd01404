package recordbatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// headerBytes is the length of a batch before its records.
const headerBytes = 61

// Where fields are: https://kafka.apache.org/documentation/#recordbatch
const (
	atLength      = 8
	atLeaderEpoch = 12
	atMagic       = 16
	atCRC         = 17
	atAttributes  = 21 // what the checksum covers begins here
	atLastDelta   = 23
	atBaseTime    = 27
	atMaxTime     = 35
	atProducerID  = 43
	atCount       = 57
)

// Batch is one batch: what its header says, and its records as they are stored.
type Batch struct {
	BaseOffset int64 // of the first record there ever was in it
	LastOffset int64 // of the last one, which compaction may have removed
	BaseTime   int64 // of the first record, in ms since 1970
	MaxTime    int64 // of the latest record; with LogAppendTime, of all
	ProducerID int64 // -1 without idempotence
	Count      int   // of records that are left in it
	Attributes Attributes
	// Payload is the records, compressed as Attributes say. It aliases the bytes given to Split.
	Payload []byte

	checked []byte
	crc     uint32
}

// Attributes are a batch's flags.
type Attributes int16

// Codec is how the records are compressed.
func (a Attributes) Codec() Codec { return Codec(a & 7) }

// LogAppendTime tells whether the broker set the time of all records, MaxTime.
func (a Attributes) LogAppendTime() bool { return a&(1<<3) != 0 }

// Transactional tells whether the batch belongs to a transaction.
func (a Attributes) Transactional() bool { return a&(1<<4) != 0 }

// Control tells whether the batch is a marker of a transaction's end and no data.
func (a Attributes) Control() bool { return a&(1<<5) != 0 }

// Errors of Split and Check.
var (
	ErrOldFormat = errors.New("the broker sent messages of format 0 or 1, from before Kafka 0.11, which are not read; convert the topic (message.format.version) or upgrade the brokers")
	ErrCorrupt   = errors.New("a record batch is corrupt")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// Split cuts the first batch off data. ok is false when data is empty or holds
// only the beginning of a batch, as the end of an answer may.
func Split(data []byte) (b Batch, rest []byte, ok bool, err error) {
	if len(data) <= atMagic {
		return Batch{}, nil, false, nil
	}
	length := int(int32(binary.BigEndian.Uint32(data[atLength:])))
	switch magic := data[atMagic]; {
	case magic < 2:
		return Batch{}, nil, false, ErrOldFormat
	case magic > 2:
		return Batch{}, nil, false, corrupt("format %d is unknown", magic)
	case length < headerBytes-atLeaderEpoch:
		return Batch{}, nil, false, corrupt("its length is %d", length)
	}
	end := atLeaderEpoch + length
	if end > len(data) {
		return Batch{}, nil, false, nil
	}
	d := data[:end:end]
	b = Batch{
		BaseOffset: int64(binary.BigEndian.Uint64(d)),
		BaseTime:   int64(binary.BigEndian.Uint64(d[atBaseTime:])),
		MaxTime:    int64(binary.BigEndian.Uint64(d[atMaxTime:])),
		ProducerID: int64(binary.BigEndian.Uint64(d[atProducerID:])),
		Count:      int(int32(binary.BigEndian.Uint32(d[atCount:]))),
		Attributes: Attributes(binary.BigEndian.Uint16(d[atAttributes:])),
		Payload:    d[headerBytes:],
		checked:    d[atAttributes:],
		crc:        binary.BigEndian.Uint32(d[atCRC:]),
	}
	delta := int32(binary.BigEndian.Uint32(d[atLastDelta:]))
	b.LastOffset = b.BaseOffset + int64(delta)
	if delta < 0 || b.BaseOffset < 0 || b.LastOffset < b.BaseOffset {
		return Batch{}, nil, false, corrupt("its offsets run from %d by %d", b.BaseOffset, delta)
	}
	if b.Count < 0 || b.Count > int(delta)+1 {
		return Batch{}, nil, false, corrupt("it claims %d records between offsets %d and %d", b.Count, b.BaseOffset, b.LastOffset)
	}
	return b, data[end:], true, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Check holds the batch to its checksum.
func (b *Batch) Check() error {
	if sum := crc32.Checksum(b.checked, castagnoli); sum != b.crc {
		return corrupt("the one at offset %d has the checksum %08x and says %08x", b.BaseOffset, sum, b.crc)
	}
	return nil
}
