package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"sluice/pipeline/decisions"
)

// Allowlist names addresses and ranges on which nothing is decided.
type Allowlist struct {
	Name        string    `json:"name"`
	ID          string    `json:"id"`
	Description string    `json:"description"`
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
	Items       []Allowed `json:"items"`
}

// Allowed is an item of an allow-list.
type Allowed struct {
	// Value is an address or a range.
	Value   string    `json:"value"`
	Comment string    `json:"comment,omitempty"`
	Created time.Time `json:"created"`
	// Until is when it ends; zero for never.
	Until time.Time `json:"until"`
}

// allowlists are all allow-lists. Readers get the slice and never change it.
type allowlists struct {
	mu  sync.RWMutex
	all []Allowlist // sorted by name
}

func (s *Store) loadAllowlists() error {
	return s.scan(keyAllowlist, func(_, value []byte) error {
		var l Allowlist
		if err := json.Unmarshal(value, &l); err != nil {
			return err
		}
		s.allowlists.all = append(s.allowlists.all, l)
		return nil
	})
}

// lists returns the lists as they are now.
func (a *allowlists) lists() []Allowlist {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.all
}

// match returns the list and the item that an address or range lies in.
func (a *allowlists) match(p netip.Prefix, now time.Time) (list, item string, ok bool) {
	for _, l := range a.lists() {
		for i := range l.Items {
			if it := &l.Items[i]; it.covers(p, now) {
				return l.Name, it.Value, true
			}
		}
	}
	return "", "", false
}

func (it *Allowed) covers(p netip.Prefix, now time.Time) bool {
	q, err := decisions.ParsePrefix(it.Value)
	return err == nil && (it.Until.IsZero() || it.Until.After(now)) && q.Bits() <= p.Bits() && q.Contains(p.Addr())
}

// allows tells whether a decision is excepted.
func (a *allowlists) allows(d *decisions.Decision, now time.Time) bool {
	if d.Scope != decisions.ScopeIP && d.Scope != decisions.ScopeRange {
		return false
	}
	p, err := decisions.ParsePrefix(d.Value)
	if err != nil {
		return false
	}
	_, _, ok := a.match(p, now)
	return ok
}

// Allows tells whether an address or range lies in an allow-list: in which, and in which item.
func (s *Store) Allows(p netip.Prefix) (list, item string, ok bool) {
	return s.allowlists.match(p, s.Now())
}

// Allowlists returns the lists, sorted by name. They must not be changed.
func (s *Store) Allowlists() []Allowlist { return s.allowlists.lists() }

// Allowlist returns a list; it must not be changed.
func (s *Store) Allowlist(name string) (Allowlist, bool) {
	for _, l := range s.allowlists.lists() {
		if l.Name == name {
			return l, true
		}
	}
	return Allowlist{}, false
}

// SetAllowlist keeps a list in place of the one of its name, and withdraws the
// decisions that lie in it; it returns how many.
func (s *Store) SetAllowlist(l Allowlist) (withdrawn int, err error) {
	if l.Name == "" || len(l.Name) > 255 {
		return 0, errors.New("an allow-list's name has between 1 and 255 characters")
	}
	now := s.Now()
	for i := range l.Items {
		p, err := decisions.ParsePrefix(l.Items[i].Value)
		if err != nil {
			return 0, err
		}
		if l.Items[i].Value = p.String(); p.IsSingleIP() {
			l.Items[i].Value = p.Addr().String()
		}
	}
	l.Updated = now.UTC()
	if l.Created.IsZero() {
		l.Created = l.Updated
	}
	text, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(func(txn *badger.Txn) error { return txn.Set(named(keyAllowlist, l.Name), text) }); err != nil {
		return 0, err
	}
	s.allowlists.replace(l.Name, &l)
	for i := range l.Items {
		it := &l.Items[i]
		if p, err := decisions.ParsePrefix(it.Value); err == nil && it.covers(p, now) {
			if err := s.remove(&decisions.Filter{Prefix: p, Within: true}, decisions.Allowed, &withdrawn); err != nil {
				return withdrawn, err
			}
		}
	}
	return withdrawn, nil
}

// DeleteAllowlist forgets a list. What it withdrew stays withdrawn.
func (s *Store) DeleteAllowlist(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.Allowlist(name); !ok {
		return fmt.Errorf("allow-list %q: %w", name, ErrUnknown)
	}
	if err := s.write(func(txn *badger.Txn) error { return txn.Delete(named(keyAllowlist, name)) }); err != nil {
		return err
	}
	s.allowlists.replace(name, nil)
	return nil
}

// replace puts a list in place of the one of a name; nil removes it.
func (a *allowlists) replace(name string, l *Allowlist) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(a.all), func(o Allowlist) bool { return o.Name == name })
	if l != nil {
		all = append(all, *l)
	}
	slices.SortFunc(all, func(x, y Allowlist) int { return cmp.Compare(x.Name, y.Name) })
	a.all = all
}
