package decisions

import (
	"net/netip"
	"strings"
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
	value     name     // of other scopes
	kind      name
	bits      uint8 // of addr, from 0 to 128
	gone      Why   // Added while it is in force
	is4       bool
	simulated bool
}

const chunkSlots = 4096

// slots are kept in chunks, so that growing copies nothing.
type slots struct {
	chunks  []*[chunkSlots]slot
	outside outside[[chunkSlots]slot]
	free    []ref
	used    ref // the highest that was ever given out
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
		s.chunks = append(s.chunks, s.outside.get())
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

// kind is what decisions of one scenario have in common.
type kind struct{ scope, typ, origin, scenario string }

func kindOf(d *Decision) kind { return kind{d.Scope, d.Type, d.Origin, d.Scenario} }

func (k kind) clone() kind {
	return kind{strings.Clone(k.scope), strings.Clone(k.typ), strings.Clone(k.origin), strings.Clone(k.scenario)}
}

// kind returns the kind of a slot's decision.
func (x *Index) kind(s *slot) *kind { return x.kinds.get(s.kind) }

// decision returns what a slot holds.
func (x *Index) decision(s *slot) Decision {
	k := x.kind(s)
	d := Decision{
		ID: s.id, UUID: s.uuid, Alert: s.alert, Simulated: s.simulated, Until: time.Unix(s.until, 0).UTC(),
		Origin: k.origin, Type: k.typ, Scope: k.scope, Scenario: k.scenario,
	}
	switch d.Scope {
	case ScopeIP:
		d.Value = s.prefix().Addr().String()
	case ScopeRange:
		d.Value = s.prefix().String()
	default:
		if s.value != 0 {
			d.Value = *x.texts.get(s.value)
		}
	}
	return d
}
