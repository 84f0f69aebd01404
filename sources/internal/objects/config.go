package objects

import (
	"path"
	"regexp"
	"strings"
	"time"

	"sluice/pipeline/awsconn"
	"sluice/pipeline/component"
)

// Config says where objects are found and how they are read: the keys that the
// sources of objects share. Start from Default.
type Config struct {
	// Queue is the SQS queue that S3 announces new objects to: its URL, its ARN
	// or its name. The notifications may come directly, through SNS or through
	// EventBridge. Either `queue` or `bucket` is set.
	Queue string `yaml:"queue"`
	// QueueOwner is the account of a queue that is given by name and belongs to another account.
	QueueOwner string `yaml:"queue_owner"`
	// Bucket is a bucket that is listed again and again, for want of a queue.
	Bucket string `yaml:"bucket"`
	// BucketRegion is the region of the buckets; that of `region` when empty.
	BucketRegion string `yaml:"bucket_region"`
	// PathStyle puts the bucket into the path of the URL instead of the host's
	// name, as many services that speak S3's protocol need it.
	PathStyle bool `yaml:"path_style"`
	// Settings say how AWS is reached.
	awsconn.Settings `yaml:",inline"`
	// Dir is the folder of the manifest, which numbers the objects that were
	// found. When empty it lies beside the state; without a state it must be set.
	Dir string `yaml:"dir"`

	// Include are patterns of keys, such as `logs/*.gz`, of which one must hold;
	// all keys are read when there are none. A `*` stands for anything but a
	// slash, and `**` for anything.
	Include []string `yaml:"include"`
	// Exclude are patterns of keys that are not read.
	Exclude []string `yaml:"exclude"`
	// Labels are given to all records.
	Labels map[string]string `yaml:"labels"`
	// LabelsFromKey is a regular expression on the key whose named groups
	// become labels, such as `^logs/(?P<host>[^/]+)/`.
	LabelsFromKey string `yaml:"labels_from_key"`

	// VisibilityTimeout is how long a message of the queue is hidden from
	// others before it comes again; it is extended while its objects wait and
	// are read. After a crash a message comes again when it is over.
	VisibilityTimeout time.Duration `yaml:"visibility_timeout"`
	// MaxInFlight is how many messages may be held at once. SQS allows 120000.
	MaxInFlight int `yaml:"max_in_flight"`
	// Receivers is how many requests for messages are under way at once.
	Receivers int `yaml:"receivers"`

	// PollInterval is how long a listing waits behind its end.
	PollInterval time.Duration `yaml:"poll_interval"`
	// Lookback is how much later than an object with a greater key an object
	// may come and be found by a listing.
	Lookback time.Duration `yaml:"lookback"`
	// Start is where the first listing begins: `beginning`, `end`, or a time such
	// as `2024-05-01T00:00:00Z`, before which objects were last changed that are not read.
	Start string `yaml:"start"`
	// PrefixInterval is how often prefixes with a `*` in them are looked for again.
	PrefixInterval time.Duration `yaml:"prefix_interval"`

	// Remember is how long an object that was found is known, so that it is not
	// read again when it is announced again. SQS keeps messages for up to 14 days.
	Remember time.Duration `yaml:"remember"`
	// RememberObjects bounds how many objects are known at once, at some 150 bytes each.
	RememberObjects int `yaml:"remember_objects"`
	// MaxPending is how many objects may be found and not yet read; more are not looked for meanwhile.
	MaxPending int `yaml:"max_pending"`

	// Downloads is how many objects are fetched at once. They are read in the
	// order in which they were found.
	Downloads int `yaml:"downloads"`
	// DownloadBytes bounds what is fetched ahead of all of them together.
	DownloadBytes component.Bytes `yaml:"download_bytes"`
	// Tries is how often an object that cannot be read is tried before it goes to the dead letters.
	Tries int `yaml:"tries"`
	// MaxObjectBytes is how much one object may unpack to. What is read of it before counts.
	MaxObjectBytes component.Bytes `yaml:"max_object_bytes"`
	// MaxRatio is how many times its size an object may unpack to, once that is more than 8MiB.
	MaxRatio int64 `yaml:"max_ratio"`
	// MaxRecordBytes is the length of the longest record.
	MaxRecordBytes component.Bytes `yaml:"max_record_bytes"`
	// BatchRecords is the largest number of records in a batch.
	BatchRecords int `yaml:"batch_records"`
}

// The places where a first listing begins, beside a time.
const (
	startBeginning = "beginning"
	startEnd       = "end"
)

// Default returns the configuration of neither a queue nor a bucket.
func Default() Config {
	return Config{
		Settings:          awsconn.Default(),
		VisibilityTimeout: 5 * time.Minute, MaxInFlight: 1000, Receivers: 2,
		PollInterval: time.Minute, Lookback: time.Hour, Start: startBeginning, PrefixInterval: 10 * time.Minute,
		Remember: 14 * 24 * time.Hour, RememberObjects: 1_000_000, MaxPending: 20_000,
		Downloads: 16, DownloadBytes: 64 << 20, Tries: 3,
		MaxObjectBytes: 4 << 30, MaxRatio: 500, MaxRecordBytes: 1 << 20, BatchRecords: 1000,
	}
}

// Validate checks the configuration.
func (c *Config) Validate() error {
	if err := c.Settings.Validate(); err != nil {
		return err
	}
	switch {
	case c.Queue == "" && c.Bucket == "":
		return component.Invalid("queue", "name the queue that announces objects, or a bucket to list")
	case c.Queue != "" && c.Bucket != "":
		return component.Invalid("bucket", "name a queue or a bucket, not both: messages of the queue name their buckets themselves")
	case c.QueueOwner != "" && (c.Queue == "" || strings.ContainsAny(c.Queue, "/:")):
		return component.Invalid("queue_owner", "it goes with a queue that is given by its name")
	case strings.Contains(c.Bucket, "/"):
		return component.Invalid("bucket", "%q is no bucket's name; what stands behind a slash belongs into prefix", c.Bucket)
	}
	if err := c.validateKeys(); err != nil {
		return err
	}
	if err := c.validateFinding(); err != nil {
		return err
	}
	return c.validateReading()
}

func (c *Config) validateKeys() error {
	for _, key := range []struct {
		name     string
		patterns []string
	}{{"include", c.Include}, {"exclude", c.Exclude}} {
		for _, p := range key.patterns {
			if p == "" {
				return component.Invalid(key.name, "a pattern is empty")
			}
		}
	}
	re, err := regexp.Compile(c.LabelsFromKey)
	if err != nil {
		return component.Invalid("labels_from_key", "%q is no regular expression: %v", c.LabelsFromKey, err)
	}
	if c.LabelsFromKey != "" && strings.Join(re.SubexpNames(), "") == "" {
		return component.Invalid("labels_from_key", "%q has no named group, such as (?P<host>[^/]+), that could become a label", c.LabelsFromKey)
	}
	return nil
}

func (c *Config) validateFinding() error {
	if _, err := c.start(time.Time{}); err != nil {
		return component.Invalid("start", "%q is neither beginning, end, nor a time such as 2024-05-01T00:00:00Z", c.Start)
	}
	switch {
	case c.VisibilityTimeout < 10*time.Second || c.VisibilityTimeout > 12*time.Hour:
		return component.Invalid("visibility_timeout", "it must be from 10s to 12h")
	case c.MaxInFlight < 10 || c.MaxInFlight > 120_000:
		return component.Invalid("max_in_flight", "it must be from 10 to 120000")
	case c.Receivers < 1 || c.Receivers > 64:
		return component.Invalid("receivers", "it must be from 1 to 64")
	case c.PollInterval <= 0:
		return component.Invalid("poll_interval", "it must be more than 0s")
	case c.PrefixInterval <= 0:
		return component.Invalid("prefix_interval", "it must be more than 0s")
	case c.Lookback < 0:
		return component.Invalid("lookback", "it must not be negative")
	case c.Remember < c.Lookback || c.Remember < time.Minute:
		return component.Invalid("remember", "it must be at least 1m, and not less than lookback (%v)", c.Lookback)
	case c.RememberObjects < 1000 || c.RememberObjects > 100_000_000:
		return component.Invalid("remember_objects", "it must be from 1000 to 100000000")
	case c.MaxPending < 1 || c.MaxPending > c.RememberObjects/2:
		return component.Invalid("max_pending", "it must be from 1 to half of remember_objects (%d)", c.RememberObjects/2)
	}
	return nil
}

func (c *Config) validateReading() error {
	switch {
	case c.Downloads < 1 || c.Downloads > 256:
		return component.Invalid("downloads", "it must be from 1 to 256")
	case c.DownloadBytes < component.Bytes(c.Downloads*chunkSize*2):
		return component.Invalid("download_bytes", "%d downloads need at least %v", c.Downloads, component.Bytes(c.Downloads*chunkSize*2))
	case c.Tries < 1:
		return component.Invalid("tries", "at least 1 is needed")
	case c.MaxObjectBytes < 1:
		return component.Invalid("max_object_bytes", "at least 1 is needed")
	case c.MaxRatio < 1:
		return component.Invalid("max_ratio", "at least 1 is needed")
	case c.MaxRecordBytes < 1 || c.MaxRecordBytes > 1<<28:
		return component.Invalid("max_record_bytes", "it must be from 1 to 256MiB")
	case c.BatchRecords < 1:
		return component.Invalid("batch_records", "at least 1 is needed")
	}
	return nil
}

// start returns the time before which objects are not read, given when the first listing began.
func (c *Config) start(first time.Time) (time.Time, error) {
	switch c.Start {
	case startBeginning:
		return time.Time{}, nil
	case startEnd:
		return first, nil
	}
	return time.Parse(time.RFC3339, c.Start)
}

// queueName returns the queue's name out of its URL or its ARN.
func (c *Config) queueName() string {
	return c.Queue[strings.LastIndexAny(c.Queue, "/:")+1:]
}

// keyFilter tells which keys are read.
type keyFilter struct{ include, exclude []*regexp.Regexp }

func newKeyFilter(c *Config) keyFilter {
	return keyFilter{keyPatterns(c.Include), keyPatterns(c.Exclude)}
}

func keyPatterns(patterns []string) []*regexp.Regexp {
	out := make([]*regexp.Regexp, len(patterns))
	for i, p := range patterns {
		text := regexp.QuoteMeta(p)
		text = strings.ReplaceAll(text, `\*\*`, `.*`)
		text = strings.ReplaceAll(text, `\*`, `[^/]*`)
		out[i] = regexp.MustCompile(`^(?s:` + text + `)$`) // what is quoted compiles
	}
	return out
}

func (f keyFilter) takes(key string) bool {
	for _, p := range f.exclude {
		if p.MatchString(key) {
			return false
		}
	}
	for _, p := range f.include {
		if p.MatchString(key) {
			return true
		}
	}
	return len(f.include) == 0
}

// ValidatePrefix checks a prefix in which whole levels may be patterns, such as AWSLogs/*/elb/.
func ValidatePrefix(prefix string) error {
	if strings.HasPrefix(prefix, "/") {
		return component.Invalid("prefix", "%q begins with a slash, and keys do not", prefix)
	}
	levels := strings.Split(prefix, "/")
	for i, level := range levels {
		if !isPattern(level) {
			continue
		}
		if _, err := path.Match(level, ""); err != nil {
			return component.Invalid("prefix", "%q is no pattern: a [ is not closed or a \\ ends it", level)
		}
		if i == len(levels)-1 {
			return component.Invalid("prefix", "a pattern stands for a whole level: end %q with a slash", prefix)
		}
	}
	return nil
}

// isPattern tells whether a level of a prefix stands for many.
func isPattern(level string) bool { return strings.ContainsAny(level, `*?[\`) }
