package s3

import (
	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/internal/objects"
)

// Config says which objects are read, and how. Start from Default.
type Config struct {
	objects.Config `yaml:",inline"`
	// Prefix is what the keys of a listed bucket begin with. A level of it may be
	// a pattern, such as `AWSLogs/*/elasticloadbalancing/*/`: every prefix that
	// matches is then listed by itself, so that in each the keys grow with time.
	Prefix string `yaml:"prefix"`
	// Format is what an object holds: `lines`, each a record, or `records`, a file of
	// JSON whose array `Records` holds them, as CloudTrail writes it. What a line
	// holds is for `decode` to say.
	Format string `yaml:"format"`
}

// The formats.
const (
	formatLines   = "lines"
	formatRecords = "records"
)

// Default returns the configuration of no bucket.
func Default() Config { return Config{Config: objects.Default(), Format: formatLines} }

// Validate checks the configuration.
func (c *Config) Validate() error {
	if c.Format != formatLines && c.Format != formatRecords {
		return component.Invalid("format", "%q is neither lines nor records", c.Format)
	}
	if c.Prefix != "" && c.Queue != "" {
		return component.Invalid("prefix", "it says what is listed of a bucket; use include for what a queue announces")
	}
	if err := objects.ValidatePrefix(c.Prefix); err != nil {
		return err
	}
	return c.Config.Validate()
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:    "s3",
		Summary: "Logs in S3: objects that a queue announces, or that a listing finds; lines or files of JSON, plain, gzip or zstd.",
		Description: "S3 announces new objects to an SQS queue, directly, through SNS or through EventBridge; without a queue a bucket is listed again and again. " +
			"Objects are numbered in the order in which they are found, in a manifest on disk beside the state, and read in that order, so that each record is counted " +
			"exactly once, whatever is announced twice. Several instances may share a queue, each with its own state; an instance's objects are then its own. " +
			"A listing relies on keys that grow with time, and finds an object that comes up to `lookback` later than one with a greater key.",
		Example:  "queue: https://sqs.eu-west-1.amazonaws.com/123456789012/logs\nregion: eu-west-1\ninclude: ['web/**.gz']\nlabels: {type: nginx}\n",
		Delivery: "exactly once (instances that share a queue: at least once)",
		Default:  Default,
		New: func(name string, c Config, env sources.Env) (sources.Source, error) {
			return New(name, c, env)
		},
	})
}

// New makes the source. It connects to nothing.
func New(name string, c Config, env sources.Env) (*objects.Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	how := objects.Treatment{Labels: c.Labels, Entries: c.Format == formatRecords}
	return objects.New(name, c.Config, objects.Format{
		Module: "s3", Topic: c.Bucket + "/" + c.Prefix, Prefixes: []string{c.Prefix},
		Treat: func(string) objects.Treatment { return how },
	}, env)
}
