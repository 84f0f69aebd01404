package allowlist

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/gaissmai/bart"

	"sluice/pipeline"
	"sluice/pipeline/decisions"
)

// Item excepts an address, a range, or the alerts that a condition holds for.
type Item struct {
	// Value is the address or range, or the condition's expression, as it is shown.
	Value string
	// Holds is the condition; nil for addresses and ranges.
	Holds func(*pipeline.Alert) (bool, error)
	// Comment says why it is there.
	Comment string
	// Until is when it ends; zero for never.
	Until time.Time
}

// List is a named list of items.
type List struct {
	Name  string
	Items []Item
}

// Match is an item that excepts something.
type Match struct{ List, Item, Comment string }

// String writes it as CrowdSec does: "192.0.2.0/24 from office (us)".
func (m Match) String() string {
	text := m.Item + " from " + m.List
	if m.Comment != "" {
		text += " (" + m.Comment + ")"
	}
	return text
}

// Set finds items. It is immutable; any goroutine may ask it, as far as its
// conditions allow that. A nil Set excepts nothing.
type Set struct {
	items      []entry
	places     bart.Table[[]int] // of items with addresses, by their prefix
	conditions []int
}

type entry struct {
	Item
	list string
}

// New makes a set. An item that is neither an address nor a range, and has no
// condition, is an error.
func New(lists []List) (*Set, error) {
	s := &Set{}
	for _, l := range lists {
		for _, it := range l.Items {
			n := len(s.items)
			if it.Holds != nil {
				s.conditions = append(s.conditions, n)
			} else {
				p, err := decisions.ParsePrefix(it.Value)
				if err != nil {
					return nil, fmt.Errorf("allow-list %s: %w", l.Name, err)
				}
				it.Value = Text(p)
				there, _ := s.places.Get(p)
				s.places.Insert(p, append(there, n))
			}
			s.items = append(s.items, entry{it, l.Name})
		}
	}
	return s, nil
}

// Text writes a range, or the address that it has alone.
func Text(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func (s *Set) match(n int) Match {
	it := &s.items[n]
	return Match{it.list, it.Value, it.Comment}
}

// current returns the first of some items that has not ended.
func (s *Set) current(items []int, now time.Time) (int, bool) {
	for _, n := range items {
		if until := s.items[n].Until; until.IsZero() || until.After(now) {
			return n, true
		}
	}
	return 0, false
}

// Covers tells whether an address or range is excepted, and by what: by an
// item around it, the narrowest first, or by one inside it.
func (s *Set) Covers(p netip.Prefix, now time.Time) (Match, bool) {
	if s == nil || !p.IsValid() || !s.places.OverlapsPrefix(p) {
		return Match{}, false
	}
	for _, items := range s.places.Supernets(p) {
		if n, ok := s.current(items, now); ok {
			return s.match(n), true
		}
	}
	for _, items := range s.places.Subnets(p) {
		if n, ok := s.current(items, now); ok {
			return s.match(n), true
		}
	}
	return Match{}, false
}

// Conditions tells whether there are any at a time.
func (s *Set) Conditions(now time.Time) bool {
	if s == nil {
		return false
	}
	_, ok := s.current(s.conditions, now)
	return ok
}

// Allows tells whether an alert is excepted, by its source or by a condition.
// A condition that fails excepts nothing; the error names it, and says nothing of the others.
func (s *Set) Allows(a *pipeline.Alert, now time.Time) (m Match, ok bool, err error) {
	if s == nil {
		return Match{}, false, nil
	}
	if p, has := Source(a); has {
		if m, ok := s.Covers(p, now); ok {
			return m, true, nil
		}
	}
	for _, n := range s.conditions {
		it := &s.items[n]
		if !it.Until.IsZero() && !it.Until.After(now) {
			continue
		}
		holds, failed := it.Holds(a)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("%s of allow-list %s: %w", it.Value, it.list, failed))
		} else if holds {
			return s.match(n), true, err
		}
	}
	return Match{}, false, err
}

// Source returns the address or range that an alert is about, false where it
// is about something else.
func Source(a *pipeline.Alert) (netip.Prefix, bool) {
	scope := decisions.CanonicalScope(a.GetScope())
	if scope != decisions.ScopeIP && scope != decisions.ScopeRange {
		return netip.Prefix{}, false
	}
	p, err := decisions.ParsePrefix(a.GetValue())
	return p, err == nil
}

// Mark is a short text that differs where other addresses and ranges are excepted.
func (s *Set) Mark(now time.Time) string {
	if s == nil {
		return ""
	}
	var values strings.Builder
	for i := range s.items {
		if it := &s.items[i]; it.Holds == nil && (it.Until.IsZero() || it.Until.After(now)) {
			values.WriteString(it.Value + "\n")
		}
	}
	if values.Len() == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(values.String()))
	return hex.EncodeToString(sum[:8])
}
