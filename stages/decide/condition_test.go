package decide_test

import (
	"errors"
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/stages/decide"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
)

func TestAConditionHoldsOrDoesNot(t *testing.T) {
	c := expression.NewCompiler(pipeline.NewSchema(), funcs.NewData(), expression.Options{Decisions: decide.NewLedger()})
	a := alert("Ip", "192.0.2.1", stop)
	a.Decisions = []pipeline.Decision{{Type: "ban"}}
	for src, want := range map[string]string{
		"true": "holds", "false": "does not",
		`Alert.GetScenario() startsWith 'test/' && !Alert.Simulated`: "holds",
		`Alert.Scenario startsWith 'acme/'`:                          "does not",
		`any(Alert.Decisions, .Type == 'ban')`:                       "holds",
		`Alert.Events[3].Timestamp == 'x'`:                           "fails",
	} {
		condition, err := decide.NewCondition(src, c)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		holds, err := condition.Holds(a)
		got := map[bool]string{true: "holds", false: "does not"}[holds]
		if err != nil {
			got = "fails"
		}
		if got != want {
			t.Errorf("%s %s (%v), want %s", src, got, err, want)
		}
	}
	for src, want := range map[string]string{
		"Alert.Scenario":            "it gives string, not a bool",
		"Alert.Senario == 'x'":      `there is no field or method "Senario" here`,
		"Alert.Scenario startswith": "unexpected token",
	} {
		_, err := decide.NewCondition(src, c)
		var placed *expression.Error
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &placed) && src != "Alert.Scenario" {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
}
