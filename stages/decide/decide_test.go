package decide_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/decide"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
)

var stop = time.Date(2026, time.March, 1, 10, 0, 0, 0, time.UTC)

func newDecider(t *testing.T, profiles ...decide.Profile) (*decide.Decider, *decide.Ledger, error) {
	t.Helper()
	ledger := decide.NewLedger()
	c := expression.NewCompiler(pipeline.NewSchema(), funcs.NewData(), expression.Options{Decisions: ledger})
	d, err := decide.New(profiles, nil, c, ledger)
	return d, ledger, err
}

func mustDecider(t *testing.T, profiles ...decide.Profile) (*decide.Decider, *decide.Ledger) {
	t.Helper()
	d, ledger, err := newDecider(t, profiles...)
	if err != nil {
		t.Fatal(err)
	}
	return d, ledger
}

func alert(scope, value string, at time.Time) *pipeline.Alert {
	return &pipeline.Alert{
		UUID: "u-" + value + at.String(), Scenario: "test/guessing", EventsCount: 6, Remediation: true,
		Source: &pipeline.Source{Scope: scope, Value: value}, Sluice: pipeline.AlertOrigin{StopTime: at},
	}
}

// is a profile that makes one decision of the given type.
func is(kind, onSuccess, onFailure string, filters ...string) decide.Profile {
	return decide.Profile{
		Name: kind, Filters: filters, OnSuccess: onSuccess, OnFailure: onFailure,
		Decisions: []decide.Template{{Type: kind}}, Notifications: []string{kind + "-log"},
	}
}

func TestProfilesDecideInOrder(t *testing.T) {
	for _, tc := range []struct {
		name     string
		profiles []decide.Profile
		want     string // types of the decisions
		notify   string // "" is every sink
		errors   int
	}{
		{name: "without profiles nothing is decided"},
		{name: "a filter that holds applies", profiles: []decide.Profile{is("ban", "", "", "true")}, want: "ban", notify: "ban-log"},
		{name: "one that does not applies nothing", profiles: []decide.Profile{is("ban", "", "", "false")}},
		{name: "on success the next profiles follow", profiles: []decide.Profile{is("ban", "", "", "true"), is("captcha", "continue", "", "true")},
			want: "ban captcha", notify: "ban-log captcha-log"},
		{name: "on_success: break ends at the profile", profiles: []decide.Profile{is("ban", "break", "", "true"), is("captcha", "", "", "true")},
			want: "ban", notify: "ban-log"},
		{name: "on_success: break says nothing of a failure", profiles: []decide.Profile{is("ban", "break", "", "false"), is("captcha", "", "", "true")},
			want: "captcha", notify: "captcha-log"},
		{name: "on_failure: break ends at the profile", profiles: []decide.Profile{is("ban", "", "break", "false"), is("captcha", "", "", "true")}},
		{name: "on_failure: break says nothing of a success", profiles: []decide.Profile{is("ban", "", "break", "true"), is("captcha", "", "", "true")},
			want: "ban captcha", notify: "ban-log captcha-log"},
		{name: "on_failure: apply applies what did not hold", profiles: []decide.Profile{is("ban", "", "apply", "false")}, want: "ban", notify: "ban-log"},
		{name: "and once when it held", profiles: []decide.Profile{is("ban", "", "apply", "true")}, want: "ban", notify: "ban-log"},
		{name: "every filter that holds decides", profiles: []decide.Profile{is("ban", "", "", "true", "false", "1 == 1")}, want: "ban ban", notify: "ban-log"},
		{name: "on_failure: break ends at the first filter that does not hold",
			profiles: []decide.Profile{is("ban", "", "break", "true", "false", "true"), is("captcha", "", "", "true")}, want: "ban captcha", notify: "ban-log captcha-log"},
		{name: "filters read the alert", profiles: []decide.Profile{
			is("ban", "", "", `Alert.GetScenario() startsWith "test/" && Alert.EventsCount > 5 && Alert.GetScope() == "Ip" && Alert.GetValue() == "192.0.2.1"`),
			is("captcha", "", "", `Alert.GetEventsCount() > 6`),
		}, want: "ban", notify: "ban-log"},
		{name: "a filter that fails is an error, and the next profile goes on",
			profiles: []decide.Profile{is("ban", "", "", "Alert.Events[3].Timestamp == 'x'"), is("captcha", "", "", "true")},
			want:     "captcha", notify: "captcha-log", errors: 1},
		{name: "a filter that fails did not just not hold", profiles: []decide.Profile{is("ban", "", "apply", "Alert.Events[3].Timestamp == 'x'")}, errors: 1},
		{name: "a filter that is no condition is an error", profiles: []decide.Profile{is("ban", "", "", "Alert.Scenario")}, errors: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, _ := mustDecider(t, tc.profiles...)
			v := d.Decide(alert("Ip", "192.0.2.1", stop))
			var types []string
			for _, x := range v.Decisions {
				types = append(types, x.Type)
			}
			if got := strings.Join(types, " "); got != tc.want {
				t.Errorf("decisions %q, want %q", got, tc.want)
			}
			if got := strings.Join(v.Notify, " "); got != tc.notify {
				t.Errorf("notifies %q, want %q", got, tc.notify)
			}
			if len(v.Errors) != tc.errors {
				t.Errorf("errors %v, want %d", v.Errors, tc.errors)
			}
			for _, err := range v.Errors {
				if !strings.HasPrefix(err.Error(), "profile ban: filter ") {
					t.Errorf("error %v does not say where", err)
				}
			}
		})
	}
}

func TestADecisionIsMadeOfItsTemplateAndTheAlert(t *testing.T) {
	base := pipeline.Decision{
		Origin: "crowdsec", Type: "ban", Scope: "Ip", Value: "192.0.2.1", Duration: "4h",
		Until: "2026-03-01T14:00:00Z", Scenario: "test/guessing",
	}
	with := func(change func(d *pipeline.Decision)) pipeline.Decision {
		d := base
		change(&d)
		return d
	}
	for _, tc := range []struct {
		name     string
		template decide.Template
		alert    func(a *pipeline.Alert)
		want     pipeline.Decision
	}{
		{"the default lasts four hours of event time", decide.Template{Type: "ban"}, nil, base},
		{"a duration of its own, in days", decide.Template{Type: "ban", Duration: "1d12h"}, nil,
			with(func(d *pipeline.Decision) { d.Duration, d.Until = "1d12h", "2026-03-02T22:00:00Z" })},
		{"a scope of its own", decide.Template{Type: "ban", Scope: "Country"}, nil, with(func(d *pipeline.Decision) { d.Scope = "Country" })},
		{"the alert's scope", decide.Template{Type: "ban"}, func(a *pipeline.Alert) { a.Source = &pipeline.Source{Scope: "username", Value: "root"} },
			with(func(d *pipeline.Decision) { d.Scope, d.Value = "username", "root" })},
		{"an origin is added to ours", decide.Template{Type: "ban", Origin: "night"}, nil, with(func(d *pipeline.Decision) { d.Origin = "crowdsec/night" })},
		{"the template is simulated", decide.Template{Type: "ban", Simulated: true}, nil, with(func(d *pipeline.Decision) { d.Simulated = true })},
		{"the alert is simulated", decide.Template{Type: "ban"}, func(a *pipeline.Alert) { a.Simulated = true }, with(func(d *pipeline.Decision) { d.Simulated = true })},
		{"an alert without a source decides on nobody", decide.Template{Type: "ban"}, func(a *pipeline.Alert) { a.Source = nil },
			with(func(d *pipeline.Decision) { d.Scope, d.Value = "", "" })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, _ := mustDecider(t, decide.Profile{Filters: []string{"true"}, Decisions: []decide.Template{tc.template}})
			a := alert("Ip", "192.0.2.1", stop)
			if tc.alert != nil {
				tc.alert(a)
			}
			got := d.Decide(a).Decisions[0]
			got.UUID = ""
			if got != tc.want {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestDecisionsHaveIDsThatAnotherRunGivesToo(t *testing.T) {
	two := decide.Profile{Filters: []string{"true"}, Decisions: []decide.Template{{Type: "ban"}, {Type: "captcha"}}}
	ids := func(a *pipeline.Alert) []string {
		d, _ := mustDecider(t, two)
		var out []string
		for _, x := range d.Decide(a).Decisions {
			out = append(out, x.UUID)
		}
		return out
	}
	first := ids(alert("Ip", "192.0.2.1", stop))
	if again := ids(alert("Ip", "192.0.2.1", stop)); !slices.Equal(first, again) {
		t.Errorf("one alert gives %v, then %v", first, again)
	}
	all := append(slices.Clone(first), ids(alert("Ip", "192.0.2.2", stop))...)
	slices.Sort(all)
	if len(slices.Compact(all)) != 4 {
		t.Errorf("four decisions share ids: %v", all)
	}
}

func TestDurationExpr(t *testing.T) {
	for _, tc := range []struct {
		name, expr, fallback string
		want                 []string // of three alerts about one address in a row
		errors               bool
	}{
		{"grows with the decisions so far", `Sprintf('%dh', (GetDecisionsCount(Alert.GetValue()) + 1) * 4)`, "", []string{"4h", "8h", "12h"}, false},
		{"reads the alert", `Alert.GetEventsCount() > 5 ? "1d" : "1h"`, "", []string{"1d", "1d", "1d"}, false},
		{"a text that is no duration falls back", `"a while"`, "30m", []string{"30m", "30m", "30m"}, true},
		{"a number falls back to the default", `12`, "", []string{"4h", "4h", "4h"}, true},
		{"nothing falls back", `nil`, "30m", []string{"30m", "30m", "30m"}, true},
		{"less than nothing falls back", `"-4h"`, "30m", []string{"30m", "30m", "30m"}, true},
		{"a failure falls back", `Alert.Events[9].Timestamp`, "30m", []string{"30m", "30m", "30m"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, _ := mustDecider(t, decide.Profile{
				Name: "p", Filters: []string{"true"}, DurationExpr: tc.expr, Decisions: []decide.Template{{Type: "ban", Duration: tc.fallback}},
			})
			for i, want := range tc.want {
				v := d.Decide(alert("Ip", "192.0.2.1", stop.Add(time.Duration(i)*time.Minute)))
				if got := v.Decisions[0].Duration; got != want {
					t.Errorf("decision %d lasts %s, want %s", i+1, got, want)
				}
				if (len(v.Errors) > 0) != tc.errors {
					t.Errorf("errors %v", v.Errors)
				}
				for _, err := range v.Errors {
					if !strings.HasPrefix(err.Error(), "profile p: duration_expr: ") || !strings.HasSuffix(err.Error(), " is used") {
						t.Errorf("error %v does not say where or what happens", err)
					}
				}
			}
			if got := d.Decide(alert("Ip", "192.0.2.9", stop)).Decisions[0].Duration; got != tc.want[0] {
				t.Errorf("another address gets %s, want %s", got, tc.want[0])
			}
		})
	}
}

func TestBadProfilesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name    string
		profile decide.Profile
		want    string // all parts, in order
	}{
		{"without filters", decide.Profile{Name: "p"}, `profile p: it has no filters`},
		{"without a name its place tells which", decide.Profile{}, `profile 1: it has no filters`},
		{"a filter that does not compile", decide.Profile{Name: "p", Filters: []string{"true", "Alert.GetScop() == 'Ip'"}}, `profile p: filter "Alert.GetScop() == 'Ip'": `},
		{"a helper that does not exist", decide.Profile{Name: "p", Filters: []string{"GetDecisionCount('x') > 1"}}, `did you mean "GetDecisionsCount"`},
		{"a duration_expr that does not compile", decide.Profile{Name: "p", Filters: []string{"true"}, DurationExpr: "1 +"}, `profile p: duration_expr "1 +": `},
		{"an unknown on_success", decide.Profile{Name: "p", Filters: []string{"true"}, OnSuccess: "stop"}, `profile p: on_success is "stop"; it can be continue or break`},
		{"an unknown on_failure", decide.Profile{Name: "p", Filters: []string{"true"}, OnFailure: "stop"}, `profile p: on_failure is "stop"; it can be continue, break or apply`},
		{"a decision without a type", decide.Profile{Name: "p", Filters: []string{"true"}, Decisions: []decide.Template{{Type: "ban"}, {}}}, `profile p: decision 2 has no type`},
		{"a duration that is none", decide.Profile{Name: "p", Filters: []string{"true"}, Decisions: []decide.Template{{Type: "ban", Duration: "4"}}}, `profile p: decision 1: duration "4": want something like 4h`},
		{"a duration of less than nothing", decide.Profile{Name: "p", Filters: []string{"true"}, Decisions: []decide.Template{{Type: "ban", Duration: "-4h"}}}, `profile p: decision 1: duration "-4h": a decision must last longer`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := newDecider(t, tc.profile)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %s", err, tc.want)
			}
		})
	}
}

func TestTheDefaultProfilesBanWhoAsksForIt(t *testing.T) {
	for _, tc := range []struct {
		name, scope string
		remediation bool
		want        int
	}{
		{"an address", "Ip", true, 1},
		{"a range", "Range", true, 1},
		{"a scope of its own", "username", true, 0},
		{"an alert that asks for nothing", "Ip", false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, _ := mustDecider(t, decide.DefaultProfiles()...)
			a := alert(tc.scope, "v", stop)
			a.Remediation = tc.remediation
			v := d.Decide(a)
			if len(v.Decisions) != tc.want || v.Notify != nil || v.Errors != nil {
				t.Fatalf("%+v, want %d decisions, told to every sink", v, tc.want)
			}
			for _, x := range v.Decisions {
				if x.Type != "ban" || x.Duration != "4h" || x.Scope != tc.scope {
					t.Errorf("decision %+v", x)
				}
			}
		})
	}
}

func TestProfilesAreNotChangedByCompilingThem(t *testing.T) {
	p := is("ban", "", "", "true")
	mustDecider(t, p)
	if p.Decisions[0].Duration != "" {
		t.Error("the caller's template was filled in")
	}
}
