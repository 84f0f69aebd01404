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
	// Alert is that of an alert.
	Alert int64
	// Scope and Value are compared as they are kept; see Canonical.
	Scope, Value, Type, Scenario string
	// Prefix selects by address: decisions on it and on all that is around it,
	// or, with Within, on it and all that is inside it.
	Prefix netip.Prefix
	Within bool
	// Scopes and Origins list what is wanted. An origin "lists" also takes lists:NAME.
	Scopes, Origins []string
	// Containing and NotContaining are words of the scenario, in any case: one
	// of the former must be in it, none of the latter.
	Containing, NotContaining []string
	// Enforced leaves out simulated decisions.
	Enforced bool
}

// Select calls yield with the decisions in force that a filter selects, as they
// are when it begins, however long yield takes: no lock is held during it. Those
// that are not only removed meanwhile but forgotten (Forget) may be missing.
func (x *Index) Select(f *Filter, now time.Time, yield func(d *Decision) bool) {
	var page []Decision
	v := view{x: x}
	for next := ref(1); next != 0; {
		page = page[:0]
		x.mu.RLock()
		v.catchUp()
		next = x.some(next, x.newMatcher(f), &v, now, func(r ref) { page = append(page, x.decision(x.slots.at(r))) })
		x.mu.RUnlock()
		for i := range page {
			if !yield(&page[i]) {
				return
			}
		}
	}
}

// Alerts calls visit with the alert of every decision in force, 0 for none: with
// some more than once, and in no order. It holds a lock: visit must not call the index.
func (x *Index) Alerts(now time.Time, visit func(alert int64)) {
	for next, more := ref(1), true; more; {
		x.mu.RLock()
		end := min(next+chunkSlots, x.slots.used+1)
		for r := next; r < end; r++ {
			if s := x.slots.at(r); s.id != 0 && s.gone == Added && s.until > now.Unix() {
				visit(s.alert)
			}
		}
		next, more = end, end <= x.slots.used
		x.mu.RUnlock()
	}
}

// some calls visit with decisions in force that a matcher selects: with all of
// them, where they are found by what they are about, or with those of the slots
// from next on that one lock is held for, as a view has them, or as they are now
// where it is nil. It returns where to go on, 0 at the end. It must be called
// with the lock held.
func (x *Index) some(next ref, m *matcher, v *view, now time.Time, visit func(ref)) ref {
	f := m.f
	list := func(r ref) {
		for ; r != 0; r = x.slots.at(r).next {
			if m.inForce(x.slots.at(r), now) {
				visit(r)
			}
		}
	}
	scope := CanonicalScope(f.Scope)
	switch {
	case f.Prefix.IsValid() && f.Within && f.Prefix.IsSingleIP():
		list(x.addrs.of(f.Prefix.Addr()))
		r, _ := x.ranges.Get(f.Prefix)
		list(r)
	case f.Prefix.IsValid() && !f.Within:
		if f.Prefix.IsSingleIP() {
			list(x.addrs.of(f.Prefix.Addr()))
		}
		for _, r := range x.ranges.Supernets(f.Prefix) {
			list(r)
		}
	case m.prefix.IsValid() && scope == ScopeIP:
		list(x.addrs.of(m.prefix.Addr()))
	case m.prefix.IsValid() && scope == ScopeRange:
		r, _ := x.ranges.Get(m.prefix)
		list(r)
	case f.Value != "" && scope != "" && scope != ScopeIP && scope != ScopeRange:
		list(x.newest(scope, f.Value))
	default:
		end := min(next+chunkSlots, x.slots.used+1)
		for r := next; r < end; r++ {
			if s := x.slots.at(r); s.id != 0 && v.has(r, s) && s.until > now.Unix() && m.matches(s) {
				visit(r)
			}
		}
		if end <= x.slots.used {
			return end
		}
	}
	return 0
}

// matcher is a filter that remembers what it said of kinds.
type matcher struct {
	x      *Index
	f      *Filter
	prefix netip.Prefix  // of Value, where its scope has addresses
	kinds  map[name]bool // nil where any will do
}

func (x *Index) newMatcher(f *Filter) *matcher {
	m := &matcher{x: x, f: f}
	if f.Value != "" {
		m.prefix, _ = ParsePrefix(f.Value) // other values are compared as they are
	}
	if f.Scope != "" || f.Type != "" || f.Scenario != "" || len(f.Scopes)+len(f.Origins)+len(f.Containing)+len(f.NotContaining) > 0 {
		m.kinds = make(map[name]bool)
	}
	return m
}

func (m *matcher) matches(s *slot) bool {
	f := m.f
	switch {
	case f.ID != 0 && s.id != f.ID,
		f.Alert != 0 && s.alert != f.Alert,
		f.Enforced && s.simulated,
		f.Value != "" && !m.hasValue(s),
		f.Prefix.IsValid() && !m.inPlace(s):
		return false
	}
	if m.kinds == nil {
		return true
	}
	ok, known := m.kinds[s.kind]
	if !known {
		ok = f.takes(m.x.kind(s))
		m.kinds[s.kind] = ok
	}
	return ok
}

func (m *matcher) hasValue(s *slot) bool {
	if s.value != 0 {
		return *m.x.texts.get(s.value) == m.f.Value
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

// takes tells whether a filter selects decisions of a kind.
func (f *Filter) takes(k *kind) bool {
	scenario := strings.ToLower(k.scenario)
	in := func(word string) bool { return strings.Contains(scenario, strings.ToLower(word)) }
	switch {
	case f.Type != "" && k.typ != f.Type,
		f.Scenario != "" && k.scenario != f.Scenario,
		f.Scope != "" && k.scope != CanonicalScope(f.Scope),
		len(f.Scopes) > 0 && !slices.ContainsFunc(f.Scopes, func(s string) bool { return CanonicalScope(s) == k.scope }),
		len(f.Origins) > 0 && !slices.ContainsFunc(f.Origins, func(o string) bool { return OriginIs(k.origin, o) }),
		len(f.Containing) > 0 && !slices.ContainsFunc(f.Containing, in),
		slices.ContainsFunc(f.NotContaining, in):
		return false
	}
	return true
}

// OriginIs tells whether an origin is the one that is asked for: "lists" asks for lists:NAME, too.
func OriginIs(origin, asked string) bool {
	return asked == origin || asked == "lists" && strings.HasPrefix(origin, "lists:")
}
