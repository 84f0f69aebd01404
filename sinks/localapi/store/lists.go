package store

import (
	"encoding/json"
	"time"

	"github.com/dgraph-io/badger/v4"

	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
	"sluice/sinks/localapi/blocklist"
)

// List is what is known of a block list beside its decisions, which are found
// by their origin.
type List struct {
	Name string `json:"name"`
	// Settings is what was made of it, as blocklist.Config.Settings tells.
	Settings string `json:"settings"`
	// Stamp is the version that was read last.
	Stamp blocklist.Stamp `json:"stamp"`
	// Items it held then; Entries of them were in force, Allowed were left out for
	// allow-lists, Malformed lines were no items.
	Items     int `json:"items"`
	Entries   int `json:"entries"`
	Allowed   int `json:"allowed"`
	Malformed int `json:"malformed"`
	// Own tells that items have durations of their own.
	Own bool `json:"own"`
	// AllowMark is the Store.AllowMark of then.
	AllowMark string `json:"allow_mark"`
	// LastTry, LastSuccess and LastChange are when it was asked for, read, and different.
	LastTry     time.Time `json:"last_try"`
	LastSuccess time.Time `json:"last_success"`
	LastChange  time.Time `json:"last_change"`
	// LastError is why the last try failed; empty when it did not.
	LastError string `json:"last_error"`
}

// ListOrigin is the origin of a list's decisions. CrowdSec's bouncers write it so in
// their metrics, and its filters take "lists" for all of them.
func ListOrigin(name string) string { return "lists:" + name }

// listMachine is the machine that the alerts of lists come from, as in CrowdSec.
const listMachine = "lists"

// Lists returns what is known of all lists, sorted by name.
func (s *Store) Lists() (out []List, err error) {
	err = s.scan(keyList, func(_, value []byte) error {
		var l List
		if err := json.Unmarshal(value, &l); err != nil {
			return err
		}
		out = append(out, l)
		return nil
	})
	return out, err
}

// PutList keeps what is known of a list. It comes before the list's first decision.
func (s *Store) PutList(l *List) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(func(txn *badger.Txn) error { return txn.Set(named(keyList, l.Name), text) })
}

// DropList withdraws a list's decisions and forgets the list.
func (s *Store) DropList(name string) (withdrawn int, err error) {
	var all []decisions.Decision
	s.Listed(name, func(d *decisions.Decision) { all = append(all, *d) })
	if withdrawn, err = s.Withdraw(all); err != nil {
		return withdrawn, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return withdrawn, s.write(func(txn *badger.Txn) error { return txn.Delete(named(keyList, name)) })
}

// Listed calls visit with the decisions in force of a list. It holds no lock
// meanwhile: what is added after its beginning is left out.
func (s *Store) Listed(name string, visit func(*decisions.Decision)) {
	f := &decisions.Filter{Origins: []string{ListOrigin(name)}}
	_, _ = s.index.Startup(f, s.Now(), false, func(page []decisions.Decision) error { // only visit could fail
		for i := range page {
			visit(&page[i])
		}
		return nil
	})
}

// AddListed imports decisions of a list: see Import.
func (s *Store) AddListed(name string, list func(add func(*decisions.Decision) error) error) (Imported, error) {
	now := s.Now().UTC().Format(time.RFC3339)
	return s.Import(listMachine, lapi.Alert{
		Scenario: name, Message: "the list " + name + " was read", StartAt: now, StopAt: now, Leakspeed: "0",
		Events: []lapi.Event{}, Source: lapi.Source{Scope: listMachine, Value: name},
	}, list)
}

// Withdraw withdraws decisions by their ids, a portion at a time so that others
// wait for no more than that. Those that are gone already are passed over.
func (s *Store) Withdraw(ds []decisions.Decision) (withdrawn int, err error) {
	return s.withdrawAll(ds, decisions.Deleted)
}

func (s *Store) withdrawAll(ds []decisions.Decision, why decisions.Why) (withdrawn int, err error) {
	for len(ds) > 0 {
		part := ds[:min(perExpiry, len(ds))]
		ds = ds[len(part):]
		if err := s.withdraw(part, why, &withdrawn); err != nil {
			return withdrawn, err
		}
	}
	return withdrawn, nil
}

func (s *Store) withdraw(ds []decisions.Decision, why decisions.Why, count *int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failed.Load(); err != nil {
		return *err
	}
	var gone []decisions.Change
	now := s.Now()
	for i := range ds {
		d := &ds[i]
		gone = append(gone, s.index.Remove(&decisions.Filter{ID: d.ID, Scope: d.Scope, Value: d.Value}, why, now)...)
	}
	*count += len(gone)
	return s.putRemovals(gone)
}
