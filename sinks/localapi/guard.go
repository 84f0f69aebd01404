package localapi

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// guard slows down those who guess. Who fails to sign in too often from an
// address is answered 429 until some time has passed, whatever he knows then:
// a right guess must not stand out. IPv6 clients are told apart by their /64,
// which one of them owns. A wrong key that comes again from there counts once: to
// repeat it tells nothing, and one client that has it, of many behind an
// address, keeps the others out of nothing.
type guard struct {
	now    func() time.Time
	seed   maphash.Seed
	mu     sync.Mutex
	failed *simplelru.LRU[netip.Prefix, *guesses]
}

// guesses are those of an address.
type guesses struct {
	limit *rate.Limiter
	wrong *simplelru.LRU[uint64, struct{}] // by their hashes
	turn  sync.Mutex                       // of whose password is looked at; taken before the guard's
}

// After a burst of failures, one in two seconds is let through.
const (
	guessBurst  = 10
	guessRate   = 0.5
	guessMemory = 10_000
	wrongMemory = 32 // of an address
)

func newGuard(now func() time.Time) *guard {
	g := &guard{now: now, seed: maphash.MakeSeed()}
	g.failed, _ = simplelru.NewLRU[netip.Prefix, *guesses](guessMemory, nil) // errs on a size below one only
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
	f, ok := g.failed.Get(guardKey(a))
	return !ok || f.limit.TokensAt(g.now()) >= 1
}

// turn is admits for what takes long to check, such as a password: it lets one
// from an address in at a time, until end is called. Of many who come at once
// each would otherwise be let in before the first has failed.
func (g *guard) turn(a netip.Addr) (end func(), ok bool) {
	g.mu.Lock()
	f := g.of(a)
	g.mu.Unlock()
	f.turn.Lock()
	if !g.admits(a) {
		f.turn.Unlock()
		return nil, false
	}
	return f.turn.Unlock, true
}

// fails notes that an address failed to sign in.
func (g *guard) fails(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.of(a).limit.AllowN(g.now(), 1)
}

// failsWith notes that an address failed to sign in with a key or a token,
// whose check costs nothing.
func (g *guard) failsWith(a netip.Addr, what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f, hash := g.of(a), maphash.String(g.seed, what)
	if _, again := f.wrong.Get(hash); again {
		return
	}
	f.wrong.Add(hash, struct{}{})
	f.limit.AllowN(g.now(), 1)
}

// of must be called with the lock held.
func (g *guard) of(a netip.Addr) *guesses {
	f, ok := g.failed.Get(guardKey(a))
	if !ok {
		f = &guesses{limit: rate.NewLimiter(guessRate, guessBurst)}
		f.wrong, _ = simplelru.NewLRU[uint64, struct{}](wrongMemory, nil)
		g.failed.Add(guardKey(a), f)
	}
	return f
}
