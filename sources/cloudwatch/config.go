package cloudwatch

import (
	"regexp"
	"slices"
	"time"

	"sluice/pipeline/awsconn"
	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/intake"
)

// The places to begin at, beside a time in RFC 3339.
const (
	StartLatest = "latest"
	StartOldest = "oldest"
)

// Words of on_gap.
const (
	gapFail = "fail"
	gapSkip = "skip"
)

// mostEvents is the most that CloudWatch puts into an answer.
const mostEvents = 10_000

// Config says which events are read. Start from Default.
type Config struct {
	// Groups are log groups by their names, such as `/aws/lambda/login`. Name some
	// here, or give a `group_prefix` or a `group_regexp`.
	Groups []string `yaml:"groups"`
	// GroupPrefix adds the log groups whose names begin with it.
	GroupPrefix string `yaml:"group_prefix"`
	// GroupRegexp adds the log groups whose whole name it matches; with
	// `group_prefix`, a group must have both.
	GroupRegexp string `yaml:"group_regexp"`
	// StreamPrefix leaves out the log streams whose names do not begin with it.
	StreamPrefix string `yaml:"stream_prefix"`
	// StreamRegexp leaves out the log streams whose whole name it does not match.
	StreamRegexp string `yaml:"stream_regexp"`
	// FilterPattern is a filter in CloudWatch's own language that events must
	// match, such as `?sshd ?sudo`; all when empty.
	FilterPattern string `yaml:"filter_pattern"`

	awsconn.Settings `yaml:",inline"`

	// Start is where to begin in a group that was never read: `latest`, the events
	// from now on; `oldest`; or a time such as `2024-05-01T12:00:00Z`, which is the
	// first of the window. Later starts go on where the last one ended, and a
	// group that is made later is read from its first event.
	Start string `yaml:"start"`
	// End ends the window at a time, exclusive: the source ends once all events
	// before it are read. Without it, the source follows.
	End string `yaml:"end"`
	// Overlap is how late an event may turn up, after its own time, and still be
	// read: so far back every read begins. Events that come later are missed.
	// The longer it is, the more is read again.
	Overlap time.Duration `yaml:"overlap"`
	// MaxRemembered bounds how many events of the overlap are remembered, so
	// that none is counted twice, in each group. A group that has more in that
	// time gets a shorter overlap, which is said once and counted as a gap.
	MaxRemembered int `yaml:"max_remembered"`
	// OnGap says what to do when a group's retention removed events before they
	// were read: `fail` ends the run, so that somebody decides; `skip` counts it,
	// says so and goes on.
	OnGap string `yaml:"on_gap"`
	// Share leaves log groups to other processes: this one reads those whose
	// names' hash, modulo the count, is the ordinal.
	Share sources.Share `yaml:"share"`
	// PollInterval is how long to wait before a group that had no more is asked again.
	PollInterval time.Duration `yaml:"poll_interval"`
	// RequestsPerSecond is how often this source asks for events, over all of its
	// groups. CloudWatch allows an account a few in a region, all clients together.
	RequestsPerSecond float64 `yaml:"requests_per_second"`
	// Readers is how many answers, of up to 1 MiB each, are held in memory at
	// once; further groups wait for their turn.
	Readers int `yaml:"readers"`
	// RefreshInterval is how often new log groups are looked for.
	RefreshInterval time.Duration `yaml:"refresh_interval"`
	// BackoffMin is the wait after the first failure; it doubles with each further one.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest wait after a failure.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// Journal says where records are kept until the pipeline is through with them.
	Journal intake.JournalConfig `yaml:"journal"`
	// Labels are given to all records.
	Labels map[string]string `yaml:"labels"`

	groups, streams *regexp.Regexp // whole names; nil for all
}

// Default returns the configuration of no group yet.
func Default() Config {
	return Config{
		Settings: awsconn.Default(), Journal: intake.Default(intake.Journal).Journal,
		Start: StartLatest, OnGap: gapFail, Overlap: 2 * time.Minute, MaxRemembered: 250_000,
		PollInterval: 5 * time.Second, RequestsPerSecond: 5, Readers: 4, RefreshInterval: time.Minute,
		BackoffMin: 500 * time.Millisecond, BackoffMax: 30 * time.Second,
	}
}

// intake is what the intake is made of: marks live in the journal, so it is the only mode.
func (c *Config) intake() intake.Config {
	i := intake.Default(intake.Journal)
	i.Journal = c.Journal
	return i
}

// Validate checks the configuration and compiles its expressions.
func (c *Config) Validate() error {
	if err := c.Settings.Validate(); err != nil {
		return err
	}
	if err := c.validateNames(); err != nil {
		return err
	}
	start, end, err := c.window()
	switch {
	case err != nil:
		return err
	case !end.IsZero() && !start.Before(end):
		return component.Invalid("end", "it must be later than start")
	case !end.IsZero() && c.Start == StartLatest:
		return component.Invalid("start", "a window with an end needs a time, or oldest, to start at")
	case c.Overlap < time.Second || c.Overlap > 24*time.Hour:
		return component.Invalid("overlap", "it must be from 1s to 24h")
	case c.MaxRemembered < mostEvents || c.MaxRemembered > 10_000_000:
		return component.Invalid("max_remembered", "it must be from 10000 to 10000000")
	case c.OnGap != gapFail && c.OnGap != gapSkip:
		return component.Invalid("on_gap", "%q is neither fail nor skip", c.OnGap)
	case c.PollInterval < 100*time.Millisecond:
		return component.Invalid("poll_interval", "it must be at least 100ms")
	case !(c.RequestsPerSecond > 0 && c.RequestsPerSecond <= 1000):
		return component.Invalid("requests_per_second", "it must be more than 0, and 1000 at most")
	case c.Readers < 1:
		return component.Invalid("readers", "at least 1 is needed")
	case c.RefreshInterval < time.Second:
		return component.Invalid("refresh_interval", "it must be at least 1s")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return component.Invalid("backoff_max", "0s < backoff_min ≤ backoff_max must hold")
	}
	if err := c.Share.Validate(); err != nil {
		return err
	}
	i := c.intake()
	return i.Validate()
}

func (c *Config) validateNames() error {
	if slices.Contains(c.Groups, "") || len(c.Groups) == 0 && c.GroupPrefix == "" && c.GroupRegexp == "" {
		return component.Invalid("groups", "name at least one, or give a group_prefix or a group_regexp")
	}
	for _, e := range []struct {
		key, text string
		to        **regexp.Regexp
	}{{"group_regexp", c.GroupRegexp, &c.groups}, {"stream_regexp", c.StreamRegexp, &c.streams}} {
		if e.text == "" {
			continue
		}
		compiled, err := regexp.Compile("^(?:" + e.text + ")$")
		if err != nil {
			return component.Invalid(e.key, "%v", err)
		}
		*e.to = compiled
	}
	return nil
}

// window returns the times that Start and End name; zero where they name none.
func (c *Config) window() (start, end time.Time, err error) {
	if c.Start != StartLatest && c.Start != StartOldest {
		if start, err = time.Parse(time.RFC3339, c.Start); err != nil {
			return start, end, component.Invalid("start", "%q is none of latest, oldest, nor a time such as 2024-05-01T12:00:00Z", c.Start)
		}
	}
	if c.End != "" {
		if end, err = time.Parse(time.RFC3339, c.End); err != nil {
			return start, end, component.Invalid("end", "%q is no time such as 2024-05-01T12:00:00Z", c.End)
		}
	}
	return start, end, nil
}

// searched tells whether groups are looked for by more than their names.
func (c *Config) searched() bool { return c.GroupPrefix != "" || c.GroupRegexp != "" }

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "cloudwatch",
		Summary:  "Log groups of Amazon CloudWatch Logs, as events come or of a window of time.",
		Delivery: "exactly once, of events no later than `overlap`",
		Description: "Asks for the events since a place that stays behind the present by `overlap`, and leaves out those that it has had, so that events " +
			"that turn up late are read and none is counted twice. Place and ids lie in a journal together with the records. " +
			"With `end` it reads a window and ends. Records have the headers `log_stream` and `event_id`, of which `labels_from` makes labels. " +
			"For much traffic, a subscription to a Kinesis stream is faster and cheaper: see kinesis.",
		Example: "groups: [/aws/lambda/login]\nregion: eu-west-1\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
