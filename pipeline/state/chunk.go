package state

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/s2"
)

// codecS2 is the first byte of a compressed content; there is no other codec yet.
const codecS2 = 1

// maxRaw bounds what a compressed content may claim to hold.
const maxRaw = 1 << 30

// pack compresses raw into a value that is sealed under key.
func pack(key, raw []byte) []byte {
	value := make([]byte, sealBytes+1+s2.MaxEncodedLen(len(raw)))
	value[sealBytes] = codecS2
	n := len(s2.Encode(value[sealBytes+1:], raw))
	return seal(key, value[:sealBytes+1+n])
}

// unpack returns what pack took, in dst if it has room.
func unpack(dst, content []byte) ([]byte, error) {
	if len(content) == 0 {
		return nil, errTorn
	}
	if content[0] != codecS2 {
		return nil, fmt.Errorf("it is compressed in the unknown way %d: a newer version wrote it", content[0])
	}
	n, err := s2.DecodedLen(content[1:])
	if err != nil || n > maxRaw {
		return nil, errTorn
	}
	return s2.Decode(dst[:cap(dst)], content[1:])
}

// span is a number of neighbouring slots, low <= slot < high.
type span struct{ low, high int }

// spansFor cuts the slots so that a span's share of so many bytes of changes
// is small. The dictionary's slot is the last span, alone.
func spansFor(raw int64, least int) []span {
	const share = 16 << 20
	n := 1
	for n < hashSlots && (n < least || raw/int64(n) > share) {
		n *= 2
	}
	var spans []span
	for i := range n {
		spans = append(spans, span{i * hashSlots / n, (i + 1) * hashSlots / n})
	}
	return append(spans, span{dictionarySlot, slots})
}

// scratch is memory that is used again for the next span.
type scratch struct {
	raws      [][]byte // of chunks; changes alias them
	used      int
	ops, some []op
	seen      map[uint64]int32
	page      []byte
	parts     splitter
}

// reset gives all of it back, so that what aliases it is of no use any more.
func (c *scratch) reset() {
	c.used, c.ops = 0, c.ops[:0]
	if c.seen == nil {
		c.seen = make(map[uint64]int32)
	}
	clear(c.seen)
}

// raw unpacks a chunk into memory that stays until reset.
func (c *scratch) raw(content []byte) ([]byte, error) {
	if c.used == len(c.raws) {
		c.raws = append(c.raws, nil)
	}
	raw, err := unpack(c.raws[c.used], content)
	if err == nil {
		c.raws[c.used] = raw
		c.used++
	}
	return raw, err
}

// chunk reads one chunk of an epoch.
func (s *Store) chunk(txn *badger.Txn, c *scratch, epoch uint64, index int, ref chunkRef) (raw []byte, err error) {
	key := chunkKey(epoch, index)
	ok, err := s.view(txn, key, func(sum uint64, content []byte) (err error) {
		if sum != ref.sum {
			return errSeal
		}
		raw, err = c.raw(content)
		return err
	})
	if err == nil && !ok {
		err = errors.New("it is missing")
	}
	if err == nil && len(raw) != ref.raw {
		err = errSeal
	}
	if err != nil {
		return nil, s.damaged(fmt.Sprintf("chunk %d of epoch %d", index, epoch), "it cannot be read", err)
	}
	return raw, nil
}

// changes returns, ordered by hash and key, the last change of every record
// of a span in the given epochs, which follow each other. They live in c.
func (s *Store) changes(txn *badger.Txn, c *scratch, epochs []*marker, of span) ([]op, error) {
	c.reset()
	ops, seen := c.ops, c.seen // by hash: where in ops
	for _, m := range slices.Backward(epochs) {
		for i, ref := range slices.Backward(m.chunks) {
			if ref.high <= of.low || ref.low >= of.high {
				continue
			}
			raw, err := s.chunk(txn, c, m.epoch, i, ref)
			if err != nil {
				return nil, err
			}
			if c.some, err = placed(c.some[:0], raw, of); err != nil {
				return nil, s.damaged(fmt.Sprintf("chunk %d of epoch %d", i, m.epoch), "it cannot be read", err)
			}
			for _, o := range slices.Backward(c.some) { // the last change of a record counts
				if at, ok := seen[o.hash]; !ok {
					seen[o.hash] = int32(len(ops))
				} else if bytes.Equal(ops[at].key, o.key) || among(ops, o) {
					continue
				}
				ops = append(ops, o)
			}
		}
	}
	sortOps(ops)
	c.ops = ops
	return ops, nil
}

// among is for hashes that two keys share, which hardly ever happens.
func among(ops []op, o op) bool {
	return slices.ContainsFunc(ops, func(other op) bool { return bytes.Equal(other.key, o.key) })
}

func sortOps(ops []op) {
	slices.SortFunc(ops, func(a, b op) int {
		if c := cmp.Compare(a.hash, b.hash); c != 0 {
			return c
		}
		return bytes.Compare(a.key, b.key)
	})
}

// placed appends a chunk's changes that belong to a span, with their hashes.
func placed(ops []op, raw []byte, of span) ([]op, error) {
	for len(raw) > 0 {
		o, rest, err := nextOp(raw)
		if err != nil {
			return nil, err
		}
		o.hash = hashOf(o.key)
		if slot := slotOf(o.key, o.hash); slot >= of.low && slot < of.high {
			ops = append(ops, o)
		}
		raw = rest
	}
	return ops, nil
}
