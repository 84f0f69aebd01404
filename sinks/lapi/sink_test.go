package lapi

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/pipeline/lapi"
	"sluice/sinks"
)

// deliver gives alerts as the outbox does, until all are settled, and returns
// those that were refused.
func deliver(t *testing.T, s *Sink, alerts []pipeline.Alert) (refused []string, attempts int) {
	t.Helper()
	for len(alerts) > 0 {
		if attempts++; attempts > 1000 {
			t.Fatal("it does not come to an end")
		}
		err := s.Alerts(t.Context(), alerts)
		var partial *sinks.PartialError
		var rejected *sinks.RejectedError
		n := len(alerts)
		switch {
		case errors.As(err, &partial):
			n, rejected = partial.Settled, partial.Rejected
		case errors.As(err, &rejected):
		case err != nil:
			continue
		}
		if rejected != nil {
			for _, i := range rejected.Alerts {
				refused = append(refused, alerts[i].UUID)
			}
		}
		alerts = alerts[n:]
	}
	return refused, attempts
}

// TestEveryAlertArrivesOnce has an API lose answers, keep parts of batches and
// fail half of the time.
func TestEveryAlertArrivesOnce(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	scripts := map[string]func(n int, a []lapi.Alert) answer{
		"all is well": nil,
		"every second answer is lost": func(n int, a []lapi.Alert) answer {
			return answer{len(a), 201 * (n % 2), "[]", ""}
		},
		"half of the requests fail, with a part of the alerts kept": func(_ int, a []lapi.Alert) answer {
			if chance.IntN(2) == 0 {
				return answer{chance.IntN(len(a) + 1), 500, `{"message":"database is locked"}`, ""}
			}
			return answer{len(a), 201, "[]", ""}
		},
		"answers are lost, with a part of the alerts kept": func(_ int, a []lapi.Alert) answer {
			return answer{chance.IntN(len(a) + 1), []int{0, 201, 503}[chance.IntN(3)], "", ""}
		},
	}
	for name, script := range scripts {
		if strings.HasPrefix(name, "answers are lost") {
			inner := script
			script = func(n int, a []lapi.Alert) answer {
				out := inner(n, a)
				if out.status == 201 {
					out.keep = len(a) // what is acknowledged is kept
				}
				return out
			}
		}
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.script = script
			s, _ := newSink(t, func(c *Config) { c.Batch = 7 }, f.URL)
			given := alerts(100)
			refused, _ := deliver(t, s, given)
			got := f.ids()
			slices.Sort(got)
			if !slices.Equal(got, idsOf(given)) || len(refused) > 0 {
				t.Errorf("kept %v, refused %v", got, refused)
			}
			if st := s.Stats(); st.Alerts != 100 || st.Decisions != 100 || st.Rejected+st.Expired != 0 || st.Bytes == 0 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// TestAnAPIThatWritesScopesItsOwnWayIsAskedByTheValue: CrowdSec keeps "country"
// as "Country", and finds nothing under the former.
func TestAnAPIThatWritesScopesItsOwnWayIsAskedByTheValue(t *testing.T) {
	f := newFake(t)
	f.script = func(n int, a []lapi.Alert) answer { return answer{len(a), 201 * (n % 2), "[]", ""} } // every second answer is lost
	s, _ := newSink(t, func(c *Config) { c.Batch = 1 }, f.URL)
	given := alerts(6)
	for i := range given {
		given[i].Source = &pipeline.Source{Scope: "country", Value: "FR"}
	}
	deliver(t, s, given)
	if got := f.ids(); !slices.Equal(got, idsOf(given)) {
		t.Errorf("kept %v", got)
	}
}

// TestAStartAsksFirst gives alerts to a sink that was killed before it could
// say that they were delivered.
func TestAStartAsksFirst(t *testing.T) {
	f := newFake(t)
	given := alerts(40)
	s, _ := newSink(t, nil, f.URL)
	deliver(t, s, given[:25])
	again, _ := newSink(t, nil, f.URL)
	again.doubtful = 0
	deliver(t, again, given)
	if got := f.ids(); !slices.Equal(got, idsOf(given)) {
		t.Errorf("kept %v", got)
	}
	asked := f.count("GET /v1/alerts")
	again.doubtful = resumed
	deliver(t, again, alerts(60)[40:])
	if got := f.count("GET /v1/alerts"); asked == 0 || got != asked {
		t.Errorf("it asks %d times at the start and %d times later, want some and none", asked, got-asked)
	}
}

func TestOneThatIsRefusedHoldsBackNoOther(t *testing.T) {
	for name, a := range map[string]answer{
		"400":                             {0, 400, `{"message":"poison"}`, ""},
		"422":                             {0, 422, "poison", ""},
		"500 that blames the alert":       {0, 500, `{"message":"poison: validation failure list"}`, ""},
		"500 behind which a part is kept": {3, 500, `{"message":"poison: ent: validator failed for field"}`, ""},
	} {
		f := newFake(t)
		f.script = func(_ int, alerts []lapi.Alert) answer {
			for i := range alerts {
				if has(&alerts[i], "id-005") || has(&alerts[i], "id-017") {
					out := a
					out.keep = min(i, a.keep)
					return out
				}
			}
			return answer{len(alerts), 201, "[]", ""}
		}
		s, _ := newSink(t, nil, f.URL)
		given := alerts(20)
		err := s.Alerts(t.Context(), given)
		var rejected *sinks.RejectedError
		if !errors.As(err, &rejected) || !slices.Equal(rejected.Alerts, []int{5, 17}) || !strings.Contains(err.Error(), "poison") {
			t.Errorf("%s: error = %v", name, err)
		}
		want := slices.DeleteFunc(idsOf(given), func(id string) bool { return id == "id-005" || id == "id-017" })
		if got := f.ids(); !slices.Equal(got, want) {
			t.Errorf("%s: kept %v", name, got)
		}
		if st := s.Stats(); st.Alerts != 18 || st.Rejected != 2 || st.Errors != 0 {
			t.Errorf("%s: stats %+v", name, st)
		}
	}
}

func TestWhatAnAnswerMeans(t *testing.T) {
	for status, want := range map[int]string{
		200: "taken", 201: "taken", 302: "again", 400: "refused", 404: "again", 405: "again", 408: "again", 413: "refused",
		422: "refused", 425: "again", 429: "again", 500: "again", 502: "again", 503: "again", 401: "again", 403: "again",
	} {
		f := newFake(t)
		f.script = func(int, []lapi.Alert) answer { return answer{0, status, "its own\n words", ""} }
		s, _ := newSink(t, nil, f.URL)
		err := s.Alerts(t.Context(), alerts(1))
		var rejected *sinks.RejectedError
		got := "taken"
		switch {
		case errors.As(err, &rejected):
			got = "refused"
		case err != nil:
			got = "again"
		}
		if got != want || err != nil && !strings.Contains(err.Error(), "its own words") {
			t.Errorf("%d is %s (%v), want %s", status, got, err, want)
		}
	}
}

func TestAnAPIThatAsksForItIsLeftAlone(t *testing.T) {
	f := newFake(t)
	f.script = func(n int, a []lapi.Alert) answer {
		if n == 1 {
			return answer{0, 429, "", "17"}
		}
		return answer{len(a), 201, "[]", ""}
	}
	s, clk := newSink(t, nil, f.URL)
	if _, attempts := deliver(t, s, alerts(3)); attempts != 2 {
		t.Errorf("%d attempts, want 2", attempts)
	}
	if !slices.Equal(clk.waits, []time.Duration{17 * time.Second}) || f.count("GET /v1/alerts") != 0 {
		t.Errorf("it waits %v and asks %d times; want 17s, and no question, for 429 is clear", clk.waits, f.count("GET /v1/alerts"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Alerts(ctx, alerts(3)); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

func TestSigningIn(t *testing.T) {
	f := newFake(t)
	s, clk := newSink(t, nil, f.URL)
	given := alerts(4)
	deliver(t, s, given[:1])
	f.mu.Lock()
	f.last = "of a restarted API" // whose key is another
	f.mu.Unlock()
	if _, attempts := deliver(t, s, given[1:2]); attempts != 1 || f.sessions != 2 {
		t.Errorf("%d attempts and %d sessions, want 1 and 2", attempts, f.sessions)
	}
	clk.After(50 * time.Minute) // the token still counts, but not for long
	deliver(t, s, given[2:3])
	if f.count("GET /v1/refresh_token") != 1 || f.sessions != 3 {
		t.Errorf("%d refreshes and %d sessions; want 1, and 3 since that is not known", f.count("GET /v1/refresh_token"), f.sessions)
	}
	f.denies = func(r *http.Request) int {
		if r.URL.Path == "/v1/watchers/login" {
			return http.StatusBadRequest
		}
		return http.StatusUnauthorized
	}
	err := s.Alerts(t.Context(), given[3:])
	var rejected *sinks.RejectedError
	if err == nil || errors.As(err, &rejected) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("when signing in is refused, alerts are to wait; error = %v", err)
	}
}

// TestAClockThatIsLateGivesTokensThatCount: by the API's clock a token has just
// been given, whatever ours says of its end.
func TestAClockThatIsLateGivesTokensThatCount(t *testing.T) {
	f := newFake(t)
	s, clk := newSink(t, nil, f.URL)
	clk.After(5 * time.Hour)
	for _, a := range alerts(4) {
		deliver(t, s, []pipeline.Alert{a})
	}
	if f.sessions != 1 {
		t.Errorf("it signs in %d times", f.sessions)
	}
}

// TestALAPIThatHangsIsTriedNowAndThen: its timeout is not to take up the time of the other.
func TestALAPIThatHangsIsTriedNowAndThen(t *testing.T) {
	first, second := newFake(t), newFake(t)
	s, clk := newSink(t, func(c *Config) { c.Batch = 1 }, first.URL, second.URL)
	hangs := 0
	first.denies = func(*http.Request) int { // the request ends when its time is over
		hangs++
		clk.After(50 * time.Second)
		return http.StatusGatewayTimeout
	}
	for _, a := range alerts(130) {
		clk.After(time.Second) // what the other takes
		deliver(t, s, []pipeline.Alert{a})
	}
	if got := second.ids(); len(got) != 130 || hangs != 3 {
		t.Errorf("the second has %d, and the first was tried %d times in 130 seconds, want 130 and 3", len(got), hangs)
	}
}

func TestDecisionsLastAsLongAsIsLeft(t *testing.T) {
	f := newFake(t)
	s, _ := newSink(t, nil, f.URL)
	given := alerts(3)
	gone := given[0].Decisions[0]
	gone.Until = begin.Format(time.RFC3339)
	given[0].Decisions = append(given[0].Decisions, gone)
	given[1].Decisions = []pipeline.Decision{gone}
	given[2].Decisions[0].Simulated = true
	deliver(t, s, given)
	for i, expect := range []struct {
		decisions   int
		remediation bool
		simulated   bool
	}{{1, true, false}, {0, false, false}, {1, true, true}} {
		a := f.kept[i]
		if len(*a.Decisions) != expect.decisions || *a.Remediation != expect.remediation || a.Simulated != expect.simulated {
			t.Errorf("alert %d has %d decisions, remediation %v, simulated %v; want %+v", i, len(*a.Decisions), *a.Remediation, a.Simulated, expect)
		}
		for _, d := range *a.Decisions {
			if d.Duration != "1h1m0s" { // from stop_at, a minute ago
				t.Errorf("it lasts %s", d.Duration)
			}
		}
	}
	if st := s.Stats(); st.Decisions != 2 || st.Expired != 2 {
		t.Errorf("stats %+v", st)
	}
}

func TestFailover(t *testing.T) {
	first, second := newFake(t), newFake(t)
	down := true
	first.script = func(_ int, a []lapi.Alert) answer {
		if down {
			return answer{0, 503, "", ""}
		}
		return answer{len(a), 201, "[]", ""}
	}
	s, clk := newSink(t, func(c *Config) { c.Batch = 5 }, first.URL, second.URL)
	given := alerts(40)
	for i := range 4 {
		if i == 2 {
			down = false
		}
		if i == 3 {
			clk.After(failBack)
		}
		if _, attempts := deliver(t, s, given[10*i:10*i+10]); attempts != 1 {
			t.Errorf("%d attempts, want 1", attempts)
		}
	}
	if got := second.ids(); !slices.Equal(got, idsOf(given[:30])) {
		t.Errorf("the second has %v", got)
	}
	if got := first.ids(); !slices.Equal(got, idsOf(given[30:])) || first.count("POST /v1/alerts") != 3 {
		t.Errorf("the first was asked %d times and has %v", first.count("POST /v1/alerts"), got)
	}
}

func TestBoth(t *testing.T) {
	good, bad := newFake(t), newFake(t)
	bad.script = func(n int, a []lapi.Alert) answer {
		for i := range a {
			if has(&a[i], "id-004") {
				return answer{0, 400, "poison", ""}
			}
		}
		if n%3 == 0 {
			return answer{len(a), 0, "", ""}
		}
		return answer{len(a), 201, "[]", ""}
	}
	s, _ := newSink(t, func(c *Config) { c.Mode, c.Batch = Both, 4 }, good.URL, bad.URL)
	given := alerts(30)
	refused, attempts := deliver(t, s, given)
	if !slices.Equal(refused, []string{"id-004"}) || attempts < 2 {
		t.Errorf("refused %v after %d attempts", refused, attempts)
	}
	if got := good.ids(); !slices.Equal(got, idsOf(given)) {
		t.Errorf("the good one has %v", got)
	}
	if got := bad.ids(); !slices.Equal(got, slices.Delete(idsOf(given), 4, 5)) {
		t.Errorf("the bad one has %v", got)
	}
	if st := s.Stats(); st.Alerts != 29 || st.Rejected != 1 || st.Decisions != 30 {
		t.Errorf("stats %+v", st)
	}
	for _, l := range s.lanes {
		if len(l.done)+len(l.targets[0].unsure) > 0 {
			t.Errorf("when all is delivered it still remembers %v and %v", l.done, l.targets[0].unsure)
		}
	}
}

func TestNoSecretIsSaid(t *testing.T) {
	f := newFake(t)
	f.denies = func(*http.Request) int { return http.StatusUnauthorized }
	for _, url := range []string{"http://127.0.0.1:1", "http://nobody.invalid", "unix:/nowhere/at/all.sock", f.URL} {
		s, _ := newSink(t, func(c *Config) { c.Register, c.RegistrationToken = true, "hunter2" }, url)
		if err := s.Alerts(t.Context(), alerts(1)); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), url) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	const known = "\nmachine_id: a\npassword: b"
	for _, c := range []struct{ yaml, want string }{
		{"batch: 1", "name the API"}, {"url: ftp://x" + known, "an address is"}, {"url: http://me:hunter2@x" + known, "without user"}, {"url: unix:sock" + known, "an address is"},
		{"url: http://x\nurls: [http://y]" + known, "one of url and urls"}, {"urls: [http://x, http://x]" + known, "named twice"},
		{"url: http://x\nmode: neither" + known, "no mode"}, {"url: http://x", "machine_id and password"}, {"url: http://x\nmachine_id: a", "go together"},
		{"url: http://x\nregistration_token: t" + known, "register: true"}, {"url: http://x\nbatch: 0" + known, "between 1"}, {"url: http://x\ntimeout: 0s" + known, "above 0"},
		{"url: http://x\nheartbeat: 1ms" + known, "at least 1s"}, {"url: http://x\nusage_metrics: 1ms" + known, "at least 1s"},
		{"url: https://x\ntls: {cert_file: a}", "go together"},
		{"url: https://x\nregister: true\ntls: {cert_file: a, key_file: b}", "can be registered"},
		{"url: http://x\nmachine_id: a\npassword: b\ntls: {insecure_skip_verify: true}", "no address here is one"},
	} {
		node, err := component.Parse([]byte("type: lapi\n" + c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = sinks.New(node, sinks.Env{}); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: error %v, want %q", c.yaml, err, c.want)
		}
	}
}

func FuzzReadIDs(f *testing.F) {
	for _, text := range []string{"null", "[]", `[{"meta":[{"key":"sluice_alert_id","value":"id-000"}]}]`, `[{"meta":null},{}]`, `{"message":"x"}`, "[", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found := make(map[string]bool)
		err := readIDs(strings.NewReader(text), map[string]bool{"id-000": true}, found)
		if len(found) > 0 && !strings.Contains(text, "[") || len(found) > 1 || err == nil && text == "" {
			t.Errorf("%q gives %v, %v", text, found, err)
		}
		_ = words([]byte(text)) // must not panic
	})
}
