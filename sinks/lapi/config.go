package lapi

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sinks"
)

// Mode says what several APIs are for.
type Mode string

// The modes.
const (
	Failover Mode = "failover"
	Both     Mode = "both"
)

// Config says which APIs get the alerts. Start from Default.
type Config struct {
	// URL is the API's address: http://HOST:PORT, https://HOST:PORT, or unix:/path/to/socket.
	URL string `yaml:"url"`
	// URLs are the addresses of several APIs, instead of url. They share all other settings.
	URLs []string `yaml:"urls"`
	// Mode says what several APIs are for: with failover an alert goes to the first that takes it, in the order of urls;
	// with both it goes to every one of them, and all wait for the slowest. APIs that are not to wait for each other get a sink each.
	Mode Mode `yaml:"mode"`
	// MachineID is the name under which the sink signs in, as `cscli machines add` gives it.
	MachineID string `yaml:"machine_id"`
	// Password belongs to machine_id. A client certificate in tls takes the place of both.
	Password component.Secret `yaml:"password"`
	// Register registers the machine when the API refuses to sign it in. Without a registration_token, someone
	// has to run `cscli machines validate` on the API's side.
	Register bool `yaml:"register"`
	// RegistrationToken is the API's auto_registration token, with which a machine that registers is valid at once.
	RegistrationToken component.Secret `yaml:"registration_token"`
	// Batch is how many alerts one request holds, at most.
	Batch int `yaml:"batch"`
	// Timeout bounds a request, from connecting to the end of the answer.
	Timeout time.Duration `yaml:"timeout"`
	// Heartbeat is how often the sink says that it is alive, so that `cscli machines list` shows it; 0 turns it off.
	Heartbeat time.Duration `yaml:"heartbeat"`
	// UsageMetrics is how often the sink reports how much it has delivered; 0 turns it off. APIs before 1.6.3 do not know such reports and get none.
	UsageMetrics time.Duration `yaml:"usage_metrics"`
	// TLS says how the API's certificate is checked, and with what certificate the sink signs in.
	TLS tlsclient.Config `yaml:"tls"`
}

// Default returns the configuration of no API yet.
func Default() Config {
	return Config{
		Mode: Failover, Batch: 50, Timeout: 30 * time.Second, Heartbeat: time.Minute, UsageMetrics: 30 * time.Minute,
	}
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	switch {
	case c.URL == "" && len(c.URLs) == 0:
		return component.Invalid("url", "name the API, such as http://127.0.0.1:8080")
	case c.URL != "" && len(c.URLs) > 0:
		return component.Invalid("urls", "set one of url and urls")
	case c.Mode != Failover && c.Mode != Both:
		return component.Invalid("mode", "%q is no mode; it can be failover or both", string(c.Mode))
	case c.MachineID == "" && c.TLS.CertFile == "":
		return component.Invalid("machine_id", "set machine_id and password, or tls.cert_file and key_file, to sign in with")
	case (c.MachineID == "") != (c.Password == ""):
		return component.Invalid("password", "machine_id and password go together")
	case c.Register && c.MachineID == "":
		return component.Invalid("register", "only a machine with machine_id and password can be registered")
	case c.RegistrationToken != "" && !c.Register:
		return component.Invalid("registration_token", "it is used with register: true only")
	case c.Batch < 1 || c.Batch > 1000:
		return component.Invalid("batch", "%d is not between 1 and 1000", c.Batch)
	case c.Timeout <= 0:
		return component.Invalid("timeout", "it must be above 0, such as 30s")
	case c.Heartbeat < 0 || c.Heartbeat > 0 && c.Heartbeat < time.Second:
		return component.Invalid("heartbeat", "it must be 0 or at least 1s")
	case c.UsageMetrics < 0 || c.UsageMetrics > 0 && c.UsageMetrics < time.Second:
		return component.Invalid("usage_metrics", "it must be 0 or at least 1s")
	}
	seen := make(map[string]bool)
	for _, text := range c.addresses() {
		key := "url"
		if c.URL == "" {
			key = "urls"
		}
		if _, _, err := parseAddress(text); err != nil {
			return component.Invalid(key, "%v", err)
		}
		if seen[text] {
			return component.Invalid(key, "%s is named twice", text)
		}
		seen[text] = true
	}
	if c.TLS != (tlsclient.Config{}) && !slices.ContainsFunc(c.addresses(), func(a string) bool { return strings.HasPrefix(a, "https:") }) {
		return component.Invalid("tls", "it is for an API of https, and no address here is one")
	}
	return c.TLS.Validate()
}

func (c *Config) addresses() []string {
	if c.URL != "" {
		return []string{c.URL}
	}
	return c.URLs
}

// addressError says what an address should look like. It does not repeat the
// address, in which someone may have put a password.
type addressError struct{}

func (addressError) Error() string {
	return "an address is http://HOST:PORT, https://HOST:PORT or unix:/path/to/socket, without user, password and parameters"
}

// parseAddress returns the base of an API's URLs, without a slash at its end,
// and the path of its socket, if it has one.
func parseAddress(text string) (base, socket string, err error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if !strings.HasPrefix(path, "/") {
			return "", "", addressError{}
		}
		return "http://localhost", path, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", "", addressError{}
	}
	base = strings.TrimSuffix(strings.TrimSuffix(u.String(), "/"), "/v1")
	return base, "", nil
}

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:     "lapi",
		Summary:  "Alerts with their decisions to a CrowdSec LAPI, as a log processor of CrowdSec pushes them.",
		Delivery: "at least once, and once as far as the API can tell",
		Description: "An alert's id goes along in its meta, as `sluice_alert_id`. After a lost answer and after a start the sink asks the API which of the alerts it has before it sends any, " +
			"so that none is there twice. Two things remain: a request that the API finishes only after it was asked about it, and, with `mode: failover`, an alert that the first API took before it failed and the second as well; such a repeat has the same id. " +
			"A decision that has run out before it could be delivered is counted and left out; an alert that loses all of its decisions that way is sent with `remediation: false`, " +
			"so that the API's own profiles decide nothing anew. An alert that the API refuses goes to the dead letters with the API's words, and those around it are delivered.",
		Example: "url: http://127.0.0.1:8080\nmachine_id: sluice\npassword: \"${LAPI_PASSWORD:-change-me}\"\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
}
