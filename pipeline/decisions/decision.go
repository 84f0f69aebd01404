package decisions

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The scopes that hold addresses, as CrowdSec writes them.
const (
	ScopeIP    = "Ip"
	ScopeRange = "Range"
)

// Decision asks bouncers to do something about a value until a time.
type Decision struct {
	// ID is the decision's place among all changes of its Index, from 1.
	ID   int64
	UUID uuid.UUID
	// Alert is the id of the alert that it came from, 0 for none.
	Alert int64
	// Origin says who decided: crowdsec, cscli, lists:NAME, …
	Origin string
	// Type is the remedy: ban, captcha, throttle, …
	Type string
	// Scope and Value say about whom: Ip, Range, or anything else, such as Country.
	Scope, Value string
	// Scenario is why.
	Scenario string
	// Until is when it ends: a whole second.
	Until time.Time
	// Simulated ones are listed and not enforced.
	Simulated bool
}

// Why a decision is no longer in force.
type Why uint8

// A Change with Added is an addition; the others are removals.
const (
	Added Why = iota
	Deleted
	Expired
	Allowed // withdrawn for an allow-list
)

// String returns the reason in a word.
func (w Why) String() string {
	return [...]string{"added", "deleted", "expired", "allowed"}[w]
}

// Change is an addition or a removal, numbered from 1 without gaps.
type Change struct {
	Seq int64
	Why Why
	Decision
}

// CanonicalScope returns a scope as it is kept: CrowdSec writes Ip and Range, and takes
// them in any case.
func CanonicalScope(scope string) string {
	for _, s := range []string{ScopeIP, ScopeRange, "Country", "AS"} {
		if strings.EqualFold(s, scope) {
			return s
		}
	}
	return scope
}

// Canonical returns a decision with its scope, its value and its end as they
// are kept: an address in its shortest form, a range without host bits and of scope
// Range, a whole second, rounded up. An error says what is wrong with the value.
func Canonical(d Decision) (Decision, error) {
	d.Scope = CanonicalScope(d.Scope)
	if s := d.Until.Truncate(time.Second); s.Before(d.Until) {
		d.Until = s.Add(time.Second)
	}
	switch {
	case d.Value == "":
		return d, fmt.Errorf("a decision of scope %q has no value", d.Scope)
	case d.Until.Year() > 9999 || d.Until.Year() < 0: // it has no time in JSON
		return d, fmt.Errorf("the decision on %s %q would not end between the years 0 and 9999", d.Scope, d.Value)
	case d.Type == "":
		return d, fmt.Errorf("the decision on %s %q has no type, such as ban", d.Scope, d.Value)
	case d.Scope == ScopeIP || d.Scope == ScopeRange:
		p, err := ParsePrefix(d.Value)
		if err != nil {
			return d, err
		}
		if d.Scope == ScopeIP && !p.IsSingleIP() {
			d.Scope = ScopeRange // as cscli imports ranges
		}
		d.Value = p.String()
		if d.Scope == ScopeIP {
			d.Value = p.Addr().String()
		}
	}
	return d, nil
}

// ParsePrefix reads an address or a range, of either family. IPv4 addresses
// that are written as IPv6 (::ffff:a.b.c.d) are IPv4; zones are refused.
func ParsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is no range such as 192.0.2.0/24 or 2001:db8::/32", text)
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no address such as 192.0.2.1 or 2001:db8::1", text)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}
