package store

import (
	"errors"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sluice/pipeline/decisions"
)

// bell tells those who wait that something happened.
type bell struct {
	mu   sync.Mutex
	next chan struct{} // nil while nobody waits
}

// wait returns a channel that the next ring closes.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}

// Changed returns a channel that is closed at the next change of a decision.
// Whoever follows asks for it before reading, so that no change is missed.
func (s *Store) Changed() <-chan struct{} { return s.changed.wait() }

// durably reads decisions while no change is half done: memory knows of a
// removal before the disk does, and what a crash could undo is told to nobody.
func (s *Store) durably(read func(now time.Time)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failed.Load(); err != nil {
		return *err
	}
	read(s.Now())
	return nil
}

// Touched returns what happened behind a number; see decisions.Index. All of it is durable.
func (s *Store) Touched(since int64, limit int) (t decisions.Touched, known bool, err error) {
	err = s.durably(func(now time.Time) { t, known = s.index.Touched(since, limit, now) })
	return t, known, err
}

// States returns the states of keys, in their order. They are durable.
func (s *Store) States(keys []decisions.Key) (states []decisions.State, err error) {
	err = s.durably(func(now time.Time) { states = s.index.States(keys, now) })
	return states, err
}

// Keys calls page with the keys of all decisions that are in force, some of
// them more than once, and returns the number of the last change before it began.
func (s *Store) Keys(page func([]decisions.Key) error) (seq int64, err error) {
	if err := s.durably(func(time.Time) { seq = s.index.Seq() }); err != nil {
		return 0, err
	}
	var keys []decisions.Key
	_, err = s.index.Startup(&decisions.Filter{}, s.Now(), false, func(ds []decisions.Decision) error {
		keys = keys[:0]
		for i := range ds {
			keys = append(keys, decisions.Key{Scope: ds[i].Scope, Value: ds[i].Value})
		}
		return page(keys)
	})
	return seq, err
}

// Place returns what a follower has kept under its name, nil where it has kept nothing.
func (s *Store) Place(follower string) (place []byte, err error) {
	err = s.view(func(txn *badger.Txn) error {
		item, err := txn.Get(named(keyFollower, follower))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		place, err = item.ValueCopy(nil)
		return err
	})
	return place, err
}

// SetPlace keeps something for a follower. It is durable when SetPlace returns.
func (s *Store) SetPlace(follower string, place []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(func(txn *badger.Txn) error { return txn.Set(named(keyFollower, follower), place) })
}

// ID is the store's own: random, and the same for as long as its folder lives.
func (s *Store) ID() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var id string
	err := s.write(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{keyID})
		switch {
		case errors.Is(err, badger.ErrKeyNotFound):
			id = uuid.NewString()
			return txn.Set([]byte{keyID}, []byte(id))
		case err != nil:
			return err
		}
		return item.Value(func(value []byte) error { id = string(value); return nil })
	})
	return id, err
}
