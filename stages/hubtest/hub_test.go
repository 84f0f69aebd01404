package hubtest_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"sluice/stages/hubtest"
)

// knownFailures are the hub's tests that do not pass, with the reason. One
// that passes, and one that fails without being named here, fails the suite.
var knownFailures = map[string]string{}

// knownDisregarded says how many lines of which tests do not hold and are
// passed over, as CrowdSec does. Any other number fails the suite.
//
// postfix-honeypot-users expects its results in ascending order of address;
// they come sorted descending (FIDELITY 29).
var knownDisregarded = map[string]int{"postfix-honeypot-users": 8}

// hub is where a clone of the hub is; the test is skipped without.
func hub(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("SLUICE_HUB")
	if dir == "" {
		dir = filepath.FromSlash("../../../shared/hub")
	}
	if _, err := os.Stat(filepath.Join(dir, "tests")); err != nil {
		t.Skip("hub not found: set SLUICE_HUB to a clone of it")
	}
	return dir
}

// names lists the tests of a hub, every nth of them.
func names(t *testing.T, dir string, nth int) []string {
	t.Helper()
	configs, err := filepath.Glob(filepath.Join(dir, "tests", "*", "config.yaml"))
	if err != nil || len(configs) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	var out []string
	for i, c := range configs {
		if i%nth == 0 {
			out = append(out, filepath.Base(filepath.Dir(c)))
		}
	}
	return out
}

func run(t *testing.T, o hubtest.Options) *hubtest.Summary {
	t.Helper()
	o.Parallel = runtime.GOMAXPROCS(0)
	s, err := hubtest.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// judge compares a summary with the known failures.
func judge(t *testing.T, s *hubtest.Summary, known map[string]string) {
	t.Helper()
	assertions := 0
	for _, r := range s.Tests {
		assertions += r.Assertions
		if n := knownDisregarded[r.Name]; len(r.Disregarded) != n {
			t.Errorf("%s: %d lines are disregarded, want %d: %v", r.Name, len(r.Disregarded), n, r.Disregarded)
		}
		reason, expected := known[r.Name]
		switch {
		case r.Passed && expected:
			t.Errorf("%s passes now: it is no known failure any more (%s)", r.Name, reason)
		case !r.Passed && !expected:
			if r.Error != "" {
				t.Errorf("%s: %s", r.Name, r.Error)
			}
			for _, f := range r.Failures {
				t.Errorf("%s: %s", r.Name, f)
			}
		}
	}
	if assertions < s.Total {
		t.Errorf("only %d assertions in %d tests", assertions, s.Total)
	}
	t.Logf("%d of %d tests pass, %d assertions", s.Passed, s.Total, assertions)
}

// TestHub runs the tests of the hub: the specification of the rule language.
// In short mode, and under the race detector, it runs a fourth of them.
func TestHub(t *testing.T) {
	dir := hub(t)
	nth := 1
	if testing.Short() || raceEnabled {
		nth = 4
	}
	judge(t, run(t, hubtest.Options{Hub: dir, Names: names(t, dir, nth)}), knownFailures)
}

// TestStarterRules runs the tests of the rules that come with Sluice.
func TestStarterRules(t *testing.T) {
	judge(t, run(t, hubtest.Options{Hub: filepath.FromSlash("../../configs/rules")}), nil)
}

// TestTheReferenceAgrees runs a sample of the hub's tests on the plain paths:
// outcome and failures are those of the fast ones.
func TestTheReferenceAgrees(t *testing.T) {
	for _, tc := range []struct {
		name string
		dir  func(t *testing.T) string
		nth  int
	}{
		{"starter rules", func(*testing.T) string { return filepath.FromSlash("../../configs/rules") }, 3},
		{"hub", hub, 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, nth := tc.dir(t), tc.nth
			if testing.Short() || raceEnabled {
				nth *= 4
			}
			sample := names(t, dir, nth)
			fast := run(t, hubtest.Options{Hub: dir, Names: sample})
			plain := run(t, hubtest.Options{Hub: dir, Names: sample, Reference: true})
			compareResults(t, plain, fast)
		})
	}
}
