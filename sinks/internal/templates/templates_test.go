package templates

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sinks/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func alert() *pipeline.Alert {
	return &pipeline.Alert{
		UUID: "id", Scenario: "sluice/ssh-bf", Message: "<b>&\u2028", EventsCount: 2, StopAt: "2026-03-01T13:00:01.25+01:00",
		Source: &pipeline.Source{Scope: "Ip", Value: "2001:db8::7"},
	}
}

func TestWhatTemplatesMayCall(t *testing.T) {
	for text, want := range map[string]string{
		"{{ json .Message }}":                "\"<b>&\\u2028\"",
		"{{ unix .StopAt }}":                 "1772366401.250",
		"{{ unixNano .StopAt }}":             "1772366401250000000",
		"{{ summary . }}":                    "2026-03-01T13:00:01.25+01:00  sluice/ssh-bf  Ip 2001:db8::7  2 events",
		`{{ format "text" . }}`:              "2026-03-01T13:00:01.25+01:00  sluice/ssh-bf  Ip 2001:db8::7  2 events",
		"{{ address .GetValue }}":            "2001:db8::7",
		`{{ address "2001:DB8:0::7" }}`:      "2001:db8::7",
		`{{ address "::ffff:192.0.2.1" }}`:   "192.0.2.1",
		`{{ address "2001:db8::7/32" }}`:     "2001:db8::/32",
		"{{ len (alert .) | lt 100 }}":       "true",
		"{{ .GetScope | lower | trunc 1 }}":  "i",
		`{{ .GetValue | default "nobody" }}`: "2001:db8::7",
	} {
		var out strings.Builder
		tmpl, err := Parse("t", text, Functions(format.Sluice))
		if err == nil {
			err = tmpl.Execute(&out, alert())
		}
		if err != nil || out.String() != want {
			t.Errorf("%s gives %q, %v; want %q", text, out.String(), err, want)
		}
	}
}

// TestWhatTemplatesMayNot reads nothing of the machine, and does not go on with what is not there.
func TestWhatTemplatesMayNot(t *testing.T) {
	for _, text := range []string{
		`{{ env "HOME" }}`, `{{ expandenv "$HOME" }}`, `{{ address "fe80::1%eth0" }}`, `{{ address "1.2.3.4; rm" }}`, `{{ address "" }}`,
		`{{ format "xml" . }}`, `{{ unix "yesterday" }}`, `{{ .Nothing }}`,
	} {
		tmpl, err := Parse("t", text, Functions(format.Sluice))
		if err == nil {
			err = tmpl.Execute(&strings.Builder{}, alert())
		}
		if err == nil {
			t.Errorf("%s is no error", text)
		}
	}
}
