package syslog

import (
	"net/url"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sinks"
	"sluice/sinks/format"
)

// Config says where messages go, and what is in them. Start from Default.
type Config struct {
	// URL is the collector: `udp://host:514`, `tcp://host:601` or `tls://host:6514`. These ports are taken where none is named.
	URL string `yaml:"url"`
	// Format is how a message writes its alert: text, cef, sluice, crowdsec, ocsf or ecs.
	Format format.Format `yaml:"format"`
	// Facility is the facility of all messages, such as auth, authpriv, daemon, user or local0 to local7.
	Facility string `yaml:"facility"`
	// Severity is the severity of all messages: emerg, alert, crit, err, warning, notice, info or debug. Left empty it is warning for
	// alerts that ask for remediation, info for simulated ones, and notice for others.
	Severity string `yaml:"severity"`
	// Hostname is who the messages say they come from; the machine's name when empty.
	Hostname string `yaml:"hostname"`
	// AppName is the name of the application in the messages.
	AppName string `yaml:"app_name"`
	// SDID names the element of structured data that holds the alert's id, scenario, scope and value. Empty writes none. Outside of
	// registered names it needs an @ and a private enterprise number; 32473 is the one that is reserved for examples (RFC 5612).
	SDID string `yaml:"sd_id"`
	// MaxMessage is how long a message may be. Longer ones are refused for good, since half an alert is none. rsyslog cuts at 8 KiB
	// unless it is told otherwise (`$MaxMessageSize`).
	MaxMessage component.Bytes `yaml:"max_message"`
	// Timeout bounds connecting, and writing a batch.
	Timeout time.Duration `yaml:"timeout"`
	// TLS says how the collector is checked, and with what certificate the sink proves itself.
	TLS tlsclient.Config `yaml:"tls"`
}

// Default returns the configuration of no collector yet.
func Default() Config {
	return Config{
		Format: format.Text, Facility: "local0", AppName: "sluice", SDID: "sluice@32473",
		MaxMessage: 8 << 10, Timeout: 10 * time.Second,
	}
}

// maxDatagram is the most that UDP over IPv4 holds.
const maxDatagram = 65507

// ports are the schemes with their usual ports.
var ports = map[string]string{"udp": "514", "tcp": "601", "tls": "6514"}

// Validate checks the configuration.
func (c *Config) Validate() error {
	network, _, err := c.target()
	if err != nil {
		return err
	}
	_, facility := facilities[c.Facility]
	_, severity := severities[c.Severity]
	switch {
	case !facility:
		return component.Invalid("facility", "%q is no facility; use one such as auth, daemon, user or local0", c.Facility)
	case !severity && c.Severity != "":
		return component.Invalid("severity", "%q is no severity; it can be emerg, alert, crit, err, warning, notice, info or debug", c.Severity)
	case !token(c.AppName, 48):
		return component.Invalid("app_name", "%q is not 1 to 48 printable ASCII characters without blanks", c.AppName)
	case c.Hostname != "" && !token(c.Hostname, 255):
		return component.Invalid("hostname", "%q is not 1 to 255 printable ASCII characters without blanks", c.Hostname)
	case c.SDID != "" && (!token(c.SDID, 32) || strings.ContainsAny(c.SDID, `="]`)):
		return component.Invalid("sd_id", `%q is not 1 to 32 printable ASCII characters without blanks, =, " and ]`, c.SDID)
	case c.MaxMessage < 480:
		return component.Invalid("max_message", "%v is less than the 480 bytes that every collector takes", c.MaxMessage)
	case network == "udp" && c.MaxMessage > maxDatagram:
		return component.Invalid("max_message", "%v does not fit into a datagram, which holds %d bytes", c.MaxMessage, maxDatagram)
	case c.Timeout <= 0:
		return component.Invalid("timeout", "it must be above 0, such as 10s")
	}
	if network != "tls" && c.TLS != (tlsclient.Config{}) {
		return component.Invalid("tls", "it is for a url of tls://, and %s is not encrypted", network)
	}
	return c.TLS.Validate()
}

// target reads the URL: its scheme, and host and port.
func (c *Config) target() (network, address string, err error) {
	if c.URL == "" {
		return "", "", component.Invalid("url", "name the collector, such as udp://logs.example.com:514")
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Hostname() == "" || ports[u.Scheme] == "" || u.Path != "" || u.User != nil || u.RawQuery != "" {
		return "", "", component.Invalid("url", "%q is not udp, tcp or tls with a host and a port, such as tcp://logs.example.com:601", c.URL)
	}
	if u.Port() == "" {
		u.Host += ":" + ports[u.Scheme]
	}
	return u.Scheme, u.Host, nil
}

// token tells whether s is what RFC 5424 calls 1*n PRINTUSASCII.
func token(s string, n int) bool {
	return s != "" && len(s) <= n && strings.IndexFunc(s, func(r rune) bool { return r < '!' || r > '~' }) < 0
}

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:     "syslog",
		Summary:  "Alerts as messages of RFC 5424 to a syslog collector, over UDP, TCP or TLS.",
		Delivery: "at least once as far as TCP tells; at most once over UDP",
		Description: "Syslog has no acknowledgement: a batch is delivered when it is written to a connection that is not known to be broken. What the kernels held when a collector or its " +
			"network died is lost; use kafka or webhook where that must not be. After a failure the batch is sent again as a whole, so messages may come twice: the structured data holds " +
			"the alert's id. TCP and TLS are framed by octet counting (RFC 6587, RFC 5425).",
		Example: "url: tcp://logs.example.com:601\nformat: cef\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
}
