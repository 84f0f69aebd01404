package http

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
	"sluice/sources/internal/httpd"
)

// decoder reads bodies without a server.
type decoder struct {
	source *httpd.Source
	max    int
}

func newDecoder(t testing.TB) *decoder {
	t.Helper()
	c := Default()
	c.Listen = []string{":0"}
	c.Intake = intake.Default(intake.Direct)
	c.MaxBody, c.MaxCompressed, c.MaxRecords = 64<<10, 64<<10, 1000
	c.Paths = []Path{{Path: "/lines", Format: formatLines}, {Path: "/ndjson", Format: formatNDJSON}, {Path: "/json", Format: formatJSON},
		{Path: "/loki", Format: formatLoki}, {Path: "/auto", Format: formatAuto}}
	s, err := New("in", c, sources.Env{})
	if err != nil {
		t.Fatal(err)
	}
	s.Poison()
	return &decoder{s, int(c.MaxBody)}
}

// read reads a body, and holds what every decoder promises: an error is a
// refusal of a client's, records are bounded by the body, and all memory comes back.
func (d *decoder) read(t *testing.T, endpoint int, body []byte, kind, encoding string, check func(labels map[string]string, r *pipeline.Record)) error {
	t.Helper()
	hr := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	hr.Header.Set("Content-Type", kind)
	hr.Header.Set("Content-Encoding", encoding)
	size := 0
	err := d.source.Decode(httptest.NewRecorder(), hr, endpoint, func(labels map[string]string, records []pipeline.Record) {
		if len(records) == 0 {
			t.Error("an entry holds nothing")
		}
		for i := range records {
			size += len(records[i].Value)
			if records[i].Time.IsZero() {
				t.Error("a record has no time")
			}
			if check != nil {
				check(labels, &records[i])
			}
		}
	})
	if size > d.max {
		t.Errorf("%d bytes came out of a body of at most %d", size, d.max)
	}
	if held := d.source.Held(); held != 0 {
		t.Errorf("%d bytes are held", held)
	}
	if refusal, ok := err.(*httpd.Refusal); err != nil && (!ok || refusal.Status < 400 || refusal.Status >= 500) {
		t.Errorf("the error is %v", err)
	}
	return err
}

// seed adds the bodies of log shippers.
func seed(f *testing.F, more ...string) {
	f.Helper()
	files, err := filepath.Glob("testdata/senders/*-*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		_, body, _ := bytes.Cut(text, []byte("\n\n"))
		f.Add(body)
	}
	for _, m := range more {
		f.Add([]byte(m))
	}
}

func FuzzLines(f *testing.F) {
	d := newDecoder(f)
	seed(f, "a\r\n\n b", strings.Repeat("x", 70_000), strings.Repeat("x\n", 1001))
	f.Fuzz(func(t *testing.T, body []byte) {
		var got []string
		err := d.read(t, 0, body, "", "", func(_ map[string]string, r *pipeline.Record) { got = append(got, string(r.Value)) })
		var want []string
		for line := range bytes.SplitSeq(body, []byte("\n")) {
			if len(bytes.TrimSpace(line)) > 0 {
				want = append(want, string(bytes.TrimSuffix(line, []byte("\r"))))
			}
		}
		if ok := len(body) <= d.max && len(want) <= 1000; ok != (err == nil) || ok && strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	})
}

func FuzzNDJSON(f *testing.F) {
	d := newDecoder(f)
	seed(f, "1\n\n2", `{"a":[[[]]]}`)
	f.Fuzz(func(t *testing.T, body []byte) {
		_ = d.read(t, 1, body, "", "", func(_ map[string]string, r *pipeline.Record) {
			if !json.Valid(r.Value) || bytes.IndexByte(r.Value, '\n') >= 0 {
				t.Errorf("%q is no line of JSON", r.Value)
			}
		})
	})
}

// FuzzJSON compares with the standard library's decoder.
func FuzzJSON(f *testing.F) {
	d := newDecoder(f)
	seed(f, "[1,[2],{}]", "1 2", `"a""b"`, "[1 2]", "[,]", "[1]2", "{}{}", "{},{}", "[[[[", "]", "{\x00}", "[1]\x00", `["\"]"]`, "1\xff", "[1,\x85]", "nulltrue", "1e")
	f.Fuzz(func(t *testing.T, body []byte) {
		var got []string
		err := d.read(t, 2, body, "", "", func(_ map[string]string, r *pipeline.Record) { got = append(got, string(r.Value)) })
		var want []string
		sound := true
		trimmed := bytes.TrimLeft(body, " \t\r\n")
		if bytes.HasPrefix(trimmed, []byte("[")) {
			var all []json.RawMessage
			sound = json.Unmarshal(body, &all) == nil
			for _, v := range all {
				want = append(want, string(v))
			}
		} else {
			for in := json.NewDecoder(bytes.NewReader(body)); sound && in.More(); {
				var v json.RawMessage
				sound = in.Decode(&v) == nil
				want = append(want, string(v))
			}
			if len(want) == 0 && len(trimmed) > 0 {
				sound = false
			}
		}
		if err == nil && (!sound || strings.Join(got, "\n") != strings.Join(want, "\n")) {
			t.Errorf("got %q, want %q (%v)", got, want, sound)
		}
		// An array that the library takes is taken, but for deep nesting and too many elements.
		if err != nil && sound && bytes.HasPrefix(trimmed, []byte("[")) && len(body) < 1000 {
			t.Errorf("%q is refused with %v", body, err)
		}
	})
}

func FuzzLokiJSON(f *testing.F) {
	d := newDecoder(f)
	seed(f, `{"streams":[{"values":[["1","a",{"b":"\u00fc"}]],"stream":{"a":"b"}}]}`, `{"streams":null}`)
	f.Fuzz(func(t *testing.T, body []byte) {
		err := d.read(t, 3, body, "application/json", "", nil)
		if err == nil && !json.Valid(body) {
			t.Errorf("%q is taken", body)
		}
	})
}

func FuzzLokiProtobuf(f *testing.F) {
	d := newDecoder(f)
	file := pushFile(f)
	p := pushed{[]stream{{[][2]string{{"a", "b"}}, []entry{{earliest, "line", [][2]string{{"c", "d"}}}}}}}
	f.Add(p.protobuf(f, file))
	f.Add([]byte("\x0a\x0c\x0a\x02{}\x12\x06\x12\x04line"))
	f.Add([]byte("\x0a\x0a\x12\x08\x0a\x06\x10\x80\x94\xeb\xdc\x03"))
	f.Fuzz(func(t *testing.T, body []byte) {
		_ = d.read(t, 3, snappy.Encode(nil, body), "application/x-protobuf", "", nil)
		_ = d.read(t, 3, body, "application/x-protobuf", "", nil) // as a block that may be none
	})
}

// FuzzCompressed reads bodies that may be compressed, in any way.
func FuzzCompressed(f *testing.F) {
	d := newDecoder(f)
	kinds := []string{"gzip", "deflate", "zstd", "snappy"}
	for i, k := range kinds {
		f.Add(uint8(i), pack(f, k, []byte("a line\nanother\n")))
		f.Add(uint8(i), pack(f, k, bytes.Repeat([]byte("a line\n"), 20_000)))
	}
	f.Add(uint8(3), []byte("\xff\x06\x00\x00sNaPpY\x01\x05\x00\x00abcd1"))
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		_ = d.read(t, 0, body, "text/plain", kinds[int(kind)%len(kinds)], nil)
	})
}

func FuzzSelector(f *testing.F) {
	f.Add(`{a="b", c="\"}"}`)
	f.Add("{a=`b`}")
	f.Fuzz(func(t *testing.T, text string) {
		labels, err := parseSelector(text)
		if err == nil && len(labels) > maxLabels {
			t.Errorf("%d labels", len(labels))
		}
	})
}
