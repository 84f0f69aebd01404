package syslog

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/intake"
)

// Config says where messages are listened for, and what is made of them. Start from Default.
type Config struct {
	// Listen are the addresses to listen on: `udp://HOST:PORT`, `tcp://HOST:PORT`, `tls://HOST:PORT`, or
	// `unixgram:PATH` for a datagram socket such as /dev/log. Without a host it is every address of the machine, IPv6 and IPv4.
	Listen []string `yaml:"listen"`
	// Allow are the addresses and networks, such as 192.0.2.0/24 or 2001:db8::/32, that messages are taken from.
	// Left empty everybody may send. Local sockets are not asked.
	Allow []string `yaml:"allow"`
	// Emit is what a record holds: `line`, its time, host, tag and text without the PRI, as syslog daemons write it to
	// files and the hub's parsers for the type `syslog` read it, made alike of both RFCs; `message`, only the text; `raw`,
	// what was received; or `no_pri`, what was received, without the PRI.
	Emit string `yaml:"emit"`
	// Malformed is what happens to messages that follow neither RFC 3164 nor RFC 5424: with `pass` they get the time of
	// receipt and the sender's address before them; with `drop` they are left out and counted.
	Malformed string `yaml:"malformed"`
	// Timezone is the zone of times without one, as RFC 3164 has them, such as `Europe/Berlin` or `Local`. With it such times are
	// written with their zone and the year nearest to the receipt. Left empty they are passed on as they are, and rules read them as UTC.
	Timezone string `yaml:"timezone"`
	// Headers are what is known of a message beside its line, to make labels of, as in `decode: {labels_from: {severity: "header:severity"}}`:
	// `facility`, `severity`, `host`, `app`, `pid`, `msgid`, `peer` (the sender's address), and `structured_data` (a header `sd.ID.NAME` for each parameter, up to 64).
	Headers []string `yaml:"headers"`
	// Labels are given to all lines. The label `type` is `syslog` unless it is set here, such as to `nginx` with `emit: message`.
	Labels map[string]string `yaml:"labels"`

	// Framing is how messages are told apart on `tcp://` and `tls://` addresses (RFC 6587): `octet`, a count of bytes before each; `newline`, a line end
	// behind each; or `auto`, told for each message by how it begins.
	Framing string `yaml:"framing"`
	// MaxMessage is the size of the longest message, in bytes or with a unit, at most 16MiB.
	MaxMessage component.Bytes `yaml:"max_message"`
	// Oversize is what happens to longer messages, which are counted: `cut` takes their beginning, `refuse` leaves them out.
	Oversize string `yaml:"oversize"`

	// Readers is how many sockets share a UDP port, each with a goroutine of its own; the kernel deals the senders to
	// them. 0 is one for each core, up to 4. More than one needs Linux.
	Readers int `yaml:"readers"`
	// ReceiveBuffer is the size that is asked for the receive buffer of each UDP socket: what comes while it is full is dropped by the
	// kernel, and counted. Without CAP_NET_ADMIN, net.core.rmem_max bounds it; the log says so.
	ReceiveBuffer component.Bytes `yaml:"receive_buffer"`
	// SocketMode are the permissions of Unix sockets, in octal.
	SocketMode Mode `yaml:"socket_mode"`

	// MaxConnections is how many connections to `tcp://` and `tls://` addresses there may be at a time. 0 is no bound.
	MaxConnections int `yaml:"max_connections"`
	// MaxConnectionsPerPeer is how many of them may come from one IPv4 address or one IPv6 network of 64 bits. 0 is no bound.
	MaxConnectionsPerPeer int `yaml:"max_connections_per_peer"`
	// MaxUnfinished is the memory for messages whose end has not come, over all connections. A connection that needs more than there is left is closed.
	MaxUnfinished component.Bytes `yaml:"max_unfinished"`
	// MessageTimeout is how long a connection may take for one message, from its first byte to its last. 0s is no bound.
	MessageTimeout time.Duration `yaml:"message_timeout"`
	// IdleTimeout is how long a connection may be silent between messages. 0s is no bound. Some senders lose a message when a
	// connection that they had not used for long turns out to be closed.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// TLS says how `tls://` addresses are encrypted and whom they let in.
	TLS TLSConfig `yaml:"tls"`

	intake.Config `yaml:",inline"`
}

// TLSConfig is how tls:// listeners prove themselves and check their peers (RFC 5425).
type TLSConfig struct {
	// CertFile is the certificate, in PEM, with those that lead to its authority behind it. It is read at every connection, so that it can be renewed.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the key of `cert_file`, in PEM.
	KeyFile string `yaml:"key_file"`
	// ClientCAFile has the authorities, in PEM, that clients' certificates are checked by. With it, every client must show one.
	ClientCAFile string `yaml:"client_ca_file"`
	// ClientNames are the names that a client's certificate must have one of: a DNS name or an address of its subject alternative names, or its common name.
	// Left empty every certificate of `client_ca_file` is good.
	ClientNames []string `yaml:"client_names"`
	// HandshakeTimeout is how long a client may take to set up the encryption.
	HandshakeTimeout time.Duration `yaml:"handshake_timeout"`
}

// Mode is the permissions of a file in octal, such as 0660.
type Mode fs.FileMode

// UnmarshalYAML reads octal digits as they are written: as a number, 0660 would be 432.
func (m *Mode) UnmarshalYAML(node ast.Node) error {
	text := node.GetToken().Value
	n, err := strconv.ParseUint(text, 8, 9)
	if err != nil {
		return fmt.Errorf("%q are no permissions in octal, such as 0660", text)
	}
	*m = Mode(n)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// String writes the permissions in octal.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// Values of Oversize and Malformed.
const (
	oversizeCut    = "cut"
	oversizeRefuse = "refuse"
	malformedPass  = "pass"
	malformedDrop  = "drop"
)

// The largest values of MaxMessage and ReceiveBuffer.
const (
	maxMaxMessage    = 16 << 20
	maxReceiveBuffer = 1 << 30
)

// Default returns a configuration that lacks only Listen.
func Default() Config {
	c := Config{
		Emit: emitLine, Malformed: malformedPass, Headers: headerNames(),
		Framing: framingAuto, MaxMessage: 64 << 10, Oversize: oversizeCut,
		ReceiveBuffer: 16 << 20, SocketMode: 0o666,
		MaxConnections: 4096, MaxConnectionsPerPeer: 256, MaxUnfinished: 64 << 20,
		MessageTimeout: 30 * time.Second, IdleTimeout: time.Hour,
		TLS: TLSConfig{HandshakeTimeout: 10 * time.Second}, Config: intake.Default(intake.Direct),
	}
	c.Ack = intake.AckAccepted // nobody waits for an acknowledgement
	return c
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	addresses, err := c.addresses()
	if err != nil {
		return err
	}
	if _, err := c.allow(); err != nil {
		return err
	}
	for _, e := range []struct {
		key, value string
		known      []string
	}{
		{"emit", c.Emit, []string{emitLine, emitMessage, emitRaw, emitNoPRI}},
		{"malformed", c.Malformed, []string{malformedPass, malformedDrop}},
		{"framing", c.Framing, []string{framingAuto, framingOctet, framingNewline}},
		{"oversize", c.Oversize, []string{oversizeCut, oversizeRefuse}},
	} {
		if !slices.Contains(e.known, e.value) {
			return component.Invalid(e.key, "%q is none of %s", e.value, strings.Join(e.known, ", "))
		}
	}
	for _, h := range c.Headers {
		if !slices.Contains(headerNames(), h) {
			return component.Invalid("headers", "%q is none of %s", h, strings.Join(headerNames(), ", "))
		}
	}
	if _, err := time.LoadLocation(c.Timezone); err != nil {
		return component.Invalid("timezone", "%q is no time zone that is known here, such as Europe/Berlin", c.Timezone)
	}
	if err := c.validateBounds(); err != nil {
		return err
	}
	if slices.ContainsFunc(addresses, func(a address) bool { return a.scheme == schemeTLS }) {
		if err := c.TLS.validate(); err != nil {
			return err
		}
	}
	return c.Config.Validate()
}

func (c *Config) validateBounds() error {
	switch {
	case c.MaxMessage < 64 || c.MaxMessage > maxMaxMessage:
		return component.Invalid("max_message", "%v is not between 64 and 16MiB", c.MaxMessage)
	case c.Readers < 0 || c.Readers > 64:
		return component.Invalid("readers", "%d is not between 0 (one for each core, up to 4) and 64", c.Readers)
	case c.Readers > 1 && !canReusePort:
		return component.Invalid("readers", "several readers of a port need Linux")
	case c.ReceiveBuffer < 4<<10 || c.ReceiveBuffer > maxReceiveBuffer:
		return component.Invalid("receive_buffer", "%v is not between 4KiB and 1GiB", c.ReceiveBuffer)
	case c.MaxConnections < 0:
		return component.Invalid("max_connections", "it must not be negative")
	case c.MaxConnectionsPerPeer < 0:
		return component.Invalid("max_connections_per_peer", "it must not be negative")
	case c.MaxUnfinished < c.MaxMessage:
		return component.Invalid("max_unfinished", "%v has no room for one message of %v (max_message)", c.MaxUnfinished, c.MaxMessage)
	case c.MessageTimeout < 0:
		return component.Invalid("message_timeout", "it must not be negative")
	case c.IdleTimeout < 0:
		return component.Invalid("idle_timeout", "it must not be negative")
	}
	return nil
}

// allow reads the networks; an address alone is a network of one.
func (c *Config) allow() ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(c.Allow))
	for _, text := range c.Allow {
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

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "syslog",
		Summary:  "Syslog messages over UDP, TCP, TLS and Unix datagram sockets, of RFC 3164 and RFC 5424.",
		Delivery: "at most once (from its journal: exactly once)",
		Description: "Listens on any number of addresses, each of them a partition of its own. By default a record is the line that a syslog daemon would " +
			"write to a file, and has the label `type: syslog`, so that the hub's rules find what they know. " +
			"Syslog has no acknowledgements. Over UDP what the network or the kernel drops is gone; what the kernel drops here is counted, never what the network does. " +
			"Over TCP and TLS the sender is held up while the pipeline is full, but what is under way when either side ends, in the buffers of both kernels, is lost, " +
			"and the sender does not know how much that was. With `intake: journal` what was read and synced to disk survives a crash and is counted once. " +
			"Without it, what was read behind the last checkpoint is gone as well.",
		Example: "listen: [\"udp://:514\", \"tcp://:514\", \"unixgram:/run/sluice/log\"]\nallow: [192.0.2.0/24, \"2001:db8::/32\"]\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
