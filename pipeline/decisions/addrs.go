package decisions

import (
	"encoding/binary"
	"net/netip"
)

// addrs leads from an address to the newest decision on it. Those of IPv4 are
// most, and a map of them is less than half as large.
type addrs struct {
	v4 map[uint32]ref
	v6 map[[16]byte]ref
}

// mapped tells IPv4 addresses, in the form in which slots have them.
func mapped(a [16]byte) (v4 uint32, ok bool) {
	return binary.BigEndian.Uint32(a[12:]), binary.BigEndian.Uint64(a[:]) == 0 && binary.BigEndian.Uint32(a[8:]) == 0xffff
}

// of returns the newest decision on an address, 0 for none.
func (m *addrs) of(a netip.Addr) ref { return m.get(a.As16()) }

func (m *addrs) get(a [16]byte) ref {
	if v4, ok := mapped(a); ok {
		return m.v4[v4]
	}
	return m.v6[a]
}

// set sets the newest decision; 0 is none.
func (m *addrs) set(a [16]byte, r ref) {
	if m.v4 == nil {
		m.v4, m.v6 = make(map[uint32]ref), make(map[[16]byte]ref)
	}
	v4, ok := mapped(a)
	switch {
	case ok && r == 0:
		delete(m.v4, v4)
	case ok:
		m.v4[v4] = r
	case r == 0:
		delete(m.v6, a)
	default:
		m.v6[a] = r
	}
}
