package enrich

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// Resolver finds the names of an address.
type Resolver interface {
	// Lookup returns the names of addr, none when it has none. It may block
	// until ctx ends; any goroutine may call it.
	Lookup(ctx context.Context, addr string) ([]string, error)
}

// NamesOptions bound the look-ups of a Names.
type NamesOptions struct {
	// LookupAddr asks the outside; nil asks the system's resolver.
	LookupAddr func(ctx context.Context, addr string) ([]string, error)
	// Timeout ends one question; 3 s when 0.
	Timeout time.Duration
	// Found and Missing are how long names, and the lack of them, are remembered; 1 h and 5 min when 0.
	Found, Missing time.Duration
	// Size is how many addresses are remembered; 16,384 when 0.
	Size int
	// Concurrency is how many questions may be under way; 32 when 0.
	Concurrency int
	// Now is the clock of the memory; nil is time.Now.
	Now func() time.Time
}

// Names is a Resolver with a memory. Questions for one address are asked
// once, however many wait for the answer, and a slow one delays no other.
type Names struct {
	opts   NamesOptions
	memory *lru.Cache[netip.Addr, remembered]
	flight singleflight.Group
	slots  chan struct{}
}

type remembered struct {
	names []string
	err   error
	until time.Time
}

// NewNames returns a Names that remembers nothing yet.
func NewNames(o NamesOptions) (*Names, error) {
	if o.LookupAddr == nil {
		o.LookupAddr = net.DefaultResolver.LookupAddr
	}
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	if o.Found == 0 {
		o.Found = time.Hour
	}
	if o.Missing == 0 {
		o.Missing = 5 * time.Minute
	}
	if o.Size == 0 {
		o.Size = 16 << 10
	}
	if o.Concurrency == 0 {
		o.Concurrency = 32
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	memory, err := lru.New[netip.Addr, remembered](o.Size)
	if err != nil {
		return nil, fmt.Errorf("reverse DNS: a memory of %d addresses: %w", o.Size, err)
	}
	return &Names{opts: o, memory: memory, slots: make(chan struct{}, o.Concurrency)}, nil
}

// Lookup implements Resolver. A text that is no address has no names.
func (n *Names) Lookup(ctx context.Context, addr string) ([]string, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, nil
	}
	a = a.Unmap().WithZone("")
	if m, ok := n.memory.Get(a); ok && n.opts.Now().Before(m.until) {
		return m.names, m.err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The question outlives a caller that gives up: others may wait for it,
	// and its answer is remembered.
	answer := n.flight.DoChan(a.String(), func() (any, error) {
		// Another question may have been answered since the memory was looked at.
		if m, ok := n.memory.Get(a); ok && n.opts.Now().Before(m.until) {
			return m, nil
		}
		return n.ask(a), nil
	})
	select {
	case res := <-answer:
		m := res.Val.(remembered)
		return m.names, m.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *Names) ask(a netip.Addr) remembered {
	ctx, cancel := context.WithTimeout(context.Background(), n.opts.Timeout)
	defer cancel()
	var m remembered
	select {
	case n.slots <- struct{}{}:
		m.names, m.err = n.opts.LookupAddr(ctx, a.String())
		<-n.slots
	case <-ctx.Done():
		return remembered{err: fmt.Errorf("reverse DNS: %s waited %s for its turn", a, n.opts.Timeout)}
	}
	ttl := n.opts.Found
	if len(m.names) == 0 || m.err != nil {
		ttl = n.opts.Missing
	}
	var missing *net.DNSError
	switch {
	case errors.As(m.err, &missing) && missing.IsNotFound:
		m.names, m.err = nil, nil
	case m.err != nil:
		m.names, m.err = nil, fmt.Errorf("reverse DNS of %s: %w", a, m.err)
	}
	m.until = n.opts.Now().Add(ttl)
	n.memory.Add(a, m)
	return m
}
