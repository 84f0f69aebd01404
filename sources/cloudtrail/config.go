package cloudtrail

import (
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/internal/objects"
)

// Config says which files are read, and how. Start from Default.
type Config struct {
	objects.Config `yaml:",inline"`
	// Prefix is the trail's prefix: what stands before `AWSLogs/` in the keys of a listed bucket.
	Prefix string `yaml:"prefix"`
	// Accounts are the accounts whose files are read; all when empty.
	Accounts []string `yaml:"accounts"`
	// Regions are the regions whose files are read; all when empty.
	Regions []string `yaml:"regions"`
	// Insights says what is done with the files of CloudTrail Insights: `emit`, with
	// the label type `aws-cloudtrail-insight` so that rules for events do not meet them, or `skip`.
	Insights string `yaml:"insights"`
}

// The values of insights.
const (
	insightsEmit = "emit"
	insightsSkip = "skip"
)

// The label types of the records.
const (
	typeTrail   = "aws-cloudtrail"
	typeInsight = "aws-cloudtrail-insight"
)

// The reasons for which a file is skipped.
const (
	reasonDigest  = "a digest file"
	reasonInsight = "a file of Insights"
	reasonForeign = "a file of another service"
	reasonAccount = "a file of another account"
	reasonRegion  = "a file of another region"
)

// Default returns the configuration of no trail.
func Default() Config { return Config{Config: objects.Default(), Insights: insightsEmit} }

// Validate checks the configuration.
func (c *Config) Validate() error {
	if c.Insights != insightsEmit && c.Insights != insightsSkip {
		return component.Invalid("insights", "%q is neither emit nor skip", c.Insights)
	}
	for _, a := range c.Accounts {
		if !isAccount(a) {
			return component.Invalid("accounts", "%q is no account: that is twelve digits, in quotes", a)
		}
	}
	for _, r := range c.Regions {
		if r == "" || strings.ContainsAny(r, `/*?[\`) {
			return component.Invalid("regions", "%q is no region", r)
		}
	}
	switch {
	case c.Prefix != "" && c.Queue != "":
		return component.Invalid("prefix", "it says what is listed of a bucket; use include for what a queue announces")
	case strings.ContainsAny(c.Prefix, `*?[\`):
		return component.Invalid("prefix", "%q holds a pattern; write the trail's prefix as it is", c.Prefix)
	case strings.Contains("/"+c.Prefix+"/", "/AWSLogs/"):
		return component.Invalid("prefix", "leave AWSLogs and what is behind it out: accounts and regions choose there")
	}
	if err := objects.ValidatePrefix(c.Prefix); err != nil {
		return err
	}
	return c.Config.Validate()
}

func init() {
	sources.Register(sources.Kind[Config]{
		Type:    "cloudtrail",
		Summary: "AWS CloudTrail: the log files that trails of accounts and organisations write into S3.",
		Description: "Files are found by the notifications that S3 sends to an SQS queue, directly, through SNS or through EventBridge, or that CloudTrail sends to SNS itself; " +
			"or by listing the bucket, each account and region by itself and all together in the order of delivery. Each entry of a file is a record, byte for byte, " +
			"with its own time and the label type `aws-cloudtrail`; digest files are skipped. Files are numbered in a manifest on disk beside the state, " +
			"so that each entry is counted exactly once, whatever is announced twice.",
		Example:  "queue: https://sqs.eu-west-1.amazonaws.com/123456789012/trail\nregion: eu-west-1\nassume_role: {arn: 'arn:aws:iam::123456789012:role/sluice'}\n",
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
	return objects.New(name, c.Config, objects.Format{
		Module: "cloudtrail", Topic: c.Bucket + "/" + c.Prefix, Prefixes: c.prefixes(),
		Treat: c.treatment(), WrittenOnce: true,
		Order: func(key string) int64 { return max(0, parseKey(key).time.Unix()) },
		After: func(prefix string, since time.Time) string {
			return prefix + since.UTC().AddDate(0, 0, -1).Format("2006/01/02/")
		},
	}, env)
}

// prefixes returns the prefixes of all accounts and regions, whose keys grow with time.
func (c *Config) prefixes() []string {
	prefix := c.Prefix
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	accounts, regions, folders := c.Accounts, c.Regions, []string{kinds[trail]}
	if len(accounts) == 0 {
		accounts = []string{"[0-9]*"}
	}
	if len(regions) == 0 {
		regions = []string{"*"}
	}
	if c.Insights == insightsEmit {
		folders = append(folders, kinds[insight])
	}
	var out []string
	for _, organisation := range []string{"", "o-*/"} {
		for _, account := range accounts {
			for _, folder := range folders {
				for _, region := range regions {
					out = append(out, prefix+"AWSLogs/"+organisation+account+"/"+folder+"/"+region+"/")
				}
			}
		}
	}
	return out
}

// treatment returns what is done with a file, by its key.
func (c *Config) treatment() func(key string) objects.Treatment {
	events := objects.Treatment{Entries: true, Labels: objects.Labels(c.Labels, typeTrail)}
	insights := objects.Treatment{Entries: true, Labels: objects.Labels(c.Labels, "")}
	insights.Labels["type"] = typeInsight
	return func(key string) objects.Treatment {
		l := parseKey(key)
		switch {
		case l.kind == digest:
			return objects.Treatment{Skip: reasonDigest}
		case l.kind == foreign:
			return objects.Treatment{Skip: reasonForeign}
		case l.kind == insight && c.Insights == insightsSkip:
			return objects.Treatment{Skip: reasonInsight}
		case len(c.Accounts) > 0 && !slices.Contains(c.Accounts, l.account):
			return objects.Treatment{Skip: reasonAccount}
		case len(c.Regions) > 0 && !slices.Contains(c.Regions, l.region):
			return objects.Treatment{Skip: reasonRegion}
		case l.kind == insight:
			return insights
		}
		return events
	}
}
