package localapi

import (
	"io"
	"strings"
	"testing"

	"sluice/pipeline"
)

// TestWhatIsTooLargeIsRefusedAndEndsNothing posts what no record of the store
// takes, among what it does: all of the request is refused, and the next is taken.
func TestWhatIsTooLargeIsRefusedAndEndsNothing(t *testing.T) {
	s := newServer(t, nil, nil)
	ordinary := alertJSON("a/b", "192.0.2.9", decisionJSON("ban", "192.0.2.1", "4h"))
	with := func(old, text string) string { return strings.Replace(ordinary, old, text, 1) }
	long := strings.Repeat("x", 70_000)
	for name, c := range map[string]struct {
		who, path, body string
		status          int
	}{
		"an id that is no key":             {machine, "/v1/alerts", with(`"events":[`, `"meta":[{"key":"sluice_alert_id","value":"`+long+`"}],"events":[`), 413},
		"an alert that grows as it's kept": {machine, "/v1/alerts", with(`"message":"m"`, `"message":"`+strings.Repeat("<", 6<<20)+`"`), 413},
		"a decision of a long value":       {machine, "/v1/alerts", with(`"scope":"Ip","value":"192.0.2.1"`, `"scope":"user","value":"`+long+`"`), 413},
		"a decision of a long scenario":    {machine, "/v1/alerts", with(`"scenario":"manual"`, `"scenario":"`+long+`"`), 413},
		"an end before all years":          {machine, "/v1/alerts", strings.NewReplacer("2026-03-01T", "0000-01-01T", `"4h"`, `"-48h"`).Replace(ordinary), 400},
		"a report":                         {bouncer, "/v1/usage-metrics", `{"remediation_components":[{"type":"` + strings.Repeat("x", 2<<20) + `","version":"1","utc_startup_timestamp":1}]}`, 413},
	} {
		body := c.body
		if c.who == machine {
			body = "[" + ordinary + "," + c.body + "]"
		}
		res, err := s.http.Client().Do(s.request(c.who, "POST", c.path, body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err := res.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if err != nil || res.StatusCode != c.status || len(text) > 1000 {
			t.Errorf("%s is answered %d %.300s, want %d", name, res.StatusCode, text, c.status)
		}
	}
	s.want(200, machine, "GET", "/v1/alerts", "", "[]")
	s.want(201, machine, "POST", "/v1/alerts", "["+ordinary+"]", `["1"]`)
	own := pipeline.Alert{UUID: "a", Source: &pipeline.Source{}, StartAt: "2026-03-01T11:00:00Z", StopAt: "2026-03-01T12:00:00Z"}
	large := own
	large.UUID, large.Message = "b", strings.Repeat("<", 6<<20)
	if err := s.Alerts(t.Context(), []pipeline.Alert{large, own}); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("of an alert of the pipeline's that is too large it says %v", err)
	}
	s.want(200, machine, "GET", "/v1/alerts", "", `"id":2`, `!"id":3`)
}
