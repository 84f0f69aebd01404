package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	badger "github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"
)

// Load calls f once for every record as of the last epoch, in no order that
// means something; the slices are valid during the call. The dictionary's
// numbers are not among them. When it returns nil, the records are those that
// were committed, all of them: their sums and their number were checked. With
// any error what f was given is of no use.
func (s *Store) Load(f func(key, value []byte, sum Sum) error) error {
	return s.LoadParallel(1, func(_ int, key, value []byte, sum Sum) error { return f(key, value, sum) })
}

// LoadParallel is Load by several workers, numbered from 0, each of which
// calls f from a goroutine of its own.
func (s *Store) LoadParallel(workers int, f func(worker int, key, value []byte, sum Sum) error) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	s.mu.Lock()
	epochs, want, loaded := s.unfolded, s.last, s.loaded
	s.mu.Unlock()
	if loaded {
		s.folding.Lock() // pages stay as they are
		defer s.folding.Unlock()
		s.mu.Lock()
		epochs = s.unfolded
		s.mu.Unlock()
	}
	if err := s.load(workers, epochs, want, false, f); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = true
	return nil
}

// load reads the records after the given epochs, which must come to want; with
// numbers, those of the dictionary are given to f too.
func (s *Store) load(workers int, epochs []*marker, want marker, numbers bool, f func(worker int, key, value []byte, sum Sum) error) error {
	workers = max(workers, 1)
	var raw int64
	for _, m := range epochs {
		raw += m.raw()
	}
	l := loader{s: s, epochs: epochs, numbers: numbers, f: f}
	spans := make(chan span, slots)
	for _, of := range spansFor(raw, 4*workers) {
		spans <- of
	}
	close(spans)
	group, ctx := errgroup.WithContext(context.Background())
	for worker := range workers {
		group.Go(func() error {
			var c scratch
			for of := range spans {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := l.span(&c, worker, of); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if l.got != want.after {
		return s.damaged(fmt.Sprintf("epoch %d", want.epoch), fmt.Sprintf("it has %d records of sum %016x, but %d of sum %016x were found: a part is lost or from another time",
			want.after.records, uint64(want.after.sum), l.got.records, uint64(l.got.sum)), nil)
	}
	return nil
}

// loader is what the workers of one load share.
type loader struct {
	s      *Store
	epochs []*marker
	// numbers says that f gets the dictionary's numbers too.
	numbers bool
	f       func(worker int, key, value []byte, sum Sum) error

	mu  sync.Mutex
	got totals
}

// span loads one span's records, and puts its pages into the index.
func (l *loader) span(c *scratch, worker int, of span) error {
	txn := l.s.db.NewTransaction(false)
	defer txn.Discard()
	ops, err := l.s.changes(txn, c, l.epochs, of)
	if err != nil {
		return err
	}
	var got totals
	emit := func(r record) error {
		got.records++
		got.sum += r.sum
		if Kind(r.key[0]) == KindNumber && !l.numbers {
			return nil
		}
		return l.f(worker, r.key, r.value, r.sum)
	}
	var raw []byte
	for slot := of.low; slot < of.high; slot++ {
		err := l.s.eachPage(txn, slot, func(p page, content []byte) error {
			n := 0
			for n < len(ops) && ops[n].hash <= p.last {
				n++
			}
			var err error
			raw = raw[:0]
			if p.exists {
				if raw, err = unpack(raw, content); err != nil {
					return l.s.damagedPage(slot, p.first, err)
				}
			}
			stale, err := merge(p, raw, ops[:n], true, emit)
			if errors.Is(err, errTorn) || errors.Is(err, errSum) {
				err = l.s.tolerate(l.s.damagedPage(slot, p.first, err))
			}
			ops = ops[n:]
			l.s.pages.note(p, stale > 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got.sum += got.sum
	l.got.records += got.records
	return nil
}

// eachPage calls f for the pages of a slot, in order and without gaps, with
// their packed records.
func (s *Store) eachPage(txn *badger.Txn, slot int, f func(p page, content []byte) error) error {
	first, end := slotRange(slot)
	at := page{slot: slot, first: first}
	var value []byte // of the page at, which ends where the next begins
	give := func(last uint64) error {
		at.last = last
		if !at.exists {
			return f(at, nil)
		}
		content, err := s.unseal(txn, pageKey(slot, at.first), value)
		if err != nil {
			at.exists = false // for a view, it is as if it were not there
			if err := s.tolerate(s.damagedPage(slot, at.first, err)); err != nil {
				return err
			}
		}
		return f(at, content)
	}
	err := scan(txn, []byte{keyPage, byte(slot)}, false, func(key, v []byte) error {
		if len(key) != 10 {
			return s.damaged(fmt.Sprintf("page %x", key), "its key is none", nil)
		}
		next := binary.BigEndian.Uint64(key[2:])
		if at.exists || next != first {
			if err := give(next - 1); err != nil {
				return err
			}
		}
		at = page{slot: slot, first: next, exists: true, size: int64(len(v))}
		value = append(value[:0], v...)
		return nil
	})
	if err != nil {
		return err
	}
	return give(end)
}
