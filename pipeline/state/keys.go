package state

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// The first byte of a key in Badger says what the entry is. Numbers in keys
// are big-endian, so that entries are in their order.
const (
	keyChunk    = 'c' // epoch, index: a part of what changed in an epoch
	keyMarker   = 'e' // epoch: the epoch is whole
	keyFolded   = 'f' // up to which epoch the pages hold everything
	keyPage     = 'r' // slot, first hash: records
	keyOutbox   = 'o' // sequence number: an entry of the outbox
	keyTrim     = 't' // below which sequence number the outbox was emptied
	keyCursor   = 'x' // name of a sink: what it has acknowledged
	keyAccepted = 'a' // up to which entry the broker has accepted the epochs
	keyPiece    = 'q' // blob, index: a piece of a value that is too large for one entry
)

// A record lives in the slot that the first bits of its key's hash name; the
// dictionary's numbers have a slot of their own, since they are read first.
// Chunks and pages never hold records of a slot that they do not name, so a
// fold, or a load, needs to hold one slot at a time.
const (
	slotBits       = 6
	hashSlots      = 1 << slotBits
	dictionarySlot = hashSlots
	slots          = hashSlots + 1
)

// hashOf places a record.
func hashOf(key []byte) uint64 { return xxhash.Sum64(key) }

// slotOf returns the slot of a record.
func slotOf(key []byte, hash uint64) int {
	if len(key) > 0 && Kind(key[0]) == KindNumber {
		return dictionarySlot
	}
	return int(hash >> (64 - slotBits))
}

func numbered(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, n)
}

func chunkKey(epoch uint64, index int) []byte {
	return binary.BigEndian.AppendUint32(numbered(keyChunk, epoch), uint32(index))
}

func markerKey(epoch uint64) []byte { return numbered(keyMarker, epoch) }
func outboxKey(seq uint64) []byte   { return numbered(keyOutbox, seq) }
func cursorKey(sink string) []byte  { return append([]byte{keyCursor}, sink...) }

func pageKey(slot int, start uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyPage, byte(slot)}, start)
}

func pieceKey(blob uint64, index int) []byte {
	return binary.BigEndian.AppendUint32(numbered(keyPiece, blob), uint32(index))
}

// number reads the number in a key made by numbered.
func number(key []byte) (uint64, bool) {
	if len(key) != 9 {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

// Every value is sealed: a checksum of key and content, and then whether the
// content follows or lies in pieces.
const (
	sealBytes  = 9
	formWhole  = 0
	formPieces = 1
)

// sealSum is the checksum of an entry; the key is in it, so that a value that
// lands under another's key is noticed.
func sealSum(key, content []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(key) // a Digest takes everything
	_, _ = d.Write(content)
	return d.Sum64()
}

// seal fills in the first sealBytes of a value whose content is in place.
func seal(key, value []byte) []byte {
	value[8] = formWhole
	binary.LittleEndian.PutUint64(value, sealSum(key, value[sealBytes:]))
	return value
}

// sealed returns content as a value.
func sealed(key, content []byte) []byte {
	return seal(key, append(make([]byte, sealBytes, sealBytes+len(content)), content...))
}

// reader takes numbers and byte strings off an encoding. After the first that
// is not there, bad is true and all that follows is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) uint64() uint64 {
	b := r.take(8)
	if r.bad {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

func (r *reader) byte() byte {
	b := r.take(1)
	if r.bad {
		return 0
	}
	return b[0]
}

// take returns the next n bytes, which alias the encoding.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// bytes returns a byte string that stands behind its length.
func (r *reader) bytes() []byte { return r.take(r.uvarint()) }
