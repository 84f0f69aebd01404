package hubtest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/stages/hubtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func compareResults(t *testing.T, got, want *hubtest.Summary) {
	t.Helper()
	for i := range want.Tests {
		if !reflect.DeepEqual(got.Tests[i], want.Tests[i]) {
			t.Errorf("%s differs:\n got %+v\nwant %+v", want.Tests[i].Name, got.Tests[i], want.Tests[i])
		}
	}
}

// smallHub holds tests that pass, fail and cannot run.
const smallHub = "testdata/hub"

// TestFailuresSayWhatWasExpected runs the small hub; what it reports is in
// testdata/hub.golden, which -update rewrites.
func TestFailuresSayWhatWasExpected(t *testing.T) {
	var told []string
	s := run(t, hubtest.Options{Hub: smallHub, Each: func(r hubtest.Result) { told = append(told, r.Name) }})
	var b strings.Builder
	var order []string
	for _, r := range s.Tests {
		order = append(order, r.Name)
		fmt.Fprintf(&b, "%s: passed %v, %d assertions\n", r.Name, r.Passed, r.Assertions)
		if r.Error != "" {
			fmt.Fprintf(&b, "  error: %s\n", r.Error)
		}
		for _, f := range r.Failures {
			fmt.Fprintf(&b, "  %s\n", f)
		}
		for _, f := range r.Disregarded {
			fmt.Fprintf(&b, "  disregarded: %s\n", f)
		}
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d in all\n", s.Passed, s.Failed, s.Total)
	if !reflect.DeepEqual(told, order) {
		t.Errorf("Each was told of %v, want %v", told, order)
	}
	golden := filepath.FromSlash("testdata/hub.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	compareResults(t, run(t, hubtest.Options{Hub: smallHub, Reference: true}), s)
}

func TestNamesChooseTheTests(t *testing.T) {
	s := run(t, hubtest.Options{Hub: smallHub, Names: []string{"passes", "fails", "passes"}})
	if s.Total != 2 || s.Tests[0].Name != "fails" || s.Tests[1].Name != "passes" {
		t.Errorf("ran %+v, want fails and passes, each once", s.Tests)
	}
	for _, tc := range []struct {
		name string
		o    hubtest.Options
		want string
	}{
		{"a name that no test has", hubtest.Options{Hub: smallHub, Names: []string{"pases"}}, `the hub has no test "pases"`},
		{"a folder without tests", hubtest.Options{Hub: smallHub + "/parsers"}, "give the folder that holds tests/"},
		{"a hub of no tests", hubtest.Options{Hub: "testdata/empty"}, "holds no tests"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.o.Hub == "testdata/empty" {
				tc.o.Hub = t.TempDir()
				if err := os.Mkdir(filepath.Join(tc.o.Hub, "tests"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := hubtest.Run(t.Context(), tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestARunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hubtest.Run(ctx, hubtest.Options{Hub: smallHub, Parallel: 2}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}
