package blocklist

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/duration"
	"sluice/pipeline/tlsclient"
	"sluice/sinks/internal/outbound"
)

// Config says where a list comes from, how often, and what is decided on its
// items. Keys that are left out mean what their comments say: see Complete.
type Config struct {
	// Name is the list's name: its decisions have the origin `lists:NAME` and the scenario NAME. Letters, digits, dots, dashes and underscores.
	Name string `yaml:"name"`
	// URL is where the list is fetched, by http or https.
	URL string `yaml:"url"`
	// File is the path of the list on this machine, in place of url. It is read again when its size or its time has changed.
	File string `yaml:"file"`
	// Format is auto (when left out: told by the list's beginning), plain (an address or range a line), csv (with a header that names value and, if need be,
	// scope, type, duration), or json (an array of such objects, what cscli prints, or what the stream of a local API answers).
	Format string `yaml:"format"`
	// Every is how often the list is read; 1h when left out.
	Every time.Duration `yaml:"every"`
	// Duration is how long an item stays in force after the list was last read with it; 24h, or three times every if that is longer, when left out.
	// Items that stay on the list are renewed before they end, so that decisions outlive the loss of the list's server by up to this long.
	Duration time.Duration `yaml:"duration"`
	// Type is what is decided on items that name no type; ban when left out.
	Type string `yaml:"type"`
	// Scope is what items without one are: when left out addresses and ranges, else for example Country or AS.
	Scope string `yaml:"scope"`
	// Headers are sent with every request, such as `Authorization` or `X-Api-Key`. They are not sent to another host that the server leads to.
	Headers map[string]component.Secret `yaml:"headers"`
	// Timeout bounds a request, from connecting to the end of the list; 1m when left out.
	Timeout time.Duration `yaml:"timeout"`
	// MaxSize is the largest list that is taken, unpacked; 64MiB when left out.
	MaxSize component.Bytes `yaml:"max_size"`
	// MaxEntries is how many items a list may have; 1000000 when left out.
	MaxEntries int `yaml:"max_entries"`
	// MaxMalformed is how many lines may be no items: they are skipped, counted and the first is named in the log; with more the list is refused as a whole.
	// 100 when left out; -1 allows none.
	MaxMalformed int `yaml:"max_malformed"`
	// AllowEmpty believes a list without items. Otherwise such a list is refused, and what it held stays in force.
	AllowEmpty bool `yaml:"allow_empty"`
	// TLS says how the server is checked, and with what certificate the request proves itself.
	TLS tlsclient.Config `yaml:"tls"`
	// Proxy is the address of a proxy, such as http://127.0.0.1:3128; empty takes none. The environment's HTTP_PROXY is not looked at.
	Proxy component.Secret `yaml:"proxy"`
	// AllowLinkLocal lets requests go to link-local addresses (169.254.0.0/16, fe80::/10) and to the addresses under which cloud
	// providers serve credentials. Off, such a request is refused whatever name leads there.
	AllowLinkLocal bool `yaml:"allow_link_local"`
}

// Complete returns the configuration with what was left out filled in.
func (c Config) Complete() Config {
	if c.Format == "auto" {
		c.Format = ""
	}
	if c.Every == 0 {
		c.Every = time.Hour
	}
	if c.Duration == 0 {
		c.Duration = max(24*time.Hour, 3*c.Every)
	}
	if c.Type == "" {
		c.Type = "ban"
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	if c.MaxSize == 0 {
		c.MaxSize = 64 << 20
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = 1_000_000
	}
	if c.MaxMalformed == 0 {
		c.MaxMalformed = 100
	}
	return c
}

var named = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Validate checks the configuration.
func (c *Config) Validate() error {
	full := c.Complete()
	switch {
	case !named.MatchString(c.Name):
		return component.Invalid("name", "%q is no name of a list; it has 1 to 100 letters, digits, dots, dashes and underscores", c.Name)
	case (c.URL == "") == (c.File == ""):
		return component.Invalid("url", "list %s: set url or file, one of them", c.Name)
	case !slices.Contains([]string{"", Plain, CSV, JSON}, full.Format):
		return component.Invalid("format", "list %s: %q is no format; it can be auto, plain, csv or json", c.Name, c.Format)
	case full.Every < 10*time.Second:
		return component.Invalid("every", "list %s: at least 10s is needed", c.Name)
	case full.Duration < 3*full.Every:
		return component.Invalid("duration", "list %s: it must be at least three times every (%v), so that a list that is read late loses nothing", c.Name, full.Every)
	case full.Timeout < 0:
		return component.Invalid("timeout", "list %s: it must be above 0, such as 1m", c.Name)
	case full.MaxSize < 0:
		return component.Invalid("max_size", "list %s: it must be above 0, such as 64MiB", c.Name)
	case full.MaxEntries < 0:
		return component.Invalid("max_entries", "list %s: it must be above 0", c.Name)
	case full.MaxMalformed < -1:
		return component.Invalid("max_malformed", "list %s: it must not be below -1", c.Name)
	}
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return component.Invalid("url", "list %s: it is no address of http or https with a host", c.Name)
		} else if err := outbound.CheckHost(u.Hostname()); err != nil && !c.AllowLinkLocal {
			return component.Invalid("url", "list %s: %v", c.Name, err)
		}
	}
	if err := outbound.CheckProxy(c.Proxy.Reveal()); err != nil {
		return component.Invalid("proxy", "list %s: %v", c.Name, err)
	}
	return c.TLS.Validate()
}

// Where names the place of the list without what may be secret in it.
func (c *Config) Where() string {
	if c.File != "" {
		return c.File
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return "url"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Settings is a short text that differs where what is made of a list differs.
func (c *Config) Settings() string {
	full := c.Complete()
	text, _ := json.Marshal([]any{full.URL, full.File, full.Format, full.Duration, full.Type, full.Scope, full.Every, full.MaxMalformed}) // it has JSON
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// length reads an item's own duration; it must be above nothing.
func length(text string) (time.Duration, bool) {
	d, err := duration.Parse(strings.TrimSpace(text))
	return d, err == nil && d > 0
}
