package mqtt

import (
	"net/url"
	"slices"
	"strings"
	"text/template"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sinks"
	"sluice/sinks/format"
	"sluice/sinks/internal/templates"
)

// Config says where messages go, and what is in them. Start from Default.
type Config struct {
	// Brokers are the broker's addresses, mqtt://host:1883 or mqtts://host:8883. They are tried in turn.
	Brokers []string `yaml:"brokers"`
	// TLS is for mqtts: how the broker's certificate is checked, and the sink's own certificate.
	TLS tlsclient.Config `yaml:"tls"`
	// Username signs in with a password; none does without.
	Username string `yaml:"username"`
	// Password is that of username.
	Password component.Secret `yaml:"password"`
	// ClientID is the name told to the broker, which no other of its clients may have; the broker makes one up when it is empty.
	ClientID string `yaml:"client_id"`
	// Topic is where alerts go. It may be a template, such as `sluice/alerts/{{ .Alert.Scenario }}`.
	Topic string `yaml:"topic"`
	// Retain has the broker keep the last message of a topic for those who subscribe later.
	Retain bool `yaml:"retain"`
	// Format is how a message writes its alert: sluice, crowdsec, ocsf, ecs, cef or text.
	Format format.Format `yaml:"format"`
	// MaxMessage is how long a message may be. A broker that takes less closes the connection without a word, again and again: set this to its limit
	// (EMQX takes 1MiB unless it is told otherwise, AWS IoT 128KiB), and what is longer is refused for good in place of holding up the others.
	MaxMessage component.Bytes `yaml:"max_message"`
	// Timeout bounds connecting, and waiting for the acknowledgement of a message.
	Timeout time.Duration `yaml:"timeout"`
}

// Default returns the configuration of no broker yet.
func Default() Config {
	return Config{Topic: "sluice/alerts", Format: format.Sluice, MaxMessage: maxPacket, Timeout: 10 * time.Second}
}

// Validate checks the configuration without reading a file.
func (c *Config) Validate() error {
	if len(c.Brokers) == 0 {
		return component.Invalid("brokers", "name at least one, such as mqtt://localhost:1883")
	}
	for _, b := range c.Brokers {
		u, err := url.Parse(b)
		if err != nil || u.Port() == "" || !slices.Contains([]string{"mqtt", "mqtts"}, u.Scheme) {
			return component.Invalid("brokers", "an address is no URL such as mqtt://localhost:1883 or mqtts://localhost:8883")
		}
		if u.User != nil {
			return component.Invalid("brokers", "an address holds a user; set username and password, so that no log shows them")
		}
	}
	switch {
	case c.Username == "" && c.Password != "":
		return component.Invalid("username", "a password needs one")
	case c.Topic == "":
		return component.Invalid("topic", "name the topic, such as sluice/alerts")
	case c.MaxMessage < 1 || c.MaxMessage > maxPacket:
		return component.Invalid("max_message", "%v is not between 1 byte and the %d bytes that the protocol can tell", c.MaxMessage, maxPacket)
	case c.Timeout <= 0:
		return component.Invalid("timeout", "it must be above 0, such as 10s")
	}
	t, err := c.topic()
	if err != nil {
		return component.Invalid("topic", "it is no template: %v", err)
	}
	for _, a := range templates.Specimens() {
		if err := templates.Try(t, topicData{a}); err != nil {
			return component.Invalid("topic", "its template fails on every alert: %v", err)
		}
	}
	if !strings.Contains(c.Topic, "{{") && !validTopic(c.Topic) {
		return component.Invalid("topic", "%q is no topic to publish to: it must not have + or # in it", c.Topic)
	}
	if c.TLS != (tlsclient.Config{}) && !slices.ContainsFunc(c.Brokers, func(b string) bool { return strings.HasPrefix(b, "mqtts:") }) {
		return component.Invalid("tls", "it is for brokers of mqtts://, and mqtt:// is not encrypted")
	}
	return c.TLS.Validate()
}

// topicData is what the topic's template sees.
type topicData struct{ Alert *pipeline.Alert }

func (c *Config) topic() (*template.Template, error) {
	return templates.Parse("topic", c.Topic, templates.Functions(c.Format))
}

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:     "mqtt",
		Summary:  "Alerts as messages of quality of service 1 to an MQTT broker.",
		Delivery: "at least once",
		Description: "A message is delivered when the broker has acknowledged it; what was not is published again, and may come twice: the alert's id tells. Brokers acknowledge what nobody " +
			"has subscribed to as well, and many, as mosquitto, what the sink is not allowed to publish: MQTT 3.1.1 has no other answer, so look at the broker's log when nothing arrives. A message whose topic is none is refused for good.",
		Example: "brokers: [\"mqtt://localhost:1883\"]\ntopic: sluice/alerts\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
}
