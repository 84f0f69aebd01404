package webhook

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sinks"
	"sluice/sinks/format"
)

// Config says where requests go, and what is in them. Start from Default.
type Config struct {
	// URL is where requests go, http or https. It may be a template: `{{ .Alert.Scenario | urlquery }}`.
	URL string `yaml:"url"`
	// Preset gives method, headers and body for a receiver: json, cloudevents, slack, discord, teams,
	// pagerduty, splunk_hec, elasticsearch_bulk or loki. What is set beside it wins.
	Preset string `yaml:"preset"`
	// Method is the request's method; POST when empty.
	Method string `yaml:"method"`
	// Headers are sent with every request; values may be templates.
	Headers map[string]string `yaml:"headers"`
	// Body is the template of the request's body. In it, `.Alerts` are the request's alerts, `.Alert` is the first of
	// them, and `format "ecs" .` writes one in any of the sinks' formats.
	Body string `yaml:"body"`
	// Format is how the presets json, cloudevents, splunk_hec, elasticsearch_bulk and loki write an alert: sluice, crowdsec, ocsf or ecs.
	Format format.Format `yaml:"format"`
	// Values are named texts for the templates, as `.Values.NAME`, such as a routing key.
	Values map[string]component.Secret `yaml:"values"`
	// Batch is how many alerts one request holds, at most.
	Batch int `yaml:"batch"`
	// Parallel is how many requests are under way at once, at most. Alerts about one source arrive in order whatever it is.
	Parallel int `yaml:"parallel"`
	// Timeout bounds a request, from connecting to the end of the answer.
	Timeout time.Duration `yaml:"timeout"`
	// Auth says how requests sign in.
	Auth Auth `yaml:"auth"`
	// Sign signs requests.
	Sign Sign `yaml:"sign"`
	// TLS says how the server is checked, and with what certificate the sink proves itself.
	TLS tlsclient.Config `yaml:"tls"`
	// Proxy is the URL of a proxy; empty takes none. The environment's HTTP_PROXY is not looked at.
	Proxy component.Secret `yaml:"proxy"`
	// AllowLinkLocal lets requests go to link-local addresses (169.254.0.0/16, fe80::/10) and to the addresses under which cloud
	// providers serve credentials. Off, such a request is refused whatever name leads there.
	AllowLinkLocal bool `yaml:"allow_link_local"`
}

// Auth says how requests sign in: with one of a bearer token and a user's password.
type Auth struct {
	// Bearer is sent as `Authorization: Bearer …`.
	Bearer component.Secret `yaml:"bearer"`
	// BearerFile is a file with the token, read again when it changes.
	BearerFile string `yaml:"bearer_file"`
	// Username and Password are sent as basic authentication.
	Username string `yaml:"username"`
	// Password belongs to the username.
	Password component.Secret `yaml:"password"`
}

// Sign says how requests are signed: a header holds the time and, over the
// time, a dot and the body, the HMAC-SHA256 in hexadecimal: `t=1700000000,v1=…`.
type Sign struct {
	// Secret is the key; without one nothing is signed.
	Secret component.Secret `yaml:"secret"`
	// Header is the header's name.
	Header string `yaml:"header"`
}

// Default returns the configuration of no endpoint yet.
func Default() Config {
	return Config{
		Preset: "json", Format: format.Sluice, Batch: 1, Parallel: 1, Timeout: 10 * time.Second, Sign: Sign{Header: "Sluice-Signature"},
	}
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	p, known := presets()[c.Preset]
	switch {
	case c.URL == "":
		return component.Invalid("url", "name the endpoint, such as https://hooks.example.com/alerts")
	case !known:
		return component.Invalid("preset", "%q is no preset; known are %s", c.Preset, strings.Join(slices.Sorted(maps.Keys(presets())), ", "))
	case !c.Format.JSON():
		return component.Invalid("format", "%s is no JSON; in a webhook it can be sluice, crowdsec, ocsf or ecs", c.Format)
	case c.Batch < 1 || c.Batch > 10_000:
		return component.Invalid("batch", "%d is not between 1 and 10000", c.Batch)
	case c.Batch > 1 && p.single && c.Body == "":
		return component.Invalid("batch", "the preset %s holds one alert a request", c.Preset)
	case c.Parallel < 1 || c.Parallel > 256:
		return component.Invalid("parallel", "%d is not between 1 and 256", c.Parallel)
	case c.Timeout <= 0:
		return component.Invalid("timeout", "it must be above 0, such as 10s")
	case (c.Auth.Bearer != "" || c.Auth.BearerFile != "") && c.Auth.Username != "", c.Auth.Bearer != "" && c.Auth.BearerFile != "":
		return component.Invalid("auth", "set one of bearer, bearer_file and username")
	case c.Sign.Secret != "" && c.Sign.Header == "":
		return component.Invalid("sign.header", "name the header for the signature")
	}
	if !strings.Contains(c.URL, "{{") {
		if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return component.Invalid("url", "it is no address of http or https with a host")
		}
	}
	if u, err := url.Parse(c.Proxy.Reveal()); err != nil || c.Proxy != "" && u.Host == "" {
		return component.Invalid("proxy", "it is no URL such as http://proxy.example.com:3128")
	}
	if c.Method != "" && c.Method != strings.ToUpper(c.Method) {
		return component.Invalid("method", "%q is no method; write it in capitals", c.Method)
	}
	if err := c.TLS.Validate(); err != nil {
		return err
	}
	_, err := c.compile()
	return err
}

// method returns the request's method.
func (c *Config) method() string {
	if c.Method == "" {
		return http.MethodPost
	}
	return c.Method
}

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:     "webhook",
		Summary:  "Alerts to an HTTP endpoint, in requests made of templates.",
		Delivery: "at least once",
		Description: "2xx acknowledges. 408, 425, 429 and 5xx are sent again, not before the time that Retry-After names; any other answer refuses the alerts for good. " +
			"A repeat has the same `Idempotency-Key`: the alert's id, or one made of the ids of the request's alerts. Elasticsearch and Splunk get the id in the document. " +
			"Secrets belong into environment variables: `${TOKEN}`.",
		Example: "url: https://hooks.example.com/alerts\nsign: {secret: \"${HOOK_SECRET:-change-me}\"}\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
}
