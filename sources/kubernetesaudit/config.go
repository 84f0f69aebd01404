package kubernetesaudit

import (
	"maps"

	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/intake"
	"sluice/sources/internal/httpd"
)

// Config says where the API server posts its events. Start from Default.
type Config struct {
	httpd.Config `yaml:",inline"`

	// Path is the path that events are posted to: that of `server` in the webhook's kubeconfig.
	Path string `yaml:"path"`
	// Emit is what a record holds: `event`, the event's JSON as the API server sends it and writes it into its audit log; or `crowdsec`, the
	// same with the names of its fields as CrowdSec's source k8s-audit has them (`ObjectRef.Resource` for `objectRef.resource`), for rules
	// that were written for that alone. The hub's rules read both.
	Emit string `yaml:"emit"`

	Intake intake.Config `yaml:",inline"`
}

// The values of Emit.
const (
	emitEvent    = "event"
	emitCrowdSec = "crowdsec"
)

// Default returns a configuration that lacks only Listen.
func Default() Config {
	c := Config{Config: httpd.Default(), Path: "/audit", Emit: emitEvent, Intake: intake.Default(intake.Journal)}
	c.Repeats.Headers = nil
	c.Repeats.Body = true
	return c
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	if err := c.Config.Validate(); err != nil {
		return err
	}
	if c.Emit != emitEvent && c.Emit != emitCrowdSec {
		return component.Invalid("emit", "%q is neither event nor crowdsec", c.Emit)
	}
	if err := httpd.CheckPatterns(&c.Config, []httpd.Endpoint{{Pattern: c.Path}}); err != nil {
		return component.Invalid("path", "%v", err)
	}
	return c.Intake.Validate()
}

// New makes the source. Nothing is opened before Run.
func New(name string, c Config, env sources.Env) (*httpd.Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	labels := map[string]string{"type": "k8s-audit"}
	maps.Copy(labels, c.Labels)
	module, form := "kubernetes_audit", asSent
	if c.Emit == emitCrowdSec { // by which the hub's parser knows the names of the fields
		module, form = "k8s-audit", asCrowdSec
	}
	return httpd.New(name, module, c.Config, c.Intake, []httpd.Endpoint{{
		Pattern: c.Path,
		Read: func(r *httpd.Request) error {
			r.Labels = labels
			return read(r, form)
		},
	}}, env)
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "kubernetes_audit",
		Summary:  "Kubernetes audit events, as the API server's webhook backend posts them.",
		Delivery: "exactly once, from its journal (intake: direct: at least once)",
		Description: "Takes the EventLists of audit.k8s.io/v1 that the API server posts when it is started with `--audit-webhook-config-file`. Each event is a record with the " +
			"label `type: k8s-audit`, which the hub's collection crowdsecurity/k8s-audit reads. A list is answered with 200 once its events are safe: with `intake: journal`, when they are synced to disk; " +
			"with `intake: direct`, when a checkpoint holds them, which slows a webhook in blocking mode down. Lists that the API server posts again, because it got no answer, are known by their bodies.\n\n" +
			"The API server keeps events in memory while nothing answers, and drops them when its buffer is full (`--audit-webhook-batch-buffer-size`): what was posted is safe, what could not be is not.\n\n" +
			"The token, user or client certificate of the webhook's kubeconfig signs in (`auth`, `tls.client_ca_file`). The API server sends them over TLS alone, " +
			"and posts a list again whatever else than 2xx the answer is, so look at the drops when events are missing.",
		Example: "listen: [\":9443\"]\npath: /audit\ntls: {cert_file: /etc/sluice/tls.crt, key_file: /etc/sluice/tls.key, client_ca_file: /etc/sluice/apiserver-ca.crt}\nintake: direct\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
