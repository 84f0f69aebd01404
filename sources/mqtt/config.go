package mqtt

import (
	"fmt"
	"net"
	"net/url"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sources"
	"sluice/sources/intake"
)

// What is done with retained messages.
const (
	retainedRead = "read"
	retainedSkip = "skip"
)

// Config says which topics of which broker are read. Start from Default.
type Config struct {
	// Brokers are the broker's addresses, mqtt://host:1883, mqtts://host:8883,
	// ws://host/mqtt or wss://host/mqtt. When the one in use fails the next is tried.
	Brokers []string `yaml:"brokers"`
	// TLS is for mqtts and wss: how the broker's certificate is checked, and the client's own certificate.
	TLS tlsclient.Config `yaml:"tls"`
	// Username signs in with a password; none does without.
	Username string `yaml:"username"`
	// Password is that of username. It is never logged.
	Password component.Secret `yaml:"password"`
	// PasswordFile holds the password instead. It is read at every connection; its last line end does not count.
	PasswordFile string `yaml:"password_file"`
	// ClientID is the name under which the broker keeps the session. No two
	// clients of a broker may have the same one. It is needed unless clean_session is true.
	ClientID string `yaml:"client_id"`
	// CleanSession true has the broker forget the session with the
	// connection: what comes meanwhile, and what was not acknowledged, is lost.
	CleanSession bool `yaml:"clean_session"`
	// Subscriptions are the topics to read. They should not overlap: a broker
	// may deliver a message once for each that matches its topic.
	Subscriptions []Subscription `yaml:"subscriptions"`
	// Retained is read or skip: what to do with messages that the broker had kept from
	// before the subscription. It may send them again whenever the source subscribes anew.
	Retained string `yaml:"retained"`
	// MaxPayloadBytes cuts longer messages; what was cut is counted.
	MaxPayloadBytes component.Bytes `yaml:"max_payload_bytes"`
	// KeepAlive is how often the client and the broker make sure of each
	// other, in whole seconds. One and a half of it without a sign ends the connection.
	KeepAlive time.Duration `yaml:"keep_alive"`
	// ConnectTimeout bounds connecting, signing in and subscribing.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// BackoffMin is the first wait after all brokers failed. It doubles with each failure in a row.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest wait between two attempts.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// LastWill tells others whether the source is alive.
	LastWill LastWill `yaml:"last_will"`
	// Labels are given to all lines.
	Labels map[string]string `yaml:"labels"`

	intake.Config `yaml:",inline"`
}

// Subscription is a topic filter.
type Subscription struct {
	// Filter is a topic filter: + stands for one level and # at the end for all that follow;
	// {name} is a + and {name...} a # that becomes a label of that name, as in
	// devices/{device}/auth. $share/GROUP/FILTER shares the messages among the group's clients.
	Filter string `yaml:"filter"`
	// QoS is the highest quality of service to ask for: 0, 1 or 2. The broker
	// lowers it to that which the message was published with.
	QoS int `yaml:"qos"`
	// Labels are given to the lines of this filter, such as type: nginx. They win over the source's.
	Labels map[string]string `yaml:"labels"`
}

// LastWill is a message that says that the source is gone.
type LastWill struct {
	// Topic is where it goes; there is no last will without one.
	Topic string `yaml:"topic"`
	// Payload is what the broker publishes when the connection is lost, and the source when it stops.
	Payload string `yaml:"payload"`
	// Online is what the source publishes when it is connected; nothing when empty.
	Online string `yaml:"online"`
	// QoS is that of both messages: 0, 1 or 2.
	QoS int `yaml:"qos"`
	// Retain has the broker keep the last of them for those who subscribe later.
	Retain bool `yaml:"retain"`
}

// Default returns the configuration of no broker yet.
func Default() Config {
	return Config{
		Retained: retainedRead, MaxPayloadBytes: 1 << 20, KeepAlive: 30 * time.Second, ConnectTimeout: 10 * time.Second,
		BackoffMin: 100 * time.Millisecond, BackoffMax: 10 * time.Second, Config: intake.Default("journal"),
	}
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	for _, check := range []func() error{c.validateBrokers, c.TLS.Validate, c.validateSession, c.validateSubscriptions, c.validateWill, c.Config.Validate} {
		if err := check(); err != nil {
			return err
		}
	}
	switch {
	case c.Retained != retainedRead && c.Retained != retainedSkip:
		return component.Invalid("retained", "%q is neither read nor skip", c.Retained)
	case c.MaxPayloadBytes < 1 || c.MaxPayloadBytes > 256<<20:
		return component.Invalid("max_payload_bytes", "it must be from 1 to 256MiB, which is the longest that the protocol knows")
	case c.KeepAlive < time.Second || c.KeepAlive > maxString*time.Second || c.KeepAlive%time.Second != 0:
		return component.Invalid("keep_alive", "it must be whole seconds, from 1s to 18h")
	case c.ConnectTimeout <= 0:
		return component.Invalid("connect_timeout", "it must be more than 0s")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return component.Invalid("backoff_max", "0s < backoff_min ≤ backoff_max must hold")
	}
	return nil
}

func (c *Config) validateBrokers() error {
	if len(c.Brokers) == 0 {
		return component.Invalid("brokers", "name at least one, such as mqtt://localhost:1883")
	}
	for _, b := range c.Brokers {
		if _, err := parseBroker(b); err != nil {
			return component.Invalid("brokers", "%v", err)
		}
	}
	return nil
}

func (c *Config) validateSession() error {
	switch {
	case c.ClientID == "" && !c.CleanSession:
		return component.Invalid("client_id", "the broker keeps the session under it: choose a name that no other client of the broker has, or set clean_session: true and lose what comes while there is no connection")
	case len(c.ClientID) > maxString || len(c.Username) > maxString || len(c.Password) > maxString:
		return component.Invalid("client_id", "client_id, username and password have at most %d bytes each", maxString)
	case c.Username == "" && (c.Password != "" || c.PasswordFile != ""):
		return component.Invalid("username", "a password needs one")
	case c.Password != "" && c.PasswordFile != "":
		return component.Invalid("password", "give password or password_file, one of them")
	}
	return nil
}

func (c *Config) validateSubscriptions() error {
	if len(c.Subscriptions) == 0 {
		return component.Invalid("subscriptions", "name at least one, such as {filter: logs/#, qos: 1}")
	}
	seen := make(map[string]bool)
	for _, s := range c.Subscriptions {
		f, err := parseFilter(s.Filter)
		switch {
		case err != nil:
			return component.Invalid("subscriptions", "the filter %q: %v", s.Filter, err)
		case seen[f.wire]:
			return component.Invalid("subscriptions", "the filter %q is there twice", f.wire)
		case s.QoS < 0 || s.QoS > 2:
			return component.Invalid("subscriptions", "qos of the filter %q is none of 0, 1, 2", s.Filter)
		}
		seen[f.wire] = true
	}
	return nil
}

func (c *Config) validateWill() error {
	w := &c.LastWill
	switch {
	case w.Topic == "" && *w != LastWill{}:
		return component.Invalid("last_will", "it needs a topic")
	case w.Topic == "":
		return nil
	case w.QoS < 0 || w.QoS > 2:
		return component.Invalid("last_will.qos", "it is none of 0, 1, 2")
	case len(w.Payload) > maxString || len(w.Online) > maxString:
		return component.Invalid("last_will.payload", "payload and online have at most %d bytes each", maxString)
	}
	f, err := parseFilter(w.Topic)
	if err == nil && (f.shared || f.wire != w.Topic) {
		err = fmt.Errorf("it has wildcards")
	}
	for _, l := range f.levels {
		if l.kind != levelText {
			err = fmt.Errorf("it has wildcards")
		}
	}
	if err != nil {
		return component.Invalid("last_will.topic", "%q is no topic: %v", w.Topic, err)
	}
	return nil
}

// broker is an address.
type broker struct {
	url *url.URL
	// address is host:port, with the scheme's port where none was given.
	address string
	// name is how the broker is called in the log and in marks.
	name string
}

// encrypted tells whether TLS is spoken to it.
func (b *broker) encrypted() bool { return b.url.Scheme == "mqtts" || b.url.Scheme == "wss" }

// parseBroker reads an address. Its errors do not show a password that stands in it.
func parseBroker(text string) (broker, error) {
	u, err := url.Parse(text)
	if err != nil {
		return broker{}, fmt.Errorf("an address is not a URL such as mqtt://localhost:1883")
	}
	ports := map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}
	port, known := ports[u.Scheme]
	websocket := u.Scheme == "ws" || u.Scheme == "wss"
	switch {
	case u.User != nil:
		return broker{}, fmt.Errorf("an address holds a username: write username and password as keys of their own, so that no log shows them")
	case !known:
		return broker{}, fmt.Errorf("an address does not begin with mqtt://, mqtts://, ws:// or wss://")
	case u.Hostname() == "":
		return broker{}, fmt.Errorf("an address has no host")
	case !websocket && u.Path != "" && u.Path != "/":
		return broker{}, fmt.Errorf("the address of %s has a path, which only ws:// and wss:// have", u.Host)
	case u.RawQuery != "" || u.Fragment != "":
		return broker{}, fmt.Errorf("the address of %s has a query or a fragment, which is not supported", u.Host)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	address := net.JoinHostPort(u.Hostname(), port)
	return broker{url: u, address: address, name: u.Scheme + "://" + address + u.Path}, nil
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:    "mqtt",
		Summary: "Topics of an MQTT 3.1.1 broker, over TCP, TLS or WebSocket.",
		Description: "Subscribes to topic filters and acknowledges a message once it is safe: with `intake: journal`, when it is synced to disk; " +
			"with `intake: direct` and `ack: checkpoint`, when a checkpoint holds it, and then a broker that keeps to its window of unacknowledged messages sends one window " +
			"a checkpoint: 20 messages a second with Mosquitto's window and a checkpoint every second, where a journal was measured to take some 8,000 a second through the same window. " +
			"With QoS 2, set `set_tcp_nodelay true` in Mosquitto: each message takes two exchanges, which otherwise wait 40 ms for the kernel.\n\n" +
			"The broker keeps the session (`clean_session: false`) under `client_id`, so that messages of QoS 1 and 2 wait for a source that is away, as long as the broker's " +
			"own limits let them (`max_queued_messages` is 1000 in Mosquitto).\n\n" +
			"Across a crash, messages of QoS 0 are received at most once and those of QoS 1 at least once: the broker sends again what it had no acknowledgement of. " +
			"Those of QoS 2 are received exactly once with `intake: journal`, because their ids are kept with them in the journal until the broker lets go of them; with " +
			"`intake: direct` they are received at least once. A broker that comes back from a crash with an older copy of the session sends again what that copy holds.\n\n" +
			"Named levels of a filter become labels. The topic is the header `topic` of each record, so that `decode: {labels_from: {topic: header:topic}}` makes it a label too.\n\n" +
			"A shared subscription, `$share/GROUP/FILTER`, gives each message to one of the group's clients, whatever it says: buckets of one address are then spread over several processes. " +
			"It serves rules that look at one line, and pipelines that hand lines on.",
		Example: "brokers: [mqtt://localhost:1883]\nclient_id: sluice\nsubscriptions:\n" +
			"  - {filter: \"devices/{device}/auth\", qos: 1, labels: {type: syslog}}\n",
		Delivery: "at least once (QoS 2: exactly once; QoS 0: at most once)",
		Default:  Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
