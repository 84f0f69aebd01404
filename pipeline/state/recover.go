package state

import (
	"encoding/binary"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"
)

// recover finds the last whole epoch, and removes what came after it.
func (s *Store) recover(f format) error {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	s.last.next = 1
	if err := s.readFolded(txn); err != nil {
		return err
	}
	markers, lost, err := s.readMarkers(txn)
	if err != nil {
		return err
	}
	for m := markers[s.last.epoch+1]; m != nil; m = markers[s.last.epoch+1] {
		if err := s.verifyChunks(txn, m); err != nil {
			lost = err
			break
		}
		s.unfolded = append(s.unfolded, m)
		s.last = marker{epoch: m.epoch, at: m.at, after: m.after, next: m.next}
	}
	dropped := len(markers) - len(s.unfolded)
	if s.last.epoch < f.floor {
		err := s.damaged(fmt.Sprintf("epoch %d", s.last.epoch+1), fmt.Sprintf("it is not whole, but epoch %d was durable", f.floor), lost)
		if err := s.tolerate(err); err != nil {
			return err
		}
	}
	if err := s.tolerate(s.loadDictionary(txn)); err != nil {
		return err
	}
	if s.viewing {
		_ = s.tolerate(lost)
		return s.outbox.recover(s, txn)
	}
	if dropped > 0 || lost != nil {
		// Whether what remains is an epoch, only its sum can tell.
		if err := s.load(s.options.Workers, s.unfolded, s.last, false, func(int, []byte, []byte, Sum) error { return nil }); err != nil {
			return err
		}
		s.options.Log.Error("the newest epochs of the state are damaged and were dropped: the records after the last whole epoch are read again",
			"dir", s.options.Dir, "last_whole_epoch", s.last.epoch, "dropped", dropped, "error", lost)
	}
	if err := s.outbox.recover(s, txn); err != nil {
		return err
	}
	return s.removeLeftovers(txn)
}

func (s *Store) readFolded(txn *badger.Txn) error {
	content, ok, err := s.get(txn, []byte{keyFolded})
	var m *marker
	if err == nil && ok {
		m, err = decodeMarker(content, true)
	}
	if err != nil {
		return s.tolerate(s.damaged("the mark of the last fold", "it cannot be read", err))
	}
	if ok {
		s.last, s.folded = *m, m.epoch
	}
	return nil
}

// readMarkers returns the markers of epochs that are not folded, by epoch, and
// what is wrong with one that cannot be read.
func (s *Store) readMarkers(txn *badger.Txn) (markers map[uint64]*marker, lost, err error) {
	markers = make(map[uint64]*marker)
	err = scan(txn, []byte{keyMarker}, false, func(key, value []byte) error {
		epoch, ok := number(key)
		if ok && epoch <= s.folded {
			return nil
		}
		content, err := s.unseal(txn, key, value)
		var m *marker
		if err == nil {
			m, err = decodeMarker(content, false)
		}
		if err == nil && (!ok || m.epoch != epoch) {
			err = errSeal
		}
		if err != nil {
			lost = s.damaged(fmt.Sprintf("the marker of epoch %d", epoch), "it cannot be read", err)
			return nil
		}
		markers[epoch] = m
		return nil
	})
	return markers, lost, err
}

// verifyChunks checks that the chunks of an epoch are there and are those that its marker names.
func (s *Store) verifyChunks(txn *badger.Txn, m *marker) error {
	for i, ref := range m.chunks {
		key := chunkKey(m.epoch, i)
		ok, err := s.view(txn, key, func(sum uint64, _ []byte) error {
			if sum != ref.sum {
				return errSeal
			}
			return nil
		})
		if err == nil && !ok {
			err = badger.ErrKeyNotFound
		}
		if err != nil {
			return s.damaged(fmt.Sprintf("chunk %d of epoch %d", i, m.epoch), "it cannot be read", err)
		}
	}
	return nil
}

// loadDictionary reads the numbers, which have a slot of their own.
func (s *Store) loadDictionary(txn *badger.Txn) error {
	ops, err := s.changes(txn, new(scratch), s.unfolded, span{dictionarySlot, slots})
	if err != nil {
		return err
	}
	err = s.eachPage(txn, dictionarySlot, func(p page, content []byte) error {
		var raw []byte
		var err error
		if p.exists {
			if raw, err = unpack(nil, content); err != nil {
				return s.damagedPage(p.slot, p.first, err)
			}
		}
		n := 0
		for n < len(ops) && ops[n].hash <= p.last {
			n++
		}
		if _, err := merge(p, raw, ops[:n], true, func(r record) error { return s.dictionary.Load(r.key, r.value) }); err != nil {
			return s.damagedPage(p.slot, p.first, err)
		}
		ops = ops[n:]
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.dictionary.Loaded(); err != nil {
		return s.damaged("the dictionary", "it cannot be read", err)
	}
	return nil
}

// removeLeftovers deletes what belongs to no whole epoch, or is folded.
func (s *Store) removeLeftovers(txn *badger.Txn) error {
	b := s.newBatch()
	defer b.discard()
	err := scan(txn, []byte{keyMarker}, true, func(key, _ []byte) error {
		if epoch, ok := number(key); ok && epoch > s.folded && epoch <= s.last.epoch {
			return nil
		}
		return b.deleteLeftover(key)
	})
	if err != nil {
		return err
	}
	// Markers first: without its marker a chunk is nothing.
	if err := b.flush(); err != nil {
		return err
	}
	err = scan(txn, []byte{keyChunk}, true, func(key, _ []byte) error {
		if len(key) == 13 {
			if epoch := binary.BigEndian.Uint64(key[1:]); epoch > s.folded && epoch <= s.last.epoch {
				return nil
			}
		}
		return b.deleteLeftover(key)
	})
	if err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	return s.removePieces()
}

// removePieces deletes the pieces that no value refers to. Values in pieces
// are rare: mostly there is nothing to look through.
func (s *Store) removePieces() error {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var pieces [][]byte
	err := scan(txn, []byte{keyPiece}, true, func(key, _ []byte) error {
		pieces = append(pieces, append([]byte(nil), key...))
		return nil
	})
	if err != nil || len(pieces) == 0 {
		return err
	}
	used := make(map[uint64]int)
	for _, kind := range []byte{keyChunk, keyPage, keyOutbox} {
		err := scan(txn, []byte{kind}, false, func(_, value []byte) error {
			if blob, n := blobOf(value); n > 0 {
				used[blob] = n
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	b := s.newBatch()
	defer b.discard()
	for _, key := range pieces {
		if len(key) == 13 && int(binary.BigEndian.Uint32(key[9:])) < used[binary.BigEndian.Uint64(key[1:])] {
			continue
		}
		if err := b.delete(key); err != nil {
			return err
		}
	}
	return b.flush()
}
