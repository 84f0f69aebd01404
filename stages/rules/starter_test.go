package rules

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"
)

const starter = "../../configs/rules"

func TestTheStarterRulesLoadStrictly(t *testing.T) {
	all := mustLoad(t, Options{Roots: []string{starter}})
	demo := mustLoad(t, Options{Roots: []string{starter}, Collections: []string{"sluice/demo"}})
	if len(demo.Scenarios) != len(all.Scenarios) {
		t.Errorf("the demo has %d scenarios of %d", len(demo.Scenarios), len(all.Scenarios))
	}
	for _, n := range demo.Parsers {
		if n.Name == "sluice/private-networks" || n.Name == "sluice/geoip" {
			t.Errorf("the demo has %s, which is for the user to choose", n.Name)
		}
	}
	for _, s := range all.Scenarios {
		for _, label := range []string{"service", "confidence", "spoofable", "behavior", "remediation", "label"} {
			if s.Labels[label] == nil {
				t.Errorf("%s has no label %s", s.Name, label)
			}
		}
	}
}

// TestEveryStarterScenarioHasATest reads the tests' selections; the tests themselves run with sluice test.
func TestEveryStarterScenarioHasATest(t *testing.T) {
	tested := map[string]bool{}
	configs, err := filepath.Glob(filepath.Join(starter, "tests", "*", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range configs {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c struct{ Parsers, Scenarios []string }
		if err := yaml.Unmarshal(src, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		set := mustLoad(t, Options{Roots: []string{starter}, Parsers: c.Parsers, Scenarios: c.Scenarios})
		for _, s := range set.Scenarios {
			tested[s.Name] = true
		}
	}
	for _, s := range mustLoad(t, Options{Roots: []string{starter}}).Scenarios {
		if !tested[s.Name] {
			t.Errorf("%s has no test", s.Name)
		}
	}
}
