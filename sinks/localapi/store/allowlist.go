package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sluice/pipeline"
	"sluice/pipeline/allowlist"
	"sluice/pipeline/decisions"
	"sluice/sinks/format"
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
	// Value is an address or a range; empty for an expression.
	Value string `json:"value"`
	// Expression is a condition over Alert; nothing is decided on alerts that it holds for.
	Expression string    `json:"expression,omitempty"`
	Comment    string    `json:"comment,omitempty"`
	Created    time.Time `json:"created"`
	// Until is when it ends; zero for never.
	Until time.Time `json:"until,omitzero"`
}

// Text returns what the item excepts, as it is shown.
func (it *Allowed) Text() string {
	if it.Expression != "" {
		return it.Expression
	}
	return it.Value
}

// allowlists are all allow-lists. Readers get the slice and never change it.
type allowlists struct {
	mu  sync.RWMutex
	all []Allowlist // sorted by name
	set atomic.Pointer[allowlist.Set]
}

func (s *Store) loadAllowlists() error {
	err := s.scan(keyAllowlist, func(_, value []byte) error {
		var l Allowlist
		if err := json.Unmarshal(value, &l); err != nil {
			return err
		}
		s.allowlists.all = append(s.allowlists.all, l)
		return nil
	})
	if err != nil {
		return err
	}
	set, err := allowlist.New(s.compiled(s.allowlists.all))
	if err != nil {
		return err
	}
	s.allowlists.set.Store(set)
	return nil
}

// compiled returns lists with their conditions. An expression that was kept
// and does not compile, since rules have changed, excepts nothing, and is told.
func (s *Store) compiled(all []Allowlist) []allowlist.List {
	out := make([]allowlist.List, len(all))
	for i := range all {
		out[i].Name = all[i].Name
		for j := range all[i].Items {
			it := &all[i].Items[j]
			item := allowlist.Item{Value: it.Text(), Comment: it.Comment, Until: it.Until}
			if it.Expression != "" {
				holds, err := s.condition(it.Expression)
				if err != nil {
					s.opts.Log.Warn("an expression of an allow-list excepts nothing", "list", all[i].Name, "expression", it.Expression, "error", err)
					continue
				}
				item.Holds = holds
			}
			out[i].Items = append(out[i].Items, item)
		}
	}
	return out
}

func (s *Store) condition(expression string) (func(*pipeline.Alert) (bool, error), error) {
	if s.opts.Condition == nil {
		return nil, errors.New("there are no rules here to compile it with")
	}
	return s.opts.Condition(expression)
}

// lists returns the lists as they are now.
func (a *allowlists) lists() []Allowlist {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.all
}

// sets returns what the store's lists except, and what the configuration's do.
func (s *Store) sets() [2]*allowlist.Set {
	out := [2]*allowlist.Set{s.allowlists.set.Load()}
	if s.opts.Allowlists != nil {
		out[1] = s.opts.Allowlists()
	}
	return out
}

// Allows tells whether an address or range is excepted, and by what.
func (s *Store) Allows(p netip.Prefix) (allowlist.Match, bool) {
	now := s.Now()
	for _, set := range s.sets() {
		if m, ok := set.Covers(p, now); ok {
			return m, true
		}
	}
	return allowlist.Match{}, false
}

// AllowsAlert tells whether one of the store's own lists excepts an alert, and which.
func (s *Store) AllowsAlert(a *pipeline.Alert) (allowlist.Match, bool) {
	return s.allowsAlert(s.allowlists.set.Load(), a)
}

func (s *Store) allowsAlert(set *allowlist.Set, a *pipeline.Alert) (allowlist.Match, bool) {
	m, ok, err := set.Allows(a, s.Now())
	if err != nil {
		s.opts.Log.Warn("an expression of an allow-list failed, and excepts nothing", "scenario", a.Scenario, "error", err)
	}
	return m, ok
}

// allowed tells whether a decision is excepted.
func (s *Store) allowed(d *decisions.Decision) (allowlist.Match, bool) {
	if d.Scope != decisions.ScopeIP && d.Scope != decisions.ScopeRange {
		return allowlist.Match{}, false
	}
	p, err := decisions.ParsePrefix(d.Value)
	if err != nil {
		return allowlist.Match{}, false
	}
	return s.Allows(p)
}

// exceptedBy tells whether all decisions of an alert are excepted: for its source, or for
// a condition. Alerts of block lists are about nobody.
func (s *Store) exceptedBy(n *NewAlert) (allowlist.Match, bool) {
	if n.Machine == listMachine || len(n.Decisions) == 0 {
		return allowlist.Match{}, false
	}
	if n.View == nil {
		n.View = format.FromCrowdSec(&n.Alert)
	}
	for _, set := range s.sets() {
		if m, ok := s.allowsAlert(set, n.View); ok {
			return m, true
		}
	}
	return allowlist.Match{}, false
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

// AllowlistChange says what becomes other on a list.
type AllowlistChange struct {
	// Description takes the place of the list's; empty leaves that as it is.
	Description string `json:"description,omitempty"`
	// Remove are addresses, ranges and expressions that are on the list, and are taken off.
	Remove []string `json:"remove,omitempty"`
	// Add are put on it then, each in place of an item of the same value or expression.
	Add []Allowed `json:"add,omitempty"`
}

// ChangeAllowlist changes the list of a name, as it is by then, and withdraws
// the decisions that it excepts; it returns the list and how many. One that is
// not there is made, unless something is to be taken off.
func (s *Store) ChangeAllowlist(name string, c AllowlistChange) (l Allowlist, withdrawn int, err error) {
	if name == "" || len(name) > 255 {
		return l, 0, errors.New("an allow-list's name has between 1 and 255 characters")
	}
	c.Add = slices.Clone(c.Add)
	if err := s.checkItems(c.Add); err != nil {
		return l, 0, err
	}
	if l, err = s.keepAllowlist(name, &c); err != nil {
		return l, 0, err
	}
	withdrawn, err = s.WithdrawAllowed()
	return l, withdrawn, err
}

// keepAllowlist changes a list under the lock of all writers: of two who change
// it at once, the second finds what the first has made of it.
func (s *Store) keepAllowlist(name string, c *AllowlistChange) (l Allowlist, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now().UTC()
	l, there := s.Allowlist(name)
	switch {
	case !there && len(c.Remove) > 0:
		return l, fmt.Errorf("allow-list %q: %w; `sluice allowlist list` shows those that people keep", name, ErrUnknown)
	case !there:
		l = Allowlist{Name: name, ID: uuid.NewString(), Created: now}
	}
	l.Updated, l.Description = now, cmp.Or(c.Description, l.Description)
	if l.Items, err = c.items(&l); err != nil {
		return l, err
	}
	text, err := json.Marshal(l)
	if err != nil {
		return l, err
	}
	if err := s.write(func(txn *badger.Txn) error { return txn.Set(named(keyAllowlist, name), text) }); err != nil {
		return l, err
	}
	return l, s.replaceAllowlist(name, &l)
}

// items returns what is on a list after the change. The list's own items are not touched.
func (c *AllowlistChange) items(l *Allowlist) ([]Allowed, error) {
	on, gone := make(map[string]bool, len(l.Items)), make(map[string]bool)
	for i := range l.Items {
		on[excepted(l.Items[i].Text())] = true
	}
	for _, text := range c.Remove {
		if !on[excepted(text)] {
			return nil, fmt.Errorf("%q is not on the allow-list %q", text, l.Name)
		}
		gone[excepted(text)] = true
	}
	for i := range c.Add {
		gone[excepted(c.Add[i].Text())] = true
	}
	items := slices.DeleteFunc(slices.Clone(l.Items), func(it Allowed) bool { return gone[excepted(it.Text())] })
	added := make(map[string]int) // where they are among the items
	for _, it := range c.Add {
		if it.Created.IsZero() {
			it.Created = l.Updated.Truncate(time.Second)
		}
		what := excepted(it.Text())
		if at, twice := added[what]; twice {
			items[at] = it
			continue
		}
		added[what] = len(items)
		items = append(items, it)
	}
	return items, nil
}

// excepted returns an address or a range as it is kept, however it is written,
// and an expression as it is.
func excepted(text string) string {
	if p, err := decisions.ParsePrefix(text); err == nil {
		return allowlist.Text(p)
	}
	return text
}

// checkItems brings items into the form in which they are kept.
func (s *Store) checkItems(items []Allowed) error {
	for i := range items {
		it := &items[i]
		switch {
		case (it.Value == "") == (it.Expression == ""):
			return errors.New("an item has a value or an expression, one of them")
		case it.Expression != "":
			if _, err := s.condition(it.Expression); err != nil {
				return fmt.Errorf("expression %q: %w", it.Expression, err)
			}
		default:
			p, err := decisions.ParsePrefix(it.Value)
			if err != nil {
				return err
			}
			it.Value = allowlist.Text(p)
		}
	}
	return nil
}

// WithdrawAllowed withdraws what was decided on what is excepted now, and
// returns how much. Whatever is decided meanwhile is held to the same lists.
func (s *Store) WithdrawAllowed() (withdrawn int, err error) {
	s.mu.Lock() // whoever is about to decide, and was held to the lists of before, has done so then
	now := s.Now()
	s.mu.Unlock()
	conditions := false
	for _, set := range s.sets() {
		conditions = conditions || set.Conditions(now)
	}
	var out []decisions.Decision
	alerts := make(map[int64][]decisions.Decision) // decisions by their alerts, which conditions look at
	_, err = s.index.Startup(&decisions.Filter{}, now, false, func(page []decisions.Decision) error {
		for i := range page {
			d := &page[i]
			if _, ok := s.allowed(d); ok {
				out = append(out, decisions.Decision{ID: d.ID, Scope: d.Scope, Value: d.Value})
			} else if conditions && d.Alert != 0 && !strings.HasPrefix(d.Origin, ListOrigin("")) {
				alerts[d.Alert] = append(alerts[d.Alert], decisions.Decision{ID: d.ID, Scope: d.Scope, Value: d.Value})
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for id, ds := range alerts {
		a, err := s.Alert(id)
		if err != nil {
			return 0, err
		}
		if a == nil {
			continue
		}
		if _, ok := s.exceptedBy(&NewAlert{Machine: a.Machine, Alert: a.Alert, Decisions: ds}); ok {
			out = append(out, ds...)
		}
	}
	return s.withdrawAll(out, decisions.Allowed)
}

// DeleteAllowlist forgets a list. What it withdrew stays withdrawn.
func (s *Store) DeleteAllowlist(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.Allowlist(name); !ok {
		return fmt.Errorf("allow-list %q: %w; `sluice allowlist list` shows those that people keep", name, ErrUnknown)
	}
	if err := s.write(func(txn *badger.Txn) error { return txn.Delete(named(keyAllowlist, name)) }); err != nil {
		return err
	}
	return s.replaceAllowlist(name, nil)
}

// replaceAllowlist puts a list in place of the one of a name; nil removes it.
func (s *Store) replaceAllowlist(name string, l *Allowlist) error {
	a := &s.allowlists
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(a.all), func(o Allowlist) bool { return o.Name == name })
	if l != nil {
		all = append(all, *l)
	}
	slices.SortFunc(all, func(x, y Allowlist) int { return cmp.Compare(x.Name, y.Name) })
	set, err := allowlist.New(s.compiled(all))
	if err != nil {
		return err
	}
	a.all = all
	a.set.Store(set)
	return nil
}

// AllowMark is a short text that differs where other addresses are allowed.
func (s *Store) AllowMark() string {
	now, out := s.Now(), ""
	for _, set := range s.sets() {
		out += set.Mark(now) + "/"
	}
	return out
}
