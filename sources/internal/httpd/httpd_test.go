package httpd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"sluice/pipeline/component"
)

func TestBodiesBecomeRecords(t *testing.T) {
	w := listening(t, nil)
	long := strings.Repeat("x", 200_000)
	for _, c := range []struct {
		name, path, body string
		want             []string
	}{
		{"lines", "/lines", "a\nb\n", []string{"a", "b"}},
		{"the last line need not end", "/lines", "a\nb", []string{"a", "b"}},
		{"CR LF, and blank lines", "/lines", "a\r\n\r\n \nb\r\n", []string{"a", "b"}},
		{"no lines", "/lines", "\n\n", nil},
		{"an empty body", "/lines", "", nil},
		{"a line over several chunks, between others", "/lines", "a\n" + long + "\nb\n", []string{"a", long, "b"}},
		{"a long line alone", "/lines", long + long, []string{long + long}},
		{"bytes that are no UTF-8", "/lines", "\xff\xfe\x00\n", []string{"\xff\xfe\x00"}},
		{"NDJSON", "/ndjson", `{"a":1}` + "\n" + `"b"` + "\n\n3\n", []string{`{"a":1}`, `"b"`, "3"}},
		{"an array", "/json", ` [ {"a":"]"} , [1,2] ,"x" , 1.5 ,null] ` + "\n", []string{`{"a":"]"}`, "[1,2]", `"x"`, "1.5", "null"}},
		{"an empty array", "/json", " [ ] ", nil},
		{"one object", "/json", `{"a":{"b":"\"}"}}`, []string{`{"a":{"b":"\"}"}}`}},
		{"objects one after the other", "/json", `{"a":1}{"b":2} {"c":3}` + "\n" + `{"d":4}`, []string{`{"a":1}`, `{"b":2}`, `{"c":3}`, `{"d":4}`}},
		{"numbers and words one after the other", "/json", "1 true\nfalse", []string{"1", "true", "false"}},
		{"an array over several chunks", "/json", `["` + long + `",{"a":"` + long + `"}]`, []string{`"` + long + `"`, `{"a":"` + long + `"}`}},
		{"no JSON at all", "/json", " ", nil},
		{"a whole body", "/one", "a\nb\n", []string{"a\nb"}},
		{"an empty whole body", "/one", "\n", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, how := range []string{"with its length", "in pieces"} {
				w.mu.Lock()
				w.lines = nil
				w.mu.Unlock()
				var body io.Reader = strings.NewReader(c.body)
				if how == "in pieces" {
					body = &dribble{text: c.body}
				}
				a := w.send("POST", c.path, body)
				if want := fmt.Sprintf("{\"records\":%d}\n", len(c.want)); a.status != 200 || a.text != want {
					t.Fatalf("%s: answered %d %q, want %q", how, a.status, a.text, want)
				}
				if got := w.got(len(c.want)); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", append([]string{}, c.want...)) && len(got)+len(c.want) > 0 {
					t.Errorf("%s: got %.300q, want %.300q", how, got, c.want)
				}
			}
		})
	}
}

// dribble is a body that comes in pieces of odd sizes.
type dribble struct {
	text string
	n    int
}

func (d *dribble) Read(p []byte) (int, error) {
	if d.text == "" {
		return 0, io.EOF
	}
	d.n = d.n%7919 + 13
	n := copy(p[:min(len(p), d.n)], d.text)
	d.text = d.text[n:]
	return n, nil
}

func TestMalformedBodiesAreRefusedWholeWithThePlace(t *testing.T) {
	w := listening(t, nil)
	for _, c := range []struct{ name, path, body, want string }{
		{"a line that is no JSON", "/ndjson", "{}\n\n{\"a\":}\n{}", "line 3: invalid character '}' looking for beginning of value, at byte 6 of it"},
		{"an element that is no JSON", "/json", `[{},{"a" 1}]`, "element 2: invalid character '1' after object key, at byte 6 of it"},
		{"an array that does not end", "/json", `[{},{}`, "behind element 2: the body ends where a comma or the end of the array should be"},
		{"an element that does not end", "/json", `[{},{"a":[`, "element 2: the body ends inside it"},
		{"no comma", "/json", `[1 2]`, `behind element 1: '2' stands where a comma or the end of the array should be`},
		{"a comma too many", "/json", `[1,]`, "element 2: invalid character ']'"},
		{"something behind the array", "/json", `[1] 2`, `behind element 1: '2' stands where the end of the body should be`},
		{"a bracket that nothing opened", "/json", `]`, "value 1: invalid character ']'"},
		{"other than JSON", "/json", `hello`, "value 1: invalid character 'h' looking for beginning of value"},
		{"a NUL", "/json", "{}\x00{}", "behind value 1: there is a NUL"},
		{"deep nesting", "/json", "[" + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "]", "element 1: it nests deeper than 512"},
		{"deep nesting on a line", "/ndjson", strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "line 1: it nests deeper than 512"},
		{"nesting without an end", "/json", strings.Repeat(`{"a":`, 1000), "value 1: it nests deeper than 512"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a := w.post(c.path, c.body, 400); !strings.Contains(a.text, c.want) {
				t.Errorf("answered %q, want %q", a.text, c.want)
			}
		})
	}
	if st := w.source.Stats(); st.Records != 0 || st.Drops["malformed body"] != 13 {
		t.Errorf("stats %+v", st)
	}
	if n := strings.Count(w.log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings in\n%s", n, w.log)
	}
}

// packed are ways to compress.
func packed(t testing.TB) map[string]func(text string) []byte {
	by := func(make func(w io.Writer) io.WriteCloser) func(string) []byte {
		return func(text string) []byte {
			var b bytes.Buffer
			z := make(&b)
			if _, err := io.WriteString(z, text); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
	}
	return map[string]func(string) []byte{
		"gzip": by(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		"zstd": by(func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		}),
		"zstd, all at once": func(text string) []byte {
			z, err := zstd.NewWriter(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer z.Close()
			return z.EncodeAll([]byte(text), nil)
		},
		"deflate": by(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }),
		"deflate, without a head": by(func(w io.Writer) io.WriteCloser {
			z, err := flate.NewWriter(w, 6)
			if err != nil {
				t.Fatal(err)
			}
			return z
		}),
		"snappy":         func(text string) []byte { return snappy.Encode(nil, []byte(text)) },
		"snappy, framed": by(func(w io.Writer) io.WriteCloser { return snappy.NewBufferedWriter(w) }),
	}
}

func TestCompressedBodies(t *testing.T) {
	w := listening(t, func(s *setup) { s.MaxBody, s.MaxCompressed = 1<<20, 64<<10 })
	want := 0
	for name, pack := range packed(t) {
		t.Run(name, func(t *testing.T) {
			encoding, _, _ := strings.Cut(name, ",")
			send := func(body []byte) answer {
				return w.send("POST", "/lines", bytes.NewReader(body), "Content-Encoding", encoding)
			}
			text := strings.Repeat("a line\n", 10_000)
			for range 2 { // the second with what the first has given back
				if a := send(pack(text)); a.status != 200 || a.text != "{\"records\":10000}\n" {
					t.Fatalf("answered %d %s", a.status, a.text)
				}
				want += 10_000
			}
			if a := send(pack(strings.Repeat("a line\n", 200_000))); a.status != 413 {
				t.Errorf("a bomb is answered with %d %s", a.status, a.text)
			}
			whole := pack(text)
			if a := send(whole[:len(whole)/2]); a.status != 400 {
				t.Errorf("half of it is answered with %d %s", a.status, a.text)
			}
			if a := send([]byte("not " + encoding + " at all, \xff\xff\xff\xff\xff")); a.status != 400 {
				t.Errorf("something else is answered with %d %s", a.status, a.text)
			}
			if a := send(bytes.Repeat([]byte("x"), 80_000)); a.status != 413 {
				t.Errorf("too many bytes on the wire are answered with %d %s", a.status, a.text)
			}
		})
	}
	if got := len(w.got(want)); got != want {
		t.Errorf("%d records, want %d", got, want)
	}
	if a := w.post("/lines", "x", 415, "Content-Encoding", "br"); a.header.Get("Accept-Encoding") == "" {
		t.Errorf("br is answered with %q, %v", a.text, a.header)
	}
}

func TestAZstdWindowIsBounded(t *testing.T) {
	w := listening(t, nil)
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("x\n"), 1<<20)
	for range 3 {
		if _, err := z.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if a := w.send("POST", "/lines", &b, "Content-Encoding", "zstd"); a.status != 413 || !strings.Contains(a.text, "window") {
		t.Errorf("answered %d %s", a.status, a.text)
	}
	// A first frame that asks for little does not open the door for the next one.
	small, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	two := small.EncodeAll([]byte("first\n"), nil)
	b.Reset()
	z.Reset(&b)
	if _, err := z.Write(chunk); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if a := w.send("POST", "/lines", bytes.NewReader(append(two, b.Bytes()...)), "Content-Encoding", "zstd"); a.status != 413 {
		t.Errorf("answered %d %s", a.status, a.text)
	}
	if n := w.source.Stats().Records; n != 0 {
		t.Errorf("%d records were taken", n)
	}
}

func TestLimitsOfARequest(t *testing.T) {
	w := listening(t, func(s *setup) { s.MaxBody, s.MaxRecords = 10_000, 100 })
	if a := w.post("/lines", strings.Repeat("x", 10_001), 413); !strings.Contains(a.text, "10001 bytes long, and 10000") {
		t.Errorf("answered %q", a.text)
	}
	if a := w.send("POST", "/lines", &dribble{text: strings.Repeat("x", 10_001)}); a.status != 413 {
		t.Errorf("without a length: answered %d %s", a.status, a.text)
	}
	w.post("/lines", strings.Repeat("x", 10_000), 200)
	if a := w.post("/lines", strings.Repeat("x\n", 101), 413); !strings.Contains(a.text, "more than 100 records") {
		t.Errorf("answered %q", a.text)
	}
	w.post("/lines", strings.Repeat("x\n", 100), 200)
	w.drops(dropTooLarge, 3)
}

func TestPathsAndMethods(t *testing.T) {
	w := listening(t, nil)
	if a := w.send("GET", "/lines", nil); a.status != 405 || a.header.Get("Allow") != "POST, PUT" {
		t.Errorf("GET: %+v", a)
	}
	if a := w.send("PUT", "/lines", strings.NewReader("a")); a.status != 200 {
		t.Errorf("PUT: %+v", a)
	}
	w.post("/nowhere", "a", 404)
	for _, method := range []string{"GET", "HEAD"} {
		if a := w.send(method, "/health", nil); a.status != 200 {
			t.Errorf("%s /health: %+v", method, a)
		}
	}
	w.drops(dropUnknown, 2)
}

func TestKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Now(), time.Now().Add(time.Duration(len(text))*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	write("old-key\nnew-key\n")
	endpoints := standard()
	endpoints[1].Clients = []string{"web"}
	w := listening(t, func(s *setup) {
		s.Endpoints = endpoints
		s.Auth = AuthConfig{
			Users: []Key{{Name: "vector", Key: "s3cret"}}, Tokens: []Key{{Name: "web", Key: "t0ken"}, {Name: "other", Key: "0ther"}},
			Keys: []Key{{Name: "rotating", KeyFile: file}}, KeyHeader: "X-API-Key",
		}
	})
	for _, c := range []struct {
		name, path string
		status     int
		head       []string
	}{
		{"nothing", "/lines", 401, nil},
		{"a password", "/lines", 200, []string{"Authorization", "Basic dmVjdG9yOnMzY3JldA=="}},
		{"a wrong password", "/lines", 401, []string{"Authorization", "Basic dmVjdG9yOnMzY3JldDE="}},
		{"the password of another", "/lines", 401, []string{"Authorization", "Basic d2ViOnMzY3JldA=="}},
		{"a token", "/lines", 200, []string{"Authorization", "bearer t0ken"}},
		{"a wrong token", "/lines", 401, []string{"Authorization", "Bearer t0ke"}},
		{"an empty token", "/lines", 401, []string{"Authorization", "Bearer "}},
		{"a password as a token", "/lines", 401, []string{"Authorization", "Bearer s3cret"}},
		{"a key", "/lines", 200, []string{"x-api-key", "old-key"}},
		{"another key of the file", "/lines", 200, []string{"X-API-Key", "new-key"}},
		{"a wrong key", "/lines", 401, []string{"X-API-Key", "old-key\nnew-key"[:3]}},
		{"a path of its own", "/ndjson", 200, []string{"Authorization", "Bearer t0ken"}},
		{"a path of another's", "/ndjson", 403, []string{"Authorization", "Bearer 0ther"}},
		{"health without a key", "/health", 200, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.post(c.path, "1", c.status, c.head...)
			if c.status == 401 && len(a.header.Values("WWW-Authenticate")) != 3 {
				t.Errorf("challenges %v", a.header)
			}
		})
	}
	write("new-key\n")
	w.until("the old key is good no more", func() bool {
		return w.send("POST", "/lines", strings.NewReader("a"), "X-API-Key", "old-key").status == 401
	})
	w.post("/lines", "1", 200, "X-API-Key", "new-key")
	write("")
	w.until("the log says that the file is empty", func() bool {
		w.post("/lines", "1", 200, "X-API-Key", "new-key")
		return strings.Contains(w.log.String(), "holds no key")
	})
	for _, secret := range []string{"s3cret", "t0ken", "old-key", "new-key", "t0ke"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log shows %s:\n%s", secret, w.log)
		}
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no address", func(c *Config) { c.Listen = nil }, "listen"},
		{"no port", func(c *Config) { c.Listen = []string{"localhost"} }, "listen"},
		{"a network that is none", func(c *Config) { c.Allow = []string{"192.0.2.0/33"} }, "allow"},
		{"a key of nothing", func(c *Config) { c.Auth.Tokens = []Key{{Name: "a"}} }, "auth.tokens"},
		{"two keys in one", func(c *Config) { c.Auth.Tokens = []Key{{Key: "a", KeyFile: "b"}} }, "auth.tokens"},
		{"a user without a name", func(c *Config) { c.Auth.Users = []Key{{Key: "a"}} }, "auth.users"},
		{"keys without a header", func(c *Config) { c.Auth.Keys = []Key{{Key: "a"}} }, "auth.key_header"},
		{"a certificate without a key", func(c *Config) { c.TLS.CertFile = "a" }, "tls.key_file"},
		{"an authority without a certificate", func(c *Config) { c.TLS.ClientCAFile = "a" }, "tls.cert_file"},
		{"names without an authority", func(c *Config) { c.TLS.ClientNames = []string{"a"} }, "tls.client_names"},
		{"a body that is too large", func(c *Config) { c.MaxBody = 1 << 30 }, "max_body"},
		{"no room", func(c *Config) { c.MaxBuffered = 1 << 20 }, "max_buffered"},
		{"no records", func(c *Config) { c.MaxRecords = 0 }, "max_records"},
		{"no time", func(c *Config) { c.Wait = 0 }, "wait"},
		{"no time to send", func(c *Config) { c.BodyTimeout = time.Second }, "body_timeout"},
		{"a path without a slash", func(c *Config) { c.HealthPaths = []string{"health"} }, "health_paths"},
		{"too many keys to remember", func(c *Config) { c.Repeats.Remember = 1 << 30 }, "repeats.remember"},
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
	config := Default()
	for _, patterns := range [][]string{{"/a", "/a"}, {"a"}, {"/{x}/b", "/a/{y}"}, {"/health"}, {"/{"}} {
		var endpoints []Endpoint
		for _, p := range patterns {
			endpoints = append(endpoints, Endpoint{Pattern: p})
		}
		if err := CheckPatterns(&config, endpoints); err == nil {
			t.Errorf("%q are taken", patterns)
		}
	}
}
