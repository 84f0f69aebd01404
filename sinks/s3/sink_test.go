package s3

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sinks"
	"sluice/sinks/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a bucket called lake, behind answers that a test puts in the way.
type service struct {
	backend *s3mem.Backend
	url     string

	mu    sync.Mutex
	fail  func(key string) (status int, code string) // 0 passes the request on
	puts  map[string]int                             // attempts by key
	heads []http.Header
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{backend: s3mem.New(), puts: make(map[string]int)}
	if err := s.backend.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(s.backend).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, code := s.meets(r); status != 0 {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
			return
		}
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *service) meets(r *http.Request) (int, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/lake/")
	s.puts[key]++
	s.heads = append(s.heads, r.Header.Clone())
	if s.fail == nil {
		return 0, ""
	}
	return s.fail(key)
}

func (s *service) failWith(fail func(key string) (int, string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// objects returns what the bucket holds, by key.
func (s *service) objects(t *testing.T) map[string][]byte {
	t.Helper()
	list, err := s.backend.ListBucket("lake", nil, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string][]byte)
	for _, item := range list.Contents {
		o, err := s.backend.GetObject("lake", item.Key, nil)
		if err != nil {
			t.Fatal(err)
		}
		if out[item.Key], err = io.ReadAll(o.Contents); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (s *service) config() Config {
	c := Default()
	c.Bucket, c.Region, c.Endpoint, c.PathStyle, c.AccessKeyID, c.SecretAccessKey = "lake", "eu-west-1", s.url, true, "a", "b"
	c.MaxAttempts = 1
	return c
}

func newSink(t *testing.T, c Config, env sinks.Env) *Sink {
	t.Helper()
	s, err := New("lake", c, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// alert is one of an id that ended at a time of March 2026.
func alert(id, at string) pipeline.Alert {
	return pipeline.Alert{
		UUID: id, Scenario: "acme/ssh-bf", StopAt: "2026-03-" + at, Source: &pipeline.Source{Scope: "Ip", Value: "192.0.2.1"},
		Decisions: []pipeline.Decision{{UUID: "d" + id, Type: "ban", Until: "2026-03-09T00:00:00Z"}},
	}
}

func someAlerts() []pipeline.Alert {
	return []pipeline.Alert{
		alert("1", "01T12:59:59.9Z"), alert("2", "01T13:00:00Z"), alert("3", "01T12:59:58Z"), alert("4", "02T00:30:00+01:00"),
	}
}

func unpack(t *testing.T, key string, body []byte) string {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	var err error
	switch filepath.Ext(key) {
	case ".gz":
		r, err = gzip.NewReader(r)
	case ".zst":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			r = z
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEachPartitionOfABatchIsAnObject(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(*Config)
		want map[string]string // the beginning and end of keys, and the lines
	}{
		{"by the hour of UTC, as it is", func(c *Config) { c.Format = format.Text }, map[string]string{
			"alerts/dt=2026-03-01/hour=12/20260301T125959Z-*.log.gz": "1 3", "alerts/dt=2026-03-01/hour=13/20260301T130000Z-*.log.gz": "2",
			"alerts/dt=2026-03-01/hour=23/20260301T233000Z-*.log.gz": "4",
		}},
		{"by the day, zstd", func(c *Config) { c.Prefix, c.Compression = "a/day={{ .Date }}/", compressZstd }, map[string]string{
			"a/day=2026-03-01/20260301T125959Z-*.jsonl.zst": "1 2 3 4",
		}},
		{"by the scenario, unpacked", func(c *Config) {
			c.Prefix, c.Compression = `/s={{ .Alert.Scenario | segment }}/{{ .Time.Format "2006/01" }}/`, compressNone
		}, map[string]string{"s=acme%2Fssh-bf/2026/03/20260301T125959Z-*.jsonl": "1 2 3 4"}},
		{"no prefix, OCSF", func(c *Config) { c.Prefix, c.Format = "", format.OCSF }, map[string]string{"20260301T125959Z-*.jsonl.gz": "1 2 3 4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			service := newService(t)
			c := service.config()
			tc.edit(&c)
			given := someAlerts()
			if c.Format == format.Text { // which names no id
				for i := range given {
					given[i].Source.Value = given[i].UUID
				}
			}
			s := newSink(t, c, sinks.Env{})
			if err := s.Alerts(t.Context(), given); err != nil {
				t.Fatal(err)
			}
			have := service.objects(t)
			if len(have) != len(tc.want) {
				t.Errorf("%d objects, want %d", len(have), len(tc.want))
			}
			for key, body := range have {
				at := strings.LastIndexByte(key, '-')
				generic := key[:at+1] + "*" + key[at+1+32:]
				lines := strings.Split(strings.TrimSpace(unpack(t, key, body)), "\n")
				ids := strings.Fields(tc.want[generic])
				if len(lines) != len(ids) {
					t.Fatalf("%s has %d lines, want %v", key, len(lines), ids)
				}
				for i, id := range ids {
					if !strings.Contains(lines[i], `"`+id+`"`) && !strings.Contains(lines[i], " "+id+" ") {
						t.Errorf("%s: line %d is %s, want %s", key, i, lines[i], id)
					}
				}
			}
			if st := s.Stats(); st.Alerts != 4 || st.Decisions != 4 || st.Bytes == 0 || st.Errors+st.Rejected != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestTheSameAlertsAreTheSameObjects(t *testing.T) {
	for _, objects := range []string{typeLines, typeParquet} {
		for _, compression := range []string{compressGzip, compressZstd, compressNone} {
			service := newService(t)
			c := service.config()
			c.Objects, c.Compression = objects, compression
			var first map[string][]byte
			for range 3 {
				s := newSink(t, c, sinks.Env{})
				if err := s.Alerts(t.Context(), someAlerts()); err != nil {
					t.Fatal(err)
				}
				have := service.objects(t)
				if first == nil {
					first = have
				}
				if len(have) != 3 {
					t.Errorf("%s, %s: %d objects, want 3", objects, compression, len(have))
				}
				for key, body := range have {
					if !bytes.Equal(body, first[key]) {
						t.Errorf("%s, %s: %s has other bytes", objects, compression, key)
					}
				}
			}
			s := newSink(t, c, sinks.Env{})
			if err := s.Alerts(t.Context(), someAlerts()[:1]); err != nil {
				t.Fatal(err)
			}
			if n := len(service.objects(t)); n != 4 {
				t.Errorf("%s, %s: other alerts under the key of these: %d objects", objects, compression, n)
			}
		}
	}
}

func TestTheServiceIsToldHowToKeepAnObject(t *testing.T) {
	service := newService(t)
	c := service.config()
	c.StorageClass, c.Encryption, c.KMSKeyID, c.ACL, c.BucketOwner = "STANDARD_IA", "aws:kms", "alias/lake", "bucket-owner-full-control", "123456789012"
	if err := newSink(t, c, sinks.Env{}).Alerts(t.Context(), someAlerts()[:1]); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"X-Amz-Storage-Class": "STANDARD_IA", "X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "alias/lake",
		"X-Amz-Acl": "bucket-owner-full-control", "X-Amz-Expected-Bucket-Owner": "123456789012", "Content-Type": "application/gzip",
		"Content-Encoding": "", "X-Amz-Meta-Sluice-Alerts": "1",
	} {
		if got := service.heads[0].Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if service.heads[0].Get("Content-Md5") == "" {
		t.Error("it is not told the sum of the body")
	}
}

func TestWhatTheServiceSays(t *testing.T) {
	late := func(key string) bool { return strings.Contains(key, "hour=13") }
	for _, tc := range []struct {
		name     string
		status   int
		code     string
		rejected []int // nil: all is tried again
		says     string
	}{
		{"too many requests", 503, "SlowDown", nil, "SlowDown"},
		{"trouble of its own", 500, "InternalError", nil, "InternalError"},
		{"no right", 403, "AccessDenied", nil, "allow s3:PutObject"},
		{"no bucket", 404, "NoSuchBucket", nil, "create the bucket"},
		{"another region", 301, "PermanentRedirect", nil, "set region"},
		{"a key that ran out", 400, "ExpiredToken", nil, "ExpiredToken"},
		{"a body that was changed on the way", 400, "BadDigest", nil, "BadDigest"},
		{"an answer that is not S3's", 502, "", nil, "502"},
		{"an object that is too large", 400, "EntityTooLarge", []int{1}, "EntityTooLarge"},
		{"a body that is too large for a proxy", 413, "", []int{1}, "413"},
		{"a key that is too long", 400, "KeyTooLongError", []int{1}, "KeyTooLongError"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			service := newService(t)
			service.failWith(func(key string) (int, string) {
				if late(key) {
					return tc.status, tc.code
				}
				return 0, ""
			})
			s := newSink(t, service.config(), sinks.Env{})
			err := s.Alerts(t.Context(), someAlerts())
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("error = %v, want one that says %s", err, tc.says)
			}
			var rejected *sinks.RejectedError
			errors.As(err, &rejected)
			if (tc.rejected == nil) != sinks.Retryable(err) || rejected != nil && !slices.Equal(rejected.Alerts, tc.rejected) {
				t.Errorf("error = %#v, want %v rejected", err, tc.rejected)
			}
			service.failWith(nil)
			if tc.rejected != nil {
				if n := len(service.objects(t)); n != 2 {
					t.Errorf("%d objects, want all but one", n)
				}
				if st := s.Stats(); st.Alerts != 3 || st.Rejected != 1 {
					t.Errorf("%+v", st)
				}
				return
			}
			if err := s.Alerts(t.Context(), someAlerts()); err != nil {
				t.Fatal(err)
			}
			if n := len(service.objects(t)); n != 3 {
				t.Errorf("%d objects, want 3", n)
			}
			if st := s.Stats(); st.Alerts != 4 || st.Errors != 1 || st.Rejected != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestSlowDownIsWaitedOut has the SDK try again, after a wait of its own, before the outbox hears of it.
func TestSlowDownIsWaitedOut(t *testing.T) {
	service := newService(t)
	var tried int
	service.failWith(func(string) (int, string) {
		if tried++; tried == 1 {
			return 503, "SlowDown"
		}
		return 0, ""
	})
	c := service.config()
	c.MaxAttempts = 3
	if err := newSink(t, c, sinks.Env{}).Alerts(t.Context(), someAlerts()[:1]); err != nil || tried != 2 || len(service.objects(t)) != 1 {
		t.Errorf("error %v after %d attempts", err, tried)
	}
}

func TestAlertsThatHaveNoPlaceAreRefused(t *testing.T) {
	service := newService(t)
	c := service.config()
	c.Prefix = "{{ .Alert.Message }}/"
	given := someAlerts()
	given[0].StopAt = "yesterday"
	given[1].Message = strings.Repeat("x", 1000)
	given[2].Message = ".."
	given = append(given, alert("5", "01T12:00:00Z"), alert("6", "01T12:00:00Z"))
	given[3].Message = "a\x00"
	given[4].Message = "fine"
	given[4].Sluice.Labels = map[string]any{"f": func() {}} // no JSON
	given[5].Message = "fine"
	for _, objects := range []string{typeLines, typeParquet} {
		c.Objects = objects
		s := newSink(t, c, sinks.Env{})
		err := s.Alerts(t.Context(), given)
		var rejected *sinks.RejectedError
		if !errors.As(err, &rejected) || !slices.Equal(rejected.Alerts, []int{0, 1, 2, 3, 4}) {
			t.Errorf("%s: error = %v", objects, err)
		}
		if st := s.Stats(); st.Alerts != 1 || st.Rejected != 5 {
			t.Errorf("%s: %+v", objects, st)
		}
	}
	if n := len(service.objects(t)); n != 2 {
		t.Errorf("%d objects, want one of lines and one of Parquet", n)
	}
}

// TestTheBatchThatACrashInterruptedIsAskedForAgain plays a process that dies
// after its objects are put and before the outbox knows.
func TestTheBatchThatACrashInterruptedIsAskedForAgain(t *testing.T) {
	service := newService(t)
	c, dir := service.config(), filepath.Join(t.TempDir(), "sinks")
	if n, wait := newSink(t, c, sinks.Env{Dir: dir}).Batch(); n != c.BatchAlerts || wait != c.BatchWait {
		t.Errorf("a new one asks for %d, %v", n, wait)
	}
	s := newSink(t, c, sinks.Env{Dir: dir})
	if err := s.Alerts(t.Context(), someAlerts()[:3]); err != nil {
		t.Fatal(err)
	}
	before := service.objects(t)
	again := newSink(t, c, sinks.Env{Dir: dir})
	n, _ := again.Batch()
	if n != 3 {
		t.Fatalf("it asks for %d alerts, want the 3 that were begun", n)
	}
	if err := again.Alerts(t.Context(), someAlerts()[:n]); err != nil {
		t.Fatal(err)
	}
	if after := service.objects(t); len(after) != len(before) {
		t.Errorf("%d objects became %d", len(before), len(after))
	}
	if n, _ := again.Batch(); n != c.BatchAlerts {
		t.Errorf("behind it, it asks for %d", n)
	}
	notes, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(notes) != 1 {
		t.Fatalf("%v, %v", notes, err)
	}
	if err := os.WriteFile(notes[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, _ := newSink(t, c, sinks.Env{Dir: dir}).Batch(); n != c.BatchAlerts {
		t.Errorf("after a note that is damaged, it asks for %d", n)
	}
}

// TestNothingIsPutBeforeTheNote has a folder that cannot be written.
func TestNothingIsPutBeforeTheNote(t *testing.T) {
	service := newService(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSink(t, service.config(), sinks.Env{})
	s.note.path = filepath.Join(file, "note")
	if err := s.Alerts(t.Context(), someAlerts()); !sinks.Retryable(err) || len(service.objects(t)) != 0 {
		t.Errorf("error %v, %d objects", err, len(service.objects(t)))
	}
}

func TestAStopInterruptsAPut(t *testing.T) {
	service := newService(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	service.failWith(func(string) (int, string) {
		close(arrived)
		<-release
		return 503, "SlowDown"
	})
	s := newSink(t, service.config(), sinks.Env{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	err := s.Alerts(ctx, someAlerts()[:1])
	close(release)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, tc := range []struct {
		want string
		edit func(*Config)
	}{
		{"", func(*Config) {}},
		{"bucket: ", func(c *Config) { c.Bucket = "" }},
		{"bucket: ", func(c *Config) { c.Bucket = "s3://lake" }},
		{"prefix: ", func(c *Config) { c.Prefix = "{{" }},
		{"prefix: ", func(c *Config) { c.Prefix = "{{ .Nope }}/" }},
		{"objects: ", func(c *Config) { c.Objects = "orc" }},
		{"compression: ", func(c *Config) { c.Compression = "lz4" }},
		{"batch_alerts: ", func(c *Config) { c.BatchAlerts = 0 }},
		{"batch_wait: ", func(c *Config) { c.BatchWait = -time.Second }},
		{"uploads: ", func(c *Config) { c.Uploads = 0 }},
		{"encryption: ", func(c *Config) { c.Encryption = "rot13" }},
		{"kms_key_id: ", func(c *Config) { c.KMSKeyID = "k" }},
		{"endpoint: ", func(c *Config) { c.Endpoint = "http://192.0.2.1" }},
	} {
		c := Default()
		c.Bucket = "lake"
		tc.edit(&c)
		err := c.Validate()
		if (err == nil) != (tc.want == "") || err != nil && !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}

func TestASegmentIsOneLevelOfAKey(t *testing.T) {
	for text, want := range map[string]string{
		"plain-1_2.3": "plain-1_2.3", "a/b": "a%2Fb", "k=v": "k%3Dv", "": "__HIVE_DEFAULT_PARTITION__", "..": "%2E%2E", "é\x00": "%C3%A9%00", "2001:db8::1": "2001:db8::1",
	} {
		if got := segment(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
