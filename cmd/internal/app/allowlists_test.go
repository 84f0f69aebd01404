package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/sinks/localapi"
)

// admin asks a sink what the command line would.
func admin(t *testing.T, s *localapi.Sink, method, path, body string) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.Admin().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	if w.Code >= http.StatusBadRequest {
		t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.String()
}

// TestAllowlistsComeBeforeDecisions asks lists that a sink keeps, with
// conditions, from many sides at once, and reloads those of the configuration.
func TestAllowlistsComeBeforeDecisions(t *testing.T) {
	r := newRig(t, stateHere+"}\nallowlists: []")
	r.edit(r.config, "sinks: [", "sinks: [{type: local_api, listen: [], dir: "+filepath.Join(t.TempDir(), "decisions")+"}, ")
	r.start()
	defer r.end()
	sink := r.p.sinks[0].(*localapi.Sink)
	if err := sink.Open(); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	alert := func(value string) *pipeline.Alert {
		return &pipeline.Alert{
			UUID: value, Scenario: "a/b", Remediation: true, Source: &pipeline.Source{Scope: "Ip", Value: value}, Sluice: pipeline.AlertOrigin{StopTime: now},
		}
	}
	allowed := func(value string) string { return r.p.verdict(alert(value)).Allowed }
	if got := allowed("192.0.2.1"); got != "" {
		t.Errorf("before, it is allowed by %q", got)
	}
	admin(t, sink, "PATCH", "/allowlists/office", `{"add":[{"value":"198.51.100.0/24"},{"expression":"Alert.GetValue() == '192.0.2.1' && GetDecisionsCount('x') == 0"}]}`)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 20 {
				a := alert("192.0.2.1")
				if ds := r.p.decide(a); len(ds) != 0 || !strings.Contains(a.Sluice.Allowlisted, "from office") {
					t.Errorf("decided are %v; allowed by %q", ds, a.Sluice.Allowlisted)
				}
				a = alert(fmt.Sprintf("203.0.113.%d", i))
				a.Decisions = []pipeline.Decision{{Origin: "crowdsec", Type: "ban", Scope: "Ip", Value: a.Source.Value, Duration: "1h", Scenario: "a/b"}}
				if err := sink.Alerts(t.Context(), []pipeline.Alert{*a}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n, err := r.p.engine.Ledger.Count("192.0.2.1"); n != 1 || err != nil {
		t.Errorf("the ledger counts %d decisions, %v; it was the first that was made", n, err)
	}
	if got := strings.Count(admin(t, sink, "GET", "/decisions", ""), `"value"`); got != 20 {
		t.Errorf("%d decisions are in force, want 20", got)
	}
	r.edit(r.config, "allowlists: []", "allowlists: [{name: file, items: [{value: 203.0.113.0/28}, {expression: \"Alert.GetValue() == '203.0.113.16'\"}]}]")
	if err := r.p.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(admin(t, sink, "GET", "/decisions", ""), `"value"`); got != 3 {
		t.Errorf("%d decisions are in force after the reload, want 3", got)
	}
	for value, want := range map[string]string{
		"203.0.113.1": "203.0.113.0/28 from file", "192.0.2.1": "Alert.GetValue() == '192.0.2.1' && GetDecisionsCount('x') == 0 from office", "203.0.113.17": "",
	} {
		if got := allowed(value); got != want {
			t.Errorf("%s is allowed by %q, want %q", value, got, want)
		}
	}
	r.edit(r.config, "203.0.113.16'", "203.0.113.16' +")
	if err := r.p.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "allow-list file: item 2") {
		t.Errorf("a reload with a broken list: %v", err)
	}
	if s := r.p.Status(); s.Allowlisted < 80 {
		t.Errorf("the status counts %d alerts that were allowed", s.Allowlisted)
	}
}
