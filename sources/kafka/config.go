package kafka

import (
	"regexp"
	"slices"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/kafkaconn"
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
	// Brokers are addresses to reach the cluster by, host:port. At least one.
	Brokers []string `yaml:"brokers"`
	// TLS says how connections are encrypted.
	TLS kafkaconn.TLS `yaml:"tls"`
	// SASL says how the client signs in.
	SASL kafkaconn.SASL `yaml:"sasl"`
	// Topics are read side by side. At least one, or `topic_regexp`.
	Topics []string `yaml:"topics"`
	// TopicRegexp adds the topics whose whole name matches, but for Kafka's internal ones.
	TopicRegexp string `yaml:"topic_regexp"`
	// MetadataInterval is how often new topics and partitions are looked for.
	MetadataInterval time.Duration `yaml:"metadata_interval"`
	// Assignment says who decides which partitions are read here. `static`: `partitions` and `share` do. `group`:
	// the members of `group` share them, and each keeps those that its state holds; equal numbers of all
	// topics go to one member. A member that joins gets what no other's state holds
	// ([decision 6](decisions/0006-groups-follow-the-state.md)).
	Assignment string `yaml:"assignment"`
	// SessionTimeout is how long a member may be silent before the others take over, with `assignment: group`.
	// A member that gives partitions up commits within a third of it.
	SessionTimeout time.Duration `yaml:"session_timeout"`
	// RebalanceTimeout is how long the others wait for a member when they share anew, with `assignment: group`.
	// At least `session_timeout`.
	RebalanceTimeout time.Duration `yaml:"rebalance_timeout"`
	// HeartbeatInterval is how often a member says that it lives, with `assignment: group`. At most a third of `session_timeout`.
	HeartbeatInterval time.Duration `yaml:"heartbeat_interval"`
	// Partitions are the numbers of the partitions to read of every topic; all when empty.
	Partitions []int32 `yaml:"partitions"`
	// Share leaves partitions to other processes: this one reads those whose
	// number modulo `count` is its `ordinal`, so that equal numbers of several
	// topics stay together.
	Share sources.Share `yaml:"share"`
	// Group is the consumer group that offsets are committed under. Without it none are, and a restart
	// without state begins at `start`.
	Group string `yaml:"group"`
	// Start is where to begin when the state does not say. `committed`, the default with a group: where the group stands, or
	// as `on_reset` says where it stands nowhere; `earliest`, the default without; `latest`; or a time such as
	// `2024-05-01T12:00:00Z`: the first record from then on.
	Start string `yaml:"start"`
	// OnReset is where to go on when an offset is gone or none is committed:
	// `earliest`, `latest` or `fail`. When empty it is `earliest`, but `fail` for an offset at
	// which durable state stands: that state would miss records.
	OnReset sources.Reset `yaml:"on_reset"`
	// MissingTopic says what to do about a topic that does not exist or is deleted: `fail` or `wait`.
	MissingTopic string `yaml:"missing_topic"`
	// IsolationLevel says what is read of transactions. `read_committed` leaves out what they
	// aborted, and waits for those that are open; `read_uncommitted` reads all.
	IsolationLevel string `yaml:"isolation_level"`
	// MinBytes is how much a broker gathers before it answers.
	MinBytes component.Bytes `yaml:"min_bytes"`
	// MaxBytes is the largest answer, except for a single larger batch. Each partition is asked for by itself.
	MaxBytes component.Bytes `yaml:"max_bytes"`
	// MaxWait is how long a broker gathers before it answers with less.
	MaxWait time.Duration `yaml:"max_wait"`
	// MaxBatchBytes is the largest batch of a topic's, decompressed. A larger one ends the run.
	MaxBatchBytes component.Bytes `yaml:"max_batch_bytes"`
	// BatchRecords is the largest number of records that go on together.
	BatchRecords int `yaml:"batch_records"`
	// RequestTimeout is how long a request may take, beside `max_wait`.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// StallTimeout is how long a broker may send nothing although it has more
	// before the connection is made anew.
	StallTimeout time.Duration `yaml:"stall_timeout"`
	// BackoffMin is the first wait after a failure; it doubles with each.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest wait after a failure.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// ClientID is the name told to the brokers.
	ClientID string `yaml:"client_id"`
	// Labels are given to all lines.
	Labels map[string]string `yaml:"labels"`

	pattern *regexp.Regexp // of TopicRegexp, for whole names; nil without
}

// Default returns the configuration of no topic yet.
func Default() Config {
	return Config{
		MetadataInterval: time.Minute, Assignment: assignStatic, MissingTopic: missingFail, IsolationLevel: "read_committed",
		MinBytes: 1, MaxBytes: 4 << 20, MaxWait: 500 * time.Millisecond, MaxBatchBytes: 128 << 20, BatchRecords: 1000,
		SessionTimeout: 45 * time.Second, RebalanceTimeout: time.Minute, HeartbeatInterval: 3 * time.Second,
		RequestTimeout: 10 * time.Second, StallTimeout: 30 * time.Second,
		BackoffMin: 100 * time.Millisecond, BackoffMax: 10 * time.Second, ClientID: "sluice",
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
	settings := c.settings()
	if err := settings.Validate(); err != nil {
		return err
	}
	if err := c.validateTopics(); err != nil {
		return err
	}
	if err := c.validatePlaces(); err != nil {
		return err
	}
	switch {
	case slices.ContainsFunc(c.Partitions, func(p int32) bool { return p < 0 }):
		return component.Invalid("partitions", "a partition has no negative number")
	case c.MinBytes < 1 || c.MaxBytes < c.MinBytes || c.MaxBytes > 1<<30:
		return component.Invalid("max_bytes", "1 ≤ min_bytes ≤ max_bytes ≤ 1GiB must hold")
	case c.MaxBatchBytes < 1<<20 || c.MaxBatchBytes > 1<<30:
		return component.Invalid("max_batch_bytes", "it must be from 1MiB to 1GiB")
	case c.MaxWait <= 0 || c.MetadataInterval <= 0 || c.StallTimeout <= 0:
		return component.Invalid("max_wait", "max_wait, metadata_interval and stall_timeout must be more than 0s")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return component.Invalid("backoff_max", "0s < backoff_min ≤ backoff_max must hold")
	case c.BatchRecords < 1:
		return component.Invalid("batch_records", "at least 1 is needed")
	}
	if err := c.validateAssignment(); err != nil {
		return err
	}
	return c.Share.Validate()
}

func (c *Config) validateAssignment() error {
	switch {
	case c.Assignment == assignStatic:
		return nil
	case c.Assignment != assignGroup:
		return component.Invalid("assignment", "%q is neither static nor group", c.Assignment)
	case c.Group == "":
		return component.Invalid("assignment", "group needs a group")
	case len(c.Partitions) > 0 || c.Share.Count > 0:
		return component.Invalid("assignment", "the group says which partitions are read; leave out partitions and share, or set static")
	case c.HeartbeatInterval <= 0 || c.SessionTimeout < 3*c.HeartbeatInterval:
		return component.Invalid("session_timeout", "it must be at least three times heartbeat_interval, which must be more than 0s")
	case c.RebalanceTimeout < c.SessionTimeout || c.RebalanceTimeout > time.Hour:
		return component.Invalid("rebalance_timeout", "it must be from session_timeout to 1h")
	}
	return nil
}

func (c *Config) validateTopics() error {
	if c.TopicRegexp != "" {
		pattern, err := regexp.Compile("^(?:" + c.TopicRegexp + ")$")
		if err != nil {
			return component.Invalid("topic_regexp", "%v", err)
		}
		c.pattern = pattern
	}
	if len(c.Topics) == 0 && c.pattern == nil || slices.Contains(c.Topics, "") {
		return component.Invalid("topics", "name at least one, or give a topic_regexp")
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
	if err := c.OnReset.Validate(); err != nil {
		return err
	}
	if c.MissingTopic != missingFail && c.MissingTopic != missingWait {
		return component.Invalid("missing_topic", "%q is neither fail nor wait", c.MissingTopic)
	}
	if c.IsolationLevel != "read_committed" && c.IsolationLevel != "read_uncommitted" {
		return component.Invalid("isolation_level", "%q is neither read_committed nor read_uncommitted", c.IsolationLevel)
	}
	return nil
}

func (c *Config) settings() kafkaconn.Settings {
	return kafkaconn.Settings{Brokers: c.Brokers, ClientID: c.ClientID, Timeout: c.RequestTimeout, TLS: c.TLS, SASL: c.SASL}
}

// Words of assignment and missing_topic.
const (
	assignStatic = "static"
	assignGroup  = "group"

	missingFail = "fail"
	missingWait = "wait"
)

// Isolation levels as the protocol numbers them.
const (
	readUncommitted int8 = 0
	readCommitted   int8 = 1
)

func (c *Config) isolation() int8 {
	if c.IsolationLevel == "read_committed" {
		return readCommitted
	}
	return readUncommitted
}

// named tells whether a topic is configured by its name.
func (c *Config) named(topic string) bool { return slices.Contains(c.Topics, topic) }

// wants tells whether a topic is to be read.
func (c *Config) wants(topic string, internal bool) bool {
	return c.named(topic) || c.pattern != nil && !internal && c.pattern.MatchString(topic)
}

// answerLimit is more than any answer is long: MaxBytes, or a single batch that is larger.
func (c *Config) answerLimit() int64 { return int64(c.MaxBytes) + int64(c.MaxBatchBytes) + 64<<10 }

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "kafka",
		Summary:  "Topics of a Kafka cluster, with partitions assigned statically or by a consumer group.",
		Delivery: "exactly once",
		Description: "Each partition is read in its order, from the position that the state holds. With `group`, offsets are committed once all that a record caused is delivered. " +
			"Batches compressed with gzip, snappy, lz4 and zstd are read as they come. Topics and partitions that appear later are read from their beginning.",
		Example: "brokers: [localhost:9092]\ntopics: [logs]\ngroup: sluice\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			if c.Assignment == assignGroup {
				return NewGroup(name, c, env)
			}
			return New(name, c, env)
		},
	})
}
