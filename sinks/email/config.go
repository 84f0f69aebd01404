package email

import (
	"net"
	"net/mail"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sinks"
)

// How the connection is encrypted.
const (
	startTLS  = "starttls"
	onlyTLS   = "tls"
	plainText = "none"
)

// Config says who gets mail, and what is in it. Start from Default.
type Config struct {
	// Server is the SMTP server, as host or host:port. Left out, the port is 587 with starttls, 465 with tls and 25 with none.
	Server string `yaml:"server"`
	// Encryption is `starttls`, which is then insisted on, `tls` from the beginning, or `none`.
	Encryption string `yaml:"encryption"`
	// TLS says how the server is checked, and with what certificate the sink proves itself.
	TLS tlsclient.Config `yaml:"tls"`
	// Username and Password sign in, with the best of SCRAM-SHA-256, PLAIN and LOGIN that the server offers, and never without encryption.
	Username string `yaml:"username"`
	// Password belongs to the username.
	Password component.Secret `yaml:"password"`
	// Helo is what the sink calls itself; the machine's name when empty.
	Helo string `yaml:"helo"`
	// From is the sender, such as `Sluice <sluice@example.com>`.
	From string `yaml:"from"`
	// To are those who get the messages.
	To []string `yaml:"to"`
	// Subject is the template of the subject. `.Alerts` are the message's alerts, `.Alert` is the first of them.
	Subject string `yaml:"subject"`
	// Body is the template of the text.
	Body string `yaml:"body"`
	// Digest is how many alerts one message holds, at most.
	Digest int `yaml:"digest"`
	// Interval is how long it is, at least, from one batch of messages to the next: what comes meanwhile waits, and shares messages. It
	// needs durable state (`state.dir`), or reading waits too. 0 sends at once.
	Interval time.Duration `yaml:"interval"`
	// Timeout bounds signing in, and sending one message.
	Timeout time.Duration `yaml:"timeout"`
}

const (
	defaultSubject = `[sluice] {{ if eq (len .Alerts) 1 }}{{ .Alert.Scenario }}{{ with .Alert.Source }} by {{ .Value }}{{ end }}{{ else }}{{ len .Alerts }} alerts{{ end }}`
	defaultBody    = "{{ range .Alerts }}{{ summary . }}\n    {{ .Message }}\n    {{ .UUID }}\n\n{{ end }}"
)

// Default returns the configuration of no server yet.
func Default() Config {
	return Config{Encryption: startTLS, Subject: defaultSubject, Body: defaultBody, Digest: 50, Timeout: 30 * time.Second}
}

// ports are the usual ones of each encryption: RFC 6409, RFC 8314, RFC 5321.
var ports = map[string]string{startTLS: "587", onlyTLS: "465", plainText: "25"}

// Validate checks the configuration.
func (c *Config) Validate() error {
	host, hostPort := c.address()
	_, port, _ := net.SplitHostPort(hostPort)
	_, portErr := strconv.ParseUint(port, 10, 16)
	_, hostErr := netip.ParseAddr(host)
	switch {
	case host == "":
		return component.Invalid("server", "name the SMTP server, such as mail.example.com:587")
	case ports[c.Encryption] != "" && portErr != nil, strings.Contains(host, ":") && hostErr != nil:
		return component.Invalid("server", "%q is no host, or host and port, such as mail.example.com:587", c.Server)
	case ports[c.Encryption] == "":
		return component.Invalid("encryption", "it is %q; it can be starttls, tls or none", c.Encryption)
	case c.Username == "" && c.Password != "", c.Username != "" && c.Password == "":
		return component.Invalid("username", "username and password go together")
	case c.Username != "" && c.Encryption == plainText:
		return component.Invalid("encryption", "a password is not sent without encryption; use starttls or tls")
	case len(c.To) == 0:
		return component.Invalid("to", "name at least one who gets the messages")
	case c.Digest < 1 || c.Digest > 10_000:
		return component.Invalid("digest", "%d is not between 1 and 10000", c.Digest)
	case c.Interval < 0:
		return component.Invalid("interval", "it must not be below 0")
	case c.Timeout <= 0:
		return component.Invalid("timeout", "it must be above 0, such as 30s")
	}
	if _, err := mail.ParseAddress(c.From); err != nil {
		return component.Invalid("from", "it is no address such as Sluice <sluice@example.com>: %v", err)
	}
	for _, to := range c.To {
		if _, err := mail.ParseAddress(to); err != nil {
			return component.Invalid("to", "%q is no address such as soc@example.com: %v", to, err)
		}
	}
	if c.Encryption == plainText && c.TLS != (tlsclient.Config{}) {
		return component.Invalid("tls", "with encryption: none nothing is encrypted; use starttls or tls, or leave it out")
	}
	if err := c.TLS.Validate(); err != nil {
		return err
	}
	_, err := c.compile()
	return err
}

// address returns the server's host, and host and port.
func (c *Config) address() (host, hostPort string) {
	if host, _, err := net.SplitHostPort(c.Server); err == nil {
		return host, c.Server
	}
	host = strings.TrimSuffix(strings.TrimPrefix(c.Server, "["), "]")
	return host, net.JoinHostPort(host, ports[c.Encryption])
}

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:     "email",
		Summary:  "Alerts by mail, several in one message, over SMTP.",
		Delivery: "at least once",
		Description: "A message is acknowledged when the server has taken all of it. Answers of 4xx to it are tried again, those of 5xx refuse its alerts for good, but none that can be mailed " +
			"without the others. A recipient that is refused with 5xx is passed over and logged as long as another is taken. What goes wrong before the text is sent, in connecting, signing in, or because " +
			"the sender or all recipients are refused, is always tried again. A repeat has the same Message-ID.",
		Example: "server: mail.example.com:587\nusername: sluice\npassword: \"${SMTP_PASSWORD:-change-me}\"\nfrom: Sluice <sluice@example.com>\nto: [soc@example.com]\ninterval: 1m\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
}
