package http

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"sluice/pipeline/component"
)

var update = flag.Bool("update", false, "rewrite golden files")

// pack compresses a body.
func pack(t testing.TB, how string, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var z io.WriteCloser
	switch how {
	case "":
		return body
	case "snappy":
		return snappy.Encode(nil, body)
	case "gzip":
		z = gzip.NewWriter(&out)
	case "deflate":
		z = zlib.NewWriter(&out)
	case "zstd":
		var err error
		if z, err = zstd.NewWriter(&out); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("nobody knows %q", how)
	}
	if _, err := z.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestRequestsOfLogShippers sends what they send; testdata/senders/README.md says which.
func TestRequestsOfLogShippers(t *testing.T) {
	w := listening(t, func(c *Config) {
		c.Paths[0].LabelsFrom = map[string]string{"tag": "header:FLUENT-TAG", "agent": "header:User-Agent"}
		c.Paths[1].LabelsFrom = map[string]string{"tenant": "header:X-Scope-OrgID"}
	})
	files, err := filepath.Glob("testdata/senders/*-*")
	if err != nil || len(files) < 16 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var out strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, body, ok := bytes.Cut(text, []byte("\n\n"))
		if !ok {
			t.Fatalf("%s has no body", name)
		}
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(string(head), "\n", "\r\n") + "\r\n\r\n")))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body = pack(t, req.Header.Get("X-Test-Pack"), body)
		req.Header.Del("X-Test-Pack")
		req.RequestURI, req.URL.Scheme, req.URL.Host = "", "http", w.source.Addresses()[0].String()
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		status, said := w.do(req)
		fmt.Fprintf(&out, "%s: %d %s\n", filepath.Base(name), status, strings.TrimSpace(said))
		for _, r := range w.take() {
			fmt.Fprintf(&out, "  %s\n", r)
		}
	}
	const golden = "testdata/senders.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestContentTypes(t *testing.T) {
	w := listening(t, func(c *Config) {
		c.Paths = append(c.Paths, Path{Path: "/forced", Format: formatLines}, Path{Path: "/body", Format: formatBody})
	})
	for _, c := range []struct {
		kind, path, body string
		status, records  int
	}{
		{"", "/ingest", "a\nb", 200, 2},
		{"text/plain", "/ingest", "a\nb", 200, 2},
		{"text/plain; charset=utf-8", "/ingest", "a\nb", 200, 2},
		{"application/octet-stream", "/ingest", "a\nb", 200, 2},
		{"Application/JSON", "/ingest", "[1,2,3]", 200, 3},
		{"application/vnd.x+json", "/ingest", "[1,2,3]", 200, 3},
		{"application/x-ndjson", "/ingest", "[1,2,3]\n1", 200, 2},
		{"application/jsonl", "/ingest", "1\n2", 200, 2},
		{"application/x-www-form-urlencoded", "/ingest", "a=b", 415, 0},
		{"application/x-www-form-urlencoded", "/forced", "a\nb", 200, 2},
		{"application/x-protobuf", "/ingest", "a", 415, 0},
		{"application/xml", "/ingest", "<a/>", 415, 0},
		{"text/plain", "/loki/api/v1/push", "a", 415, 0},
		{"", "/loki/api/v1/push", "{}", 415, 0},
		{"application/xml", "/body", "<a>\n</a>", 200, 1},
	} {
		head := []string{"Content-Type", c.kind}
		if c.kind == "" {
			head = nil
		}
		status, said := w.post(c.path, []byte(c.body), head...)
		if got := len(w.take()); status != c.status || got != c.records {
			t.Errorf("%q to %s: %d %s with %d records, want %d with %d", c.kind, c.path, status, said, got, c.status, c.records)
		}
	}
}

func TestLabels(t *testing.T) {
	w := listening(t, func(c *Config) {
		c.Labels = map[string]string{"site": "a", "type": "none", "pod": "none"}
		c.Auth.Tokens = append(c.Auth.Tokens, keyOf("web", "t"))
		c.Paths = []Path{
			{Path: "/logs/{app}/{rest...}", Labels: map[string]string{"type": "syslog"},
				LabelsFrom: map[string]string{"type": "path:app", "rest": "path:rest", "host": "header:x-host", "q": "query:q", "by": "client"}},
			{Path: "/loki", Format: formatLoki, Labels: map[string]string{"site": "b"}, LabelsFrom: map[string]string{"pod": "query:pod"}},
		}
	})
	auth := []string{"Authorization", "Bearer t"}
	for _, c := range []struct {
		path, body string
		head       []string
		want       string
	}{
		{"/logs/nginx/x/y?q=1&q=2", "l", []string{"X-Host", "h"}, `by="web" host="h" pod="none" q="1" rest="x/y" site="a" type="nginx"`},
		{"/logs/nginx/", "l", nil, `by="web" pod="none" site="a" type="nginx"`},
		{"/logs/a%2Fb/?q=", "l", nil, `by="web" pod="none" q="" site="a" type="a/b"`},
		{"/loki", `{"streams":[{"stream":{"site":"z","type":"z","x":"y"},"values":[["1","l"]]}]}`, []string{"Content-Type", "application/json"}, `pod="none" site="b" type="none" x="y"`},
		{"/loki?pod=p", `{"streams":[{"stream":{"pod":"z"},"values":[["1","l"]]}]}`, []string{"Content-Type", "application/json"}, `pod="p" site="b" type="none"`},
	} {
		status, said := w.post(c.path, []byte(c.body), append(c.head, auth...)...)
		if got := strings.Join(w.take(), "\n"); status/100 != 2 || !strings.Contains(got, "Z "+c.want+" | ") {
			t.Errorf("%s: %d %s\n got %s\nwant %s", c.path, status, said, got, c.want)
		}
	}
	if status, said := w.post("/logs/x/", []byte("l"), append(auth, "X-Host", strings.Repeat("x", maxLabel+1))...); status != 400 {
		t.Errorf("a label of %d bytes: %d %s", maxLabel+1, status, said)
	}
	if status, said := w.post("/logs/%ff/", []byte("l"), auth...); status != 400 {
		t.Errorf("a label that is no UTF-8: %d %s", status, said)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no address", func(c *Config) { c.Listen = nil }, "listen"},
		{"no paths", func(c *Config) { c.Paths = nil }, "paths"},
		{"a format that nobody knows", func(c *Config) { c.Paths[0].Format = "xml" }, "paths"},
		{"a path twice", func(c *Config) { c.Paths[1].Path = c.Paths[0].Path }, "paths"},
		{"a path with a method", func(c *Config) { c.Paths[0].Path = "POST /a" }, "paths"},
		{"the path of health", func(c *Config) { c.Paths[0].Path = "/health" }, "paths"},
		{"a label of nothing", func(c *Config) { c.Paths[0].LabelsFrom = map[string]string{"a": "body:b"} }, "paths"},
		{"a level that is not there", func(c *Config) { c.Paths[0].LabelsFrom = map[string]string{"a": "path:b"} }, "paths"},
		{"a header that is none", func(c *Config) { c.Paths[0].LabelsFrom = map[string]string{"a": "header:"} }, "paths"},
		{"an intake that is none", func(c *Config) { c.Intake.Intake = "x" }, "intake"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Default()
			config.Listen = []string{":0"}
			if err := config.Validate(); err != nil {
				t.Fatal(err)
			}
			c.change(&config)
			err := config.Validate()
			if invalid, ok := err.(*component.FieldError); !ok || invalid.Field != c.want {
				t.Errorf("got %v, want one of %s", err, c.want)
			}
		})
	}
	c := Config{Paths: []Path{{Path: "/a"}}}
	d := Default()
	c.Config, c.Intake = d.Config, d.Intake
	c.Listen = []string{":0"}
	if err := c.Validate(); err != nil || c.Paths[0].Format != formatAuto {
		t.Errorf("a path without a format: %v, %q", err, c.Paths[0].Format)
	}
}

func TestSelectors(t *testing.T) {
	for text, want := range map[string]map[string]string{
		`{}`:                             {},
		` { } `:                          {},
		`{a="b"}`:                        {"a": "b"},
		`{a="b",}`:                       {"a": "b"},
		`{a = "b" , c_1="d, }\" x"}`:     {"a": "b", "c_1": "d, }\" x"},
		"{a=`b\\n`}":                     {"a": `b\n`},
		`{a="ü\u00fc\n\\"}`:              {"a": "üü\n\\"},
		`{"a b"="c"}`:                    {"a b": "c"},
		`{__name__="x",a:b="c",d.e="f"}`: {"__name__": "x", "a:b": "c", "d.e": "f"},
	} {
		if got, err := parseSelector(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{``, `a="b"`, `{`, `{a}`, `{a=}`, `{a="b}`, `{a="b" c="d"}`, `{a='b'}`, `{="b"}`, `{a="b"}}`, `{a="b"} x`, `{a="b",a="c"}`,
		"{a=\"\xff\"}", `{a!="b"}`, `{,}`, `{""="b"}`, "{" + strings.Repeat(`a="b",`, 2) + "}"} {
		if got, err := parseSelector(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
	var many strings.Builder
	for i := range maxLabels + 1 {
		fmt.Fprintf(&many, "a%d=\"b\",", i)
	}
	if _, err := parseSelector("{" + many.String() + "}"); err == nil {
		t.Error("too many labels are taken")
	}
}
