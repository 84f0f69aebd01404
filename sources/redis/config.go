package redis

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/sources"
)

// The places to begin at.
const (
	StartEarliest = "earliest"
	StartLatest   = "latest"
)

// Config says which streams are read, and how. Start from Default.
type Config struct {
	// Addresses are the server's, such as redis://localhost:6379, or rediss://host:6380 for an encrypted connection;
	// of a cluster, some of its nodes; with sentinel_master, the sentinels.
	Addresses []string `yaml:"addresses"`
	// Cluster says that the addresses are of a Redis Cluster. Several addresses without sentinel_master are always one.
	Cluster bool `yaml:"cluster"`
	// SentinelMaster is the name of the master that sentinels watch over.
	SentinelMaster string `yaml:"sentinel_master"`
	// SentinelUsername signs in at the sentinels.
	SentinelUsername string `yaml:"sentinel_username"`
	// SentinelPassword signs in at the sentinels.
	SentinelPassword component.Secret `yaml:"sentinel_password"`
	// Database is the number of the database; clusters have only 0.
	Database int `yaml:"database"`
	// TLS says how the servers' certificates are checked and which certificate is the client's own. Setting any
	// of its keys encrypts connections to redis:// addresses as well.
	TLS tlsclient.Config `yaml:"tls"`
	// Username is that of an ACL user; the default user when empty.
	Username string `yaml:"username"`
	// Password signs in.
	Password component.Secret `yaml:"password"`
	// PasswordFile holds the password instead; it is read at every connection.
	PasswordFile string `yaml:"password_file"`
	// ClientName is the name told to the server.
	ClientName string `yaml:"client_name"`
	// Streams are the keys of the streams, which are read side by side.
	Streams []string `yaml:"streams"`
	// Group is the consumer group to which entries are acknowledged once they are through the pipeline, so that the
	// server shows the lag. It is created, with the stream, when it does not exist. When empty the streams are read without a group.
	Group string `yaml:"group"`
	// Consumer is this instance's name in the group. It belongs to the state: keep it when the state moves to another
	// host, and give no two instances the same. The default is sluice.
	Consumer string `yaml:"consumer"`
	// SharedGroup says that other consumers read through the same group, so that each gets a part of the entries. Entries that are
	// pending for a consumer wait until it comes back. Without it, a group with other consumers is refused.
	SharedGroup bool `yaml:"shared_group"`
	// Start is where to begin when neither the state nor the group knows: earliest (the default) or latest.
	Start string `yaml:"start"`
	// OnReset is where to go on when entries behind the position were trimmed away or the stream was made anew:
	// earliest, latest or fail. Empty is earliest, but fail where durable state stands.
	OnReset sources.Reset `yaml:"on_reset"`
	// Field is the field of an entry that is the line; the other fields become headers, which
	// decode.labels_from can make labels of. When empty the whole entry is the record, as a JSON object of its fields.
	Field string `yaml:"field"`
	// Count is how many entries are asked for at once, and the largest number of records in a batch.
	Count int `yaml:"count"`
	// MaxBytes is about how much one answer may hold: fewer entries are asked for when they are large. A single entry may be larger.
	MaxBytes component.Bytes `yaml:"max_bytes"`
	// Block is how long the server waits for entries before it answers that there are none.
	Block time.Duration `yaml:"block"`
	// RequestTimeout bounds making a connection and a request, without the time that the server waits by block.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// BackoffMin is the wait after a first failure; it doubles with each that follows.
	BackoffMin time.Duration `yaml:"backoff_min"`
	// BackoffMax is the longest wait after a failure.
	BackoffMax time.Duration `yaml:"backoff_max"`
	// Labels are given to all lines.
	Labels map[string]string `yaml:"labels"`

	hosts     []string // of Addresses, host:port
	encrypted bool     // by Addresses
}

// Default returns the configuration of no stream yet.
func Default() Config {
	return Config{
		Addresses: []string{"redis://localhost:6379"}, ClientName: "sluice", Consumer: "sluice", Start: StartEarliest,
		Count: 1000, MaxBytes: 8 << 20, Block: time.Second, RequestTimeout: 5 * time.Second,
		BackoffMin: 100 * time.Millisecond, BackoffMax: 10 * time.Second,
	}
}

// longestBlock is how long a read may wait at the server.
const longestBlock = time.Minute

// Validate checks the configuration without reading a file.
func (c *Config) Validate() error {
	if err := c.validateAddresses(); err != nil {
		return err
	}
	if err := c.TLS.Validate(); err != nil {
		return err
	}
	if err := c.validateStreams(); err != nil {
		return err
	}
	switch {
	case c.Username != "" && c.Password == "" && c.PasswordFile == "":
		return component.Invalid("username", "it needs a password or a password_file")
	case c.Password != "" && c.PasswordFile != "":
		return component.Invalid("password", "set password or password_file, one of them")
	case c.Count < 1:
		return component.Invalid("count", "at least 1 is needed")
	case c.MaxBytes < 1<<10 || c.MaxBytes > 1<<30:
		return component.Invalid("max_bytes", "it must be from 1KiB to 1GiB")
	case c.Block < time.Millisecond || c.Block > longestBlock:
		return component.Invalid("block", "it must be from 1ms to 1m")
	case c.RequestTimeout <= 0:
		return component.Invalid("request_timeout", "it must be more than 0s")
	case c.BackoffMin <= 0 || c.BackoffMax < c.BackoffMin:
		return component.Invalid("backoff_max", "0s < backoff_min ≤ backoff_max must hold")
	}
	return nil
}

func (c *Config) validateAddresses() error {
	if len(c.Addresses) == 0 {
		return component.Invalid("addresses", "name at least one, such as redis://localhost:6379")
	}
	c.hosts, c.encrypted = nil, c.TLS != (tlsclient.Config{})
	for _, a := range c.Addresses {
		u, err := url.Parse(a)
		switch {
		case err != nil || u.Hostname() == "" || u.Scheme != "redis" && u.Scheme != "rediss" || strings.Trim(u.Path, "/") != "":
			return component.Invalid("addresses", "an address is no URL such as redis://localhost:6379 or rediss://localhost:6380")
		case u.User != nil:
			return component.Invalid("addresses", "an address holds a user; set username and password, so that no log shows them")
		}
		c.encrypted = c.encrypted || u.Scheme == "rediss"
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		c.hosts = append(c.hosts, u.Hostname()+":"+port)
	}
	switch sentinel := c.SentinelMaster != ""; {
	case sentinel && c.Cluster:
		return component.Invalid("cluster", "sentinels watch over single servers; set cluster or sentinel_master")
	case !sentinel && (c.SentinelUsername != "" || c.SentinelPassword != ""):
		return component.Invalid("sentinel_master", "sentinel_username and sentinel_password need it")
	case c.Database < 0 || c.Database > 0 && !sentinel && (c.Cluster || len(c.Addresses) > 1):
		return component.Invalid("database", "it is a number from 0, and a cluster has only 0")
	}
	return nil
}

func (c *Config) validateStreams() error {
	switch {
	case len(c.Streams) == 0 || slices.Contains(c.Streams, ""):
		return component.Invalid("streams", "name the key of at least one stream")
	case len(slices.Compact(slices.Sorted(slices.Values(c.Streams)))) < len(c.Streams):
		return component.Invalid("streams", "a key is there twice")
	case c.Group != "" && c.Consumer == "":
		return component.Invalid("consumer", "a group needs one")
	case c.Group == "" && c.SharedGroup:
		return component.Invalid("shared_group", "it needs a group")
	case c.Start != StartEarliest && c.Start != StartLatest:
		return component.Invalid("start", "%q is neither earliest nor latest", c.Start)
	}
	return c.OnReset.Validate()
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:     "redis",
		Summary:  "Streams of Redis, by a position that the state holds, with or without a consumer group.",
		Delivery: "exactly once",
		Description: "Reads the entries of each stream in the order of their ids, which are the positions; an id must have a time before the year 2248 and " +
			"a sequence below 1048576, as those have that Redis gives. With `group`, entries are acknowledged once they are through the pipeline; the state alone decides what is read next. " +
			"Every entry counts once for a consumer's name and its state: what was pending at a crash comes again and is recognised by its id. " +
			"With `shared_group`, several instances, each with a name and a state of its own, divide the entries; there an older copy of a state goes unnoticed. " +
			"Entries that others left pending are never claimed. When entries behind the position were trimmed away before they were read, the run ends with an error, or goes on and counts a gap, as `on_reset` says; " +
			"that is told by the counts that servers keep from version 7.0 on, and else supposed when the last entry read is gone and newer ones are there. " +
			"An entry's id is the record's key.",
		Example: "addresses: [redis://localhost:6379]\nstreams: [logs]\ngroup: sluice\nfield: message\n",
		Default: Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}
