package webhook

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sinks"
	"sluice/sinks/format"
	"sluice/sinks/internal/outbound"
)

// Config says where requests go, and what is in them. Start from Default.
type Config struct {
	// URL is where requests go, http or https. It may be a template: `{{ .Alert.Scenario | urlquery }}`.
	URL string `yaml:"url"`
	// Preset gives method, headers and body for a receiver: json, cloudevents, slack, discord, teams,
	// pagerduty, splunk_hec, elasticsearch_bulk or loki. What is set beside it wins. pagerduty takes its routing key from
	// values.routing_key, splunk_hec its token from values.token.
	Preset string `yaml:"preset"`
	// Method is the request's method; POST when empty.
	Method string `yaml:"method"`
	// Headers are sent with every request; values may be templates.
	Headers map[string]string `yaml:"headers"`
	// Body is the template of the request's body. In it, `.Alerts` are the request's alerts, `.Alert` is the first of
	// them, and `format "ecs" .` writes one in any of the sinks' formats. Beside sprig's functions there are json, alert (in `format`),
	// summary (one readable line), address (refuses what is no address or range), unix and unixNano.
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
	// RetryStatuses are those of answers, from 400 to 499, that are sent again beside those that always are, such as 403 or 409. An alert that
	// is always answered with one of them holds back all others, unless `retry` bounds how often it is tried.
	RetryStatuses []int `yaml:"retry_statuses"`
	// Auth says how requests sign in.
	Auth Auth `yaml:"auth"`
	// Sign signs requests: a header holds `t=TIME,v1=HMAC`, the Unix time and, over that time, a dot and the body, the HMAC-SHA256 in
	// hexadecimal. A receiver computes it again, and refuses a time that is not about now.
	Sign Sign `yaml:"sign"`
	// TLS says how the server is checked, and with what certificate the sink proves itself.
	TLS tlsclient.Config `yaml:"tls"`
	// Proxy is the address of a proxy, such as http://127.0.0.1:3128; empty takes none. The environment's HTTP_PROXY is not looked at.
	Proxy component.Secret `yaml:"proxy"`
	// AllowLinkLocal lets requests go to link-local addresses (169.254.0.0/16, fe80::/10) and to the addresses under which cloud
	// providers serve credentials. Off, such a request is refused whatever name leads there; behind a proxy, which looks names up
	// itself, only where the URL has such an address, or one of the providers' names for it, in it.
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
	case p.needs(c) != "":
		return component.Invalid("values", "the preset %s asks for values.%s", c.Preset, p.needs(c))
	case c.Parallel < 1 || c.Parallel > 256:
		return component.Invalid("parallel", "%d is not between 1 and 256", c.Parallel)
	case c.Timeout <= 0:
		return component.Invalid("timeout", "it must be above 0, such as 10s")
	case (c.Auth.Bearer != "" || c.Auth.BearerFile != "") && c.Auth.Username != "", c.Auth.Bearer != "" && c.Auth.BearerFile != "":
		return component.Invalid("auth", "set one of bearer, bearer_file and username")
	case c.Auth.Password != "" && c.Auth.Username == "":
		return component.Invalid("auth.username", "a password needs one")
	case c.Sign.Secret == "" && c.Sign.Header != Default().Sign.Header && c.Sign.Header != "":
		return component.Invalid("sign.secret", "it is empty, and nothing would be signed; set it, or leave sign.header out")
	case c.Sign.Secret != "" && !httpguts.ValidHeaderFieldName(c.Sign.Header):
		return component.Invalid("sign.header", "name the header for the signature")
	case slices.ContainsFunc(c.RetryStatuses, func(status int) bool { return status < 400 || status > 499 }):
		return component.Invalid("retry_statuses", "a status that can be sent again is between 400 and 499")
	}
	for name := range c.Headers {
		if !httpguts.ValidHeaderFieldName(name) {
			return component.Invalid("headers", "%q is no name of a header", name)
		}
	}
	if err := c.validateURL(); err != nil {
		return err
	}
	if err := outbound.CheckProxy(c.Proxy.Reveal()); err != nil {
		return component.Invalid("proxy", "%v", err)
	}
	if c.Method != "" && (c.Method != strings.ToUpper(c.Method) || !httpguts.ValidHeaderFieldName(c.Method)) {
		return component.Invalid("method", "%q is no method; write one word in capitals, such as PUT", c.Method)
	}
	if err := c.TLS.Validate(); err != nil {
		return err
	}
	t, err := c.compile()
	if err != nil {
		return err
	}
	return c.try(t)
}

// validateURL checks what of the URL is known before there is an alert.
func (c *Config) validateURL() error {
	if strings.Contains(c.URL, "{{") {
		return nil
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return component.Invalid("url", "it is no address of http or https with a host")
	case u.Scheme == "http" && c.TLS != tlsclient.Config{}:
		return component.Invalid("tls", "it is for a url of https, and that of http is not encrypted")
	case c.Preset == "elasticsearch_bulk" && !strings.HasSuffix(u.Path, "/_bulk"):
		return component.Invalid("url", "with the preset elasticsearch_bulk its path ends in /INDEX/_bulk")
	}
	if err := outbound.CheckHost(u.Hostname()); err != nil && !c.AllowLinkLocal {
		return component.Invalid("url", "%v", err)
	}
	return nil
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
		Description: "2xx acknowledges. 401, 407, 408, 425, 429, 5xx and redirections, which are not followed, are sent again, not before the time that Retry-After names: what they tell of does " +
			"not depend on the alert. Any other answer refuses the alerts for good, but for those of `retry_statuses`, and 403 of Splunk. A repeat has the same `Idempotency-Key`: the alert's id, or one made of " +
			"the ids of the request's alerts; requests of several alerts may be made up of others after a restart, so with a receiver that goes by the key leave `batch` at 1. Elasticsearch gets the " +
			"ids as those of its documents; it needs `url` to end in `/INDEX/_bulk`, and a data stream needs `format: ecs`. Secrets belong into environment variables or files: `${TOKEN}`, `${file:/run/secrets/token}`. An answer is " +
			"repeated in errors without the URL's path, the request's headers and the secrets that it may repeat.",
		Example: "url: https://hooks.example.com/alerts\nsign: {secret: \"${HOOK_SECRET:-change-me}\"}\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
}
