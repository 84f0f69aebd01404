package outbound

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// metadata are addresses outside of the link-local ranges under which cloud
// providers serve credentials.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23"), // Amazon's
		netip.MustParseAddr("fd20:ce::254"),    // Google's
		netip.MustParseAddr("168.63.129.16"),   // Azure's
		netip.MustParseAddr("100.100.100.200"), // Alibaba's
		netip.MustParseAddr("192.0.0.192"),     // Oracle's
		netip.MustParseAddr("fd00:42::42"),     // Scaleway's
	}
}

// linkLocal are those that most providers share, within the link-local range.
func linkLocal() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("169.254.169.254"),
		netip.MustParseAddr("169.254.170.2"), netip.MustParseAddr("169.254.170.23"), // Amazon's, for containers
	}
}

// names are the providers' own for these addresses. Google's short one, metadata, may be anybody's.
var names = []string{"metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal", "metadata.tencentyun.com"}

// CheckHost refuses the host of a URL, without its port, that is such an
// address however it is written, or a provider's name for one. What else a
// name leads to is known once it is looked up.
func CheckHost(host string) error {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if slices.Contains(names, name) {
		return fmt.Errorf("%s is the name of an address where machines keep credentials; set allow_link_local: true if it is meant", name)
	}
	a, err := netip.ParseAddr(name)
	if err != nil {
		var ok bool
		if a, ok = numbers(name); !ok {
			return nil // a name
		}
	}
	return Check(net.JoinHostPort(a.String(), "0"))
}

// numbers reads an IPv4 address as inet_aton does, which many proxies ask: one
// to four numbers, the last of which fills what is left, each decimal, octal or hexadecimal.
func numbers(text string) (netip.Addr, bool) {
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var all uint32
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		n, err := strconv.ParseUint(part, 0, bits) // 0x and 0 tell the base
		if err != nil || strings.ContainsAny(part, "_+") {
			return netip.Addr{}, false
		}
		all |= uint32(n) << (32 - 8*i - bits)
	}
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, all))), true
}

// Check refuses an address, with its port, where machines keep credentials.
func Check(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%s is no address", address)
	}
	for _, a := range append(embedded(at.Addr()), at.Addr().Unmap().WithZone("")) {
		if a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || slices.Contains(metadata(), a) {
			return fmt.Errorf("%s is an address where machines keep credentials; set allow_link_local: true if it is meant", at.Addr().Unmap())
		}
	}
	return nil
}

// localNAT64 is where a network's own translators are: RFC 8215.
var localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")

// lastFour are prefixes behind which the last four bytes are an IPv4 address:
// RFC 6052's, RFC 8215's, RFC 2765's, and ::/96.
var lastFour = []netip.Prefix{
	netip.MustParsePrefix("64:ff9b::/96"), localNAT64, netip.MustParsePrefix("::ffff:0:0:0/96"), netip.MustParsePrefix("::/96"),
}

// embedded returns the IPv4 addresses that a translator or a tunnel may make of one of IPv6.
func embedded(a netip.Addr) (out []netip.Addr) {
	if a.Is4() || a.Is4In6() || a.IsLoopback() {
		return nil
	}
	b := a.As16()
	last := netip.AddrFrom4([4]byte(b[12:]))
	if slices.ContainsFunc(lastFour, func(p netip.Prefix) bool { return p.Contains(a) }) ||
		b[10] == 0x5e && b[11] == 0xfe && b[9] == 0 && b[8]&^2 == 0 || // ISATAP's: RFC 5214
		// A network may translate under any prefix of its own: none but the addresses themselves are taken for that.
		slices.Contains(linkLocal(), last) || slices.Contains(metadata(), last) {
		out = append(out, last)
	}
	if localNAT64.Contains(a) { // prefixes of 48, 56 and 64 bits leave out the ninth byte: RFC 6052, section 2.2
		for _, four := range [][4]byte{{b[6], b[7], b[9], b[10]}, {b[7], b[9], b[10], b[11]}, [4]byte(b[9:13])} {
			if four != [4]byte{} { // the address is of a longer prefix
				out = append(out, netip.AddrFrom4(four))
			}
		}
	}
	if netip.MustParsePrefix("2002::/16").Contains(a) { // 6to4: RFC 3056
		out = append(out, netip.AddrFrom4([4]byte(b[2:6])))
	}
	return out
}
