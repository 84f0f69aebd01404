package nats

import (
	"strings"
	"text/template"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/pipeline/natsconn"
	"sluice/pipeline/tlsclient"
	"sluice/sinks"
	"sluice/sinks/format"
	"sluice/sinks/internal/templates"
)

// Config says where messages go, and what is in them. Start from Default.
type Config struct {
	// Servers are URLs to reach the servers by, such as nats://localhost:4222, or tls://host:4222 for an encrypted connection. They are tried in turn.
	Servers []string `yaml:"servers"`
	// TLS says how the servers' certificates are checked and which certificate is the sink's own. Setting any of its keys encrypts
	// connections to nats:// URLs as well.
	TLS tlsclient.Config `yaml:"tls"`
	// Username signs in with a password.
	Username string `yaml:"username"`
	// Password is that of username.
	Password component.Secret `yaml:"password"`
	// Token signs in where the server has authorization by token.
	Token component.Secret `yaml:"token"`
	// CredentialsFile is a .creds file: a user's JWT and the seed of its key.
	CredentialsFile string `yaml:"credentials_file"`
	// NKeyFile holds the seed of a user's nkey.
	NKeyFile string `yaml:"nkey_file"`
	// Domain is the JetStream domain of the stream, where there are several.
	Domain string `yaml:"domain"`
	// ClientName is the name told to the servers.
	ClientName string `yaml:"client_name"`
	// Subject is where alerts go; a stream must have it. It may be a template, such as `alerts.{{ .Alert.Source.Scope }}`.
	Subject string `yaml:"subject"`
	// Format is how a message writes its alert: sluice, crowdsec, ocsf, ecs, cef or text.
	Format format.Format `yaml:"format"`
	// Timeout bounds connecting, and waiting for the acknowledgement of a message.
	Timeout time.Duration `yaml:"timeout"`
}

// Default returns the configuration of a server on this machine.
func Default() Config {
	return Config{
		Servers: []string{"nats://localhost:4222"}, ClientName: "sluice", Subject: "sluice.alerts", Format: format.Sluice, Timeout: 5 * time.Second,
	}
}

// Validate checks the configuration without reading a file.
func (c *Config) Validate() error {
	if err := natsconn.CheckServers(c.Servers); err != nil {
		return err
	}
	ways := 0
	for _, set := range []bool{c.Username != "", c.Token != "", c.CredentialsFile != "", c.NKeyFile != ""} {
		if set {
			ways++
		}
	}
	switch {
	case ways > 1:
		return component.Invalid("username", "username, token, credentials_file and nkey_file are ways to sign in: set one")
	case (c.Username == "") != (c.Password == ""):
		return component.Invalid("username", "username and password go together")
	case c.Subject == "":
		return component.Invalid("subject", "name the subject, such as sluice.alerts")
	case c.Timeout <= 0:
		return component.Invalid("timeout", "it must be above 0, such as 5s")
	}
	t, err := c.subject()
	if err != nil {
		return component.Invalid("subject", "it is no template: %v", err)
	}
	for _, a := range templates.Specimens() {
		if err := templates.Try(t, subjectData{a}); err != nil {
			return component.Invalid("subject", "its template fails on every alert: %v", err)
		}
	}
	if !strings.Contains(c.Subject, "{{") && !validSubject(c.Subject) {
		return component.Invalid("subject", "%q is no subject to publish to: it is tokens with dots in between, without blanks, * and >", c.Subject)
	}
	return c.TLS.Validate()
}

// subjectData is what the subject's template sees.
type subjectData struct{ Alert *pipeline.Alert }

func (c *Config) subject() (*template.Template, error) {
	return templates.Parse("subject", c.Subject, templates.Functions(c.Format))
}

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:     "nats",
		Summary:  "Alerts as messages to a JetStream stream of NATS.",
		Delivery: "exactly once within the stream's duplicate window, at least once beyond it",
		Description: "A message is delivered when the stream has acknowledged it. Its Nats-Msg-Id is the alert's id, by which the stream drops repeats within its duplicate window, two minutes unless it " +
			"says otherwise. A message that is longer than the server or the stream takes, or whose subject is none, is refused for good; all else, a subject without a stream too, is tried again.",
		Example: "servers: [\"nats://localhost:4222\"]\nsubject: sluice.alerts\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
}
