package store

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"sluice/pipeline/decisions"
)

// loadDecisions fills the index.
func (s *Store) loadDecisions() error {
	last, behind, err := s.numbers()
	if err != nil {
		return err
	}
	var gone []removal
	err = s.scan(keyRemoval, func(key, value []byte) (err error) {
		gone, err = readRemovals(gone, int64(binary.BigEndian.Uint64(key)), value)
		return err
	})
	if err != nil {
		return err
	}
	if n := len(gone); n > 0 {
		last = max(last, gone[n-1].seq)
	}
	slices.SortFunc(gone, func(a, b removal) int { return cmp.Compare(a.id, b.id) })
	var reading error
	all := func(yield func(*decisions.Change) bool) {
		left := gone // both go by id
		reading = s.scan(keyDecision, func(key, value []byte) error {
			return readBlock(int64(binary.BigEndian.Uint64(key)), value, func(d *decisions.Decision) error {
				for len(left) > 0 && left[0].id < d.ID {
					left = left[1:]
				}
				c := decisions.Change{Seq: d.ID, Decision: *d}
				if len(left) > 0 && left[0].id == d.ID {
					c.Seq, c.Why = left[0].seq, left[0].why
				}
				if !yield(&c) {
					return errEnough
				}
				return nil
			})
		})
	}
	if err := s.index.Restore(all, behind, last); err != nil {
		return err
	}
	return reading
}

// numbers returns that of the last change, as far as it is not one of a removal,
// and that up to which changes were forgotten.
func (s *Store) numbers() (last, behind int64, err error) {
	err = s.scan(keyLast, func(_, value []byte) error {
		if len(value) != 16 {
			return errTorn
		}
		last, behind = int64(binary.BigEndian.Uint64(value)), int64(binary.BigEndian.Uint64(value[8:]))
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	err = s.blockBefore(1<<63-1, func(_ int64, ds []decisions.Decision) error {
		last = max(last, ds[len(ds)-1].ID)
		return nil
	})
	return last, behind, err
}

// blockBefore calls visit with the last block whose key is not above an id, if there is one.
func (s *Store) blockBefore(id int64, visit func(first int64, ds []decisions.Decision) error) error {
	return s.view(func(txn *badger.Txn) error {
		it := newBlocks(txn)
		defer it.Close()
		first, ds, ok, err := it.before(id)
		if err != nil || !ok {
			return err
		}
		return visit(first, ds)
	})
}

// blocks finds blocks, the last first.
type blocks struct {
	*badger.Iterator
	ds []decisions.Decision
}

func newBlocks(txn *badger.Txn) *blocks {
	o := badger.DefaultIteratorOptions
	o.Prefix, o.Reverse, o.PrefetchValues = []byte{keyDecision}, true, false
	return &blocks{Iterator: txn.NewIterator(o)}
}

// before returns the last block whose key is not above an id, false where there
// is none. The decisions are valid until the next call.
func (it *blocks) before(id int64) (first int64, ds []decisions.Decision, ok bool, err error) {
	it.Seek(key(keyDecision, id))
	if !it.ValidForPrefix([]byte{keyDecision}) {
		return 0, nil, false, nil
	}
	first, it.ds = int64(binary.BigEndian.Uint64(it.Item().Key()[1:])), it.ds[:0]
	err = it.Item().Value(func(value []byte) error {
		return readBlock(first, value, func(d *decisions.Decision) error { it.ds = append(it.ds, *d); return nil })
	})
	if err == nil && len(it.ds) == 0 {
		err = errTorn
	}
	return first, it.ds, true, err
}
