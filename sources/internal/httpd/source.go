package httpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
)

// Endpoint is a path that takes records.
type Endpoint struct {
	// Pattern is a path as http.ServeMux has them, without a method. It names the partition of its records.
	Pattern string
	// Clients are the names of keys or certificates that may send to it; all when empty.
	Clients []string
	// Block is a content type whose body is a block of snappy, whatever its Content-Encoding says.
	Block string
	// OnceByBody takes a request for a repeat when its body is that of one before, and no header says otherwise, as
	// RepeatsConfig.Body does for all.
	OnceByBody bool
	// Read makes records of a request's body, and sets its labels. Its error is Malformed, Unsupported, or one of the Request's methods.
	Read func(r *Request) error
	// NoContent answers with 204, and not with how many records were taken.
	NoContent bool
}

// Source is a source that listens for HTTP requests. See the package's comment.
type Source struct {
	name      string
	config    Config
	durable   bool // by a journal, so that waiting for room can be given up
	log       *slog.Logger
	clock     sources.Clock
	in        *intake.Intake
	endpoints []*endpoint
	prefixes  []netip.Prefix

	health   *sources.Health
	counters counters
	limits   *limits
	budget   budget
	chunks   chunks
	readers  struct {
		gzip sync.Pool
		zstd [27]sync.Pool // by the binary logarithm of the window
	}
	repeats   *repeats
	said      [reasons]atomic.Int64 // when a refusal was last told of, as a Unix time in nanoseconds
	full      atomic.Bool           // requests are told to come later
	later     atomic.Int64          // when one was last told so, as a Unix time in nanoseconds
	calm      time.Duration         // how long no request must have been told so for the log to say that it is over
	writeTime time.Duration         // how long a client may take for an answer
	keys      *keyring
	server    *http.Server

	mu        sync.Mutex
	ctx       context.Context // of the run; nil before it
	closing   bool
	handlers  sync.WaitGroup
	addresses []net.Addr
}

// endpoint is an Endpoint at work.
type endpoint struct {
	Endpoint
	turn chan struct{} // of one: whose records go into the pipeline
}

// How long the log waits before it says that clients need not come later any
// more, and how long a client may take for an answer.
const (
	calm      = 10 * time.Second
	writeTime = 10 * time.Second
)

// New makes the source of a kind. module is the records' evt.Line.Module.
// Nothing is opened before Run. The error is that of a configuration at fault.
func New(name, module string, c Config, ic intake.Config, endpoints []Endpoint, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := CheckPatterns(&c, endpoints); err != nil {
		return nil, err
	}
	env = env.Complete()
	in, err := intake.New(name, module, ic, env)
	if err != nil {
		return nil, err
	}
	s := &Source{
		name: name, config: c, durable: ic.Intake == intake.Journal, log: env.Log.With("source", name), clock: env.Clock, in: in,
		limits:  &limits{total: c.MaxConnections, each: c.MaxConnectionsPerPeer, peers: make(map[netip.Prefix]*peer)},
		budget:  budget{limit: int64(c.MaxBuffered), each: int64(c.MaxBufferedPerPeer)},
		repeats: newRepeats(c.Repeats.Remember), calm: calm, writeTime: writeTime,
	}
	s.health = sources.NewHealth(s.log)
	if s.prefixes, err = networks(c.Allow); err != nil {
		return nil, err
	}
	for _, e := range endpoints {
		s.endpoints = append(s.endpoints, &endpoint{Endpoint: e, turn: make(chan struct{}, 1)})
	}
	return s, nil
}

// CheckPatterns tells whether paths can be told apart.
func CheckPatterns(c *Config, endpoints []Endpoint) (err error) {
	defer func() {
		if r := recover(); r != nil { // how http.ServeMux says it
			err = fmt.Errorf("a path is wrong, or there twice: %v", r)
		}
	}()
	mux := http.NewServeMux()
	for _, e := range endpoints {
		if len(e.Pattern) == 0 || e.Pattern[0] != '/' {
			return fmt.Errorf("the path %q does not begin with /", e.Pattern)
		}
		mux.HandleFunc(e.Pattern, func(http.ResponseWriter, *http.Request) {})
	}
	for _, p := range c.HealthPaths {
		mux.HandleFunc(p, func(http.ResponseWriter, *http.Request) {})
	}
	return nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Commit implements sources.Source.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	return s.in.Commit(ctx, next)
}

// Announce implements sources.Announcer: the paths are all partitions that there are.
func (s *Source) Announce(tell func(...pipeline.Partition)) {
	parts := make([]pipeline.Partition, len(s.endpoints))
	for i, e := range s.endpoints {
		parts[i] = pipeline.Partition{Source: s.name, Topic: e.Pattern}
	}
	tell(parts...)
}

// Addresses are where the source listens, in the order of the configuration; none before it does.
func (s *Source) Addresses() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addresses
}

// Poison has memory overwritten when it is given back, so that tests find who still reads it.
func (s *Source) Poison() { s.chunks.poison = true }

// Stats implements sources.Source.
func (s *Source) Stats() sources.Stats {
	var st sources.Stats
	s.health.Fill(&st)
	s.in.Fill(&st)
	st.Skipped = s.counters.skipped.Load()
	st.Drops = s.counters.named()
	st.Connections = s.limits.connections()
	return st
}

// Run implements sources.Source. It fails where an address cannot be listened
// on, or a certificate or a key cannot be read.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	tls, err := s.prepare()
	if err != nil {
		return err
	}
	listeners, err := s.listen(ctx)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	return s.in.Run(ctx, from, out, func(ctx context.Context) error { return s.receive(ctx, listeners, tls) })
}

// prepare reads certificates and keys, and makes the server.
func (s *Source) prepare() (encrypted bool, err error) {
	unreadable := func(what string) func(error) {
		return func(err error) {
			s.log.Warn("a file that changed cannot be read; what it held before goes on to hold", "what", what, "error", err)
		}
	}
	if s.keys, err = newKeyring(&s.config.Auth, unreadable("keys")); err != nil {
		return false, fmt.Errorf("source %s: auth: %w", s.name, err)
	}
	server := &http.Server{
		Handler: s.mux(), ReadHeaderTimeout: s.config.HeaderTimeout, ReadTimeout: s.config.BodyTimeout, IdleTimeout: s.config.IdleTimeout,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), ConnState: s.closed, ConnContext: withConn,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 32, MaxReceiveBufferPerConnection: 128 << 10, MaxReceiveBufferPerStream: 64 << 10},
	}
	if s.config.TLS.on() {
		certs, err := newCertificates(&s.config.TLS, unreadable("certificates"))
		if err != nil {
			return false, fmt.Errorf("source %s: %w", s.name, err)
		}
		server.TLSConfig = certs.server()
	}
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	return server.TLSConfig != nil, nil
}

// connKey is the context key of a request's connection.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, own(c))
}

// receive serves until ctx is done or the pipeline takes no more. Requests that wait for an
// acknowledgement go on to wait: the last checkpoint comes behind the run.
func (s *Source) receive(ctx context.Context, listeners []*listener, encrypted bool) error {
	s.repeats.restore(s.in.Marks())
	s.mu.Lock()
	s.ctx = ctx
	for _, l := range listeners {
		s.addresses = append(s.addresses, l.Addr())
	}
	s.mu.Unlock()
	var g errgroup.Group
	for _, l := range listeners {
		stop := context.AfterFunc(ctx, func() { l.Close() })
		defer stop()
		s.log.Info("listening", "listen", l.name, "address", l.Addr().String(), "tls", encrypted)
		g.Go(func() error {
			var err error
			if encrypted {
				err = s.server.ServeTLS(l, "", "")
			} else {
				err = s.server.Serve(l)
			}
			if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
				return ctx.Err()
			}
			return fmt.Errorf("source %s: listening on %s: %w", s.name, l.name, err)
		})
	}
	return g.Wait()
}

// stopping tells whether the run is ending, or has not begun.
func (s *Source) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx == nil || s.ctx.Err() != nil
}

// enter counts a handler in and returns the run's context; false when the source is closing.
func (s *Source) enter() (context.Context, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.ctx == nil || s.ctx.Err() != nil {
		return nil, false
	}
	s.handlers.Add(1)
	return s.ctx, true
}

// goodbye is how long clients have to take the last answers.
const goodbye = 300 * time.Millisecond

// Close implements sources.Source: it answers those that still wait, and closes all connections.
func (s *Source) Close() error {
	err := s.in.Close()
	s.mu.Lock()
	s.closing = true
	server := s.server
	s.mu.Unlock()
	s.handlers.Wait()
	if server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), goodbye)
		defer cancel()
		_ = server.Shutdown(ctx) // what is not idle by then is closed
		_ = server.Close()
	}
	return err
}
