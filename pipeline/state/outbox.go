package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	badger "github.com/dgraph-io/badger/v4"
)

// outbox is what the Store keeps of the outbox in memory.
type outbox struct {
	next atomic.Uint64

	removing sync.Mutex // held while entries are trimmed or discarded
	marking  sync.Mutex // held while accepted is written

	// Nothing is written while mu is held: whoever reads waits for no disk.
	mu       sync.Mutex
	trim     uint64 // the first entry that is still there
	accepted uint64
	cursors  map[string]uint64
}

// StoredEntry is an entry of the outbox.
type StoredEntry struct {
	Seq   uint64 // from 1, without gaps
	Epoch uint64 // it was committed with
	// Discarded says that the entry is not to be delivered; it has no Payload.
	Discarded bool
	Payload   []byte
}

const (
	entryWhole     = 0
	entryDiscarded = 1
)

func (s *Store) writeOutbox(b *batch, m *marker, entries []Entry) error {
	seq := m.next - uint64(len(entries))
	for i, e := range entries {
		key := outboxKey(seq + uint64(i))
		value := make([]byte, sealBytes, sealBytes+1+binary.MaxVarintLen64+len(e.Payload))
		value = append(value, entryWhole)
		value = binary.AppendUvarint(value, m.epoch)
		if err := b.set(key, seal(key, append(value, e.Payload...))); err != nil {
			return err
		}
	}
	return nil
}

// NextSeq returns the sequence number that the next entry will get.
func (s *Store) NextSeq() uint64 { return s.outbox.next.Load() }

// Outbox returns up to limit entries from a sequence number on, discarded ones
// among them. What Trim removed is passed over.
func (s *Store) Outbox(from uint64, limit int) ([]StoredEntry, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	s.outbox.mu.Lock()
	from = max(from, s.outbox.trim)
	s.outbox.mu.Unlock()
	next := s.NextSeq()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var entries []StoredEntry
	for want := from; want < next && len(entries) < limit; {
		err := scanFrom(txn, outboxKey(want), func(key, value []byte) (more bool, err error) {
			if seq, ok := number(key); !ok || seq != want {
				return false, nil
			}
			e := StoredEntry{Seq: want}
			if err := s.readEntry(txn, key, value, &e); err != nil {
				return false, s.damaged(fmt.Sprintf("entry %d of the outbox", want), "it cannot be read", err)
			}
			entries = append(entries, e)
			want++
			return want < next && len(entries) < limit, nil
		})
		if err != nil {
			return nil, err
		}
		if want == next || len(entries) == limit {
			break
		}
		s.outbox.mu.Lock()
		trimmed := s.outbox.trim
		s.outbox.mu.Unlock()
		if want >= trimmed {
			return nil, s.damaged(fmt.Sprintf("entry %d of the outbox", want), "it cannot be read", badger.ErrKeyNotFound)
		}
		want = trimmed // just now
	}
	return entries, nil
}

// readEntry reads a sealed entry. It keeps nothing of value.
func (s *Store) readEntry(txn *badger.Txn, key, value []byte, e *StoredEntry) error {
	content, err := s.unseal(txn, key, value)
	if err != nil {
		return err
	}
	r := reader{b: content}
	e.Discarded = r.byte() == entryDiscarded
	e.Epoch = r.uvarint()
	if r.bad {
		return errTorn
	}
	e.Payload = bytes.Clone(r.b)
	return nil
}

// Trim removes the entries below a sequence number: all sinks have them.
func (s *Store) Trim(below uint64) error {
	if err := s.enterToChange(); err != nil {
		return err
	}
	defer s.leave()
	s.outbox.removing.Lock()
	defer s.outbox.removing.Unlock()
	s.outbox.mu.Lock()
	from := s.outbox.trim
	s.outbox.mu.Unlock()
	if below <= from {
		return nil
	}
	if next := s.NextSeq(); below > next {
		return fmt.Errorf("trimming the outbox below %d, but its next entry is %d", below, next)
	}
	b := s.newBatch()
	defer b.discard()
	if err := setNumber(b, []byte{keyTrim}, below); err != nil {
		return err
	}
	if err := b.flush(); err != nil { // the mark comes first: from then on the entries may be gone
		return err
	}
	s.outbox.mu.Lock()
	s.outbox.trim = below
	s.outbox.mu.Unlock()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	for seq := from; seq < below; seq++ {
		if err := b.deleteBlob(txn, outboxKey(seq)); err != nil {
			return err
		}
	}
	return b.flush()
}

// Discard makes entries ones that are not to be delivered. Their places remain.
func (s *Store) Discard(seqs []uint64) error {
	if err := s.enterToChange(); err != nil {
		return err
	}
	defer s.leave()
	s.outbox.removing.Lock()
	defer s.outbox.removing.Unlock()
	s.outbox.mu.Lock()
	trimmed := s.outbox.trim
	s.outbox.mu.Unlock()
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	b := s.newBatch()
	defer b.discard()
	for _, seq := range seqs {
		if seq < trimmed {
			continue
		}
		key := outboxKey(seq)
		content, ok, err := s.get(txn, key)
		if err != nil || !ok {
			return s.damaged(fmt.Sprintf("entry %d of the outbox", seq), "it cannot be read", errors.Join(err, badger.ErrKeyNotFound))
		}
		r := reader{b: content}
		r.byte()
		if err := b.set(key, sealed(key, binary.AppendUvarint([]byte{entryDiscarded}, r.uvarint()))); err != nil {
			return err
		}
		blob, pieces, err := blobAt(txn, key)
		if err == nil {
			err = b.deletePieces(blob, pieces)
		}
		if err != nil {
			return err
		}
	}
	return b.flush()
}

// Cursor returns up to which entry a sink has acknowledged; ok is false for
// a sink that has never acknowledged any.
func (s *Store) Cursor(sink string) (seq uint64, ok bool) {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	seq, ok = s.outbox.cursors[sink]
	return seq, ok
}

// Cursors returns the cursors of all sinks.
func (s *Store) Cursors() map[string]uint64 {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	all := make(map[string]uint64, len(s.outbox.cursors))
	for sink, seq := range s.outbox.cursors {
		all[sink] = seq
	}
	return all
}

// SetCursor makes durable that a sink has acknowledged all entries up to seq.
// One goroutine at a time does so for a sink: those of several are written together.
func (s *Store) SetCursor(sink string, seq uint64) error {
	return s.setNumber(cursorKey(sink), seq, func() { s.outbox.cursors[sink] = seq })
}

// RemoveCursor forgets a sink, so that it no longer holds entries back.
func (s *Store) RemoveCursor(sink string) error {
	if err := s.enterToChange(); err != nil {
		return err
	}
	defer s.leave()
	b := s.newBatch()
	defer b.discard()
	if err := b.delete(cursorKey(sink)); err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	delete(s.outbox.cursors, sink)
	return nil
}

// Accepted returns the first entry that may not be delivered yet, since its
// broker has not accepted the epoch that it came with; 0 when none was ever noted.
func (s *Store) Accepted() uint64 {
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	return s.outbox.accepted
}

// SetAccepted makes durable that all entries below seq may be delivered.
func (s *Store) SetAccepted(seq uint64) error {
	s.outbox.marking.Lock()
	defer s.outbox.marking.Unlock()
	return s.setNumber([]byte{keyAccepted}, seq, func() { s.outbox.accepted = seq })
}

func (s *Store) setNumber(key []byte, n uint64, then func()) error {
	if err := s.enterToChange(); err != nil {
		return err
	}
	defer s.leave()
	b := s.newBatch()
	defer b.discard()
	if err := setNumber(b, key, n); err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	s.outbox.mu.Lock()
	defer s.outbox.mu.Unlock()
	then()
	return nil
}

func setNumber(b *batch, key []byte, n uint64) error {
	return b.set(key, sealed(key, binary.AppendUvarint(nil, n)))
}

// getNumber reads what setNumber wrote, 0 if nothing was.
func (s *Store) getNumber(txn *badger.Txn, key []byte) (uint64, error) {
	content, ok, err := s.get(txn, key)
	if err != nil || !ok {
		return 0, err
	}
	r := reader{b: content}
	n := r.uvarint()
	if r.bad {
		return 0, errTorn
	}
	return n, nil
}

// recover checks that the outbox is whole as of the last epoch, and removes
// entries that came later or were trimmed.
func (o *outbox) recover(s *Store, txn *badger.Txn) error {
	next := s.last.next
	o.next.Store(next)
	var err error
	if o.trim, err = s.getNumber(txn, []byte{keyTrim}); err != nil {
		if err := s.tolerate(s.damaged("the outbox", "the mark of what was trimmed cannot be read", err)); err != nil {
			return err
		}
	}
	if err := o.lowerTrim(s, next); err != nil {
		return err
	}
	if o.accepted, err = s.getNumber(txn, []byte{keyAccepted}); err != nil {
		if err := s.tolerate(s.damaged("the outbox", "the mark of what was accepted cannot be read", err)); err != nil {
			return err
		}
	}
	if err := o.recoverCursors(s, txn); err != nil {
		return err
	}
	want := o.trim
	b := s.newBatch()
	defer b.discard()
	err = scan(txn, []byte{keyOutbox}, true, func(key, _ []byte) error {
		seq, ok := number(key)
		if !ok || seq < o.trim || seq >= next {
			return b.deleteLeftover(key)
		}
		if seq == want {
			want++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if want != next {
		return s.tolerate(s.damaged(fmt.Sprintf("entry %d of the outbox", want), fmt.Sprintf("it is missing, though entries up to %d were committed", next-1), nil))
	}
	return b.flush()
}

// lowerTrim takes the mark of what was trimmed back to the entries that there
// are. What is numbered above comes again, and the next start must find it.
func (o *outbox) lowerTrim(s *Store, next uint64) error {
	if o.trim <= next || s.viewing {
		o.trim = min(max(o.trim, 1), next)
		return nil
	}
	o.trim = next
	b := s.newBatch()
	defer b.discard()
	if err := setNumber(b, []byte{keyTrim}, next); err != nil {
		return err
	}
	return b.flush()
}

// recoverCursors reads the cursors. One that is ahead of the outbox belongs to
// epochs that are lost: their entries come again, under the same numbers, and
// must not be taken for delivered.
func (o *outbox) recoverCursors(s *Store, txn *badger.Txn) error {
	o.cursors = make(map[string]uint64)
	err := scan(txn, []byte{keyCursor}, true, func(key, _ []byte) error {
		sink := string(key[1:])
		seq, err := s.getNumber(txn, append([]byte(nil), key...))
		if err != nil {
			return s.tolerate(s.damaged(fmt.Sprintf("the cursor of sink %q", sink), "it cannot be read", err))
		}
		o.cursors[sink] = seq
		return nil
	})
	if err != nil {
		return err
	}
	if s.viewing {
		return nil
	}
	b := s.newBatch()
	defer b.discard()
	for sink, seq := range o.cursors {
		if seq < s.last.next {
			continue
		}
		s.options.Log.Warn("a sink has acknowledged entries of epochs that are lost: it gets them again", "sink", sink, "acknowledged", seq, "last_entry", s.last.next-1)
		o.cursors[sink] = s.last.next - 1
		if err := setNumber(b, cursorKey(sink), s.last.next-1); err != nil {
			return err
		}
	}
	if o.accepted > s.last.next { // the first that is not accepted is at most the next
		o.accepted = s.last.next
		if err := setNumber(b, []byte{keyAccepted}, o.accepted); err != nil {
			return err
		}
	}
	return b.flush()
}
