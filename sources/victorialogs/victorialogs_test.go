package victorialogs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLogs answers /select/logsql/query and /health as the description of the API has it.
type fakeLogs struct {
	t       *testing.T
	mu      sync.Mutex
	entries []map[string]string
	asked   []string
}

func (f *fakeLogs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := r.URL.Query()
	f.asked = append(f.asked, fmt.Sprint(r.URL.Path, " ", q.Get("query"), " ", r.Header.Get("AccountID"), ":", r.Header.Get("ProjectID")))
	if r.URL.Path == "/health" {
		fmt.Fprint(w, "OK")
		return
	}
	_, number, _ := strings.Cut(q.Get("query"), "| sort by (_time) limit ")
	limit, err := strconv.Atoi(number)
	from, err1 := time.Parse(time.RFC3339Nano, q.Get("start"))
	to, err2 := time.Parse(time.RFC3339Nano, q.Get("end"))
	if err != nil || err1 != nil || err2 != nil {
		f.t.Errorf("asked for %s: %v, %v, %v", r.URL, err, err1, err2)
	}
	slices.SortStableFunc(f.entries, func(a, b map[string]string) int { return strings.Compare(a["_time"], b["_time"]) })
	for _, e := range f.entries {
		if at, _ := time.Parse(time.RFC3339Nano, e["_time"]); !at.Before(from) && !at.After(to) && limit > 0 {
			limit--
			if err := json.NewEncoder(w).Encode(e); err != nil {
				f.t.Error(err)
			}
		}
	}
}

func TestLinesAreFollowed(t *testing.T) {
	clock := sourcetest.NewClock()
	at := clock.Now().Add(-time.Minute)
	entry := func(after time.Duration, host, text string) map[string]string {
		return map[string]string{"_time": at.Add(after).Format(stamp), "_stream": "{app=\"nginx\"}", "host": host, "_msg": text, "raw": "raw " + text}
	}
	f := &fakeLogs{t: t, entries: []map[string]string{
		entry(0, "a", "one"), entry(0, "b", "one"), entry(0, "b", "one"), entry(1, "a", "two"), entry(time.Second, "b", "three"),
	}}
	server := httptest.NewServer(f)
	defer server.Close()
	config := func(more string) sources.Source {
		node, err := component.Parse([]byte("type: victorialogs\nurl: " + server.URL + "\nquery: |\n  app:nginx\nsince: 1h\nlimit: 2\n" + more))
		if err != nil {
			t.Fatal(err)
		}
		env, _ := sourcetest.Env(clock, t.TempDir())
		s, err := sources.New(node, env)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	r := sourcetest.Start(t, config("account_id: 12\nheader_fields: [host, none]\nlabels: {type: nginx}\n"), &sourcetest.Log{}, nil)
	r.Expect("/0:one,one,one,two,three")
	last := r.Last("/0")
	if last.Labels["type"] != "nginx" || len(last.Headers) != 1 || string(last.Headers[0].Value) != "b" || !last.Time.Equal(at.Add(time.Second)) {
		t.Errorf("%+v", last)
	}
	r.Stop()
	f.mu.Lock()
	if f.asked[0] != "/health  12:0" || f.asked[1] != "/select/logsql/query app:nginx | sort by (_time) limit 2 12:0" {
		t.Errorf("asked %q", f.asked[:2])
	}
	f.mu.Unlock()
	r = sourcetest.Start(t, config("follow: false\nmessage_field: raw\n"), &sourcetest.Log{}, nil)
	if err := r.Ended(); err != nil {
		t.Fatal(err)
	}
	r.Expect("/0:raw one,raw one,raw one,raw two,raw three")
}

func TestAnswersThatAreNone(t *testing.T) {
	b := &backend{message: "_msg"}
	for name, c := range map[string]struct{ text, says string }{
		"no JSON":              {"<html>\n", "a line of VictoriaLogs' answer"},
		"no time":              {`{"_msg":"x"}` + "\n", "_time"},
		"a time that is none":  {`{"_time":"soon","_msg":"x"}`, "soon"},
		"a time of long ago":   {`{"_time":"0001-01-01T00:00:00Z"}`, "_time"},
		"a line that is cut":   {`{"_time":"2024-05-01T12:00:00Z","_msg":"x"}` + "\n" + `{"_time":"20`, "a line of VictoriaLogs' answer"},
		"fields that are none": {`{"_time":7}`, "a line of VictoriaLogs' answer"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := b.Decode([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestMistakesName(t *testing.T) {
	for name, c := range map[string]struct{ yaml, says string }{
		"no query":         {"url: http://host", "app:nginx"},
		"no message field": {"url: http://host\nquery: x\nmessage_field: ''", "message_field"},
		"an empty header":  {"url: http://host\nquery: x\nheader_fields: ['']", "header_fields"},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := component.Parse([]byte("type: victorialogs\n" + c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sources.New(node, sources.Env{}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"_time":"2024-05-01T12:00:00.123456789Z","_msg":"x","a":"b"}` + "\n"))
	f.Add([]byte("\n{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, err := (&backend{message: "_msg", headers: []string{"a"}}).Decode(text)
		if err == nil && len(lines) > len(text) {
			t.Fatalf("%d lines of %d bytes", len(lines), len(text))
		}
	})
}
