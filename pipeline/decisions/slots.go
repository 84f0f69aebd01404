package decisions

import (
	"net/netip"
	"time"

	"github.com/google/uuid"
)

// ref names a slot; 0 is none.
type ref uint32

// slot is a decision without a pointer in it.
type slot struct {
	id, alert int64
	until     int64 // Unix seconds
	uuid      uuid.UUID
	addr      [16]byte // of scopes with addresses, 4in6 for IPv4
	next      ref      // the next of the same value
	value     text     // of other scopes
	scope     text
	typ       text
	origin    text
	scenario  text
	bits      uint8 // of addr, from 0 to 128
	gone      Why   // Added while it is in force
	is4       bool
	simulated bool
}

const chunkSlots = 4096

// slots are kept in chunks, so that growing copies nothing.
type slots struct {
	chunks []*[chunkSlots]slot
	free   []ref
	used   ref // the highest that was ever given out
}

func (s *slots) at(r ref) *slot { return &s.chunks[r/chunkSlots][r%chunkSlots] }

func (s *slots) new() ref {
	if n := len(s.free); n > 0 {
		r := s.free[n-1]
		s.free = s.free[:n-1]
		return r
	}
	s.used++
	if int(s.used/chunkSlots) == len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkSlots]slot))
	}
	return s.used
}

func (s *slots) release(r ref) {
	*s.at(r) = slot{}
	s.free = append(s.free, r)
}

// prefix returns the address or range of a slot whose scope has one.
func (s *slot) prefix() netip.Prefix {
	a := netip.AddrFrom16(s.addr)
	if s.is4 {
		return netip.PrefixFrom(a.Unmap(), int(s.bits)-96)
	}
	return netip.PrefixFrom(a, int(s.bits))
}

func (s *slot) setPrefix(p netip.Prefix) {
	s.addr, s.is4, s.bits = p.Addr().As16(), p.Addr().Is4(), uint8(p.Bits())
	if s.is4 {
		s.bits += 96
	}
}

// text names a string of a texts; 0 is the empty one.
type text uint32

// texts keeps each string once: scopes, types, origins and scenarios are few.
type texts struct {
	all  []counted
	by   map[string]text
	free []text
}

type counted struct {
	s    string
	uses int
}

func (t *texts) use(s string) text {
	if s == "" {
		return 0
	}
	n, ok := t.by[s]
	if !ok {
		if len(t.all) == 0 {
			t.all, t.by = make([]counted, 1), make(map[string]text)
		}
		if last := len(t.free) - 1; last >= 0 {
			n, t.free = t.free[last], t.free[:last]
		} else {
			n = text(len(t.all))
			t.all = append(t.all, counted{})
		}
		s = string([]byte(s)) // the caller's may be part of something large
		t.all[n].s, t.by[s] = s, n
	}
	t.all[n].uses++
	return n
}

func (t *texts) drop(n text) {
	if n == 0 {
		return
	}
	c := &t.all[n]
	if c.uses--; c.uses == 0 {
		delete(t.by, c.s)
		c.s = ""
		t.free = append(t.free, n)
	}
}

// find returns the name of a string that is kept.
func (t *texts) find(s string) (text, bool) {
	if s == "" {
		return 0, true
	}
	n, ok := t.by[s]
	return n, ok
}

func (t *texts) get(n text) string {
	if n == 0 {
		return ""
	}
	return t.all[n].s
}

// decision returns what a slot holds.
func (x *Index) decision(s *slot) Decision {
	d := Decision{
		ID: s.id, UUID: s.uuid, Alert: s.alert, Simulated: s.simulated, Until: time.Unix(s.until, 0).UTC(),
		Origin: x.texts.get(s.origin), Type: x.texts.get(s.typ), Scope: x.texts.get(s.scope), Scenario: x.texts.get(s.scenario),
	}
	switch d.Scope {
	case ScopeIP:
		d.Value = s.prefix().Addr().String()
	case ScopeRange:
		d.Value = s.prefix().String()
	default:
		d.Value = x.texts.get(s.value)
	}
	return d
}
