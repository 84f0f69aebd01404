package store

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sluice/pipeline/decisions"
	"sluice/pipeline/lapi"
)

// Imported says what became of a list's decisions.
type Imported struct {
	// Added are new, and Renewed take the place of one that would have ended before.
	Added   int `json:"added"`
	Renewed int `json:"renewed"`
	// Kept were in force already, for as long, or twice on the list.
	Kept int `json:"kept"`
	// Allowed lie in an allow-list; Over had ended before they came.
	Allowed int `json:"allowed"`
	Over    int `json:"over"`
}

// importing is a list on its way in.
type importing struct {
	s      *Store
	alert  Alert // without an id until something is written
	out    Imported
	batch  []decisions.Decision
	known  map[target]int // those of the batch
	old    decisions.Found
	writer blockWriter
}

// target is what decisions are on, and what they ask for: of one origin, more than one of it is too much.
type target struct{ origin, scope, value, typ string }

// Import puts the decisions that list gives to add in force, a portion at a
// time, each durable before the next: memory holds one portion of them, and
// others write in between. A decision takes the place of one of its origin, value
// and type that would end before; where that lasts as long it stays, and the
// new one is dropped. So a list that was imported in part, or is imported
// again, is in force once. They come with one alert, which keeps none of them in its record.
func (s *Store) Import(machine string, alert lapi.Alert, list func(add func(*decisions.Decision) error) error) (Imported, error) {
	i := &importing{
		s: s, alert: Alert{UUID: uuid.NewString(), Machine: machine, Alert: alert},
		batch: make([]decisions.Decision, 0, perWrite), known: make(map[target]int, perWrite),
	}
	i.alert.Alert.Decisions = nil
	err := list(i.add)
	if err == nil {
		err = i.flush()
	}
	return i.out, errors.Join(err, i.end())
}

func (i *importing) add(d *decisions.Decision) error {
	c, err := canonical(d)
	if err != nil {
		return err
	}
	t := target{c.Origin, c.Scope, c.Value, c.Type}
	if n, twice := i.known[t]; twice {
		i.out.Kept++
		if c.Until.After(i.batch[n].Until) {
			i.batch[n] = c
		}
		return nil
	}
	i.known[t] = len(i.batch)
	i.batch = append(i.batch, c)
	if len(i.batch) < perWrite {
		return nil
	}
	return i.flush()
}

// flush writes a portion and puts it in force, and then withdraws those whose
// place it takes, so that nothing is out of force in between.
func (i *importing) flush() error {
	s := i.s
	ids := make([]byte, 16*len(i.batch))
	_, _ = rand.Read(ids) // it never fails
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	fresh := i.choose(now)
	if len(fresh) > 0 && i.alert.ID == 0 {
		if err := i.begin(now); err != nil {
			return err
		}
	}
	for n := range fresh {
		d := &fresh[n]
		d.ID, d.Alert = s.index.Seq()+1+int64(n), i.alert.ID
		copy(d.UUID[:], ids[16*n:])
		d.UUID[6], d.UUID[8] = d.UUID[6]&0x0f|0x40, d.UUID[8]&0x3f|0x80 // version 4
	}
	for len(fresh) > 0 {
		part, blocks := i.writer.portion(fresh)
		fresh = fresh[len(part):]
		if err := s.write(func(txn *badger.Txn) error { return putBlocks(txn, blocks) }); err != nil {
			return err
		}
		if err := s.enforce(part); err != nil {
			return err
		}
		i.alert.Many, i.alert.Last = i.alert.Many+len(part), part[len(part)-1].ID
	}
	i.batch = i.batch[:0]
	clear(i.known)
	n := 0
	for len(i.old) > 0 {
		if err := s.removeFew(&i.old, decisions.Deleted, &n); err != nil {
			return err
		}
	}
	return nil
}

// choose returns what of the portion is to be put in force, and notes what that replaces.
func (i *importing) choose(now time.Time) []decisions.Decision {
	fresh := i.batch[:0]
	for n := range i.batch {
		d := i.batch[n]
		if d.Until.Unix() <= now.Unix() {
			i.out.Over++
			continue
		}
		if _, ok := i.s.allowed(&d); ok {
			i.out.Allowed++
			continue
		}
		before := len(i.old)
		old, until := i.s.index.Twins(&d, now, i.old)
		switch i.old = old; {
		case len(old) == before:
			i.out.Added++
		case until.Before(d.Until):
			i.out.Renewed++
		default:
			i.old = old[:before]
			i.out.Kept++
			continue
		}
		fresh = append(fresh, d)
	}
	return fresh
}

// begin gives the alert its number, and keeps it before the first decision that names it.
func (i *importing) begin(now time.Time) error {
	s, a := i.s, &i.alert
	a.ID, a.Created = s.alerts+1, now.UTC()
	a.Many, a.First, a.Last = 1, s.index.Seq()+1, 1<<62 // what they come to is known in the end
	if err := i.keep(); err != nil {
		return err
	}
	a.Many = 0
	s.alerts, s.kept = a.ID, s.kept+1
	return s.trimAlerts()
}

// end writes down with the alert what became of the list.
func (i *importing) end() error {
	if i.alert.ID == 0 {
		return nil
	}
	i.s.mu.Lock()
	defer i.s.mu.Unlock()
	i.alert.Alert.EventsCount = int32(i.alert.Many)
	return i.keep()
}

func (i *importing) keep() error {
	text, err := json.Marshal(&i.alert)
	if err != nil {
		return fmt.Errorf("alert %s has no JSON: %w", i.alert.UUID, err)
	}
	return i.s.write(func(txn *badger.Txn) error { return putAlert(txn, &i.alert, text) })
}
