package funcs

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

func networkTable(resolver Resolver) []Function {
	ranges := newMemo(maxPaths, func(s string) netip.Prefix { p, _ := ParseRange(s); return p })
	return []Function{
		pure2("IpInRange", func(ip, cidr string) bool {
			p := ranges.get(cidr)
			if !p.IsValid() {
				return false
			}
			a, err := parseIP(ip)
			return err == nil && p.Contains(a)
		}),
		pure1("IsIP", func(s string) bool { _, err := parseIP(s); return err == nil }),
		pure1("IsIPV4", func(s string) bool { a, err := parseIP(s); return err == nil && a.Is4() }),
		pure1("IsIPV6", IsIPV6),
		pure2("IpToRange", IPToRange),
		{Name: "Distance", Pure: true, Types: []any{new(func(string, string, string, string) (float64, error))}, Call: distance},
		{Name: "LookupHost", Outside: true, Types: []any{new(func(string) []string)}, Call: func(args ...any) (any, error) {
			host, err := arg[string]("LookupHost", args, 0)
			if err != nil {
				return nil, err
			}
			if addrs := resolver.LookupHost(host); addrs != nil {
				return addrs, nil
			}
			return []string{}, nil // CrowdSec logs the error and gives an empty list
		}},
	}
}

// parseIP reads an address as net.ParseIP does: no zone, and an IPv4 address
// written as IPv6 is IPv4.
func parseIP(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, err
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q has a zone", s)
	}
	return a.Unmap(), nil
}

// IsIPV6 tells whether a text is an IPv6 address that is no mapped IPv4 one.
func IsIPV6(s string) bool {
	a, err := parseIP(s)
	return err == nil && a.Is6()
}

// ParseRange reads a network for Contains: of a network in IPv4-mapped form
// the IPv4 one.
func ParseRange(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// IPInRange tells whether an address lies in a network; false when either cannot be read.
func IPInRange(ip, cidr string) bool {
	a, err := parseIP(ip)
	if err != nil {
		return false
	}
	p, err := ParseRange(cidr)
	return err == nil && p.Contains(a)
}

// IPToRange returns the network of an address with a mask length such as
// "/64" or "64"; "" when either cannot be read.
func IPToRange(ip, mask string) string {
	bits, err := strconv.Atoi(strings.TrimPrefix(mask, "/"))
	if err != nil {
		return ""
	}
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}

// distance is the great-circle distance in kilometres of two places given in
// degrees; 0 when one of them is 0,0, which means unknown.
func distance(args ...any) (any, error) {
	var deg [4]float64
	for i := range deg {
		s, err := arg[string]("Distance", args, i)
		if err != nil {
			return nil, err
		}
		if deg[i], err = strconv.ParseFloat(s, 64); err != nil {
			return nil, fmt.Errorf("helper Distance: argument %d, %q, is not a number of degrees", i+1, s)
		}
	}
	if deg[0] == 0 && deg[1] == 0 || deg[2] == 0 && deg[3] == 0 {
		return 0.0, nil
	}
	const earth, rad = 6371.0, math.Pi / 180
	lat1, lon1, lat2, lon2 := deg[0]*rad, deg[1]*rad, deg[2]*rad, deg[3]*rad
	sinLat, sinLon := math.Sin((lat2-lat1)/2), math.Sin((lon2-lon1)/2)
	a := sinLat*sinLat + math.Cos(lat1)*math.Cos(lat2)*sinLon*sinLon
	return 2 * earth * math.Atan2(math.Sqrt(a), math.Sqrt(1-a)), nil
}

// unixTime reads seconds since 1970; a fraction is dropped.
func unixTime(s string) (time.Time, error) {
	whole, _, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}, fmt.Errorf("%q is not a Unix time", s)
	}
	return time.Unix(n, 0), nil
}
