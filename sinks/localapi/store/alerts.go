package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
)

// Alert is an alert as it is kept.
type Alert struct {
	ID int64 `json:"id"`
	// UUID is the sender's own id, or one that was made for it.
	UUID string `json:"uuid"`
	// Machine is who sent it.
	Machine string `json:"machine"`
	// Created is when it came.
	Created time.Time `json:"created"`
	// Alert is what was sent, without its decisions.
	Alert lapi.Alert `json:"alert"`
	// Decisions are those that were made of it, with their ids, whether or not they are in force.
	Decisions []Decided `json:"decisions"`
}

// Decided is a decision of an alert, as it was made.
type Decided struct {
	ID        int64     `json:"id"`
	UUID      string    `json:"uuid"`
	Origin    string    `json:"origin"`
	Type      string    `json:"type"`
	Scope     string    `json:"scope"`
	Value     string    `json:"value"`
	Scenario  string    `json:"scenario"`
	Until     time.Time `json:"until"`
	Simulated bool      `json:"simulated"`
}

// NewAlert is an alert to be kept, with the decisions to be made of it.
type NewAlert struct {
	// UUID is the sender's id: an alert whose id is known is not kept again.
	UUID      string
	Machine   string
	Alert     lapi.Alert
	Decisions []decisions.Decision
}

// perWrite is how many decisions one transaction holds: an alert with more,
// such as the import of a list, takes several, its own record coming last.
const perWrite = 5_000

// AddAlert keeps an alert and puts its decisions in force, but for those that
// an allow-list excepts and those whose time is over. It returns the alert's id; for an alert that it has
// kept before, the one it has. allowed is how many decisions were excepted.
func (s *Store) AddAlert(n *NewAlert) (id int64, allowed int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.UUID != "" {
		if id, err := s.known(n.UUID); err != nil || id > 0 {
			return id, 0, err
		}
	} else {
		n.UUID = uuid.NewString()
	}
	now := s.Now()
	a := Alert{ID: s.alerts + 1, UUID: n.UUID, Machine: n.Machine, Created: now.UTC(), Alert: n.Alert}
	a.Alert.Decisions = nil
	made := make([]decisions.Decision, 0, len(n.Decisions))
	for i := range n.Decisions {
		d, err := decisions.Canonical(n.Decisions[i])
		if err != nil {
			return 0, 0, err
		}
		switch {
		case !d.Until.After(now):
			continue
		case s.allowlists.allows(&d, now):
			allowed++
			continue
		case d.UUID == (uuid.UUID{}):
			d.UUID = uuid.New()
		}
		d.Alert, d.ID = a.ID, s.index.Seq()+1+int64(len(made))
		made = append(made, d)
		a.Decisions = append(a.Decisions, Decided{d.ID, d.UUID.String(), d.Origin, d.Type, d.Scope, d.Value, d.Scenario, d.Until, d.Simulated})
	}
	if err := s.put(&a, made); err != nil {
		return 0, 0, err
	}
	s.alerts, s.kept = a.ID, s.kept+1
	return a.ID, allowed, s.trimAlerts()
}

// put writes an alert and its decisions, and puts these in force.
func (s *Store) put(a *Alert, made []decisions.Decision) error {
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("alert %s has no JSON: %w", a.UUID, err)
	}
	for last := false; !last; {
		part := made[:min(perWrite, len(made))]
		made = made[len(part):]
		last = len(made) == 0
		err := s.write(func(txn *badger.Txn) error {
			for i := range part {
				if err := txn.Set(key(keyDecision, part[i].ID), appendDecision(nil, &part[i])); err != nil {
					return err
				}
			}
			if !last {
				return nil
			}
			return errors.Join(
				txn.Set(key(keyAlert, a.ID), text),
				txn.Set(named(keyUUID, a.UUID), binary.BigEndian.AppendUint64(nil, uint64(a.ID))),
			)
		})
		if err != nil {
			return err
		}
		for i := range part {
			if id, err := s.index.Add(&part[i]); err != nil || id != part[i].ID {
				return fmt.Errorf("decision %d became %d: %w", part[i].ID, id, errors.Join(err, errTorn))
			}
		}
	}
	return nil
}

// known returns the id under which an alert is kept, 0 for none.
func (s *Store) known(id string) (n int64, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(named(keyUUID, id))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(value []byte) error {
			if len(value) != 8 {
				return errTorn
			}
			n = int64(binary.BigEndian.Uint64(value))
			return nil
		})
	})
	return n, err
}

// Alert returns an alert, nil where there is none.
func (s *Store) Alert(id int64) (*Alert, error) {
	var a *Alert
	err := s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key(keyAlert, id))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(value []byte) error {
			a = &Alert{}
			return json.Unmarshal(value, a)
		})
	})
	return a, err
}

// Alerts calls yield with the alerts, the newest first, until it returns false.
func (s *Store) Alerts(yield func(*Alert) bool) error {
	return s.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.Reverse = []byte{keyAlert}, true
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek([]byte{keyAlert + 1}); it.ValidForPrefix(o.Prefix); it.Next() {
			var a Alert
			if err := it.Item().Value(func(value []byte) error { return json.Unmarshal(value, &a) }); err != nil {
				return err
			}
			if !yield(&a) {
				return nil
			}
		}
		return nil
	})
}

// DeleteAlerts removes alerts and withdraws their decisions.
func (s *Store) DeleteAlerts(ids []int64) (deleted int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		a, err := s.Alert(id)
		if err != nil {
			return deleted, err
		}
		if a == nil {
			continue
		}
		for i := range a.Decisions {
			d := &a.Decisions[i]
			if err := s.remove(&decisions.Filter{ID: d.ID, Scope: d.Scope, Value: d.Value}, decisions.Deleted, nil); err != nil {
				return deleted, err
			}
		}
		if err := s.dropAlert(a); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

func (s *Store) dropAlert(a *Alert) error {
	s.kept--
	return s.write(func(txn *badger.Txn) error {
		return errors.Join(txn.Delete(key(keyAlert, a.ID)), txn.Delete(named(keyUUID, a.UUID)))
	})
}

// trimAlerts drops the oldest alerts beyond what is to be kept. Those with
// decisions in force stay. It looks at a few at a time.
func (s *Store) trimAlerts() error {
	if s.opts.MaxAlerts <= 0 || s.kept <= s.opts.MaxAlerts+s.opts.MaxAlerts/10 {
		return nil
	}
	now := s.Now()
	var old []*Alert
	err := s.scan(keyAlert, func(_, value []byte) error {
		if len(old) >= s.kept-s.opts.MaxAlerts {
			return errEnough
		}
		a := &Alert{}
		if err := json.Unmarshal(value, a); err != nil {
			return err
		}
		if !s.InForce(a, now) {
			old = append(old, a)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	for _, a := range old {
		if err := s.dropAlert(a); err != nil {
			return err
		}
	}
	return nil
}

// errEnough ends a scan early.
var errEnough = errors.New("enough")

// InForce tells whether an alert has a decision in force.
func (s *Store) InForce(a *Alert, now time.Time) bool {
	for i := range a.Decisions {
		if s.decisionInForce(&a.Decisions[i], now) {
			return true
		}
	}
	return false
}

func (s *Store) decisionInForce(d *Decided, now time.Time) (in bool) {
	if !d.Until.After(now) {
		return false
	}
	f := &decisions.Filter{ID: d.ID, Scope: d.Scope, Value: d.Value}
	s.index.Select(f, now, func(*decisions.Decision) bool { in = true; return false })
	return in
}
