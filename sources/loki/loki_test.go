package loki

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

// entry is a line of the fake Loki.
type entry struct {
	at     int64
	labels string // JSON
	text   string
}

// fakeLoki answers query_range and ready as the description of the API has it.
type fakeLoki struct {
	mu      sync.Mutex
	entries []entry
	asked   []string
}

func (f *fakeLoki) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := r.URL.Query()
	f.asked = append(f.asked, fmt.Sprint(r.URL.Path, " ", q.Get("query"), " ", q.Get("direction"), " ", r.Header.Get("X-Scope-OrgID")))
	if r.URL.Path == "/ready" {
		fmt.Fprintln(w, "ready")
		return
	}
	limit, _ := strconv.Atoi(q.Get("limit"))
	from, _ := strconv.ParseInt(q.Get("start"), 10, 64)
	to, _ := strconv.ParseInt(q.Get("end"), 10, 64)
	slices.SortStableFunc(f.entries, func(a, b entry) int { return int(a.at - b.at) })
	streams := make(map[string][]string)
	for _, e := range f.entries {
		if e.at >= from && e.at < to && limit > 0 {
			text, _ := json.Marshal(e.text)
			streams[e.labels] = append(streams[e.labels], fmt.Sprintf(`["%d",%s,{"m":"1"}]`, e.at, text))
			limit--
		}
	}
	var result []string
	for labels, values := range streams {
		result = append(result, fmt.Sprintf(`{"stream":%s,"values":[%s]}`, labels, strings.Join(values, ",")))
	}
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"streams","result":[%s],"stats":{}}}`, strings.Join(result, ","))
}

func TestLinesOfSeveralStreams(t *testing.T) {
	clock := sourcetest.NewClock()
	at := clock.Now().Add(-time.Minute).UnixNano()
	f := &fakeLoki{entries: []entry{
		{at, `{"job":"nginx","host":"a"}`, "one"}, {at, `{"host":"b","job":"nginx"}`, "one"}, {at + 1, `{"job":"nginx","host":"a"}`, `"two" é`},
		{at + 2, `{"job":"nginx","host":"a"}`, "three"},
	}}
	server := httptest.NewServer(f)
	defer server.Close()
	node, err := component.Parse([]byte(`
type: loki
url: ` + server.URL + `
query: '{job="nginx"}'
since: 1h
limit: 2
tenant: acme
labels: {type: nginx}
`))
	if err != nil {
		t.Fatal(err)
	}
	env, log := sourcetest.Env(clock, t.TempDir())
	s, err := sources.New(node, env)
	if err != nil {
		t.Fatal(err)
	}
	r := sourcetest.Start(t, s, log, nil)
	r.Expect(`/0:one,one,"two" é,three`)
	last := r.Last("/0")
	if last.Labels["type"] != "nginx" || len(last.Headers) != 2 || last.Headers[0].Key != "host" || string(last.Headers[0].Value) != "a" || last.Time.UnixNano() != at+2 {
		t.Errorf("%+v", last)
	}
	r.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked[0] != "/ready   acme" || f.asked[1] != `/loki/api/v1/query_range {job="nginx"} forward acme` {
		t.Errorf("asked %q", f.asked[:2])
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"no JSON":                  {"<html>", "reading Loki's answer"},
		"numbers":                  {`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"]]}]}}`, "matrix"},
		"an entry of one":          {`{"data":{"resultType":"streams","result":[{"stream":{},"values":[["1"]]}]}}`, "has 1 values"},
		"a time that is none":      {`{"data":{"resultType":"streams","result":[{"stream":{},"values":[["soon","x"]]}]}}`, "soon"},
		"a line that is none":      {`{"data":{"resultType":"streams","result":[{"stream":{},"values":[["1",{}]]}]}}`, "an entry"},
		"a result that is no list": {`{"data":{"resultType":"streams","result":7}}`, "reading Loki's answer"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := (backend{}).Decode([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"resultType":"streams","result":[{"stream":{"a":"b"},"values":[["1","x"],["2","y",{}]]}]}}`))
	f.Add([]byte(`{"data":{"resultType":"streams","result":[]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, err := (backend{}).Decode(text)
		if err == nil && len(lines) > len(text) {
			t.Fatalf("%d lines of %d bytes", len(lines), len(text))
		}
	})
}
