package syslog

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// Source listens for syslog messages. See the package's comment.
type Source struct {
	name     string
	config   Config
	log      *slog.Logger
	clock    sources.Clock
	in       *intake.Intake
	form     *form
	prefixes []netip.Prefix // that may send; everybody may when empty
	places   []address
	labels   map[string]string // of all lines
	hostname string            // of this machine: the host of messages from local sockets that name none

	health   *sources.Health
	counters counters
	limits   *limits
	batches  batches
	desks    chan *desk
	tls      *tls.Config // set by Run, where an address needs it
	refusing atomic.Bool // the last TLS handshake failed

	mu        sync.Mutex
	listeners []*listener
	sockets   []*socket
}

// New makes the source. Nothing is opened before Run.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	in, err := intake.New(name, "syslog", c.Config, env)
	if err != nil {
		return nil, err
	}
	s := &Source{name: name, config: c, log: env.Log.With("source", name), clock: env.Clock, in: in, limits: newLimits(&c)}
	if s.form, err = newForm(&c); err != nil {
		return nil, err
	}
	if s.prefixes, err = c.allow(); err != nil {
		return nil, err
	}
	if s.places, err = c.addresses(); err != nil {
		return nil, err
	}
	if s.hostname, err = os.Hostname(); err != nil {
		s.hostname = "localhost"
	}
	s.labels = map[string]string{"type": "syslog"}
	maps.Copy(s.labels, c.Labels)
	s.health = sources.NewHealth(s.log)
	s.desks = make(chan *desk, desks)
	for range desks {
		s.desks <- s.newDesk()
	}
	return s, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Commit implements sources.Source.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	return s.in.Commit(ctx, next)
}

// Close implements sources.Source.
func (s *Source) Close() error { return s.in.Close() }

// Announce implements sources.Announcer: the addresses are all partitions that there are.
func (s *Source) Announce(tell func(...pipeline.Partition)) {
	parts := make([]pipeline.Partition, len(s.places))
	for i, a := range s.places {
		parts[i] = pipeline.Partition{Source: s.name, Topic: a.text}
	}
	tell(parts...)
}

// cutLong says that long messages are cut, and not refused.
func (s *Source) cutLong() bool { return s.config.Oversize == oversizeCut }

// Run implements sources.Source. It fails where an address cannot be listened on.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	defer s.unbind()
	for _, a := range s.places {
		if a.scheme == schemeTLS && s.tls == nil {
			var err error
			if s.tls, err = s.config.TLS.build(); err != nil {
				return err
			}
		}
		l, err := s.bind(ctx, a)
		if err != nil {
			return err
		}
		s.bound(l)
	}
	return s.in.Run(ctx, from, out, s.receive)
}

// bound remembers an open listener.
func (s *Source) bound(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, l)
	if l.scheme == schemeUDP {
		for _, c := range l.packets {
			s.sockets = append(s.sockets, &socket{conn: c})
		}
	}
	s.log.Info("listening", "listen", l.text, "address", l.addr().String())
}

// unbind closes all listeners, and takes the last count of what the kernel dropped.
func (s *Source) unbind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sample()
	for _, l := range s.listeners {
		l.close()
	}
	s.listeners, s.sockets = nil, nil
}

// receive reads all listeners until ctx is done or the pipeline takes no more.
func (s *Source) receive(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, s.unbind)()
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	for _, l := range listeners {
		for _, conn := range l.packets {
			g.Go(func() error { return s.readPackets(ctx, l, conn) })
		}
		if l.stream != nil {
			g.Go(func() error { return s.accept(ctx, g, l) })
		}
	}
	g.Go(func() error { return s.watch(ctx) })
	return g.Wait()
}

// Stats implements sources.Source.
func (s *Source) Stats() sources.Stats {
	var st sources.Stats
	s.in.Fill(&st)
	s.health.Fill(&st)
	s.mu.Lock()
	s.sample()
	s.mu.Unlock()
	st.Skipped, st.Cut = s.counters.skipped.Load(), s.counters.cut.Load()
	st.Connections = s.limits.connections()
	for r := range reasons {
		if n := s.counters.drops[r].Load(); n > 0 {
			if st.Drops == nil {
				st.Drops = make(map[string]uint64)
			}
			st.Drops[r.String()] = n
		}
	}
	return st
}

// socket is a UDP socket whose drops are counted.
type socket struct {
	conn packetConn
	last uint32
}

// sample counts what the kernel has dropped since the last time. It is called with the lock held.
func (s *Source) sample() {
	for _, c := range s.sockets {
		raw, err := c.conn.SyscallConn()
		if err != nil {
			continue
		}
		_ = raw.Control(func(fd uintptr) { // an error is that of a closed socket, which was sampled before
			if n, ok := kernelDrops(fd); ok {
				s.counters.drops[dropKernel].Add(uint64(n - c.last)) // which is right over 2³², too
				c.last = n
			}
		})
	}
}

// Times of watch.
const (
	watchEvery = 10 * time.Second
	quietAfter = 6 // times without a drop
)

// watch says once that the kernel has begun to drop datagrams, and once that it has stopped.
func (s *Source) watch(ctx context.Context) error {
	var seen uint64
	quiet := quietAfter
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.clock.After(watchEvery):
		}
		s.mu.Lock()
		s.sample()
		s.mu.Unlock()
		n := s.counters.drops[dropKernel].Load()
		switch {
		case n > seen && quiet >= quietAfter:
			s.log.Warn("messages come over UDP faster than they are taken: the kernel drops them", "dropped", n-seen,
				"remedy", "raise receive_buffer and net.core.rmem_max, or see what holds the pipeline up")
			fallthrough
		case n > seen:
			quiet = 0
		case quiet < quietAfter:
			if quiet++; quiet == quietAfter {
				s.log.Info("the kernel drops no messages any more", "dropped_in_all", n)
			}
		}
		seen = n
	}
}
