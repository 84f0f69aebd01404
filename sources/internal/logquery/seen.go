package logquery

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// lineID stands for a line: half of the SHA-256 of all that it is, and of how
// many lines equal to it stand before it. Not a quick hash, since whoever
// writes lines could else make one that passes for another.
type lineID [16]byte

func idOf(l *Line, before int) lineID {
	h := sha256.New()
	var n [24]byte
	binary.LittleEndian.PutUint64(n[:], uint64(l.At))
	binary.LittleEndian.PutUint64(n[8:], uint64(before))
	binary.LittleEndian.PutUint64(n[16:], uint64(len(l.Stream)))
	h.Write(n[:])
	h.Write([]byte(l.Stream))
	h.Write(l.Text)
	return lineID(h.Sum(nil)[:16])
}

// seen holds the ids of the lines that were taken and may be met again. They
// come and go in chunks, one for the lines of each entry of the intake, so
// that each is one mark, which is written once and forgotten once.
type seen struct {
	ids    map[lineID]struct{}
	chunks []chunk // in the order of their numbers
	next   int     // number of the next chunk
}

type chunk struct {
	number int
	newest int64 // time of its newest line, in nanoseconds
	ids    []lineID
}

func (s *seen) has(id lineID) bool {
	_, ok := s.ids[id]
	return ok
}

func (s *seen) add(c chunk) {
	for _, id := range c.ids {
		s.ids[id] = struct{}{}
	}
	s.chunks = append(s.chunks, c)
	s.next = max(s.next, c.number+1)
}

// forget drops the chunks without a line of a time or later, and tells their numbers.
func (s *seen) forget(from int64, each func(number int)) {
	kept := make([]chunk, 0, len(s.chunks))
	for _, c := range s.chunks {
		if c.newest >= from {
			kept = append(kept, c)
			continue
		}
		for _, id := range c.ids {
			delete(s.ids, id)
		}
		each(c.number)
	}
	s.chunks = kept
}

// bound returns the earliest time to go on from with which no more than a limit of ids need be remembered.
func (s *seen) bound(from int64, limit int) int64 {
	over := len(s.ids) - limit
	for i := 0; over > 0 && i < len(s.chunks); i++ {
		over -= len(s.chunks[i].ids)
		from = max(from, s.chunks[i].newest+1)
	}
	return from
}

// String encodes a chunk as a mark.
func (c *chunk) String() string {
	raw := make([]byte, 0, len(c.ids)*len(lineID{}))
	for _, id := range c.ids {
		raw = append(raw, id[:]...)
	}
	return strconv.FormatInt(c.newest, 10) + " " + base64.RawStdEncoding.EncodeToString(raw)
}

// parseChunk reads what String wrote.
func parseChunk(number, text string) (chunk, error) {
	n, err := strconv.Atoi(number)
	c := chunk{number: n}
	newest, ids, ok := strings.Cut(text, " ")
	if err == nil {
		c.newest, err = strconv.ParseInt(newest, 10, 64)
	}
	var raw []byte
	if err == nil {
		raw, err = base64.RawStdEncoding.DecodeString(ids)
	}
	if err != nil || !ok || n < 0 || len(raw)%len(lineID{}) != 0 {
		return c, fmt.Errorf("the journal holds %.40q of lines that were read, which this version does not understand", text)
	}
	for ; len(raw) > 0; raw = raw[len(lineID{}):] {
		c.ids = append(c.ids, lineID(raw[:len(lineID{})]))
	}
	return c, nil
}
