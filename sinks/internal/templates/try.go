package templates

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"text/template"

	"sluice/pipeline"
)

// Specimens are alerts to try templates on: one in which everything is set,
// one that is simulated, and one about nobody.
func Specimens() []*pipeline.Alert {
	full := func() *pipeline.Alert {
		meta := []pipeline.MetaItem{{Key: "target_user", Value: "root"}}
		return &pipeline.Alert{
			UUID: "00000000-0000-5000-8000-000000000000", CreatedAt: "2026-03-01T12:00:02Z", Kind: "crowdsec", Scenario: "example/ssh-bf", ScenarioHash: "0", ScenarioVersion: "0.1",
			Message: "Ip 192.0.2.7 performed example/ssh-bf", EventsCount: 6, StartAt: "2026-03-01T12:00:00Z", StopAt: "2026-03-01T12:00:01Z", Capacity: 5, Leakspeed: "10s",
			Remediation: true, Labels: []string{"ssh"}, Meta: meta, Events: []pipeline.AlertEvent{{Timestamp: "2026-03-01T12:00:00Z", Meta: meta}},
			Source: &pipeline.Source{
				Scope: "Ip", Value: "192.0.2.7", IP: "192.0.2.7", Range: "192.0.2.0/24", AsNumber: "64496", AsName: "Example", Cn: "CH", Latitude: 47, Longitude: 8,
			},
			Decisions: []pipeline.Decision{{
				UUID: "00000000-0000-5000-8000-000000000001", Origin: "sluice", Type: "ban", Scope: "Ip", Value: "192.0.2.7", Duration: "4h", Until: "2026-03-01T16:00:01Z",
				Scenario: "example/ssh-bf",
			}},
			Sluice: pipeline.AlertOrigin{Key: "192.0.2.7", Labels: map[string]any{"service": "ssh"}},
		}
	}
	simulated, nobody := full(), full()
	simulated.Simulated, simulated.Remediation, simulated.Decisions[0].Simulated = true, false, true
	nobody.Source, nobody.Decisions, nobody.Meta, nobody.Events, nobody.Remediation = nil, nil, nil, nil, false
	return []*pipeline.Alert{full(), simulated, nobody}
}

// Try runs a template on a specimen and returns an error if what went wrong is
// the template's doing, and would go wrong with every alert: an alert that a
// template fails on is refused for good. That a specimen lacks what the template
// asks for, such as a second event or a label, is no error.
func Try(t *template.Template, data any) error {
	err := t.Execute(io.Discard, data)
	if err == nil || !wrong.MatchString(err.Error()) {
		return nil
	}
	// What comes before says where in the text, and then the words of the template.
	_, words, ok := strings.Cut(err.Error(), "executing ")
	if !ok {
		words = err.Error()
	}
	return errors.New(strings.Join(strings.Fields(words), " "))
}

// wrong are the faults that do not depend on the alert. A map's missing key
// is one only in the values that the configuration itself names.
var wrong = regexp.MustCompile(`can't evaluate field|wrong number of args|wrong type for value|can't call method|incompatible types|` +
	`at <\$?\.Values\.\w+>: map has no entry|error calling format: .* is no format|nil pointer evaluating \*pipeline\.Decision`)
