package funcs

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Resolver asks the DNS for rules. It bounds and remembers its questions
// itself, and may be asked by several goroutines at once.
type Resolver interface {
	// LookupHost returns the addresses of a name, none when it has none.
	LookupHost(name string) []string
	// Names returns the names of an address that lead back to it, in lower
	// case without the final dot.
	Names(addr netip.Addr) []string
}

// Bounds of the resolver that NewResolver makes.
const (
	resolverTimeout = 2 * time.Second
	resolverTTL     = 10 * time.Minute
	resolverSize    = 10_000 // answers of each kind
	maxConfirmed    = 8      // names of an address that are led back
)

// dns is a Resolver that asks the system's.
type dns struct {
	hosts *lru.Cache[string, answer]
	names *lru.Cache[netip.Addr, answer]
}

// answer is what the DNS said, and until when it is believed.
type answer struct {
	found []string
	until time.Time
}

// NewResolver returns a Resolver that asks the system's and remembers its
// answers, the empty ones included, for ten minutes.
func NewResolver() Resolver {
	// New errs for a size below one only.
	hosts, _ := lru.New[string, answer](resolverSize)
	names, _ := lru.New[netip.Addr, answer](resolverSize)
	return &dns{hosts, names}
}

func (r *dns) LookupHost(name string) []string {
	now := time.Now()
	if a, ok := r.hosts.Get(name); ok && now.Before(a.until) {
		return a.found
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolverTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		found = nil
	}
	r.hosts.Add(strings.Clone(name), answer{found, now.Add(resolverTTL)}) // name may alias a line
	return found
}

func (r *dns) Names(addr netip.Addr) []string {
	now := time.Now()
	if a, ok := r.names.Get(addr); ok && now.Before(a.until) {
		return a.found
	}
	found := confirmedNames(addr)
	r.names.Add(addr, answer{found, now.Add(resolverTTL)})
	return found
}

// confirmedNames are the names of an address that lead back to it, in lower
// case without the final dot.
func confirmedNames(a netip.Addr) []string {
	ctx, cancel := context.WithTimeout(context.Background(), resolverTimeout)
	defer cancel()
	names, err := net.DefaultResolver.LookupAddr(ctx, a.String())
	if err != nil {
		return nil
	}
	var out []string
	for _, n := range names[:min(len(names), maxConfirmed)] {
		back, err := net.DefaultResolver.LookupNetIP(ctx, "ip", n)
		if err != nil {
			continue
		}
		for _, b := range back {
			if b.Unmap() == a {
				out = append(out, strings.ToLower(strings.TrimSuffix(n, ".")))
				break
			}
		}
	}
	return out
}
