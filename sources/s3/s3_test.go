package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestABucketIsRead lists a bucket over HTTP, as lines and as files of records.
func TestABucketIsRead(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("logs"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	defer server.Close()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for key, text := range map[string]string{
		"web/h1/1.log": "a\nb\n", "web/h2/1.log.zst": string(z.EncodeAll([]byte("c\n"), nil)), "web/h1/x.tmp": "no\n", "other/1": "no\n",
		"json/1": `{"Records":[{"a":1},{"a":2}]}`,
	} {
		if _, err := backend.PutObject("logs", key, nil, strings.NewReader(text), int64(len(text)), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		prefix, format string
		want           []string
	}{
		{"web/*/", formatLines, []string{"map[host:h1 type:nginx] a", "map[host:h1 type:nginx] b", "map[host:h2 type:nginx] c"}},
		{"json/", formatRecords, []string{`map[type:nginx] {"a":1}`, `map[type:nginx] {"a":2}`}},
	} {
		config := Default()
		config.Bucket, config.Prefix, config.PathStyle, config.Region, config.Endpoint = "logs", c.prefix, true, "eu-west-1", server.URL
		config.AccessKeyID, config.SecretAccessKey, config.Format = "a", "b", c.format
		config.Exclude, config.LabelsFromKey, config.Labels = []string{"**.tmp"}, "^web/(?P<host>[^/]+)/", map[string]string{"type": "nginx"}
		s, err := New("logs", config, sources.Env{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var got []string
		err = s.Run(ctx, nil, func(_ context.Context, b *pipeline.RecordBatch) error {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range b.Records {
				got = append(got, fmt.Sprint(b.Labels, " ", string(r.Value)))
			}
			if b.Release != nil {
				b.Release()
			}
			if len(got) == len(c.want) {
				cancel()
			}
			return nil
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: %q\nwant %q", c.prefix, got, c.want)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct {
		want string
		edit func(*Config)
	}{
		{"format: ", func(c *Config) { c.Format = "csv" }},
		{"prefix: ", func(c *Config) { c.Prefix = "a" }},
		{"prefix: ", func(c *Config) { c.Queue, c.Bucket, c.Prefix = "", "b", "a*" }},
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
