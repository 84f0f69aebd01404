package enrich

import (
	"net"
	"net/netip"

	"sluice/stages/expression/funcs"
)

// GeoReader returns the databases in the form that the helpers GeoIPEnrich
// and kin read, nil when there is none.
func (s *Set) GeoReader() funcs.GeoReader {
	if s.city == nil && s.asn == nil {
		return nil
	}
	return &geoReader{s}
}

type geoReader struct{ set *Set }

// City implements funcs.GeoReader.
func (g *geoReader) City(a netip.Addr) (*funcs.City, error) {
	if g.set.city == nil {
		return nil, nil
	}
	city := &funcs.City{}
	if _, found, err := g.set.city.decode(a, city); err != nil || !found {
		return nil, err
	}
	return city, nil
}

// ASN implements funcs.GeoReader.
func (g *geoReader) ASN(a netip.Addr) (*funcs.ASN, error) {
	if g.set.asn == nil {
		return nil, nil
	}
	asn := &funcs.ASN{}
	if _, found, err := g.set.asn.decode(a, asn); err != nil || !found {
		return nil, err
	}
	return asn, nil
}

// Network implements funcs.GeoReader.
func (g *geoReader) Network(a netip.Addr) (*net.IPNet, error) {
	if g.set.asn == nil {
		return nil, nil
	}
	prefix, found, err := g.set.asn.decode(a, nil)
	if err != nil || !found {
		return nil, err
	}
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}, nil
}
