package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Reported is what lists show of the last report of a bouncer or a machine:
// its own words, and when they came. It is kept with who sent it, so that a
// list reads no reports, which may be long.
type Reported struct {
	Type    string    `json:"type,omitempty"`
	Version string    `json:"version,omitempty"`
	OS      string    `json:"os,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

// MaxReport is the longest report that is kept, in bytes.
const MaxReport = 1 << 20

// Who reports: a bouncer and a machine may have the same name.
const (
	reporterBouncer = "bouncer/"
	reporterMachine = "machine/"
)

func reportOf(reporter, name string) []byte { return named(keyReport, reporter+name) }

// PutBouncerReport keeps what a bouncer reported last: whole, and what lists show of it.
func (s *Store) PutBouncerReport(name string, r Reported, report []byte) error {
	b := &s.bouncers
	one, unlock, err := b.hold(name)
	if err != nil {
		return err
	}
	defer unlock()
	after := b.look(one)
	after.Reported = r
	if err = s.putReport(named(keyBouncer, name), &after, reportOf(reporterBouncer, name), report); err == nil {
		b.replace(one, after)
	}
	return err
}

// PutMachineReport is PutBouncerReport for a machine.
func (s *Store) PutMachineReport(name string, r Reported, report []byte) error {
	m := &s.machines
	m.changing.Lock()
	defer m.changing.Unlock()
	after, ok := s.Machine(name)
	if !ok {
		return unknown("machine", name)
	}
	after.Reported = r
	err := s.putReport(named(keyMachine, name), &after, reportOf(reporterMachine, name), report)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.byName[name] = &after
	}
	return err
}

// putReport keeps a report and who sent it, both or neither.
func (s *Store) putReport(key []byte, sender any, reportKey, report []byte) error {
	if len(report) > MaxReport {
		return fmt.Errorf("a report has up to %d bytes: %w", MaxReport, ErrTooLarge)
	}
	text, err := json.Marshal(sender)
	if err != nil {
		return err
	}
	return s.write(func(txn *badger.Txn) error { return errors.Join(txn.Set(key, text), txn.Set(reportKey, report)) })
}

// BouncerReport returns a bouncer and its last report, nil where it has sent none.
func (s *Store) BouncerReport(name string) (Bouncer, []byte, error) {
	one, unlock, err := s.bouncers.hold(name)
	if err != nil {
		return Bouncer{}, nil, err
	}
	defer unlock()
	now := s.bouncers.look(one)
	report, err := s.report(now.Reported, reportOf(reporterBouncer, name))
	return now, report, err
}

// MachineReport is BouncerReport for a machine.
func (s *Store) MachineReport(name string) (Machine, []byte, error) {
	s.machines.changing.Lock()
	defer s.machines.changing.Unlock()
	now, ok := s.Machine(name)
	if !ok {
		return Machine{}, nil, unknown("machine", name)
	}
	report, err := s.report(now.Reported, reportOf(reporterMachine, name))
	return now, report, err
}

// report returns the report that came when r says. An older version kept
// reports without that, and those of whom it had deleted: they are nobody's.
func (s *Store) report(r Reported, key []byte) (report []byte, err error) {
	if r.At.IsZero() {
		return nil, nil
	}
	err = s.view(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err == nil {
			report, err = item.ValueCopy(nil)
		}
		return err
	})
	return report, err
}
