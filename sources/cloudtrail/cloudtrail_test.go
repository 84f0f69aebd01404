package cloudtrail

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPrefixesOfTrails(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Config)
		want string
	}{
		{"all", func(*Config) {}, "AWSLogs/[0-9]*/CloudTrail/*/ AWSLogs/[0-9]*/CloudTrail-Insight/*/ AWSLogs/o-*/[0-9]*/CloudTrail/*/ AWSLogs/o-*/[0-9]*/CloudTrail-Insight/*/"},
		{"some", func(c *Config) {
			c.Prefix, c.Accounts, c.Regions, c.Insights = "p", []string{"123456789012"}, []string{"eu-west-1", "us-east-1"}, insightsSkip
		}, "p/AWSLogs/123456789012/CloudTrail/eu-west-1/ p/AWSLogs/123456789012/CloudTrail/us-east-1/ " +
			"p/AWSLogs/o-*/123456789012/CloudTrail/eu-west-1/ p/AWSLogs/o-*/123456789012/CloudTrail/us-east-1/"},
	} {
		config := Default()
		c.edit(&config)
		if got := strings.Join(config.prefixes(), " "); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestFilesAreChosenByTheirKeys(t *testing.T) {
	config := Default()
	config.Labels = map[string]string{"env": "prod"}
	some := config
	some.Insights, some.Accounts, some.Regions = insightsSkip, []string{"123456789012"}, []string{"eu-west-1"}
	const file = "AWSLogs/123456789012/CloudTrail/eu-west-1/2024/05/01/123456789012_CloudTrail_eu-west-1_20240501T1205Z_AbC.json.gz"
	for _, c := range []struct{ key, all, some string }{
		{file, "map[env:prod type:aws-cloudtrail]", "map[env:prod type:aws-cloudtrail]"},
		{strings.ReplaceAll(file, "CloudTrail", "CloudTrail-Insight"), "map[env:prod type:aws-cloudtrail-insight]", reasonInsight},
		{strings.ReplaceAll(file, "CloudTrail", "CloudTrail-Digest"), reasonDigest, reasonDigest},
		{strings.ReplaceAll(file, "CloudTrail", "Config"), reasonForeign, reasonForeign},
		{strings.ReplaceAll(file, "eu-west-1", "us-east-1"), "map[env:prod type:aws-cloudtrail]", reasonRegion},
		{strings.ReplaceAll(file, "123456789012", "000000000000"), "map[env:prod type:aws-cloudtrail]", reasonAccount},
		{"anything.json", "map[env:prod type:aws-cloudtrail]", reasonAccount},
	} {
		for config, want := range map[*Config]string{&config: c.all, &some: c.some} {
			got := config.treatment()(c.key)
			if text := got.Skip; text == "" && (fmt.Sprint(got.Labels) != want || !got.Entries) || text != "" && text != want {
				t.Errorf("%s: %+v, want %s", c.key, got, want)
			}
		}
	}
	if fmt.Sprint(config.Labels) != "map[env:prod]" {
		t.Errorf("the configuration's labels have become %v", config.Labels)
	}
	config.Labels = map[string]string{"type": "mine"}
	if got := config.treatment()(file); got.Labels["type"] != "mine" {
		t.Errorf("labels %v", got.Labels)
	}
}

// TestABucketIsReadInTheOrderOfDelivery lists a bucket with two accounts, one of
// them below an organisation.
func TestABucketIsReadInTheOrderOfDelivery(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("trail"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	defer server.Close()
	put := func(key, text string) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, text)
		_ = z.Close()
		if _, err := backend.PutObject("trail", key, nil, &b, int64(b.Len()), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, where := range []string{"222222222222/CloudTrail", "o-x/111111111111/CloudTrail", "222222222222/CloudTrail-Insight", "222222222222/CloudTrail-Digest", "222222222222/CloudTrail", "o-x/111111111111/CloudTrail"} {
		put(fmt.Sprintf("p/AWSLogs/%s/eu-west-1/2024/05/01/1_CloudTrail_eu-west-1_20240501T120%dZ_x.json.gz", where, i),
			fmt.Sprintf(`{"Records":[{"eventTime":"2024-05-01T12:0%d:30Z","n":%d}]}`, i, i))
	}
	c := Default()
	c.Bucket, c.Prefix, c.PathStyle, c.Region, c.Endpoint = "trail", "p/", true, "eu-west-1", server.URL
	c.AccessKeyID, c.SecretAccessKey = "a", "b"
	s, err := New("trail", c, sources.Env{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var got []string
	err = s.Run(ctx, nil, func(_ context.Context, b *pipeline.RecordBatch) error {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range b.Records {
			got = append(got, fmt.Sprintf("%s %s %s %s", b.Partition.Topic, r.Time.Format("15:04:05"), b.Labels["type"], r.Value))
		}
		if b.Release != nil {
			b.Release()
		}
		if len(got) == 5 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, i := range []int{0, 1, 2, 4, 5} {
		want = append(want, fmt.Sprintf(`trail/p/ 12:0%d:30 %s {"eventTime":"2024-05-01T12:0%d:30Z","n":%d}`,
			i, map[bool]string{false: "aws-cloudtrail", true: "aws-cloudtrail-insight"}[i == 2], i, i))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("records\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct {
		want string
		edit func(*Config)
	}{
		{"insights: ", func(c *Config) { c.Insights = "both" }},
		{"accounts: ", func(c *Config) { c.Accounts = []string{"12"} }},
		{"regions: ", func(c *Config) { c.Regions = []string{"eu-*"} }},
		{"prefix: ", func(c *Config) { c.Prefix = "a" }},
		{"prefix: ", func(c *Config) { c.Queue, c.Bucket, c.Prefix = "", "b", "a*" }},
		{"prefix: ", func(c *Config) { c.Queue, c.Bucket, c.Prefix = "", "b", "AWSLogs/123456789012" }},
		{"prefix: ", func(c *Config) { c.Queue, c.Bucket, c.Prefix = "", "b", "/a" }},
		{"queue: ", func(c *Config) { c.Queue = "" }},
	} {
		config := Default()
		config.Queue = "q"
		c.edit(&config)
		if err := config.Validate(); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
