package store

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// memory says when changes are to be forgotten: those of longer ago than the
// store remembers, and those beyond what its memory is worth.
type memory struct {
	next  time.Time
	marks []mark // where the log stood, so that what is older is known
}

type mark struct {
	at  time.Time
	seq int64
}

// changesPerDecision bounds what is remembered of changes, by what is in force:
// a list of a million that is replaced every day is not kept seven times.
const changesPerDecision, fewChanges = 2, 200_000

// upTo returns the number up to which changes are to be forgotten now, 0 for none.
func (m *memory) upTo(s *Store, now time.Time) (upTo int64) {
	if now.Before(m.next) {
		return 0
	}
	m.next = now.Add(time.Minute)
	seq := s.index.Seq()
	if n := len(m.marks); n == 0 || now.Sub(m.marks[n-1].at) >= s.opts.Remember/100 {
		m.marks = append(m.marks, mark{now, seq})
	}
	for len(m.marks) > 0 && now.Sub(m.marks[0].at) >= s.opts.Remember {
		upTo, m.marks = m.marks[0].seq, m.marks[1:]
	}
	most := max(fewChanges, changesPerDecision*s.index.Len())
	if changes := s.index.Changes(); changes > most+most/10 {
		upTo = max(upTo, seq-int64(most))
	}
	return upTo
}

// Forget drops the removals up to about a number, and what they removed: a
// bouncer that stood before it begins anew.
func (s *Store) Forget(upTo int64) error {
	s.forgetting.Lock()
	defer s.forgetting.Unlock()
	var gone []removal
	var keys [][]byte
	err := s.scan(keyRemoval, func(k, value []byte) error {
		first := int64(binary.BigEndian.Uint64(k))
		all, err := readRemovals(gone, first, value)
		switch {
		case err != nil:
			return err
		case first > upTo:
			return errEnough
		case all[len(all)-1].seq > upTo: // what was written together is forgotten together
			upTo = first - 1
			return errEnough
		}
		gone, keys = all, append(keys, slices.Concat([]byte{keyRemoval}, k))
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if len(gone) > 0 {
		if err := s.sweep(gone, keys, upTo); err != nil {
			return err
		}
	}
	s.index.Forget(upTo)
	return nil
}

// sweep takes removed decisions out of their blocks. First it is noted that
// they are forgotten, and last their removals go: after a crash in between it is
// known what is gone, and the rest is done the next time.
func (s *Store) sweep(gone []removal, keys [][]byte, upTo int64) error {
	err := s.writeAlone(func(txn *badger.Txn) error {
		numbers := binary.BigEndian.AppendUint64(nil, uint64(s.index.Seq()))
		return txn.Set([]byte{keyLast}, binary.BigEndian.AppendUint64(numbers, uint64(upTo)))
	})
	if err != nil {
		return err
	}
	ids := make([]int64, len(gone))
	for i := range gone {
		ids[i] = gone[i].id
	}
	slices.Sort(ids)
	for len(ids) > 0 {
		var changed []block
		if changed, ids, err = s.without(ids); err != nil {
			return err
		}
		if err := s.writeAlone(func(txn *badger.Txn) error { return putBlocks(txn, changed) }); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(keys, maxKeys) {
		err := s.writeAlone(func(txn *badger.Txn) error {
			for _, k := range part {
				if err := txn.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.tidy()
}

// writeAlone is write for one who does not hold the lock.
func (s *Store) writeAlone(change func(txn *badger.Txn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(change)
}

// without returns the blocks that the last of some ids are in, without these,
// as many as one transaction takes, and the ids that are left. Nobody else
// changes blocks that are there.
func (s *Store) without(ids []int64) (changed []block, left []int64, err error) {
	err = s.view(func(txn *badger.Txn) error {
		it := newBlocks(txn)
		defer it.Close()
		var w blockWriter
		for size := 0; len(ids) > 0 && size < maxWrite && len(changed) < maxKeys; {
			first, ds, ok, err := it.before(ids[len(ids)-1])
			if err != nil || !ok {
				ids = nil
				return err
			}
			w.reset(first)
			kept := 0
			from, _ := slices.BinarySearch(ids, first)
			for here := ids[from:]; len(ds) > 0; ds = ds[1:] {
				for len(here) > 0 && here[0] < ds[0].ID {
					here = here[1:]
				}
				if len(here) == 0 || here[0] != ds[0].ID {
					w.add(&ds[0])
					kept++
				}
			}
			ids = ids[:from]
			one := block{first: first}
			if kept > 0 {
				one.value = w.bytes()
			}
			size += len(one.value)
			changed = append(changed, one)
		}
		return nil
	})
	return changed, ids, err
}

// tidy has Badger free what long values took that are gone.
func (s *Store) tidy() error {
	err := s.db.RunValueLogGC(0.5)
	if err == nil || errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
		return nil
	}
	return err
}
