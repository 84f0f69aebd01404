package store

import (
	"context"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"sluice/pipeline/decisions"
)

// Delete withdraws the decisions that a filter selects and returns how many.
// Where they are many, others write in between.
func (s *Store) Delete(f *decisions.Filter) (deleted int, err error) {
	for all := s.index.Find(f, s.Now()); len(all) > 0 && err == nil; {
		s.mu.Lock()
		err = s.removeFew(&all, decisions.Deleted, &deleted)
		s.mu.Unlock()
	}
	return deleted, err
}

// removeFew removes as many as one write holds. It must be called with the lock held.
func (s *Store) removeFew(all *decisions.Found, why decisions.Why, count *int) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	var gone []decisions.Change
	for len(*all) > 0 && len(gone) < perWrite {
		gone = append(gone, s.index.RemoveFew(all, why, perExpiry)...)
	}
	*count += len(gone)
	return s.putRemovals(gone)
}

// putRemovals makes removals durable that the index has made, one after the
// other. Without that the store ends: memory knows what the disk does not.
func (s *Store) putRemovals(gone []decisions.Change) error {
	for part := range slices.Chunk(gone, perWrite) {
		err := s.write(func(txn *badger.Txn) error {
			return txn.Set(key(keyRemoval, part[0].Seq), appendRemovals(nil, part))
		})
		if err != nil {
			return s.fail(err)
		}
		s.changed.ring()
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
	var m memory
	for {
		if _, err := s.Expire(); err != nil {
			return err
		}
		now := s.Now()
		if upTo := m.upTo(s, now); upTo > 0 {
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
