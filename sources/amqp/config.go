package amqp

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sources"
	"sluice/sources/intake"
)

// The ways to sign in.
const (
	saslPlain    = "plain"
	saslExternal = "external"
)

// The types of queues that are created.
const (
	typeQuorum  = "quorum"
	typeClassic = "classic"
)

// Config says which queues of which broker are read. Start from Default.
type Config struct {
	// Brokers are the broker's addresses, amqp://host:5672/vhost or
	// amqps://host:5671/vhost; the vhost is / when left out. A user and a password may stand in them,
	// and are never logged. When the one in use fails the next is tried.
	Brokers []component.Secret `yaml:"brokers"`
	// TLS is for amqps: how the broker's certificate is checked, and the client's own certificate.
	TLS tlsclient.Config `yaml:"tls"`
	// SASL is plain, which signs in with a username and a password, or external, with the client's certificate.
	SASL string `yaml:"sasl"`
	// Username signs in with a password; guest with the password guest when neither it nor the address has one.
	Username string `yaml:"username"`
	// Password is that of username. It is never logged.
	Password component.Secret `yaml:"password"`
	// PasswordFile holds the password instead. It is read at every connection; its last line end does not count.
	PasswordFile string `yaml:"password_file"`
	// Queues are read side by side. They must be there, unless create says otherwise.
	Queues []string `yaml:"queues"`
	// Create makes queues that are not there.
	Create Create `yaml:"create"`
	// Prefetch is how many messages of a queue the broker sends ahead of
	// their acknowledgement, at most. So many are held in memory, however large they are.
	Prefetch int `yaml:"prefetch"`
	// UniqueMessageID says that publishers give every message a message_id of
	// its own. Those that the broker delivers again are then known by it, and counted once.
	UniqueMessageID bool `yaml:"unique_message_id"`
	// MaxPayloadBytes cuts longer messages; what was cut is counted.
	MaxPayloadBytes component.Bytes `yaml:"max_payload_bytes"`
	// Heartbeat is how often both sides show that they are there, in whole seconds.
	// Three of them without a sign end the connection.
	Heartbeat time.Duration `yaml:"heartbeat"`
	// ConnectTimeout bounds connecting and signing in.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// BackoffMin is the first wait after a failure. It doubles with each failure in a row.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest wait between two attempts.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// Labels are given to all lines.
	Labels map[string]string `yaml:"labels"`

	intake.Config `yaml:",inline"`
}

// Create says how queues are made.
type Create struct {
	// Type is quorum or classic: queues that are not there are made durable and of this type. Empty makes none.
	Type string `yaml:"type"`
	// Bindings are made for each queue that is read.
	Bindings []Binding `yaml:"bindings"`
}

// Binding brings the messages of an exchange into the queues.
type Binding struct {
	// Exchange is an exchange that is there.
	Exchange string `yaml:"exchange"`
	// RoutingKey is a key, or a pattern for an exchange of type topic: * is one word, # any number of them.
	RoutingKey string `yaml:"routing_key"`
}

// Default returns the configuration of no broker yet.
func Default() Config {
	return Config{
		SASL: saslPlain, Prefetch: 500, MaxPayloadBytes: 1 << 20, Heartbeat: 10 * time.Second, ConnectTimeout: 10 * time.Second,
		BackoffMin: 100 * time.Millisecond, BackoffMax: 10 * time.Second, Config: intake.Default("journal"),
	}
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	for _, check := range []func() error{c.validateBrokers, c.TLS.Validate, c.validateSignIn, c.validateQueues, c.Config.Validate} {
		if err := check(); err != nil {
			return err
		}
	}
	switch {
	case c.Prefetch < 1 || c.Prefetch > 65535:
		return component.Invalid("prefetch", "it must be from 1 to 65535")
	case c.MaxPayloadBytes < 1:
		return component.Invalid("max_payload_bytes", "at least 1 is needed")
	case c.Heartbeat < time.Second || c.Heartbeat > time.Hour || c.Heartbeat%time.Second != 0:
		return component.Invalid("heartbeat", "it must be whole seconds, from 1s to 1h")
	case c.ConnectTimeout <= 0:
		return component.Invalid("connect_timeout", "it must be more than 0s")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return component.Invalid("backoff_max", "0s < backoff_min ≤ backoff_max must hold")
	}
	return nil
}

func (c *Config) validateBrokers() error {
	if len(c.Brokers) == 0 {
		return component.Invalid("brokers", "name at least one, such as amqp://localhost:5672")
	}
	for _, text := range c.Brokers {
		b, err := parseBroker(text)
		switch {
		case err != nil:
			return component.Invalid("brokers", "%v", err)
		case b.username != "" && c.Username != "":
			return component.Invalid("username", "the address of %s has one already", b.address)
		}
	}
	return nil
}

func (c *Config) validateSignIn() error {
	switch {
	case c.SASL != saslPlain && c.SASL != saslExternal:
		return component.Invalid("sasl", "%q is neither plain nor external", c.SASL)
	case c.SASL == saslExternal && c.TLS.CertFile == "":
		return component.Invalid("sasl", "external signs in with the client's certificate: set tls.cert_file and tls.key_file")
	case c.SASL == saslExternal && (c.Username != "" || c.Password != "" || c.PasswordFile != ""):
		return component.Invalid("sasl", "external needs no username and no password")
	case c.Username == "" && (c.Password != "" || c.PasswordFile != ""):
		return component.Invalid("username", "a password needs one")
	case c.Username != "" && (c.Password == "") == (c.PasswordFile == ""):
		return component.Invalid("password", "give password or password_file, one of them")
	}
	return nil
}

func (c *Config) validateQueues() error {
	if len(c.Queues) == 0 {
		return component.Invalid("queues", "name at least one")
	}
	seen := make(map[string]bool)
	for _, q := range c.Queues {
		if q == "" || len(q) > 255 || seen[q] {
			return component.Invalid("queues", "%q is empty, longer than 255 bytes, or there twice", q)
		}
		seen[q] = true
	}
	if !slices.Contains([]string{"", typeQuorum, typeClassic}, c.Create.Type) {
		return component.Invalid("create.type", "%q is neither quorum nor classic", c.Create.Type)
	}
	if c.Create.Type == "" && len(c.Create.Bindings) > 0 {
		return component.Invalid("create.bindings", "bindings are made only where queues are: set create.type")
	}
	for _, b := range c.Create.Bindings {
		if b.Exchange == "" {
			return component.Invalid("create.bindings", "a binding needs an exchange; the default exchange is bound to every queue already")
		}
	}
	return nil
}

// broker is an address.
type broker struct {
	address            string // host:port
	host               string
	vhost              string
	encrypted          bool
	username, password string
}

// name is how the broker is called in the log.
func (b *broker) name() string {
	scheme := "amqp"
	if b.encrypted {
		scheme = "amqps"
	}
	return fmt.Sprintf("%s://%s/%s", scheme, b.address, url.PathEscape(b.vhost))
}

// parseBroker reads an address. Its errors show nothing of what may be a secret.
func parseBroker(text component.Secret) (broker, error) {
	u, err := url.Parse(text.Reveal())
	if err != nil {
		return broker{}, errors.New("an address is no URL such as amqp://user:password@host:5672/vhost; what is special in it, such as @ or / in a password, is written %40 or %2F")
	}
	ports := map[string]string{"amqp": "5672", "amqps": "5671"}
	port, known := ports[u.Scheme]
	switch {
	case !known:
		return broker{}, errors.New("an address does not begin with amqp:// or amqps://")
	case u.Hostname() == "":
		return broker{}, errors.New("an address has no host")
	case u.RawQuery != "" || u.Fragment != "":
		return broker{}, fmt.Errorf("the address of %s has a query or a fragment: set what it says by keys of their own", u.Host)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	b := broker{address: net.JoinHostPort(u.Hostname(), port), host: u.Hostname(), vhost: "/", encrypted: u.Scheme == "amqps"}
	if path := strings.TrimPrefix(u.Path, "/"); path != "" {
		b.vhost = path
	}
	if u.User != nil {
		b.username = u.User.Username()
		b.password, _ = u.User.Password()
	}
	return b, nil
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:    "amqp",
		Summary: "Queues of RabbitMQ, by AMQP 0-9-1.",
		Description: "Consumes classic and quorum queues and acknowledges messages once they are safe: with `intake: journal`, when they are synced to disk; " +
			"with `intake: direct` and `ack: checkpoint`, when a checkpoint holds them, and then `prefetch` messages a checkpoint bound the rate.\n\n" +
			"Messages that were not acknowledged are delivered again after a crash or a lost connection, and count twice if they were taken before. With " +
			"`unique_message_id: true` and `intake: journal` they are known by their message_id, and each counts once: the ids of the last 2 × `prefetch` messages of a queue are kept in " +
			"the journal with the messages, which is more than can be unacknowledged. A message whose id is among them is left out only if the broker says that it delivered it before.\n\n" +
			"A queue is a partition, so `labels_from: {queue: topic}` gives its name. The routing key is the record's key. Headers of the message, and its exchange, " +
			"routing_key, message_id, app_id, content_type and message_type, are headers of the record: `decode: {labels_from: {type: header:type}}` makes one a label.\n\n" +
			"Queues are never made, nor is anything bound, unless `create` asks for it.",
		Example:  "brokers: [\"amqp://user:password@localhost:5672\"]\nqueues: [logs]\nlabels: {type: syslog}\n",
		Delivery: "at least once (exactly once with unique_message_id)",
		Default:  Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
