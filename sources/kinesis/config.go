package kinesis

import (
	"strings"
	"time"

	"sluice/pipeline/awsconn"
	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/intake"
)

// The places to begin at, beside a time in RFC 3339.
const (
	StartTrimHorizon = "trim_horizon"
	StartLatest      = "latest"
)

// Words of on_gap and unwrap.
const (
	gapFail          = "fail"
	gapSkip          = "skip"
	unwrapNone       = "none"
	unwrapCloudWatch = "cloudwatch"
)

// What Kinesis allows of one shard.
const (
	readsPerSecond = 5
	bytesPerSecond = 2 << 20
	mostRecords    = 10_000
)

// Config says which stream is read, and from where. Start from Default.
type Config struct {
	// Stream is the stream's name, or its ARN where it belongs to another account.
	Stream string `yaml:"stream"`

	awsconn.Settings `yaml:",inline"`

	// Start is where to begin at the very first start: `trim_horizon`, the oldest
	// record that the stream keeps; `latest`, the records from now on; or a time
	// such as `2024-05-01T12:00:00Z`. Later starts go on where the last one ended.
	Start string `yaml:"start"`
	// OnGap says what to do when the stream threw records away before they were
	// read, or was deleted and made again: `fail` ends the run, so that somebody
	// decides; `skip` counts it, says so and goes on at the oldest record.
	OnGap string `yaml:"on_gap"`
	// Unwrap is `cloudwatch` where the stream gets CloudWatch Logs' subscriptions:
	// each log event is then a record, with the headers `log_group` and
	// `log_stream` (`labels_from` makes labels of them). With `none`, a record is what the producer put.
	Unwrap string `yaml:"unwrap"`
	// CheckHashRange drops the records within an aggregated one whose keys
	// belong to another shard, and counts them. The Kinesis Producer Library
	// sends such records again when shards were split or merged; other
	// producers do not, and would lose them.
	CheckHashRange bool `yaml:"check_hash_range"`
	// Share leaves shards to other processes: the range of hash keys is cut into
	// as many slices as the count says, and a process reads the shards whose
	// middle lies in the slice of its ordinal.
	Share sources.Share `yaml:"share"`
	// PollInterval is how long to wait before a shard that had no more is asked
	// again, from 200ms on. All consumers of a shard share five reads a second.
	PollInterval time.Duration `yaml:"poll_interval"`
	// MaxRecords is the most records of an answer, up to 10000.
	MaxRecords int32 `yaml:"max_records"`
	// Readers is how many answers, of up to 10 MiB each, are held in memory at
	// once; further shards wait for their turn.
	Readers int `yaml:"readers"`
	// RefreshInterval is how often new shards are looked for; the children of a
	// shard that ends are found at once.
	RefreshInterval time.Duration `yaml:"refresh_interval"`
	// BackoffMin is the wait after the first failure; it doubles with each further one.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest wait after a failure.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// Journal says where records are kept until the pipeline is through with them.
	Journal intake.JournalConfig `yaml:"journal"`
	// Labels are given to all records.
	Labels map[string]string `yaml:"labels"`
}

// Default returns the configuration of no stream yet.
func Default() Config {
	return Config{
		Settings: awsconn.Default(), Journal: intake.Default(intakeMode).Journal,
		Start: StartTrimHorizon, OnGap: gapFail, Unwrap: unwrapNone,
		PollInterval: time.Second, MaxRecords: mostRecords, Readers: 8, RefreshInterval: time.Minute,
		BackoffMin: 200 * time.Millisecond, BackoffMax: 10 * time.Second,
	}
}

// intakeMode is the only one: marks, which hold the sequence numbers, live in the journal.
const intakeMode = "journal"

func (c *Config) intake() intake.Config {
	i := intake.Default(intakeMode)
	i.Journal = c.Journal
	return i
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	if c.Stream == "" || strings.HasSuffix(c.Stream, "/") {
		return component.Invalid("stream", "name the stream to read, or give its ARN")
	}
	if err := c.Settings.Validate(); err != nil {
		return err
	}
	if _, err := c.startTime(); err != nil {
		return err
	}
	switch {
	case c.OnGap != gapFail && c.OnGap != gapSkip:
		return component.Invalid("on_gap", "%q is neither fail nor skip", c.OnGap)
	case c.Unwrap != unwrapNone && c.Unwrap != unwrapCloudWatch:
		return component.Invalid("unwrap", "%q is neither none nor cloudwatch", c.Unwrap)
	case c.PollInterval < time.Second/readsPerSecond:
		return component.Invalid("poll_interval", "it must be at least 200ms: Kinesis allows five reads a second")
	case c.MaxRecords < 1 || c.MaxRecords > mostRecords:
		return component.Invalid("max_records", "it must be from 1 to 10000")
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

// startTime is the time that Start names; zero where it is a word.
func (c *Config) startTime() (time.Time, error) {
	if c.Start == StartTrimHorizon || c.Start == StartLatest {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, c.Start)
	if err != nil {
		return t, component.Invalid("start", "%q is none of trim_horizon, latest, nor a time such as 2024-05-01T12:00:00Z", c.Start)
	}
	return t, nil
}

// streamName is the stream's name, also where its ARN is configured.
func (c *Config) streamName() string { return c.Stream[strings.LastIndexByte(c.Stream, '/')+1:] }

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "kinesis",
		Summary:  "An Amazon Kinesis data stream, all of its shards or a share of them.",
		Delivery: "exactly once",
		Description: "Reads each shard in order, and a shard's children after it when it was split or merged. What was read lies in a journal " +
			"together with the shard's sequence number, so a crash loses nothing and counts nothing twice. Aggregated records of the Kinesis " +
			"Producer Library are taken apart. A stream gives a record twice where its producer put it twice.",
		Example: "stream: logs\nregion: eu-west-1\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
