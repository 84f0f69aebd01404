package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sluice/pipeline"
	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
	"sluice/sinks/format"
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
	// Many is how many it has, where they are too many to be kept with it. Of
	// those that are remembered the first are in Decisions when it is read;
	// First and Last are the ids that they lie between.
	Many  int   `json:"many,omitempty"`
	First int64 `json:"first,omitempty"`
	Last  int64 `json:"last,omitempty"`
}

// Decided is a decision of an alert, as it was made.
type Decided struct {
	// ID is its number, 0 for one that was over when its alert came: it was never in force.
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
	// View is the alert as conditions of allow-lists look at it; made of Alert when nil.
	View *pipeline.Alert
	// Allowed is the item of an allow-list for which nothing was decided, where that is known before; empty for none.
	Allowed string
}

func (n *NewAlert) checkID() error {
	if len(n.UUID) > maxName {
		return fmt.Errorf("an alert's id has up to %d bytes: %w", maxName, ErrTooLarge)
	}
	return nil
}

// Check tells whether AddAlert would refuse the alert, as it is with the decisions that it was
// sent with: for whoever has several, all or none of which are to be kept.
func (n *NewAlert) Check() error {
	for i := range n.Decisions {
		if _, err := canonical(&n.Decisions[i]); err != nil {
			return err
		}
	}
	text, err := json.Marshal(&n.Alert)
	if err != nil {
		return err
	}
	if len(text) > maxRecord-(1<<20) { // ids and ends come to it
		return fmt.Errorf("%w: it takes %d bytes", ErrTooLarge, len(text))
	}
	return n.checkID()
}

// perWrite is how many decisions one transaction holds: an alert with more,
// such as the import of a list, takes several, its own record coming last.
const perWrite = 5_000

// maxListed is how many decisions are kept and shown with their alert.
const maxListed = 1_000

// AddAlert keeps an alert and puts its decisions in force, but for those that
// an allow-list excepts and those whose time is over, which stay with the
// alert. It returns the alert's id; for an alert that it has
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
	if err := n.checkID(); err != nil {
		return 0, 0, err
	}
	now := s.Now()
	a := Alert{ID: s.alerts + 1, UUID: n.UUID, Machine: n.Machine, Created: now.UTC(), Alert: n.Alert}
	a.Alert.Decisions = nil
	made := make([]decisions.Decision, 0, len(n.Decisions))
	by, all := s.exceptedBy(n)
	for i := range n.Decisions {
		d, err := canonical(&n.Decisions[i])
		if err != nil {
			return 0, 0, err
		}
		m, ok := by, all
		if !ok {
			m, ok = s.allowed(&d)
		}
		if ok {
			allowed, by = allowed+1, m
			continue
		}
		if d.UUID == (uuid.UUID{}) {
			d.UUID = uuid.New()
		}
		d.Alert, d.ID = a.ID, 0
		if d.Until.Unix() > now.Unix() { // as the index has it, to whose second it ends
			d.ID = s.index.Seq() + 1 + int64(len(made))
			made = append(made, d)
		}
		if len(n.Decisions) <= maxListed {
			a.Decisions = append(a.Decisions, decided(&d))
		}
	}
	if len(n.Decisions) > maxListed && len(made) > 0 {
		a.Many, a.First, a.Last = len(made), made[0].ID, made[len(made)-1].ID
	}
	if n.Allowed != "" {
		noteAllowed(&a.Alert, n.Allowed)
	}
	if allowed > 0 {
		text := by.String()
		if allowed < len(n.Decisions) {
			text = fmt.Sprintf("%s, and so on: %d of %d decisions", text, allowed, len(n.Decisions))
		}
		noteAllowed(&a.Alert, text)
	}
	if err := s.put(&a, made); err != nil {
		return 0, 0, err
	}
	s.alerts, s.kept = a.ID, s.kept+1
	return a.ID, allowed, s.trimAlerts()
}

// noteAllowed writes into an alert's meta for which item of an allow-list something was not decided.
func noteAllowed(a *lapi.Alert, by string) {
	meta, name := lapi.Meta{}, format.MetaAllowlisted
	if a.Meta != nil {
		for _, m := range *a.Meta {
			if m.Key == nil || *m.Key != name {
				meta = append(meta, m)
			}
		}
	}
	meta = append(meta, lapi.Meta{{Key: &name, Value: &by}}...)
	a.Meta = &meta
}

// put writes an alert and its decisions, and puts these in force.
func (s *Store) put(a *Alert, made []decisions.Decision) error {
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("alert %s has no JSON: %w", a.UUID, err)
	}
	if len(text) > maxRecord {
		return fmt.Errorf("alert %s: %w: it takes %d bytes, of %d at most", a.UUID, ErrTooLarge, len(text), maxRecord)
	}
	room := maxWrite // for what is written with the alert's record
	if len(text) < ownTable {
		room -= len(text)
	}
	var w blockWriter
	for kept := false; !kept; {
		part, blocks := w.portion(made)
		made = made[len(part):]
		kept = len(made) == 0 && (len(part) == 0 || size(blocks) <= room)
		err := s.write(func(txn *badger.Txn) error {
			if err := putBlocks(txn, blocks); err != nil || !kept {
				return err
			}
			return putAlert(txn, a, text)
		})
		if err != nil {
			return err
		}
		if err := s.enforce(part); err != nil {
			return err
		}
	}
	return nil
}

func putAlert(txn *badger.Txn, a *Alert, text []byte) error {
	return errors.Join(
		txn.Set(key(keyAlert, a.ID), text),
		txn.Set(named(keyUUID, a.UUID), binary.BigEndian.AppendUint64(nil, uint64(a.ID))),
	)
}

// enforce puts decisions in force that are durable.
func (s *Store) enforce(ds []decisions.Decision) error {
	for part := range slices.Chunk(ds, perExpiry) {
		if id := s.index.AddCanonical(part); id != part[0].ID {
			return fmt.Errorf("decision %d became %d: %w", part[0].ID, id, errTorn)
		}
	}
	s.changed.ring()
	return nil
}

func decided(d *decisions.Decision) Decided {
	return Decided{d.ID, d.UUID.String(), d.Origin, d.Type, d.Scope, d.Value, d.Scenario, d.Until, d.Simulated}
}

// known returns the id under which an alert is kept, 0 for none.
func (s *Store) known(id string) (n int64, err error) {
	err = s.view(func(txn *badger.Txn) error {
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
	err := s.view(func(txn *badger.Txn) error {
		item, err := txn.Get(key(keyAlert, id))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(value []byte) error {
			a = &Alert{}
			return errors.Join(json.Unmarshal(value, a), a.list(txn))
		})
	})
	return a, err
}

// list fills in the first decisions of an alert that has many.
func (a *Alert) list(txn *badger.Txn) error {
	if a.Many == 0 {
		return nil
	}
	it := newBlocks(txn)
	from, _, ok, err := it.before(a.First)
	it.Close()
	if err != nil {
		return err
	}
	if !ok {
		from = a.First
	}
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchSize = []byte{keyDecision}, 2
	forward := txn.NewIterator(o)
	defer forward.Close()
	for forward.Seek(key(keyDecision, from)); forward.Valid(); forward.Next() {
		first := int64(binary.BigEndian.Uint64(forward.Item().Key()[1:]))
		if first > a.Last {
			return nil
		}
		err := forward.Item().Value(func(value []byte) error {
			return readBlock(first, value, func(d *decisions.Decision) error {
				if d.Alert == a.ID {
					a.Decisions = append(a.Decisions, decided(d))
				}
				if len(a.Decisions) == maxListed {
					return errEnough
				}
				return nil
			})
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Alerts calls yield with the alerts that there are when it begins, the newest
// first, until it returns false. Those that are deleted meanwhile may be left
// out. It reads a page at a time, so that yield may last: no reading is open during it.
func (s *Store) Alerts(yield func(*Alert) bool) error {
	const perPage = 64
	for last := int64(math.MaxInt64); ; {
		page, err := s.alertsUpTo(last, perPage)
		if err != nil {
			return err
		}
		for _, a := range page {
			if !yield(a) {
				return nil
			}
			last = a.ID - 1
		}
		if len(page) < perPage {
			return nil
		}
	}
}

// alertsUpTo returns the newest alerts whose ids are not above the last.
func (s *Store) alertsUpTo(last int64, limit int) (page []*Alert, err error) {
	err = s.view(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.Reverse, o.PrefetchSize = []byte{keyAlert}, true, limit
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Seek(key(keyAlert, last)); it.ValidForPrefix(o.Prefix) && len(page) < limit; it.Next() {
			a := &Alert{}
			if err := it.Item().Value(func(value []byte) error { return errors.Join(json.Unmarshal(value, a), a.list(txn)) }); err != nil {
				return err
			}
			page = append(page, a)
		}
		return nil
	})
	return page, err
}

// errEnough ends a scan early.
var errEnough = errors.New("enough")

// InForce tells which alerts have decisions in force. Those with many, such as
// each reading of a block list leaves, are found out in one pass over all
// decisions, when the first of them is asked about: a pass for each would take minutes.
type InForce struct {
	s    *Store
	now  time.Time
	many map[int64]uint64 // bits by the alerts' ids; nil before that pass
}

// InForce returns what tells it as of a time. One goroutine uses it.
func (s *Store) InForce(now time.Time) *InForce { return &InForce{s: s, now: now} }

// Has tells whether an alert has a decision in force.
func (f *InForce) Has(a *Alert) bool {
	if a.Many == 0 {
		return slices.ContainsFunc(a.Decisions, func(d Decided) bool { return f.s.DecisionInForce(&d, f.now) })
	}
	if f.many == nil {
		f.many = make(map[int64]uint64)
		f.s.index.Alerts(f.now, func(alert int64) { f.many[alert>>6] |= 1 << (alert & 63) })
	}
	return f.many[a.ID>>6]&(1<<(a.ID&63)) != 0
}

// DecisionInForce tells whether a decision of an alert is in force: neither over nor withdrawn.
func (s *Store) DecisionInForce(d *Decided, now time.Time) (in bool) {
	if d.ID == 0 || !d.Until.After(now) {
		return false
	}
	f := &decisions.Filter{ID: d.ID, Scope: d.Scope, Value: d.Value}
	s.index.Select(f, now, func(*decisions.Decision) bool { in = true; return false })
	return in
}
