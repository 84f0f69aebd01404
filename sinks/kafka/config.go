package kafka

import (
	"regexp"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/kafkaconn"
	"sluice/sinks"
	"sluice/sinks/format"
)

// The keys that an alert can have.
const (
	KeySource = "source" // scope:value
	KeyUUID   = "uuid"
)

// Config says where records are written, and how. Start from Default.
type Config struct {
	// Brokers are addresses to reach the cluster by, host:port. At least one.
	Brokers []string `yaml:"brokers"`
	// TLS says how connections are encrypted.
	TLS kafkaconn.TLS `yaml:"tls"`
	// SASL says how the client signs in.
	SASL kafkaconn.SASL `yaml:"sasl"`
	// AlertsTopic is where alerts go. One of the two topics is needed.
	AlertsTopic string `yaml:"alerts_topic"`
	// AlertsFormat is what an alert's record holds: `sluice`, `crowdsec`, `ocsf`, `ecs`, `cef` or `text`.
	AlertsFormat format.Format `yaml:"alerts_format"`
	// DecisionsTopic is where the decisions in force stand, a record for each scope and value. Create it with
	// `cleanup.policy=compact`. It needs a sink of type `local_api`, which keeps the decisions. One sluice writes a topic.
	DecisionsTopic string `yaml:"decisions_topic"`
	// DecisionsOf is the name of the sink of type `local_api` whose decisions go to `decisions_topic`; the only one when empty.
	DecisionsOf string `yaml:"decisions_of"`
	// TakeOver lets this sluice write a `decisions_topic` that another one wrote before. That one stops when it notices.
	// Set it for one start; without it, a topic with records of others is refused.
	TakeOver bool `yaml:"take_over"`
	// AlertKey is the key of an alert's record: `source` (scope:value) or `uuid`.
	AlertKey string `yaml:"alert_key"`
	// Compression is that of the records: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
	Compression string `yaml:"compression"`
	// MaxMessageBytes is the largest record that the brokers take. An alert
	// that is larger is refused for good; of the decisions on one value, those that end first are left out.
	MaxMessageBytes component.Bytes `yaml:"max_message_bytes"`
	// BatchTimeout is how long a partition's batch waits for more records.
	BatchTimeout time.Duration `yaml:"batch_timeout"`
	// RequestTimeout is how long a request may take.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// MaxAttempts is how often a request is sent before its batch is tried again as a whole.
	MaxAttempts int `yaml:"max_attempts"`
	// ClientID is the name told to the brokers.
	ClientID string `yaml:"client_id"`
}

// Default returns the configuration of no topic yet.
func Default() Config {
	return Config{
		AlertKey: KeySource, AlertsFormat: format.Sluice, Compression: "zstd", MaxMessageBytes: 1_000_000,
		BatchTimeout: 10 * time.Millisecond, RequestTimeout: 10 * time.Second, MaxAttempts: 3, ClientID: "sluice",
	}
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	settings := c.settings()
	if err := settings.Validate(); err != nil {
		return err
	}
	if err := validateWriting(c.Compression, c.MaxMessageBytes); err != nil {
		return err
	}
	switch {
	case c.AlertsTopic == "" && c.DecisionsTopic == "":
		return component.Invalid("alerts_topic", "name an alerts_topic, a decisions_topic, or both")
	case !validTopic(c.AlertsTopic):
		return component.Invalid("alerts_topic", "%q is no topic's name: %s", c.AlertsTopic, topicNames)
	case !validTopic(c.DecisionsTopic):
		return component.Invalid("decisions_topic", "%q is no topic's name: %s", c.DecisionsTopic, topicNames)
	case c.AlertsTopic == c.DecisionsTopic:
		return component.Invalid("decisions_topic", "it is the alerts_topic too; decisions need a topic of their own")
	case c.DecisionsTopic == "" && c.DecisionsOf != "":
		return component.Invalid("decisions_of", "it is for a decisions_topic; name one, or leave it out")
	case c.DecisionsTopic == "" && c.TakeOver:
		return component.Invalid("take_over", "it is for a decisions_topic; name one, or leave it out")
	case c.AlertKey != KeySource && c.AlertKey != KeyUUID:
		return component.Invalid("alert_key", "%q is neither source nor uuid", c.AlertKey)
	case c.BatchTimeout <= 0:
		return component.Invalid("batch_timeout", "it must be more than 0s")
	case c.MaxAttempts < 1:
		return component.Invalid("max_attempts", "at least 1 is needed")
	}
	return nil
}

// topicNames says what Kafka takes.
const topicNames = "it may have 249 letters, digits, dots, dashes and underscores"

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// validTopic tells whether a text is the name of a topic, or empty.
func validTopic(text string) bool {
	return text == "" || text != "." && text != ".." && topicName.MatchString(text)
}

func (c *Config) settings() kafkaconn.Settings {
	return kafkaconn.Settings{Brokers: c.Brokers, ClientID: c.ClientID, Timeout: c.RequestTimeout, TLS: c.TLS, SASL: c.SASL}
}

// validateWriting checks what all that write to topics have in common.
func validateWriting(compression string, maxMessage component.Bytes) error {
	if _, ok := codecs[compression]; !ok {
		return component.Invalid("compression", "%q is none of none, gzip, snappy, lz4, zstd", compression)
	}
	if maxMessage < 1 || maxMessage > 1<<30 {
		return component.Invalid("max_message_bytes", "%v is not between 1 and 1GiB", maxMessage)
	}
	return nil
}

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:    "kafka",
		Summary: "Alerts as records of a Kafka topic, and the decisions in force as a compacted one.",
		Description: "Records of one source are in one partition, chosen as Kafka's default partitioner chooses, in their order. " +
			"After an error alerts may come again: the header `sluice-alert`, the alert's id, tells repeats.\n\n" +
			"`decisions_topic` has a record for each `scope:value` on which decisions are in force: JSON with all of them, as the local API's bouncers see them, " +
			"with `until` (when it ends) and `duration` (what was left when the record was written). When none is left a tombstone follows, whether they ended or were deleted. " +
			"The headers `scenario`, `origin` and `until` are of the decision that ends last; those of others follow. " +
			"Who reads the topic from its start, and keeps the newest record of each key, has exactly the decisions of `sluice decisions list`, also those that people and lists made. " +
			"Changes are there within a second; what ended before it could be written is counted as expired.",
		Delivery: "at least once",
		Example:  "brokers: [localhost:9092]\nalerts_topic: alerts\ndecisions_topic: decisions\n",
		Default:  Default,
		New:      func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
	sinks.RegisterDeadLetters(sinks.DeadLettersKind[RawConfig]{
		Type:    "kafka",
		Summary: "Dead letters as records of a Kafka topic.",
		Description: "Key and value are the record's own; an alert's are its id and its JSON. Behind the record's own headers stand `sluice-dead-kind` " +
			"(`unreadable`, `undecodable`, `unparsed`, `rejected`, `over_quota`, `undelivered`), `-reason`, `-source`, `-topic`, `-partition`, `-offset`, `-line` (within the record; not for one as a whole), " +
			"`-time`, `-size` (of one that was cut) and `-sink` (that did not take the alert).",
		Example: "brokers: [localhost:9092]\ntopic: dead-letters\n",
		Default: DefaultRaw,
		New:     func(_ string, c RawConfig, env sinks.Env) (sinks.DeadLetters, error) { return NewDeadLetters(c, env) },
	})
}
