package logquery

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sources/intake"
)

// Config are the keys that such sources have in common. It is inlined into
// theirs: `yaml:",inline"`. Start from Default.
type Config struct {
	// URL is where the database is, such as http://localhost:3100 or https://logs.example.org.
	URL string `yaml:"url"`
	// Prefix stands before the paths of the API, where a proxy in front of the database wants one.
	Prefix string `yaml:"prefix"`
	// Query chooses the lines, in the database's own language.
	Query string `yaml:"query"`
	// TLS says how the certificate of https:// is checked, and which is the client's own.
	TLS tlsclient.Config `yaml:"tls"`
	// Auth signs in with a username and a password.
	Auth Auth `yaml:"auth"`
	// BearerToken signs in with a token. It is never logged.
	BearerToken component.Secret `yaml:"bearer_token"`
	// BearerTokenFile holds the token instead; it is read at every request.
	BearerTokenFile string `yaml:"bearer_token_file"`
	// Headers are sent with every request. Their values are never logged.
	Headers map[string]component.Secret `yaml:"headers"`
	// NoReadyCheck leaves out asking whether the database is ready before the first query, for services that do not answer it.
	NoReadyCheck bool `yaml:"no_ready_check"`

	// Follow goes on with lines as they come; without it the source ends with the lines that there are.
	Follow bool `yaml:"follow"`
	// Since is where to begin when nothing was read yet: a time such as 2024-05-01T12:00:00Z, or how long ago, such as 1h. Left empty it is now.
	Since string `yaml:"since"`
	// Until is where to end, written alike; it is for `follow: false`. Left empty it is now.
	Until string `yaml:"until"`
	// Limit is how many lines are asked for at once. The database may allow fewer.
	Limit int `yaml:"limit"`
	// PollInterval is how long to wait before it is asked again once there was no more.
	PollInterval time.Duration `yaml:"poll_interval"`
	// Overlap is how late a line may turn up, behind its own time, and still be read: so far back every pass begins.
	// The longer it is, the more is read again.
	Overlap time.Duration `yaml:"overlap"`
	// Window is the longest time that one query spans.
	Window time.Duration `yaml:"window"`
	// MaxRemembered is how many lines of the overlap are remembered, at most, so that none counts twice. Where there are more in that time
	// the overlap is shortened, which is said once and counted as a gap.
	MaxRemembered int `yaml:"max_remembered"`
	// MaxLineBytes is the size of the longest line; longer ones are cut, and counted.
	MaxLineBytes component.Bytes `yaml:"max_line_bytes"`
	// MaxAnswerBytes is the size of the largest answer. Fewer lines are asked for where there are larger ones.
	MaxAnswerBytes component.Bytes `yaml:"max_answer_bytes"`
	// RequestTimeout is how long a request may take.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// BackoffMin is the wait after the first failure; it doubles with each further one.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest wait after a failure.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// Journal says where records are kept until the pipeline is through with them, and with them how far was read.
	Journal intake.JournalConfig `yaml:"journal"`
	// Labels are given to all lines, such as type: nginx.
	Labels map[string]string `yaml:"labels"`
}

// Auth is a username and its password.
type Auth struct {
	// Username is sent by HTTP's basic authentication.
	Username string `yaml:"username"`
	// Password is that of `username`. It is never logged.
	Password component.Secret `yaml:"password"`
	// PasswordFile holds the password instead; it is read at every request, and its last line end does not count.
	PasswordFile string `yaml:"password_file"`
}

// Default returns the configuration of no database yet.
func Default() Config {
	return Config{
		Follow: true, Limit: 1000, PollInterval: 2 * time.Second, Overlap: 10 * time.Second, Window: time.Hour, MaxRemembered: 250_000,
		MaxLineBytes: 1 << 20, MaxAnswerBytes: 64 << 20, RequestTimeout: 30 * time.Second,
		BackoffMin: 500 * time.Millisecond, BackoffMax: 30 * time.Second, Journal: intake.Default(intake.Journal).Journal,
	}
}

// Validate checks the configuration without reading a file. such is an example of a query.
func (c *Config) Validate(such string) error {
	if err := c.validatePlace(); err != nil {
		return err
	}
	if err := c.TLS.Validate(); err != nil {
		return err
	}
	if err := c.validateTimes(); err != nil {
		return err
	}
	switch {
	case strings.TrimSpace(c.Query) == "":
		return component.Invalid("query", "say which lines are read, such as %s", such)
	case c.Limit < 1 || c.Limit > 1_000_000:
		return component.Invalid("limit", "it must be from 1 to 1000000")
	case c.MaxRemembered < c.Limit || c.MaxRemembered > 10_000_000:
		return component.Invalid("max_remembered", "it must be from limit to 10000000")
	case c.MaxLineBytes < 1:
		return component.Invalid("max_line_bytes", "at least 1 is needed")
	case c.MaxAnswerBytes < 64<<10 || c.MaxAnswerBytes > 1<<30:
		return component.Invalid("max_answer_bytes", "it must be from 64KiB to 1GiB")
	case c.RequestTimeout <= 0:
		return component.Invalid("request_timeout", "it must be more than 0s")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return component.Invalid("backoff_max", "0s < backoff_min ≤ backoff_max must hold")
	}
	i := c.intake()
	return i.Validate()
}

func (c *Config) validatePlace() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return component.Invalid("url", "it is no address such as http://localhost:3100")
	case u.User != nil:
		return component.Invalid("url", "it holds a user: set auth, so that no log shows it")
	case u.RawQuery != "" || u.Fragment != "":
		return component.Invalid("url", "it has a query or a fragment, which are not sent")
	}
	signs := 0
	for _, set := range []bool{c.Auth != Auth{}, c.BearerToken != "" || c.BearerTokenFile != ""} {
		if set {
			signs++
		}
	}
	switch {
	case signs > 1:
		return component.Invalid("auth", "auth and bearer_token are ways to sign in: set one")
	case c.Auth.Username == "" && c.Auth != Auth{}:
		return component.Invalid("auth.username", "a password needs one")
	case c.Auth.Password != "" && c.Auth.PasswordFile != "":
		return component.Invalid("auth.password", "give password or password_file, one of them")
	case c.BearerToken != "" && c.BearerTokenFile != "":
		return component.Invalid("bearer_token", "give bearer_token or bearer_token_file, one of them")
	}
	for name := range c.Headers {
		if name == "" || strings.ContainsAny(name, " \t\r\n:") || http.CanonicalHeaderKey(name) == "Authorization" && signs > 0 {
			return component.Invalid("headers", "%q is no header's name, or one that auth and bearer_token set", name)
		}
	}
	return nil
}

func (c *Config) validateTimes() error {
	for _, key := range []struct{ name, value string }{{"since", c.Since}, {"until", c.Until}} {
		if _, err := instant(key.value, time.Unix(0, 0)); err != nil {
			return component.Invalid(key.name, "%q is neither a time such as 2024-05-01T12:00:00Z nor how long ago, such as 1h", key.value)
		}
	}
	switch {
	case c.Until != "" && c.Follow:
		return component.Invalid("until", "it needs follow: false")
	case c.Since == "" && !c.Follow:
		return component.Invalid("since", "without follow, say where to begin")
	case c.PollInterval < 50*time.Millisecond:
		return component.Invalid("poll_interval", "it must be at least 50ms")
	case c.Overlap < 0 || c.Overlap > 24*time.Hour:
		return component.Invalid("overlap", "it must be from 0s to 24h")
	case c.Window < time.Second:
		return component.Invalid("window", "it must be at least 1s")
	}
	return nil
}

// instant reads a time, or how long before now; now when text is empty.
func instant(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return now, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

// intake is what the intake is made of: marks live in the journal, so it is the only mode.
func (c *Config) intake() intake.Config {
	i := intake.Default(intake.Journal)
	i.Journal = c.Journal
	return i
}
