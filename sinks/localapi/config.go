package localapi

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/localapi/blocklist"
)

// Config says where the API listens, and whom it trusts. Start from Default.
type Config struct {
	// Listen are the addresses to listen on, host:port, or unix:/path for a socket. With `[]` decisions are kept, for
	// the command line and for sinks that follow them, and nothing is served.
	Listen []string `yaml:"listen"`
	// Dir is the folder of decisions, keys and allow-lists; by default one in the state's folder.
	Dir string `yaml:"dir"`
	// TLS turns on encryption, and clients with certificates.
	TLS TLS `yaml:"tls"`
	// AutoRegistration lets machines register themselves and be valid at once.
	AutoRegistration AutoRegistration `yaml:"auto_registration"`
	// Registration lets machines register themselves; they wait for `sluice machines validate`, up to 100 of them.
	Registration bool `yaml:"registration"`
	// TrustedProxies are addresses and ranges whose X-Forwarded-For and X-Real-IP tell the client's address.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// MaxAlerts is how many alerts are kept, beside those with decisions in force; 0 keeps all.
	MaxAlerts int `yaml:"max_alerts"`
	// Remember is how long removed decisions are remembered, so that a bouncer that asks again after such a while learns of them.
	Remember time.Duration `yaml:"remember"`
	// TokenLifetime is how long a machine stays signed in.
	TokenLifetime time.Duration `yaml:"token_lifetime"`
	// MaxBody is the largest request that is read. Of what machines sign in with it is 256KiB at most, of a report of usage metrics 1MiB.
	MaxBody component.Bytes `yaml:"max_body"`
	// Verdict says how /v1/verdict answers reverse proxies.
	Verdict Verdict `yaml:"verdict"`
	// Blocklists are lists of addresses and ranges that others publish: read on a schedule, and decided on as long as they are listed.
	// `sluice blocklists list` says how they do. The decisions of a list that is taken out of here are withdrawn at the next start.
	Blocklists []blocklist.Config `yaml:"blocklists"`
}

// TLS says with what the server proves itself, and whose certificates it takes.
type TLS struct {
	// CertFile is the server's certificate in PEM, KeyFile its key. Both are read again when they change.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the key of cert_file.
	KeyFile string `yaml:"key_file"`
	// ClientCAFile holds the authorities, in PEM, whose client certificates are taken.
	ClientCAFile string `yaml:"client_ca_file"`
	// MachineOUs are the organisational units whose certificates are those of machines.
	MachineOUs []string `yaml:"machine_ous"`
	// BouncerOUs are the organisational units whose certificates are those of bouncers.
	BouncerOUs []string `yaml:"bouncer_ous"`
}

// AutoRegistration is a secret that many machines know.
type AutoRegistration struct {
	// Token is what a machine must know, of at least 32 characters; empty turns it off.
	Token component.Secret `yaml:"token"`
	// AllowedRanges are the addresses and ranges from which it is taken.
	AllowedRanges []string `yaml:"allowed_ranges"`
}

// Verdict says how a verdict is told.
type Verdict struct {
	// Key is asked for as X-Api-Key, when set; a bouncer's key is taken as well. Without it
	// the endpoint answers anyone who reaches it.
	Key component.Secret `yaml:"key"`
	// RequireKey asks for a bouncer's key though none is set here.
	RequireKey bool `yaml:"require_key"`
	// AddressHeader is the header with the address in question, and nothing else is then: a request without it is answered 400. By default it is the
	// query's ip; or, from a trusted proxy, the last of X-Forwarded-For that is none of trusted_proxies, or X-Real-IP; or else whoever asks.
	AddressHeader string `yaml:"address_header"`
	// Explain tells in the answer which type and scenario decided, and until when. Traefik and Envoy pass that on to the client, who so learns what gave him away.
	Explain bool `yaml:"explain"`
	// BanStatus, CaptchaStatus and ThrottleStatus are the answers for each remedy; an address on which nothing is decided gets 200.
	BanStatus int `yaml:"ban_status"`
	// CaptchaStatus is the answer for a captcha.
	CaptchaStatus int `yaml:"captcha_status"`
	// ThrottleStatus is the answer for a throttle.
	ThrottleStatus int `yaml:"throttle_status"`
}

// Default returns the configuration of an API on the loopback address.
func Default() Config {
	return Config{
		Listen: []string{"127.0.0.1:8080"}, MaxAlerts: 50_000, Remember: 7 * 24 * time.Hour, TokenLifetime: time.Hour,
		MaxBody: 64 << 20, TLS: TLS{MachineOUs: []string{"agent-ou"}, BouncerOUs: []string{"bouncer-ou"}},
		Verdict: Verdict{BanStatus: 403, CaptchaStatus: 401, ThrottleStatus: 429},
	}
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	switch {
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return component.Invalid("tls.cert_file", "cert_file and key_file go together")
	case c.TLS.ClientCAFile != "" && c.TLS.CertFile == "":
		return component.Invalid("tls.client_ca_file", "client certificates take encryption; set cert_file and key_file")
	case c.AutoRegistration.Token != "" && len(c.AutoRegistration.Token.Reveal()) < 32:
		return component.Invalid("auto_registration.token", "it must have at least 32 characters: it must not be guessed")
	case c.AutoRegistration.Token != "" && len(c.AutoRegistration.AllowedRanges) == 0:
		return component.Invalid("auto_registration.allowed_ranges", "name the ranges from which machines may register, such as 10.0.0.0/8")
	case c.MaxAlerts < 0:
		return component.Invalid("max_alerts", "it must not be below 0")
	case c.Remember < time.Minute:
		return component.Invalid("remember", "at least 1m is needed: bouncers ask every 10s or so")
	case c.TokenLifetime < time.Minute:
		return component.Invalid("token_lifetime", "at least 1m is needed")
	case c.MaxBody < 1024:
		return component.Invalid("max_body", "at least 1KiB is needed")
	}
	for _, l := range c.Listen {
		path, socket := strings.CutPrefix(l, "unix:")
		if _, port, err := net.SplitHostPort(l); socket && path == "" || !socket && (err != nil || port == "") {
			return component.Invalid("listen", "%q is no address such as 127.0.0.1:8080, :8080 or unix:/run/sluice.sock", l)
		}
	}
	for _, l := range []struct {
		key   string
		items []string
	}{{"trusted_proxies", c.TrustedProxies}, {"auto_registration.allowed_ranges", c.AutoRegistration.AllowedRanges}} {
		if _, err := prefixes(l.items); err != nil {
			return component.Invalid(l.key, "%v", err)
		}
	}
	for _, v := range []struct {
		key    string
		status int
	}{{"ban_status", c.Verdict.BanStatus}, {"captcha_status", c.Verdict.CaptchaStatus}, {"throttle_status", c.Verdict.ThrottleStatus}} {
		if v.status < 200 || v.status > 599 {
			return component.Invalid("verdict."+v.key, "%d is no status; it can be 200 to 599", v.status)
		}
	}
	names := make(map[string]bool)
	for i := range c.Blocklists {
		l := &c.Blocklists[i]
		if err := l.Validate(); err != nil {
			return component.Invalid("blocklists", "%v", err)
		}
		if names[l.Name] {
			return component.Invalid("blocklists", "two lists are called %s; give each a name of its own", l.Name)
		}
		names[l.Name] = true
	}
	return nil
}

// prefixes reads addresses and ranges.
func prefixes(items []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, len(items))
	for i, text := range items {
		p, err := parsePrefix(text)
		if err != nil {
			return nil, err
		}
		out[i] = p
	}
	return out, nil
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// folder is where the store is.
func (c *Config) folder(env sinks.Env, name string) string {
	if c.Dir != "" || env.Dir == "" {
		return c.Dir
	}
	return filepath.Join(env.Dir, strings.ReplaceAll(name, string(filepath.Separator), "_"))
}

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:     "local_api",
		Summary:  "Keeps decisions and serves them to CrowdSec's bouncers, engines and cscli, and verdicts to reverse proxies.",
		Delivery: "exactly once",
		Description: "Serves version 1 of CrowdSec's local API. `sluice bouncers add` makes keys, `sluice machines add` passwords. " +
			"Decisions, keys and allow-lists are in a folder beside the state. Alerts of CrowdSec engines that come without decisions go through the pipeline's own profiles.",
		Example: "listen: [127.0.0.1:8080]\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
}
