package httpd

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"sluice/pipeline/component"
)

// Config says where requests are listened for, who may send them, and how much
// they may hold. It is inlined into a source's configuration: `yaml:",inline"`.
type Config struct {
	// Listen are the addresses to listen on, `HOST:PORT`. Without a host it is every address of the machine, IPv6 and IPv4.
	Listen []string `yaml:"listen"`
	// Allow are the addresses and networks, such as 192.0.2.0/24 or 2001:db8::/32, that connections are taken from.
	// Left empty everybody may connect.
	Allow []string `yaml:"allow"`
	// Auth says who may send. With nothing in it, whoever can connect may.
	Auth AuthConfig `yaml:"auth"`
	// TLS says how connections are encrypted, and which clients' certificates are taken.
	TLS TLSConfig `yaml:"tls"`
	// HealthPaths are paths that answer GET with 200 while requests are taken and with 503 while they would be told to come later,
	// for load balancers and senders that look first. They ask for no key.
	HealthPaths []string `yaml:"health_paths"`

	// MaxBody is how large the body of a request may be once it is decompressed, at most 64MiB. Larger ones are answered with 413.
	MaxBody component.Bytes `yaml:"max_body"`
	// MaxCompressed is how large a compressed body may be as it comes.
	MaxCompressed component.Bytes `yaml:"max_compressed"`
	// MaxRecords is how many records a request may hold. One with more is answered with 413.
	MaxRecords int `yaml:"max_records"`
	// MaxBuffered is the memory for all bodies together, from their first byte until their records are in the journal, or through the
	// pipeline. Requests that find none left are answered with 429.
	MaxBuffered component.Bytes `yaml:"max_buffered"`
	// MaxBufferedPerPeer is how much of it one IPv4 address or one IPv6 network of 64 bits may hold. 0 is no bound. Raise it where all requests come through a proxy.
	MaxBufferedPerPeer component.Bytes `yaml:"max_buffered_per_peer"`
	// Wait is how long a request may wait, for room in the pipeline or the journal, and then for its acknowledgement. After that it is
	// answered with 429 where nothing of it was taken, and with 503 where nobody knows yet.
	Wait time.Duration `yaml:"wait"`
	// RetryAfter is what clients that are told to come later are told to wait, in whole seconds.
	RetryAfter time.Duration `yaml:"retry_after"`
	// Repeats says how requests that a client sends again, because it got no answer, are known.
	Repeats RepeatsConfig `yaml:"repeats"`

	// MaxConnections is how many connections there may be at a time. More are closed at once. 0 is no bound.
	MaxConnections int `yaml:"max_connections"`
	// MaxConnectionsPerPeer is how many of them may come from one IPv4 address or one IPv6 network of 64 bits. 0 is no bound.
	MaxConnectionsPerPeer int `yaml:"max_connections_per_peer"`
	// HeaderTimeout is how long a client may take to set up TLS, and to send the head of a request.
	HeaderTimeout time.Duration `yaml:"header_timeout"`
	// BodyTimeout is how long a client may take to send a whole request, its body included.
	BodyTimeout time.Duration `yaml:"body_timeout"`
	// IdleTimeout is how long a connection may be silent between two requests.
	IdleTimeout time.Duration `yaml:"idle_timeout"`

	// Labels are given to all lines.
	Labels map[string]string `yaml:"labels"`
}

// RepeatsConfig says how a request that comes again is known. What is known is
// kept with the records, so with `intake: journal` it is known after a crash, too.
type RepeatsConfig struct {
	// Headers are the headers that may hold a key of the request's own, the first one that is there counts: a request with the key of one
	// before is answered as that was, and its records are not counted again. With another body it is answered with 422. Name only headers whose value is never used
	// for two different requests.
	Headers []string `yaml:"headers"`
	// Body true takes the digest of the body for the key where no header has one: for bodies that are never the same twice, since their records have times or ids.
	Body bool `yaml:"body"`
	// Remember is how many keys are remembered, the newest ones. 0 remembers none.
	Remember int `yaml:"remember"`
}

// Default returns a configuration that lacks only Listen.
func Default() Config {
	return Config{
		HealthPaths: []string{"/health", "/ready"}, MaxBody: 16 << 20, MaxCompressed: 16 << 20, MaxRecords: 100_000, MaxBuffered: 128 << 20, MaxBufferedPerPeer: 64 << 20,
		Wait: 30 * time.Second, RetryAfter: 2 * time.Second, Repeats: RepeatsConfig{Headers: []string{"Idempotency-Key"}, Remember: 10_000},
		MaxConnections: 1024, MaxConnectionsPerPeer: 256,
		HeaderTimeout: 10 * time.Second, BodyTimeout: time.Minute, IdleTimeout: 5 * time.Minute,
	}
}

// The largest values of some keys.
const (
	maxMaxBody  = 64 << 20
	maxRecords  = 1_000_000
	maxRemember = 100_000
)

// Validate checks the configuration. Call it from the source's own Validate.
func (c *Config) Validate() error {
	if len(c.Listen) == 0 {
		return component.Invalid("listen", "name at least one address, such as 127.0.0.1:8080")
	}
	for _, l := range c.Listen {
		if _, port, err := net.SplitHostPort(l); err != nil || port == "" {
			return component.Invalid("listen", "%q is no address such as 127.0.0.1:8080 or :8080", l)
		}
	}
	if _, err := networks(c.Allow); err != nil {
		return err
	}
	if err := c.Auth.validate(); err != nil {
		return err
	}
	if err := c.TLS.validate(); err != nil {
		return err
	}
	if err := c.validateBodies(); err != nil {
		return err
	}
	for _, p := range c.HealthPaths {
		if !strings.HasPrefix(p, "/") {
			return component.Invalid("health_paths", "%q does not begin with /", p)
		}
	}
	switch {
	case c.MaxConnections < 0:
		return component.Invalid("max_connections", "it must not be negative")
	case c.MaxConnectionsPerPeer < 0:
		return component.Invalid("max_connections_per_peer", "it must not be negative")
	case c.HeaderTimeout <= 0:
		return component.Invalid("header_timeout", "it must be more than 0s")
	case c.BodyTimeout < c.HeaderTimeout:
		return component.Invalid("body_timeout", "it includes the head, so it must not be less than header_timeout (%v)", c.HeaderTimeout)
	case c.IdleTimeout <= 0:
		return component.Invalid("idle_timeout", "it must be more than 0s")
	}
	return nil
}

func (c *Config) validateBodies() error {
	switch r := &c.Repeats; {
	case c.MaxBody < 1<<10 || c.MaxBody > maxMaxBody:
		return component.Invalid("max_body", "%v is not between 1KiB and 64MiB", c.MaxBody)
	case c.MaxCompressed < 1<<10 || c.MaxCompressed > maxMaxBody:
		return component.Invalid("max_compressed", "%v is not between 1KiB and 64MiB", c.MaxCompressed)
	case c.MaxRecords < 1 || c.MaxRecords > maxRecords:
		return component.Invalid("max_records", "%d is not between 1 and %d", c.MaxRecords, maxRecords)
	case c.MaxBuffered < 4*max(c.MaxBody, c.MaxCompressed) && c.MaxBuffered < 64<<20 || c.MaxBuffered < 2*max(c.MaxBody, c.MaxCompressed):
		return component.Invalid("max_buffered", "%v has no room for a few bodies of %v (max_body)", c.MaxBuffered, max(c.MaxBody, c.MaxCompressed))
	case c.MaxBufferedPerPeer > 0 && c.MaxBufferedPerPeer < 2*max(c.MaxBody, c.MaxCompressed):
		return component.Invalid("max_buffered_per_peer", "%v has no room for a body of %v (max_body), which may take twice as much while it is read", c.MaxBufferedPerPeer, max(c.MaxBody, c.MaxCompressed))
	case c.Wait <= 0:
		return component.Invalid("wait", "it must be more than 0s")
	case c.RetryAfter < time.Second:
		return component.Invalid("retry_after", "it must be at least 1s")
	case r.Remember < 0 || r.Remember > maxRemember:
		return component.Invalid("repeats.remember", "%d is not between 0 and %d", r.Remember, maxRemember)
	}
	return nil
}

// networks reads addresses and networks; an address alone is a network of one.
func networks(list []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(list))
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if a, aerr := netip.ParseAddr(text); aerr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Zone() != "" {
			return nil, component.Invalid("allow", "%q is neither an address nor a network such as 192.0.2.0/24 or 2001:db8::/32", text)
		}
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return nil, component.Invalid("allow", "%q: write it as a network of IPv4 or of IPv6", text)
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
