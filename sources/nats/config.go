package nats

import (
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/natsconn"
	"sluice/pipeline/tlsclient"
	"sluice/sources"
)

// The places to begin at, beside a time in RFC 3339.
const (
	StartEarliest = "earliest"
	StartLatest   = "latest"
)

// Words of missing_stream.
const (
	missingFail = "fail"
	missingWait = "wait"
)

// Config says which stream is read, and how. Start from Default.
type Config struct {
	// Servers are URLs to reach the servers by, such as nats://localhost:4222, or tls://host:4222 for an
	// encrypted connection. They are tried in turn, and so are those that the cluster tells of.
	Servers []string `yaml:"servers"`
	// TLS says how the servers' certificates are checked and which certificate is the client's own. Setting any
	// of its keys encrypts connections to nats:// URLs as well.
	TLS tlsclient.Config `yaml:"tls"`
	// TLSFirst shakes hands before the server has said anything, for servers with handshake_first.
	TLSFirst bool `yaml:"tls_first"`
	// Username signs in with a password.
	Username string `yaml:"username"`
	// Password is that of username.
	Password component.Secret `yaml:"password"`
	// PasswordFile holds the password of username instead; it is read at every connection.
	PasswordFile string `yaml:"password_file"`
	// Token signs in where the server has authorization by token.
	Token component.Secret `yaml:"token"`
	// TokenFile holds the token instead; it is read at every connection.
	TokenFile string `yaml:"token_file"`
	// CredentialsFile is a .creds file: a user's JWT and the seed of its key.
	CredentialsFile string `yaml:"credentials_file"`
	// NKeyFile holds the seed of a user's nkey.
	NKeyFile string `yaml:"nkey_file"`
	// Domain is the JetStream domain of the stream, where there are several, such as a hub and its leaf nodes.
	Domain string `yaml:"domain"`
	// ClientName is the name told to the servers.
	ClientName string `yaml:"client_name"`
	// Stream is the name of the JetStream stream that is read.
	Stream string `yaml:"stream"`
	// FilterSubjects leave out messages of other subjects; wildcards * and > are allowed. Several need a server of
	// version 2.10 or newer. Give each instance subjects of its own, and a consumer of its own, to share a stream.
	FilterSubjects []string `yaml:"filter_subjects"`
	// Consumer is the durable consumer that acknowledges what is through the pipeline: servers then show the lag,
	// and streams with retention workqueue or interest can delete what was read. It is created when it does not exist and
	// belongs to this source alone. When empty nothing is acknowledged, which is for streams with retention limits.
	Consumer string `yaml:"consumer"`
	// Start is where to begin when neither the state nor the consumer knows: earliest (the default), latest,
	// or a time such as 2024-05-01T12:00:00Z. Streams with retention workqueue are always read from the earliest.
	Start string `yaml:"start"`
	// OnReset is where to go on when messages that were to be read next are gone, or the stream was made anew:
	// earliest, latest or fail. Empty is earliest, but fail where durable state stands.
	OnReset sources.Reset `yaml:"on_reset"`
	// MissingStream says what to do about a stream that does not exist: fail or wait. The default is fail.
	MissingStream string `yaml:"missing_stream"`
	// MaxMessages is how many messages are asked for ahead of the pipeline.
	MaxMessages int `yaml:"max_messages"`
	// MaxBytes bounds one request for messages; two may be under way. It is raised to the server's max_payload where it is less.
	MaxBytes component.Bytes `yaml:"max_bytes"`
	// MaxAckPending is how many messages may be read and not yet acknowledged. It must hold what comes between two
	// checkpoints, or it bounds the rate.
	MaxAckPending int `yaml:"max_ack_pending"`
	// AckWait is after how long the server sends a message again that was not acknowledged. Such a message
	// is recognised and not counted twice; the time should be longer than checkpoints take.
	AckWait time.Duration `yaml:"ack_wait"`
	// BatchRecords is the largest number of records in a batch.
	BatchRecords int `yaml:"batch_records"`
	// RequestTimeout bounds making a connection and a request to the server.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// BackoffMin and BackoffMax bound the wait after a failure, which doubles.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest wait after a failure.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// Labels are given to all lines.
	Labels map[string]string `yaml:"labels"`
}

// Default returns the configuration of no stream yet.
func Default() Config {
	return Config{
		Servers: []string{"nats://localhost:4222"}, ClientName: "sluice", Start: StartEarliest, MissingStream: missingFail,
		MaxMessages: 2000, MaxBytes: 8 << 20, MaxAckPending: 200_000, AckWait: 5 * time.Minute, BatchRecords: 1000,
		RequestTimeout: 5 * time.Second, BackoffMin: 100 * time.Millisecond, BackoffMax: 10 * time.Second,
	}
}

// Validate checks the configuration without reading a file.
func (c *Config) Validate() error {
	if err := natsconn.CheckServers(c.Servers); err != nil {
		return err
	}
	if err := c.TLS.Validate(); err != nil {
		return err
	}
	if err := c.validateSignIn(); err != nil {
		return err
	}
	if err := c.validateStream(); err != nil {
		return err
	}
	switch {
	case c.MaxMessages < 1:
		return component.Invalid("max_messages", "at least 1 is needed")
	case c.MaxBytes < 64<<10 || c.MaxBytes > 1<<30:
		return component.Invalid("max_bytes", "it must be from 64KiB to 1GiB")
	case c.MaxAckPending < 1:
		return component.Invalid("max_ack_pending", "at least 1 is needed")
	case c.AckWait < time.Second:
		return component.Invalid("ack_wait", "it must be at least 1s")
	case c.BatchRecords < 1:
		return component.Invalid("batch_records", "at least 1 is needed")
	case c.RequestTimeout <= 0:
		return component.Invalid("request_timeout", "it must be more than 0s")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return component.Invalid("backoff_max", "0s < backoff_min ≤ backoff_max must hold")
	}
	return nil
}

// validateSignIn wants one way to sign in, whole.
func (c *Config) validateSignIn() error {
	ways := 0
	for _, set := range []bool{c.Username != "", c.Token != "" || c.TokenFile != "", c.CredentialsFile != "", c.NKeyFile != ""} {
		if set {
			ways++
		}
	}
	password := c.Password != "" || c.PasswordFile != ""
	switch {
	case ways > 1:
		return component.Invalid("username", "username, token, credentials_file and nkey_file are ways to sign in: set one")
	case c.Username == "" && password:
		return component.Invalid("username", "a password needs one")
	case c.Username != "" && (c.Password == "") == (c.PasswordFile == ""):
		return component.Invalid("password", "a username needs a password or a password_file, one of them")
	case c.Token != "" && c.TokenFile != "":
		return component.Invalid("token", "set token or token_file, one of them")
	}
	return nil
}

func (c *Config) validateStream() error {
	switch {
	case !validName(c.Stream):
		return component.Invalid("stream", "%q is no name of a stream: it is not empty and has no spaces and none of . * > / \\", c.Stream)
	case c.Consumer != "" && !validName(c.Consumer):
		return component.Invalid("consumer", "%q is no name of a consumer: it has no spaces and none of . * > / \\", c.Consumer)
	case c.MissingStream != missingFail && c.MissingStream != missingWait:
		return component.Invalid("missing_stream", "%q is neither fail nor wait", c.MissingStream)
	case c.Start != StartEarliest && c.Start != StartLatest && c.startTime().IsZero():
		return component.Invalid("start", "%q is none of earliest, latest, nor a time such as 2024-05-01T12:00:00Z", c.Start)
	}
	for _, f := range c.FilterSubjects {
		if f == "" || strings.ContainsAny(f, " \t\r\n") || slices.Contains(strings.Split(f, "."), "") {
			return component.Invalid("filter_subjects", "%q is no subject, such as logs.web.*", f)
		}
	}
	return c.OnReset.Validate()
}

// validName tells whether a server takes a name for a stream or a consumer.
func validName(name string) bool {
	return name != "" && !strings.ContainsAny(name, " \t\r\n.*>/\\\x00")
}

// startTime is Start where it is a time.
func (c *Config) startTime() time.Time {
	t, err := time.Parse(time.RFC3339, c.Start)
	if err != nil {
		return time.Time{}
	}
	return t
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "nats",
		Summary:  "A JetStream stream of NATS, read from a position that the state holds.",
		Delivery: "exactly once",
		Description: "Reads the messages of one stream in the order of their sequence numbers, which are the positions. " +
			"With `consumer`, a durable consumer acknowledges what is through the pipeline, so that servers show the lag and work queues shrink; " +
			"the state alone decides what is read next. The consumer belongs to one source: when two read through one, the one that came first ends with an error. " +
			"To share a stream, give each instance its own `filter_subjects` and its own `consumer`. " +
			"A message's subject is its key, so `decode.labels_from: {subject: key}` makes it a label; its headers are the record's. " +
			"When the state is an older copy and the messages behind it were acknowledged and deleted, the run ends with an error unless `on_reset` says otherwise; " +
			"with filter subjects on a stream with replicas that cannot be told for sure, and a warning says so.",
		Example: "servers: [nats://localhost:4222]\nstream: LOGS\nconsumer: sluice\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
