package localapi

import (
	"net/netip"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// guard slows down those who guess. Who fails to sign in too often from an
// address is answered 429 until some time has passed, whatever he knows then;
// IPv6 clients are told apart by their /64, which one of them owns.
type guard struct {
	mu     sync.Mutex
	failed *simplelru.LRU[netip.Prefix, *rate.Limiter]
}

// After a burst of failures, one in two seconds is let through.
const (
	guessBurst  = 10
	guessRate   = 0.5
	guessMemory = 10_000
)

func newGuard() *guard {
	g := &guard{}
	g.failed, _ = simplelru.NewLRU[netip.Prefix, *rate.Limiter](guessMemory, nil) // errs on a size below one only
	return g
}

func guardKey(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // of an address there is one
	return p
}

// admits tells whether an address may try to sign in.
func (g *guard) admits(a netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.failed.Get(guardKey(a))
	return !ok || l.Tokens() >= 1
}

// fails notes that an address failed to sign in.
func (g *guard) fails(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.failed.Get(guardKey(a))
	if !ok {
		l = rate.NewLimiter(guessRate, guessBurst)
		g.failed.Add(guardKey(a), l)
	}
	l.Allow()
}
