package kafka

import (
	"slices"
	"time"

	"sluice/pipeline/component"
	"sluice/sources"
)

// The places to begin at, beside a time in RFC 3339.
const (
	StartCommitted = "committed"
	StartEarliest  = "earliest"
	StartLatest    = "latest"
)

// Config says which partitions are read, and from where. Start from Default.
type Config struct {
	// Brokers are addresses to reach the cluster by, host:port.
	Brokers []string `yaml:"brokers"`
	// Topics are read side by side.
	Topics []string `yaml:"topics"`
	// Partitions are read of every topic; all when empty.
	Partitions []int32 `yaml:"partitions"`
	// Share leaves partitions to other processes.
	Share Share `yaml:"share"`
	// Group is the consumer group under which offsets are committed; none are without it.
	Group string `yaml:"group"`
	// Start is committed (the default with a group: where the group stands, or
	// by on_reset where it stands nowhere), earliest (the default without),
	// latest, or a time such as 2024-05-01T12:00:00Z: the first record from then on.
	Start string `yaml:"start"`
	// OnReset is where to go on when an offset is gone or none is committed: earliest, latest or fail.
	OnReset string `yaml:"on_reset"`
	// MissingTopic says what to do about a topic that does not exist: fail or wait.
	MissingTopic string `yaml:"missing_topic"`
	// MinBytes and MaxWait are how much, and how long, a broker gathers before
	// it answers; MaxBytes bounds an answer, except for a single larger batch.
	MinBytes component.Bytes `yaml:"min_bytes"`
	MaxBytes component.Bytes `yaml:"max_bytes"`
	MaxWait  time.Duration   `yaml:"max_wait"`
	// BatchRecords is the largest number of records in a batch.
	BatchRecords int `yaml:"batch_records"`
	// RequestTimeout bounds a request, without the time that the broker waits by MaxWait.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// BackoffMin and BackoffMax bound the wait after a failure, which doubles.
	BackoffMin time.Duration `yaml:"backoff_min"`
	BackoffMax time.Duration `yaml:"backoff_max"`
	// ClientID is the name told to the brokers.
	ClientID string `yaml:"client_id"`
	// Labels are given to all lines.
	Labels map[string]string `yaml:"labels"`
}

// Share is one process's part of the partitions: those whose number modulo
// Count is Ordinal, so that equal numbers of several topics stay together.
type Share struct {
	Ordinal int32 `yaml:"ordinal"`
	Count   int32 `yaml:"count"` // 0 is no sharing
}

// Default returns the configuration of no topic yet.
func Default() Config {
	return Config{
		OnReset: StartEarliest, MissingTopic: "fail",
		MinBytes: 1, MaxBytes: 4 << 20, MaxWait: 500 * time.Millisecond, BatchRecords: 1000,
		RequestTimeout: 10 * time.Second, BackoffMin: 100 * time.Millisecond, BackoffMax: 10 * time.Second,
		ClientID: "sluice",
	}
}

// Validate checks the configuration and fills in Start.
func (c *Config) Validate() error {
	if c.Start == "" {
		c.Start = StartEarliest
		if c.Group != "" {
			c.Start = StartCommitted
		}
	}
	if len(c.Brokers) == 0 || slices.Contains(c.Brokers, "") {
		return component.Invalid("brokers", "name at least one, such as localhost:9092")
	}
	if len(c.Topics) == 0 || slices.Contains(c.Topics, "") {
		return component.Invalid("topics", "name at least one")
	}
	if err := c.validatePlaces(); err != nil {
		return err
	}
	switch {
	case slices.ContainsFunc(c.Partitions, func(p int32) bool { return p < 0 }):
		return component.Invalid("partitions", "a partition has no negative number")
	case c.Share.Count < 0, c.Share.Count > 0 && (c.Share.Ordinal < 0 || c.Share.Ordinal >= c.Share.Count):
		return component.Invalid("share", "the ordinal counts from 0 to one less than count")
	case c.MinBytes < 1 || c.MaxBytes < c.MinBytes || c.MaxBytes > 1<<30:
		return component.Invalid("max_bytes", "1 ≤ min_bytes ≤ max_bytes ≤ 1GiB must hold")
	case c.MaxWait <= 0 || c.RequestTimeout <= 0:
		return component.Invalid("max_wait", "max_wait and request_timeout must be more than 0s")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return component.Invalid("backoff_max", "0s < backoff_min ≤ backoff_max must hold")
	case c.BatchRecords < 1:
		return component.Invalid("batch_records", "at least 1 is needed")
	}
	return nil
}

func (c *Config) validatePlaces() error {
	switch c.Start {
	case StartEarliest, StartLatest:
	case StartCommitted:
		if c.Group == "" {
			return component.Invalid("start", "committed needs a group")
		}
	default:
		if _, err := time.Parse(time.RFC3339, c.Start); err != nil {
			return component.Invalid("start", "%q is none of committed, earliest, latest, nor a time such as 2024-05-01T12:00:00Z", c.Start)
		}
	}
	if c.OnReset != StartEarliest && c.OnReset != StartLatest && c.OnReset != "fail" {
		return component.Invalid("on_reset", "%q is none of earliest, latest, fail", c.OnReset)
	}
	if c.MissingTopic != "fail" && c.MissingTopic != "wait" {
		return component.Invalid("missing_topic", "%q is neither fail nor wait", c.MissingTopic)
	}
	return nil
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:        "kafka",
		Summary:     "Topics of a Kafka cluster, with partitions assigned statically.",
		Description: "Reads each partition in order. With `group`, resumes where the group stands and commits what is through the pipeline.",
		Example:     "brokers: [localhost:9092]\ntopics: [logs]\ngroup: sluice\n",
		Default:     Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
