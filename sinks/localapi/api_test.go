package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"sluice/pipeline"
	"sluice/pipeline/lapi/lapispec"
	"sluice/sinks"
	"sluice/sinks/localapi/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// server is a sink, its API, and the clients' credentials.
type server struct {
	*Sink
	t       *testing.T
	http    *httptest.Server
	specs   []specification
	now     time.Time
	key     string // of a bouncer
	token   string // of a machine
	asked   map[string]bool
	decided []*pipeline.Alert
}

func newServer(t *testing.T, asked map[string]bool, change func(*Config), lend ...func(*sinks.Env)) *server {
	t.Helper()
	s := &server{t: t, now: begin, asked: asked}
	c := Default()
	c.Dir = t.TempDir()
	if change != nil {
		change(&c)
	}
	env := sinks.Env{Now: func() time.Time { return s.now }, Decide: func(a *pipeline.Alert) []pipeline.Decision {
		s.decided = append(s.decided, a)
		return []pipeline.Decision{{Origin: "crowdsec", Type: "ban", Scope: a.Source.Scope, Value: a.Source.Value, Duration: "4h", Scenario: a.Scenario, Until: a.Sluice.StopTime.Add(4 * time.Hour).Format(time.RFC3339)}}
	}}
	for _, more := range lend {
		more(&env)
	}
	var err error
	if s.Sink, err = New("api", c, env); err == nil {
		s.passwordCost = bcrypt.MinCost // hundreds of passwords are made and tried
		err = s.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Sink.Close() })
	s.http = httptest.NewServer(s.Handler())
	t.Cleanup(s.http.Close)
	if s.key, err = s.store.AddBouncer("fw", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.store.AddMachine("agent", "hunter2", true); err != nil {
		t.Fatal(err)
	}
	if s.token, _, err = s.newToken("agent"); err != nil {
		t.Fatal(err)
	}
	s.specs = specifications(t)
	return s
}

// specification is a description that requests and answers are held to.
type specification struct {
	routers.Router
	own bool // it describes all that is answered
}

// specifications returns our own description, and the published one. That is not
// part of the repository; where it is not at hand, ours alone counts.
func specifications(t *testing.T) []specification {
	t.Helper()
	doc, err := description()
	if err != nil {
		t.Fatal(err)
	}
	docs := []*openapi3.T{doc}
	if published := publishedSpec(t); published != nil {
		published.Servers = openapi3.Servers{{URL: "/v1"}}
		published.Components.Schemas["GetDecisionsResponse"].Value.Nullable = true // it cannot say so, and CrowdSec's server does it
		docs = append(docs, published)
	}
	var out []specification
	for i, doc := range docs {
		router, err := gorillamux.NewRouter(doc)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, specification{router, i == 0})
	}
	return out
}

// publishedSpec returns the published specification, nil where it is not at hand.
func publishedSpec(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := lapispec.Read(lapispec.Path(specFile))
	if errors.Is(err, os.ErrNotExist) {
		t.Log("answers are not held to the published specification, which is not at hand; SLUICE_LAPI names its folder")
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// specFile is the published specification, beside the repository.
const specFile = "../../../shared/lapi/localapi_swagger.yaml"

// who asks.
const (
	nobody  = ""
	bouncer = "bouncer"
	machine = "machine"
)

// ask makes a request and holds request and answer to the specifications.
func (s *server) ask(who, method, path, body string) (int, string) {
	s.t.Helper()
	req := s.request(who, method, path, body)
	res, err := s.http.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, spec := range s.specs {
		s.conforms(spec, s.request(who, method, path, body), res, text)
	}
	return res.StatusCode, string(text)
}

func (s *server) request(who, method, path, body string) *http.Request {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.http.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	switch who {
	case bouncer:
		req.Header.Set("X-Api-Key", s.key)
	case machine:
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	return req
}

// conforms holds an answer to a specification. Refusals that the published one
// does not document (no key, too many, …) are held to its form of an error.
func (s *server) conforms(spec specification, req *http.Request, res *http.Response, body []byte) {
	s.t.Helper()
	req.URL.Scheme, req.URL.Host = "", ""
	route, params, err := spec.FindRoute(req)
	if err != nil {
		if spec.own && res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusMethodNotAllowed {
			s.t.Errorf("%s %s is not described, and answered %d: %v", req.Method, req.URL, res.StatusCode, err)
		}
		return // /health, /v1/verdict
	}
	if s.asked != nil {
		s.asked[fmt.Sprint(req.Method, " ", strings.TrimPrefix(route.Path, "/v1"), " ", res.StatusCode)] = true
	}
	o := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route, Options: o}
	if res.StatusCode < 300 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil && !strings.Contains(err.Error(), "date-time") {
			s.t.Errorf("%s %s was answered %d, and is no request of the specification: %v", req.Method, req.URL, res.StatusCode, err)
		}
	}
	if route.Operation.Responses.Status(res.StatusCode) == nil {
		var e struct{ Message string }
		if json.Unmarshal(body, &e) != nil && len(body) > 0 || res.StatusCode < 400 || spec.own {
			s.t.Errorf("%s %s answers %d, which is not documented: %s", req.Method, req.URL, res.StatusCode, body)
		}
		return
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.StatusCode, Header: res.Header, Options: o}
	out.SetBodyBytes(body)
	if req.Method == http.MethodHead {
		return // it has no body
	}
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		s.t.Errorf("%s %s answers %d: %v\n%s", req.Method, req.URL, res.StatusCode, err, body)
	}
}

// want makes a request and fails the test unless the status is as wanted and
// the answer holds the texts.
func (s *server) want(status int, who, method, path, body string, holds ...string) string {
	s.t.Helper()
	got, text := s.ask(who, method, path, body)
	if got != status {
		s.t.Errorf("%s %s answers %d, want %d: %s", method, path, got, status, text)
	}
	for _, h := range holds {
		if without, ok := strings.CutPrefix(h, "!"); ok && strings.Contains(text, without) || !ok && !strings.Contains(text, h) {
			s.t.Errorf("%s %s answers %s, want %q", method, path, text, h)
		}
	}
	return text
}

// alertJSON is an alert as an engine posts it.
func alertJSON(scenario, value string, ds ...string) string {
	scope := "Ip"
	if strings.Contains(value, "/") {
		scope = "Range"
	}
	return fmt.Sprintf(`{"scenario":%q,"scenario_hash":"h","scenario_version":"1","message":"m","events_count":1,"start_at":"2026-03-01T11:00:00Z","stop_at":"2026-03-01T12:00:00Z",`+
		`"capacity":0,"leakspeed":"10s","simulated":false,"remediation":true,"events":[{"timestamp":"2026-03-01T11:00:00Z","meta":[{"key":"k","value":"v"}]}],`+
		`"source":{"scope":%q,"value":%q},"decisions":[%s]}`, scenario, scope, value, strings.Join(ds, ","))
}

func decisionJSON(typ, value, length string) string {
	scope := "Ip"
	if strings.Contains(value, "/") {
		scope = "Range"
	}
	return fmt.Sprintf(`{"origin":"cscli","type":%q,"scope":%q,"value":%q,"duration":%q,"scenario":"manual"}`, typ, scope, value, length)
}

func testTheWatchersSide(t *testing.T, asked map[string]bool) {
	s := newServer(t, asked, func(c *Config) { c.Registration = true })
	s.want(201, nobody, "POST", "/v1/watchers", `{"machine_id":"new","password":"secret"}`)
	s.want(403, nobody, "POST", "/v1/watchers", `{"machine_id":"new","password":"other"}`, "already")
	s.want(400, nobody, "POST", "/v1/watchers", `{"machine_id":`)
	s.want(400, nobody, "POST", "/v1/watchers", `{"machine_id":"x","password":""}`)
	s.want(403, nobody, "POST", "/v1/watchers/login", `{"machine_id":"new","password":"secret"}`) // not valid yet
	text := s.want(200, nobody, "POST", "/v1/watchers/login", `{"machine_id":"agent","password":"hunter2","scenarios":["a"]}`, `"code":200`, "2026-03-01T13:00:00Z")
	var login struct{ Token string }
	if err := json.Unmarshal([]byte(text), &login); err != nil || login.Token == "" {
		t.Fatal(text, err)
	}
	s.token = login.Token
	s.want(200, machine, "GET", "/v1/heartbeat", "")
	s.want(200, machine, "GET", "/v1/refresh_token", "", "token")
	s.want(400, machine, "POST", "/v1/alerts", `[{}]`, `needs \"scenario\"`)
	s.want(400, machine, "POST", "/v1/alerts", `[`)
	s.want(400, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.1", decisionJSON("ban", "nowhere", "4h"))+"]", "no address")
	s.want(400, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.1", decisionJSON("ban", "192.0.2.1", "long"))+"]", "duration")
	s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.1", decisionJSON("ban", "192.0.2.1", "4h"))+","+
		alertJSON("a/c", "2001:db8::1", decisionJSON("captcha", "2001:db8::1", "1d"))+","+alertJSON("a/d", "192.0.2.0/24")+"]", `["1","2","3"]`)
	if len(s.decided) != 1 || s.decided[0].Source.Value != "192.0.2.0/24" {
		t.Errorf("the profiles were asked about %v", s.decided)
	}
	s.want(200, machine, "GET", "/v1/alerts", "", `"id":3`, `"id":2`, `"id":1`, `"duration":"4h0m0s"`, `"machine_id":"agent"`, `"value":"192.0.2.0/24"`)
	s.want(200, machine, "GET", "/v1/alerts?limit=1", "", `"id":3`, `!"id":2`)
	s.want(200, machine, "GET", "/v1/alerts?ip=192.0.2.1", "", `a/b`, `!a/c`, `!a/d`)
	s.want(200, machine, "GET", "/v1/alerts?range=192.0.2.0/24", "", `a/b`, `a/d`, `!a/c`)
	s.want(200, machine, "GET", "/v1/alerts?scenario=a/c&scope=ip&value=2001:db8::1&decision_type=captcha&origin=cscli&has_active_decision=true", "", `a/c`, `!a/b`)
	s.want(200, machine, "GET", "/v1/alerts?since=1h", "", "a/b")
	s.want(200, machine, "GET", "/v1/alerts?until=1h", "", "[]")
	s.want(200, machine, "GET", "/v1/alerts?has_active_decision=false", "", "[]")
	for _, bad := range []string{"ip=x", "since=yesterday", "simulated=perhaps", "has_active_decision=7", "limit=-1", "ip=192.0.2.1&range=192.0.2.0/24"} {
		s.want(400, machine, "GET", "/v1/alerts?"+bad, "", "message")
		s.want(400, machine, "HEAD", "/v1/alerts?"+bad, "")
	}
	s.want(200, machine, "HEAD", "/v1/alerts", "")
	s.want(200, machine, "GET", "/v1/alerts/2", "", "a/c")
	s.want(200, machine, "HEAD", "/v1/alerts/2", "")
	s.want(400, machine, "GET", "/v1/alerts/two", "")
	s.want(404, machine, "GET", "/v1/alerts/99", "")
	s.want(400, machine, "HEAD", "/v1/alerts/two", "")
	s.want(200, machine, "DELETE", "/v1/alerts/2", "", `"nbDeleted":"1"`)
	s.want(404, machine, "DELETE", "/v1/alerts/2", "")
	s.want(200, machine, "DELETE", "/v1/decisions?ip=192.0.2.1", "", `"nbDeleted":"1"`)
	s.want(400, machine, "DELETE", "/v1/decisions?ip=x", "")
	s.want(200, machine, "DELETE", "/v1/decisions/3", "", `"nbDeleted":"1"`)
	s.want(404, machine, "DELETE", "/v1/decisions/3", "")
	s.want(400, machine, "DELETE", "/v1/alerts?range=x", "")
	s.want(200, machine, "DELETE", "/v1/alerts", "", `"nbDeleted":"2"`)
	s.want(204, machine, "DELETE", "/v1/watchers/self", "")
	s.want(401, machine, "GET", "/v1/heartbeat", "")
}

// TestADeletionThatIsMisspeltDeletesNothing asks for less than all in words that are not known.
func TestADeletionThatIsMisspeltDeletesNothing(t *testing.T) {
	s := newServer(t, nil, nil)
	s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.1", decisionJSON("ban", "192.0.2.1", "4h"))+"]")
	for _, q := range []string{"adress=192.0.2.7", "kind=waf", "uuid=1", "value=", "scenario=", "ip=192.0.2.7%zz", "ip=192.0.2.7;"} {
		for _, path := range []string{"/v1/alerts?", "/v1/decisions?"} {
			s.want(400, machine, "DELETE", path+q, "", "nothing is deleted")
		}
	}
	s.want(400, machine, "DELETE", "/v1/decisions?since=1h", "", "nothing is deleted")
	s.want(200, bouncer, "GET", "/v1/decisions", "", `"value":"192.0.2.1"`)
	s.want(200, machine, "DELETE", "/v1/alerts?scope=Ip&value=192.0.2.1&scenario=a/b&ip=192.0.2.1&since=1h&until=0s&origin=cscli&has_active_decision=true&alert_source=agent&contains=true&limit=0",
		"", `"nbDeleted":"1"`)
}

func testTheBouncersSide(t *testing.T, asked map[string]bool) {
	s := newServer(t, asked, nil)
	post := func(ds ...string) {
		t.Helper()
		s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.9", ds...)+"]")
	}
	s.want(200, bouncer, "GET", "/v1/decisions", "", "null")
	s.want(200, bouncer, "GET", "/v1/decisions/stream?startup=true", "", `{"deleted":[],"new":[]}`)
	post(decisionJSON("ban", "192.0.2.1", "4h"), decisionJSON("ban", "192.0.2.1", "1h"), decisionJSON("captcha", "192.0.2.0/24", "10s"))
	s.want(200, bouncer, "HEAD", "/v1/decisions/stream", "")
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "", `"value":"192.0.2.1"`, `"duration":"4h0m0s"`, `!"duration":"1h0m0s"`, `"value":"192.0.2.0/24"`, `"deleted":[]`)
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "", `{"deleted":[],"new":[]}`)
	s.want(200, bouncer, "GET", "/v1/decisions?ip=192.0.2.1", "", `"ban"`, `"captcha"`)
	s.want(200, bouncer, "GET", "/v1/decisions?ip=192.0.2.7", "", `"captcha"`, `!"ban"`)
	s.want(200, bouncer, "GET", "/v1/decisions?ip=192.0.3.7", "", "null")
	s.want(200, bouncer, "GET", "/v1/decisions?range=192.0.2.0/24&contains=false&type=ban", "", `192.0.2.1`, `!captcha`)
	s.want(200, bouncer, "GET", "/v1/decisions?scope=Ip&value=192.0.2.1&origins=lists,cscli&scenarios_containing=man&scenarios_not_containing=ssh", "", `192.0.2.1`)
	s.want(200, bouncer, "GET", "/v1/decisions/stream?startup=true&scenarios_containing=ssh,MAN&scenarios_not_containing=SSH", "", `192.0.2.1`)
	s.want(200, bouncer, "GET", "/v1/decisions?scenarios_not_containing=MANual", "", "null")
	s.want(200, bouncer, "HEAD", "/v1/decisions?ip=192.0.2.1", "")
	for _, bad := range []string{"ip=300.1.1.1", "contains=7", "scope=ip&value=x"} {
		s.want(400, bouncer, "GET", "/v1/decisions?"+bad, "", "message")
		s.want(400, bouncer, "HEAD", "/v1/decisions?"+bad, "")
	}
	s.want(400, bouncer, "GET", "/v1/decisions/stream?startup=7", "")
	s.want(400, bouncer, "HEAD", "/v1/decisions/stream?startup=7", "")
	s.now = s.now.Add(10 * time.Second)
	if _, err := s.store.Expire(); err != nil {
		t.Fatal(err)
	}
	s.want(200, machine, "DELETE", "/v1/decisions/1", "")
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "", `"deleted":[{`, `192.0.2.0/24`, `!"id":1,`, `"new":[{"id":2,`) // which stands in
	s.want(200, machine, "DELETE", "/v1/decisions/2", "")
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "", `"deleted":[{`, `"192.0.2.1"`)
	s.want(200, bouncer, "GET", "/v1/decisions/stream?startup=true&scopes=ip&origins=cscli", "", `{"deleted":[{"id":2,`, `"new":[]}`) // it may have been killed before it did so
	s.want(200, bouncer, "GET", "/v1/decisions/stream?startup=true&scopes=ip&origins=cscli", "", `{"deleted":[],"new":[]}`)
	if b := s.store.Bouncers()[0]; b.LastPull != s.now || b.Kind != "Go-http-client" {
		t.Errorf("the bouncer is %+v", b)
	}
	report := `{"remediation_components":[{"version":"1","utc_startup_timestamp":1700000000,"metrics":[{"meta":{"window_size_seconds":60,"utc_now_timestamp":1700000060},"items":[{"name":"dropped","value":7,"unit":"byte"}]}]}]}`
	s.want(200, bouncer, "POST", "/v1/usage-metrics", report)
	s.want(200, machine, "POST", "/v1/usage-metrics", `{"log_processors":[{"version":"1","utc_startup_timestamp":1700000000,"hub_items":{},"datasources":{}}]}`)
	s.want(400, bouncer, "POST", "/v1/usage-metrics", `{"remediation_components":[{"version":"","utc_startup_timestamp":1}]}`)
	s.want(400, bouncer, "POST", "/v1/usage-metrics", `7`)
	if b, kept, err := s.store.BouncerReport("fw"); err != nil || !strings.Contains(string(kept), `"dropped"`) || b.Reported != (store.Reported{Version: "1", At: s.now}) {
		t.Errorf("of the bouncer %+v is kept %s, %v", b, kept, err)
	}
	if m, kept, err := s.store.MachineReport("agent"); err != nil || !strings.Contains(string(kept), `"log_processors"`) || m.Reported.At != s.now {
		t.Errorf("of the machine %+v is kept %s, %v", m, kept, err)
	}
}

func testAllowlistsAreServed(t *testing.T, asked map[string]bool) {
	s := newServer(t, asked, nil)
	s.want(200, machine, "GET", "/v1/allowlists", "", "[]")
	if _, _, err := s.store.ChangeAllowlist("office", theOffice(s.now)); err != nil {
		t.Fatal(err)
	}
	s.want(200, machine, "GET", "/v1/allowlists?with_content=true", "", "office", "192.0.2.0/24", "2026-03-01T12:01:00Z")
	s.want(200, machine, "GET", "/v1/allowlists/office", "", "our own")
	s.want(200, machine, "HEAD", "/v1/allowlists/office", "")
	s.want(404, machine, "GET", "/v1/allowlists/none", "")
	s.want(404, machine, "HEAD", "/v1/allowlists/none", "")
	s.want(200, machine, "GET", "/v1/allowlists/check/192.0.2.7", "", `"allowlisted":true`, "office")
	s.want(200, machine, "GET", "/v1/allowlists/check/192.0.2.0%2F25", "", `"allowlisted":true`)
	s.want(200, machine, "GET", "/v1/allowlists/check/192.0.3.7", "", `"allowlisted":false`)
	s.want(400, machine, "GET", "/v1/allowlists/check/nowhere", "")
	s.want(200, machine, "HEAD", "/v1/allowlists/check/192.0.2.7", "")
	s.want(204, machine, "HEAD", "/v1/allowlists/check/192.0.3.7", "")
	s.want(400, machine, "HEAD", "/v1/allowlists/check/nowhere", "")
	s.want(200, machine, "POST", "/v1/allowlists/check", `{"targets":["192.0.2.7","192.0.3.7"]}`, "192.0.2.7", "!192.0.3.7")
	s.want(400, machine, "POST", "/v1/allowlists/check", `{"targets":["nowhere"]}`)
	s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/b", "192.0.2.7", decisionJSON("ban", "192.0.2.7", "4h"))+"]")
	s.want(200, bouncer, "GET", "/v1/decisions", "", "null")
}

// TestTheAPIIsWhatTheSpecificationSays goes through every path of the API, and
// through every answer that is documented.
func TestTheAPIIsWhatTheSpecificationSays(t *testing.T) {
	asked := make(map[string]bool)
	t.Run("watchers", func(t *testing.T) { testTheWatchersSide(t, asked) })
	t.Run("bouncers", func(t *testing.T) { testTheBouncersSide(t, asked) })
	t.Run("allowlists", func(t *testing.T) { testAllowlistsAreServed(t, asked) })
	doc := publishedSpec(t)
	if doc == nil {
		return // said before
	}
	never := map[string]bool{
		"DELETE /watchers/self 403": true, // a token that is not taken is answered 401, as everywhere
		"POST /watchers 202":        true, // with the token of TestMachinesWithTheTokenAreValidAtOnce
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if key := fmt.Sprint(method, " ", path, " ", status); !asked[key] && !never[key] {
					t.Errorf("nothing was answered as documented: %s", key)
				}
			}
		}
	}
}

// TestDecisionsLastFromTheEndOfTheirAlert posts alerts that come late: what was
// decided, by the engine or by the profiles, ends when it would have, had they
// come at once. What is over by then stays with its alert and is never in force.
func TestDecisionsLastFromTheEndOfTheirAlert(t *testing.T) {
	s := newServer(t, nil, func(c *Config) { c.TokenLifetime = 24 * time.Hour })
	s.want(200, bouncer, "GET", "/v1/decisions/stream?startup=true", "", `{"deleted":[],"new":[]}`)
	s.now = s.now.Add(time.Hour) // alerts end at 12:00
	s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/late", "192.0.2.1", decisionJSON("ban", "192.0.2.1", "90m"), decisionJSON("ban", "192.0.2.2", "1h"))+","+
		alertJSON("a/bare", "192.0.2.3")+","+alertJSON("a/bare", "192.0.2.4")+"]")
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "", `192.0.2.1`, `"duration":"30m0s"`, `192.0.2.3`, `"duration":"3h0m0s"`, `!192.0.2.2`)
	s.want(200, machine, "GET", "/v1/alerts/1", "", `"until":"2026-03-01T13:30:00Z"`, `"value":"192.0.2.2"`, `"duration":"0s"`, `"until":"2026-03-01T13:00:00Z"`)
	s.want(200, machine, "GET", "/v1/alerts?has_active_decision=true", "", `192.0.2.1`, `!192.0.2.2`)
	ids := make(map[string]bool)
	for _, a := range []int64{2, 3} {
		kept, err := s.store.Alert(a)
		if err != nil || kept == nil || len(kept.Decisions) != 1 || ids[kept.Decisions[0].UUID] {
			t.Fatalf("alert %d is %+v, %v", a, kept, err)
		}
		ids[kept.Decisions[0].UUID] = true
	}
	s.want(200, machine, "DELETE", "/v1/decisions?ip=192.0.2.1", "", `"nbDeleted":"1"`)
	s.want(200, machine, "GET", "/v1/alerts/1", "", `!"duration":"30m0s"`)
	s.want(201, machine, "POST", "/v1/alerts", "["+alertJSON("a/over", "192.0.2.3", decisionJSON("ban", "192.0.2.3", "1h"))+"]")
	s.want(200, machine, "DELETE", "/v1/alerts/4", "", `"nbDeleted":"1"`) // takes nothing along that another alert decided
	s.want(200, bouncer, "GET", "/v1/decisions?ip=192.0.2.3", "", `192.0.2.3`)
	s.now = s.now.Add(30 * time.Minute)
	if _, err := s.store.Expire(); err != nil {
		t.Fatal(err)
	}
	s.want(200, bouncer, "GET", "/v1/decisions/stream", "", `192.0.2.1`, `!192.0.2.2`, `!192.0.2.3`)
}
