package s3

import (
	"regexp"
	"text/template"
	"time"

	"sluice/pipeline/awsconn"
	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/format"
)

// What an object holds.
const (
	typeLines   = "lines"
	typeParquet = "parquet"
)

// How objects are compressed.
const (
	compressGzip = "gzip"
	compressZstd = "zstd"
	compressNone = "none"
)

// Config says where objects go, and what is in them. Start from Default.
type Config struct {
	// Bucket is the name of the bucket.
	Bucket string `yaml:"bucket"`
	// Prefix is a template of what an object's key begins with; all alerts of a batch for which it gives the same text share an object. `.Date` (2026-03-01) and `.Hour` (00 to 23) are
	// of the alert's end, in UTC, `.Time` is that moment, and `.Alert` is the alert, as in `{{ .Alert.Scenario | segment }}`: `segment` escapes what would be more than one level of the key.
	Prefix string `yaml:"prefix"`
	// Objects are `lines`, an alert each, or `parquet`, whose columns are listed in docs/alert-parquet.md.
	Objects string `yaml:"objects"`
	// Format is what a line holds: an alert as `sluice`, `crowdsec`, `ocsf`, `ecs`, `cef` or `text`. It says nothing of Parquet.
	Format format.Format `yaml:"format"`
	// Compression is `gzip`, `zstd` or `none`: of the whole object where it holds lines, of its columns where it is Parquet.
	Compression string `yaml:"compression"`
	// BatchAlerts is how many alerts are put at once, at most. What the outbox holds at once, some 8MiB of alerts, bounds them too.
	BatchAlerts int `yaml:"batch_alerts"`
	// BatchWait is how long an alert may wait for others before it is put. It needs durable state (`state.dir`): without it, what comes at once is put at once.
	BatchWait time.Duration `yaml:"batch_wait"`
	// Uploads is how many objects of a batch are put at the same time.
	Uploads int `yaml:"uploads"`
	// StorageClass is the class of storage, such as `STANDARD_IA` or `INTELLIGENT_TIERING`; the bucket's own when empty.
	StorageClass string `yaml:"storage_class"`
	// Encryption is how the service encrypts objects: `AES256`, `aws:kms` or `aws:kms:dsse`; as the bucket says when empty.
	Encryption string `yaml:"encryption"`
	// KMSKeyID is the key for encryption with KMS: its id, ARN or alias; the account's own key for S3 when empty.
	KMSKeyID string `yaml:"kms_key_id"`
	// ACL is a canned access control list, such as `bucket-owner-full-control` where the bucket belongs to another account; none when empty.
	ACL string `yaml:"acl"`
	// BucketOwner is the account that the bucket must belong to, so that nothing is put into one that somebody else has made under its name; it is not checked when empty.
	BucketOwner string `yaml:"bucket_owner"`
	// PathStyle puts the bucket into the path of the URL instead of the host's
	// name, as many services that speak S3's protocol need it.
	PathStyle bool `yaml:"path_style"`
	// Settings say how AWS is reached.
	awsconn.Settings `yaml:",inline"`
}

// Default returns the configuration of no bucket.
func Default() Config {
	return Config{
		Settings: awsconn.Default(), Prefix: "alerts/dt={{ .Date }}/hour={{ .Hour }}/", Objects: typeLines, Format: format.Sluice, Compression: compressGzip,
		BatchAlerts: 5000, BatchWait: time.Minute, Uploads: 4,
	}
}

var bucketName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}$`)

// Validate checks the configuration without reading a file.
func (c *Config) Validate() error {
	switch {
	case !bucketName.MatchString(c.Bucket):
		return component.Invalid("bucket", "name the bucket, such as example-lake, without s3://")
	case c.Objects != typeLines && c.Objects != typeParquet:
		return component.Invalid("objects", "%q is neither lines nor parquet", c.Objects)
	case c.Compression != compressGzip && c.Compression != compressZstd && c.Compression != compressNone:
		return component.Invalid("compression", "%q is none of gzip, zstd, none", c.Compression)
	case c.BatchAlerts < 1 || c.BatchAlerts > 100_000:
		return component.Invalid("batch_alerts", "%d is not between 1 and 100000", c.BatchAlerts)
	case c.BatchWait < 0:
		return component.Invalid("batch_wait", "it must not be below 0")
	case c.Uploads < 1 || c.Uploads > 64:
		return component.Invalid("uploads", "%d is not between 1 and 64", c.Uploads)
	case c.Encryption != "" && c.Encryption != "AES256" && c.Encryption != "aws:kms" && c.Encryption != "aws:kms:dsse":
		return component.Invalid("encryption", "%q is none of AES256, aws:kms, aws:kms:dsse", c.Encryption)
	case c.KMSKeyID != "" && (c.Encryption == "" || c.Encryption == "AES256"):
		return component.Invalid("kms_key_id", "it needs encryption: aws:kms or aws:kms:dsse")
	}
	t, err := c.prefix()
	if err != nil {
		return component.Invalid("prefix", "it is no template: %v", err)
	}
	if err := tryPrefix(t); err != nil {
		return component.Invalid("prefix", "its template fails on every alert: %v", err)
	}
	return c.Settings.Validate()
}

func (c *Config) prefix() (*template.Template, error) { return parsePrefix(c.Prefix, c.Format) }

func init() {
	sinks.Register(sinks.Kind[Config]{
		Type:     "s3",
		Summary:  "Alerts as objects in S3, in lines or Parquet, partitioned by time for a data lake.",
		Delivery: "exactly once with durable state, at least once without it",
		Description: "A batch is gathered until it has `batch_alerts`, or its first alert has waited for `batch_wait`; then each of its partitions is put as one object, and all are acknowledged. " +
			"The name of an object is the time of its first alert and a hash of the ids of all. What a crash interrupted is gathered and put again as the same objects, with the same keys and bytes: the " +
			"sink notes beside the state which batch it has begun. Where that note is lost, or settings have changed, alerts may be in two objects, with the same `uuid`.\n\n" +
			"A key that is longer than S3's 1024 bytes, and an alert without a time, are refused for good. All else, a missing bucket or right too, is tried again: while it lasts, `on_full` says what becomes of " +
			"what waits. The role needs `s3:PutObject` on the prefix, and with KMS `kms:GenerateDataKey`.",
		Example: "bucket: example-lake\nregion: eu-west-1\nobjects: parquet\ncompression: zstd\n",
		Default: Default,
		New:     func(name string, c Config, env sinks.Env) (sinks.Sink, error) { return New(name, c, env) },
	})
}
