package templates

import (
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/sinks/format"
)

// TestWhatFailsOnEveryAlertIsFoundBeforeOneComes, and what fails on some is let be.
func TestWhatFailsOnEveryAlertIsFoundBeforeOneComes(t *testing.T) {
	type data struct {
		Alert  *pipeline.Alert
		Values map[string]string
	}
	for text, want := range map[string]string{
		"{{ .Alert.Scenarioo }}":                                 "can't evaluate field Scenarioo",
		"{{ if .Alert.Simulated }}{{ .Alert.Nope }}{{ end }}":    "can't evaluate field Nope",
		"{{ if not .Alert.Source }}{{ .Alert.No }}{{ end }}":     "can't evaluate field No",
		"{{ range .Alert.Decisions }}{{ .Nope }}{{ end }}":       "can't evaluate field Nope",
		"{{ .Values.tokn }}":                                     "no entry for key \"tokn\"",
		"{{ $.Values.tokn }}":                                    "no entry for key \"tokn\"",
		"{{ summary .Values }}":                                  "wrong type for value",
		"{{ summary }}":                                          "wrong number of args",
		`{{ format "xml" .Alert }}`:                              "is no format",
		"{{ .Values.token }}":                                    "",
		"{{ .Alert.Source.Value }}":                              "",
		"{{ (index .Alert.Events 7).Timestamp }}":                "",
		"{{ .Alert.Sluice.Labels.team }}":                        "",
		`{{ if ne .Alert.Scenario "x" }}{{ fail "x" }}{{ end }}`: "",
		"{{ address .Alert.GetValue }}":                          "",
		"{{ summary .Alert }} {{ json .Alert.Meta }}":            "",
	} {
		tmpl, err := Parse("body", text, Functions(format.Sluice))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range Specimens() {
			if err = Try(tmpl, data{a, map[string]string{"token": "x"}}); err != nil {
				break
			}
		}
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
