package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/y"
)

// This file reads two of Badger's file formats as far as checking them needs.

// What Badger's flags of an entry say.
const (
	flagTxn    = 1 << 6 // the entry is of a transaction
	flagFinTxn = 1 << 7 // the transaction ends here
)

// wholeWrites returns how much of a log, behind its header, are whole
// transactions: up to there Badger reads, if it gets that far.
//
// An entry is its flags, a byte of the user's, the lengths of key and value
// and an expiry as varints, key, value, and a big-endian crc32c of all that.
func wholeWrites(log []byte) int {
	whole := 0
	var txn uint64 // the running transaction
	for at := 0; at < len(log); {
		flags, key, value, size := logEntry(log[at:])
		if size == 0 || len(key) == 0 {
			break
		}
		at += size
		switch {
		case flags&flagTxn != 0:
			ts := y.ParseTs(key)
			if txn == 0 {
				txn = ts
			}
			if txn != ts {
				return whole
			}
		case flags&flagFinTxn != 0:
			ts, err := strconv.ParseUint(string(value), 10, 64)
			if err != nil || ts != txn {
				return whole
			}
			txn, whole = 0, at
		default:
			return whole // all that this package writes is in transactions
		}
	}
	return whole
}

// logEntry reads one entry; size is 0 when there is none.
func logEntry(b []byte) (flags byte, key, value []byte, size int) {
	r := reader{b: b}
	flags = r.byte()
	r.byte()
	keyLen, valueLen := r.uvarint(), r.uvarint()
	r.uvarint()
	if keyLen > 1<<16 || valueLen > 1<<30 {
		return 0, nil, nil, 0
	}
	key, value = r.take(keyLen), r.take(valueLen)
	covered := len(b) - len(r.b)
	sum := r.take(4)
	if r.bad || crc32.Checksum(b[:covered], y.CastagnoliCrcTable) != binary.BigEndian.Uint32(sum) {
		return 0, nil, nil, 0
	}
	return flags, key, value, covered + 4
}

// errTable says that a table is cut, or grown.
var errTable = errors.New("its parts are not where they should be")

// checkTable verifies every byte of a table: blocks, each with its checksum,
// then the index that tells where they are, its length, its checksum, and that one's length.
func checkTable(data []byte) (err error) {
	defer func() { // the index is read with code that is not meant for damaged bytes
		if p := recover(); p != nil {
			err = fmt.Errorf("its index makes no sense: %v", p)
		}
	}()
	rest, index, err := checkedTail(data)
	if err != nil {
		return fmt.Errorf("its index: %w", err)
	}
	// Behind the index stands its length, which is part of the tail's frame.
	table := fb.GetRootAsTableIndex(index, 0)
	var block fb.BlockOffset
	at := uint32(0)
	for i := range table.OffsetsLength() {
		if !table.Offsets(&block, i) || block.Offset() != at || uint64(at)+uint64(block.Len()) > uint64(len(rest)) {
			return errTable
		}
		end := at + block.Len()
		if err := checkBlock(rest[at:end]); err != nil {
			return fmt.Errorf("its block at %d: %w", at, err)
		}
		at = end
	}
	if int(at) != len(rest) || table.OffsetsLength() == 0 {
		return errTable
	}
	return nil
}

// checkedTail splits a table into its blocks and its index.
func checkedTail(data []byte) (blocks, index []byte, err error) {
	rest, sum, err := cutSum(data)
	if err != nil {
		return nil, nil, err
	}
	rest, n, err := cutUint32(rest)
	if err != nil {
		return nil, nil, err
	}
	if uint64(n) > uint64(len(rest)) {
		return nil, nil, errTable
	}
	blocks, index = rest[:len(rest)-int(n)], rest[len(rest)-int(n):]
	if uint64(crc32.Checksum(index, y.CastagnoliCrcTable)) != sum {
		return nil, nil, errSeal
	}
	return blocks, index, nil
}

// checkBlock verifies a block: entries, where they begin, how many, the
// checksum of all that, and the checksum's length.
func checkBlock(block []byte) error {
	rest, sum, err := cutSum(block)
	if err != nil {
		return err
	}
	if uint64(crc32.Checksum(rest, y.CastagnoliCrcTable)) != sum {
		return errSeal
	}
	rest, n, err := cutUint32(rest)
	if err != nil {
		return err
	}
	if uint64(n)*4 > uint64(len(rest)) {
		return errTable
	}
	return nil
}

func cutUint32(b []byte) (rest []byte, n uint32, err error) {
	if len(b) < 4 {
		return nil, 0, errTable
	}
	return b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:]), nil
}

// cutSum takes a checksum off the end: a protocol buffer whose second field is
// a crc32c, and whose first, its kind, is left out as it is 0; then its length.
func cutSum(b []byte) (rest []byte, sum uint64, err error) {
	b, n, err := cutUint32(b)
	if err != nil {
		return nil, 0, err
	}
	if uint64(n) > uint64(len(b)) {
		return nil, 0, errTable
	}
	rest, r := b[:len(b)-int(n)], reader{b: b[len(b)-int(n):]}
	if n > 0 { // a checksum of 0 is left out too
		if tag := r.byte(); tag != 2<<3 {
			return nil, 0, errTable
		}
		sum = r.uvarint()
	}
	if r.bad || len(r.b) > 0 {
		return nil, 0, errTable
	}
	return rest, sum, nil
}
