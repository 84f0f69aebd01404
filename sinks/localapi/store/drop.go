package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"sluice/pipeline/decisions"
)

// perDrop is how many alerts go under one lock, and looked how many are looked
// at for it: others wait that long at most.
const perDrop, looked = 200, 1_000

// DeleteAlerts removes alerts and withdraws their decisions. Where they are
// many, others write in between.
func (s *Store) DeleteAlerts(ids []int64) (deleted int, err error) {
	for few := range slices.Chunk(ids, perDrop) {
		if err := s.withdrawMany(few); err != nil {
			return deleted, err
		}
		n, err := s.deleteFew(few)
		if deleted += n; err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// withdrawMany withdraws the decisions of those alerts that have many.
func (s *Store) withdrawMany(ids []int64) error {
	for _, id := range ids {
		a, err := s.Alert(id)
		if err == nil && a != nil && a.Many > 0 {
			_, err = s.Delete(&decisions.Filter{Alert: id})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteFew withdraws before it removes: after a crash in between the alerts are there still.
func (s *Store) deleteFew(ids []int64) (deleted int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failed.Load(); err != nil {
		return 0, *err
	}
	var there []alertKey
	var gone []decisions.Change
	for _, id := range ids {
		a, err := s.Alert(id)
		if err != nil {
			return 0, errors.Join(err, s.putRemovals(gone))
		}
		if a == nil {
			continue
		}
		there = append(there, alertKey{a.ID, a.UUID})
		gone = append(gone, s.withdrawn(a)...)
	}
	if err := s.putRemovals(gone); err != nil {
		return 0, err
	}
	return len(there), s.dropAlerts(there)
}

// withdrawn takes the decisions of an alert out of force. What it returns is to be made durable.
func (s *Store) withdrawn(a *Alert) (gone []decisions.Change) {
	if a.Many > 0 {
		return s.index.Remove(&decisions.Filter{Alert: a.ID}, decisions.Deleted, s.Now())
	}
	for i := range a.Decisions {
		if d := &a.Decisions[i]; d.ID != 0 { // else it was never in force
			gone = append(gone, s.index.Remove(&decisions.Filter{ID: d.ID, Scope: d.Scope, Value: d.Value}, decisions.Deleted, s.Now())...)
		}
	}
	return gone
}

// alertKey is what an alert is found by.
type alertKey struct {
	id   int64
	uuid string
}

// dropAlerts removes the records of alerts. The number of the newest stays:
// another alert must not get it after a restart, and be taken for that one.
func (s *Store) dropAlerts(all []alertKey) error {
	for few := range slices.Chunk(all, maxKeys/2) {
		err := s.write(func(txn *badger.Txn) error {
			for _, a := range few {
				if err := errors.Join(txn.Delete(key(keyAlert, a.id)), txn.Delete(named(keyUUID, a.uuid))); err != nil {
					return err
				}
			}
			if !slices.ContainsFunc(few, func(a alertKey) bool { return a.id == s.alerts }) {
				return nil
			}
			return txn.Set([]byte{keyNewest}, binary.BigEndian.AppendUint64(nil, uint64(s.alerts)))
		})
		if err != nil {
			return err
		}
		s.kept -= len(few)
	}
	return nil
}

// trim says when the oldest alerts are looked at, and from which on.
type trim struct {
	due  int // of kept alerts
	from int64
}

// trimAlerts drops the oldest alerts beyond what is to be kept. Those with
// decisions in force stay. It looks at a few at a time, and not at every
// alert that comes: where the decisions of more than are to be kept are in force, it finds nothing.
func (s *Store) trimAlerts() error {
	slack := s.opts.MaxAlerts / 10
	if s.opts.MaxAlerts <= 0 || s.kept <= s.opts.MaxAlerts+slack || s.kept < s.trim.due {
		return nil
	}
	inForce, n := s.InForce(s.Now()), 0
	var old []alertKey
	err := s.scanFrom(keyAlert, key(keyAlert, s.trim.from), func(_, value []byte) error {
		if n == looked || len(old) >= s.kept-s.opts.MaxAlerts {
			return errEnough
		}
		var a Alert
		if err := json.Unmarshal(value, &a); err != nil {
			return err
		}
		n, s.trim.from = n+1, a.ID+1
		if !inForce.Has(&a) {
			old = append(old, alertKey{a.ID, a.UUID})
		}
		return nil
	})
	switch {
	case err == nil:
		s.trim.from = 0 // it has come to the end
	case !errors.Is(err, errEnough):
		return err
	}
	if err := s.dropAlerts(old); err != nil {
		return err
	}
	s.trim.due = s.kept + min(slack, looked/10)
	return nil
}
