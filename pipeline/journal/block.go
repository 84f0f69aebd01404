package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The magic numbers of blocks.
const (
	magicHead  = "SLJh"
	magicGroup = "SLJg"
	magicAny   = "SLJ"
)

const headerBytes = 28

// maxBody bounds a block; an entry must fit into one.
const maxBody = 256 << 20

// castagnoli is the polynomial that processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identity tells journals apart; it is random.
type identity [8]byte

// header is what stands before a block's body.
type header struct {
	magic       string
	length, sum uint32
	first       int64
	count       uint32
}

// Why bytes are no block.
var (
	errShort  = errors.New("the file ends within it")
	errHeader = errors.New("the checksum of its header does not match")
	errBody   = errors.New("its checksum does not match")
	errFrame  = errors.New("its checksum matches and its content makes no sense")
	errPlace  = errors.New("it does not begin where the one before ends")
)

func sealHeader(to []byte, id identity, h header) {
	copy(to, h.magic)
	binary.LittleEndian.PutUint32(to[4:], h.length)
	binary.LittleEndian.PutUint32(to[8:], h.sum)
	binary.LittleEndian.PutUint64(to[12:], uint64(h.first))
	binary.LittleEndian.PutUint32(to[20:], h.count)
	binary.LittleEndian.PutUint32(to[24:], headerSum(id, to))
}

func headerSum(id identity, b []byte) uint32 {
	return crc32.Update(crc32.Checksum(id[:], castagnoli), castagnoli, b[:24])
}

// seal fills in the header of a block that was built behind room for one.
func seal(block []byte, id identity, magic string, first int64, count uint32) {
	body := block[headerBytes:]
	sealHeader(block, id, header{magic, uint32(len(body)), crc32.Checksum(body, castagnoli), first, count})
}

// parseHeader reads a header.
func parseHeader(b []byte, id identity) (header, error) {
	if len(b) < headerBytes {
		return header{}, errShort
	}
	h := header{
		magic:  string(b[:4]),
		length: binary.LittleEndian.Uint32(b[4:]), sum: binary.LittleEndian.Uint32(b[8:]),
		first: int64(binary.LittleEndian.Uint64(b[12:])), count: binary.LittleEndian.Uint32(b[20:]),
	}
	switch {
	case h.magic != magicHead && h.magic != magicGroup,
		binary.LittleEndian.Uint32(b[24:]) != headerSum(id, b), h.length > maxBody, h.first < 0:
		return header{}, errHeader
	}
	return h, nil
}

// parseBlock reads a whole block; size is what it takes.
func parseBlock(b []byte, id identity) (h header, body []byte, size int, err error) {
	h, err = parseHeader(b, id)
	if err != nil {
		return h, nil, 0, err
	}
	size = headerBytes + int(h.length)
	if len(b) < size {
		return h, nil, size, errShort
	}
	body = b[headerBytes:size:size]
	if crc32.Checksum(body, castagnoli) != h.sum {
		return h, nil, size, errBody
	}
	return h, body, size, nil
}
