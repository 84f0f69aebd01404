package kubernetesaudit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/intake"
	"sluice/sources/internal/httpd"
	"sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// list is what the API server posts: client-go's encoding of an EventList, with a line end behind it.
func list(events ...string) string {
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(events, ",") + "]}\n"
}

const event = `{"level":"Metadata","auditID":"57a794de-44d3-40ee-a0ad-c0eb096eef6c","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/foo/pods","verb":"list",` +
	`"user":{"username":"minikube-user","groups":["system:masters"]},"sourceIPs":["192.0.2.1"],"objectRef":{"resource":"pods","namespace":"foo","apiVersion":"v1"},` +
	`"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-25T19:00:00.000001Z","stageTimestamp":"2026-11-25T19:00:00.000002Z"}`

// world runs a source and keeps what it emits.
type world struct {
	t      *testing.T
	source *httpd.Source

	mu     sync.Mutex
	lines  []string
	labels map[string]string
	module string
}

func listening(t *testing.T, change func(*Config)) *world {
	t.Helper()
	c := Default()
	c.Listen = []string{"127.0.0.1:0"}
	if change != nil {
		change(&c)
	}
	s, err := New("in", c, sources.Env{Clock: sourcetest.NewClock(), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Poison()
	w := &world{t: t, source: s}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, nil, w.emit) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && err != context.Canceled {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for len(s.Addresses()) == 0 {
		select {
		case err := <-ended:
			t.Fatalf("Run: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	return w
}

func (w *world) emit(_ context.Context, b *pipeline.RecordBatch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range b.Records {
		w.lines = append(w.lines, string(r.Value))
	}
	w.labels, w.module = b.Labels, b.Module
	if b.Release != nil {
		b.Release()
	}
	return nil
}

// got waits for so many lines, and returns all there are.
func (w *world) got(n int) []string {
	w.t.Helper()
	for range 10_000 {
		w.mu.Lock()
		lines := w.lines
		w.mu.Unlock()
		if len(lines) >= n {
			return lines
		}
		<-time.After(time.Millisecond)
	}
	w.t.Fatalf("%d lines do not come", n)
	return nil
}

func (w *world) post(body string, head ...string) (status int, text string) {
	w.t.Helper()
	req, err := http.NewRequest("POST", "http://"+w.source.Addresses()[0].String()+"/audit?timeout=30s", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(said)
}

func TestEventsBecomeLines(t *testing.T) {
	w := listening(t, func(c *Config) { c.Labels = map[string]string{"cluster": "a"} })
	if status, said := w.post(list(event, event)); status != 200 || said != "{\"records\":2}\n" {
		t.Fatalf("answered %d %s", status, said)
	}
	lines := w.got(2)
	if lines[0] != event || lines[1] != event {
		t.Errorf("got %q", lines)
	}
	if w.labels["type"] != "k8s-audit" || w.labels["cluster"] != "a" || w.module != "kubernetes_audit" {
		t.Errorf("labels %v, module %s", w.labels, w.module)
	}
	if status, said := w.post(list(event, event)); status != 200 || len(w.got(2)) != 2 {
		t.Errorf("a list that comes again: %d %s, %d lines", status, said, len(w.got(2)))
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(list(event)), "", "  "); err != nil {
		t.Fatal(err)
	}
	if status, said := w.post(indented.String()); status != 200 {
		t.Errorf("answered %d %s", status, said)
	}
	if lines := w.got(3); lines[2] != event {
		t.Errorf("got %q", lines[2])
	}
	for _, none := range []string{list(), `{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}`, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":null}`} {
		if status, said := w.post(none); status != 200 || said != "{\"records\":0}\n" {
			t.Errorf("%s: answered %d %s", none, status, said)
		}
	}
	single := `{"kind":"Event","apiVersion":"audit.k8s.io/v1",` + event[1:]
	if status, said := w.post(single); status != 200 {
		t.Errorf("answered %d %s", status, said)
	}
	if lines := w.got(4); len(lines) != 4 || lines[3] != single {
		t.Errorf("got %q", lines[3:])
	}
}

// TestAListOfTheAPIServers posts what the webhook backend of k8s.io/apiserver v0.31.3 has posted.
func TestAListOfTheAPIServers(t *testing.T) {
	body, err := os.ReadFile("testdata/eventlist.json")
	if err != nil {
		t.Fatal(err)
	}
	w := listening(t, nil)
	if status, said := w.post(string(body)); status != 200 || said != "{\"records\":5}\n" {
		t.Fatalf("answered %d %s", status, said)
	}
	if lines := w.got(5); !strings.Contains(lines[4], `"auditID":"id-4"`) || !json.Valid([]byte(lines[4])) {
		t.Errorf("got %q", lines)
	}
}

func TestBodiesThatAreNoEvents(t *testing.T) {
	w := listening(t, nil)
	for _, c := range []struct{ name, body, want string }{
		{"nothing", "", "the body: unexpected end of JSON input"},
		{"no JSON", "hello", "the body: invalid character 'h'"},
		{"no object", "[]", "and not an EventList of audit.k8s.io/v1"},
		{"another kind", `{"kind":"Pod","apiVersion":"v1"}`, `the body is a "Pod" of "v1"`},
		{"an old version", strings.Replace(list(event), "/v1", "/v1beta1", 1), `the body is a "EventList" of "audit.k8s.io/v1beta1"`},
		{"items that are none", `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":{}}`, "items is no array"},
		{"an event that is none", list(event, "1"), "event 2 is no object"},
		{"a list that ends early", list(event)[:300], "the body: unexpected end of JSON input"},
		{"deep nesting", list(strings.Repeat(`{"a":`, 600) + "1" + strings.Repeat("}", 600)), "the body: it nests deeper than 512"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, said := w.post(c.body); status != 400 || !strings.Contains(said, c.want) {
				t.Errorf("answered %d %s, want %s", status, said, c.want)
			}
		})
	}
	if status, _ := w.post(list(event), "Content-Type", "application/yaml"); status != 415 {
		t.Errorf("YAML is answered with %d", status)
	}
	if n := w.source.Stats().Records; n != 0 {
		t.Errorf("%d records were taken", n)
	}
}

func TestNamesAsCrowdSecHasThem(t *testing.T) {
	w := listening(t, func(c *Config) { c.Emit = emitCrowdSec })
	if status, said := w.post(list(event)); status != 200 {
		t.Fatalf("answered %d %s", status, said)
	}
	var got struct {
		Level, AuditID, Stage, RequestURI, Verb string
		User                                    struct{ Username string }
		SourceIPs                               []string
		ObjectRef                               map[string]string
		ResponseStatus                          struct{ Code int }
		RequestReceivedTimestamp                string
	}
	line := w.got(1)[0]
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatal(err)
	}
	if w.module != "k8s-audit" || strings.Contains(line, `"level"`) || !strings.Contains(line, `"user`) || !strings.Contains(line, `{"username":"minikube-user"`) ||
		got.ObjectRef["Resource"] != "pods" || got.ObjectRef["APIVersion"] != "v1" || got.SourceIPs[0] != "192.0.2.1" || got.ResponseStatus.Code != 200 {
		t.Errorf("module %s, %s", w.module, line)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"listen": func(c *Config) { c.Listen = nil },
		"path":   func(c *Config) { c.Path = "audit" },
		"emit":   func(c *Config) { c.Emit = "x" },
		"ack":    func(c *Config) { c.Intake.Ack = "x" },
	} {
		c := Default()
		c.Listen = []string{":0"}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		err := c.Validate()
		if invalid, ok := err.(*component.FieldError); !ok || invalid.Field != want {
			t.Errorf("got %v, want one of %s", err, want)
		}
	}
}

func FuzzEvents(f *testing.F) {
	var decoders []*httpd.Source
	for _, emit := range []string{emitEvent, emitCrowdSec} {
		c := Default()
		c.Listen = []string{":0"}
		c.Emit = emit
		c.Intake = intake.Default(intake.Direct)
		s, err := New("in", c, sources.Env{})
		if err != nil {
			f.Fatal(err)
		}
		s.Poison()
		decoders = append(decoders, s)
	}
	f.Add([]byte(list(event, event)))
	f.Add([]byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","objectRef":{"\u0061piVersion":1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		counts := []int{-1, -1}
		for i, s := range decoders {
			hr := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
			n := 0
			err := s.Decode(httptest.NewRecorder(), hr, 0, func(_ map[string]string, records []pipeline.Record) {
				n += len(records)
				for _, r := range records {
					if !json.Valid(r.Value) || bytes.IndexByte(r.Value, '\n') >= 0 {
						t.Errorf("%q is no line of JSON", r.Value)
					}
				}
			})
			if held := s.Held(); held != 0 {
				t.Errorf("%d bytes are held", held)
			}
			if err == nil {
				counts[i] = n
			}
		}
		if counts[0] != counts[1] {
			t.Errorf("%d events as sent and %d as CrowdSec has them", counts[0], counts[1])
		}
	})
}

// hubLines are the audit events of the hub's tests.
func hubLines(t *testing.T) []string {
	t.Helper()
	hub := os.Getenv("SLUICE_HUB")
	if hub == "" {
		hub = filepath.FromSlash("../../../shared/hub")
	}
	files, err := filepath.Glob(filepath.Join(hub, "tests", "k8s-audit-*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("no rules in %s; set SLUICE_HUB to a clone of the hub", hub)
	}
	var out []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

func TestEventsOfTheHubsTestsPassThrough(t *testing.T) {
	lines := hubLines(t)
	w := listening(t, nil)
	if status, said := w.post(list(lines...)); status != 200 || said != fmt.Sprintf("{\"records\":%d}\n", len(lines)) {
		t.Fatalf("answered %d %s", status, said)
	}
	if got := w.got(len(lines)); strings.Join(got, "\n") != strings.Join(lines, "\n") {
		t.Errorf("got %q", got)
	}
}
