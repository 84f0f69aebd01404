package decisions

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Filter selects decisions; what is empty selects all. Its fields mean what
// the parameters of the LAPI's /decisions mean.
type Filter struct {
	ID int64
	// Scope and Value are compared as they are kept; see Canonical.
	Scope, Value, Type, Scenario string
	// Prefix selects by address: decisions on it and on all that is around it,
	// or, with Within, on it and all that is inside it.
	Prefix netip.Prefix
	Within bool
	// Scopes and Origins list what is wanted. An origin "lists" also takes lists:NAME.
	Scopes, Origins []string
	// Containing and NotContaining are words of the scenario: one of the
	// former must be in it, none of the latter.
	Containing, NotContaining []string
	// Enforced leaves out simulated decisions.
	Enforced bool
}

// Select calls yield with the decisions in force that a filter selects. It
// holds a lock: yield must not call the index.
func (x *Index) Select(f *Filter, now time.Time, yield func(d *Decision) bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.each(f, now, func(r ref) bool {
		d := x.decision(x.slots.at(r))
		return yield(&d)
	})
}

// each must be called with the lock held.
func (x *Index) each(f *Filter, now time.Time, yield func(ref) bool) {
	m := x.newMatcher(f)
	at := now.Unix()
	try := func(r ref) bool {
		s := x.slots.at(r)
		return s.until <= at || s.gone != Added || !m.matches(s) || yield(r)
	}
	list := func(r ref) bool {
		for r != 0 {
			next := x.slots.at(r).next
			if !try(r) {
				return false
			}
			r = next
		}
		return true
	}
	scope := CanonicalScope(f.Scope)
	switch {
	case f.Prefix.IsValid() && !f.Within:
		if f.Prefix.IsSingleIP() && !list(x.addrs[f.Prefix.Addr().As16()]) {
			return
		}
		for _, r := range x.ranges.Supernets(f.Prefix) {
			if !list(r) {
				return
			}
		}
	case m.prefix.IsValid() && scope == ScopeIP:
		list(x.addrs[m.prefix.Addr().As16()])
	case m.prefix.IsValid() && scope == ScopeRange:
		r, _ := x.ranges.Get(m.prefix)
		list(r)
	case f.Value != "" && scope != "" && scope != ScopeIP && scope != ScopeRange:
		sc, known := x.texts.find(scope)
		v, there := x.texts.find(f.Value)
		if known && there {
			list(x.values[valueKey{sc, v}])
		}
	default:
		for r := ref(1); r <= x.slots.used; r++ {
			if x.slots.at(r).id != 0 && !try(r) {
				return
			}
		}
	}
}

// matcher is a filter with its texts looked up.
type matcher struct {
	x         *Index
	f         *Filter
	prefix    netip.Prefix // of Value, where its scope has addresses
	scopes    map[text]bool
	origins   map[text]bool
	scenarios map[text]bool
}

func (x *Index) newMatcher(f *Filter) *matcher {
	m := &matcher{x: x, f: f, scopes: make(map[text]bool), origins: make(map[text]bool), scenarios: make(map[text]bool)}
	m.prefix, _ = ParsePrefix(f.Value) // other values are compared as they are
	return m
}

func (m *matcher) matches(s *slot) bool {
	f := m.f
	switch {
	case f.ID != 0 && s.id != f.ID,
		f.Enforced && s.simulated,
		f.Type != "" && m.x.texts.get(s.typ) != f.Type,
		f.Scenario != "" && m.x.texts.get(s.scenario) != f.Scenario,
		f.Value != "" && !m.hasValue(s),
		f.Prefix.IsValid() && !m.inPlace(s):
		return false
	}
	return remembered(m.scopes, s.scope, m.scope) && remembered(m.origins, s.origin, m.origin) &&
		remembered(m.scenarios, s.scenario, m.scenario)
}

// remembered asks once for each text.
func remembered(known map[text]bool, t text, ask func(text) bool) bool {
	ok, asked := known[t]
	if !asked {
		ok = ask(t)
		known[t] = ok
	}
	return ok
}

func (m *matcher) hasValue(s *slot) bool {
	if s.value != 0 {
		return m.x.texts.get(s.value) == m.f.Value
	}
	return m.prefix.IsValid() && s.prefix() == m.prefix
}

// inPlace tells whether an address or range lies as Prefix and Within ask.
func (m *matcher) inPlace(s *slot) bool {
	if s.value != 0 {
		return false
	}
	if p := s.prefix(); m.f.Within {
		return p.Bits() >= m.f.Prefix.Bits() && m.f.Prefix.Contains(p.Addr())
	} else {
		return p.Bits() <= m.f.Prefix.Bits() && p.Contains(m.f.Prefix.Addr())
	}
}

func (m *matcher) scope(t text) bool {
	scope, f := m.x.texts.get(t), m.f
	return (f.Scope == "" || scope == CanonicalScope(f.Scope)) &&
		(len(f.Scopes) == 0 || slices.ContainsFunc(f.Scopes, func(s string) bool { return CanonicalScope(s) == scope }))
}

func (m *matcher) origin(t text) bool {
	origin := m.x.texts.get(t)
	return len(m.f.Origins) == 0 || slices.ContainsFunc(m.f.Origins, func(o string) bool {
		return o == origin || o == "lists" && strings.HasPrefix(origin, "lists:")
	})
}

func (m *matcher) scenario(t text) bool {
	scenario := m.x.texts.get(t)
	in := func(word string) bool { return strings.Contains(scenario, word) }
	return (len(m.f.Containing) == 0 || slices.ContainsFunc(m.f.Containing, in)) && !slices.ContainsFunc(m.f.NotContaining, in)
}
