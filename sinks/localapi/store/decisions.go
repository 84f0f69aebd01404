package store

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"

	"sluice/pipeline/decisions"
)

// Delete withdraws the decisions that a filter selects and returns how many.
func (s *Store) Delete(f *decisions.Filter) (deleted int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.remove(f, decisions.Deleted, &deleted)
	return deleted, err
}

// remove must be called with the lock held.
func (s *Store) remove(f *decisions.Filter, why decisions.Why, count *int) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	gone := s.index.Remove(f, why, s.Now())
	if count != nil {
		*count += len(gone)
	}
	return s.putRemovals(gone)
}

// putRemovals makes removals durable that the index has made.
func (s *Store) putRemovals(gone []decisions.Change) error {
	for len(gone) > 0 {
		part := gone[:min(perWrite, len(gone))]
		gone = gone[len(part):]
		err := s.write(func(txn *badger.Txn) error {
			for i := range part {
				e := badger.NewEntry(key(keyRemoval, part[i].Seq), appendRemoval(nil, &part[i]))
				if err := errors.Join(txn.Delete(key(keyDecision, part[i].ID)), txn.SetEntry(e)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// perExpiry is how many decisions end under one lock: others wait that long at most.
const perExpiry = 1_000

// Expire takes the decisions out of force that have ended.
func (s *Store) Expire() (expired int, err error) {
	for {
		s.mu.Lock()
		if err := s.failed.Load(); err != nil {
			s.mu.Unlock()
			return expired, *err
		}
		gone := s.index.Expire(s.Now(), perExpiry)
		err := s.putRemovals(gone)
		s.mu.Unlock()
		if expired += len(gone); err != nil || len(gone) < perExpiry {
			return expired, err
		}
	}
}

// Run expires decisions at the second in which they end, and forgets old
// removals, until ctx is done. after sends the time once when a while has passed.
func (s *Store) Run(ctx context.Context, after func(time.Duration) <-chan time.Time) error {
	forget := s.Now()
	type mark struct {
		at  time.Time
		seq int64
	}
	var marks []mark // where the log stood, so that what is older than Remember is known
	for {
		if _, err := s.Expire(); err != nil {
			return err
		}
		now := s.Now()
		if !now.Before(forget) {
			forget = now.Add(time.Minute)
			marks = append(marks, mark{now, s.index.Seq()})
			upTo := int64(0)
			for len(marks) > 0 && now.Sub(marks[0].at) >= s.opts.Remember {
				upTo, marks = marks[0].seq, marks[1:]
			}
			if err := s.Forget(upTo); err != nil {
				return err
			}
		}
		select {
		case <-after(now.Truncate(time.Second).Add(time.Second).Sub(now)):
		case <-ctx.Done():
			return nil
		}
	}
}

// Forget drops the removals up to a number: a bouncer that stood before it begins anew.
func (s *Store) Forget(upTo int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.index.Seq()
	var old [][]byte
	err := s.scan(keyRemoval, func(k, _ []byte) error {
		if n := int64(binary.BigEndian.Uint64(k)); n > upTo {
			return errEnough
		}
		old = append(old, append([]byte{keyRemoval}, k...))
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	for len(old) > 0 {
		part := old[:min(perWrite, len(old))]
		old = old[len(part):]
		err := s.write(func(txn *badger.Txn) error {
			for _, k := range part {
				if err := txn.Delete(k); err != nil {
					return err
				}
			}
			return txn.Set([]byte{keyLast}, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(last)), uint64(upTo)))
		})
		if err != nil {
			return err
		}
	}
	s.index.Forget(upTo)
	return nil
}
