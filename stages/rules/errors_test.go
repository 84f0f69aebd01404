package rules

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

// unpack writes an archive's files into a new folder.
func unpack(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range a.Files {
		p := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// golden compares got with the archive's file want, or rewrites it.
func golden(t *testing.T, name string, a *txtar.Archive, got string) {
	t.Helper()
	for i, f := range a.Files {
		if f.Name != "want" {
			continue
		}
		if *update {
			a.Files[i].Data = []byte(got)
			break
		}
		if string(f.Data) != got {
			t.Errorf("%s differs; rewrite it with -update\n--- got\n%s--- want\n%s", name, got, f.Data)
		}
		return
	}
	if !*update {
		t.Fatalf("%s has no part named want; write it with -update", name)
	}
	if a.Files[len(a.Files)-1].Name != "want" {
		a.Files = append(a.Files, txtar.File{Name: "want", Data: []byte(got)})
	}
	if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestErrorsNameThePlaceAndWhatWasMeant loads folders of broken rules and
// compares the messages, in strict mode and otherwise.
func TestErrorsNameThePlaceAndWhatWasMeant(t *testing.T) {
	archives, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dir := unpack(t, a)
			root := filepath.Join(dir, "root")
			set, err := Load(Options{Roots: []string{root}, Strict: true})
			if set != nil || err == nil {
				t.Fatal("a broken folder loads in strict mode")
			}
			var one *Error
			if !errors.As(err, &one) {
				t.Errorf("the error is a %T, not an *Error", err)
			}
			got := strings.ReplaceAll(err.Error(), dir+"/", "") + "\n"
			set, err = Load(Options{Roots: []string{root}})
			if err != nil {
				t.Fatalf("a broken folder does not load: %v", err)
			}
			got += "\nloaded otherwise:"
			for _, n := range set.Parsers {
				got += " " + n.Name
			}
			for _, s := range set.Scenarios {
				got += " " + s.Name
			}
			golden(t, name, a, got+"\n")
		})
	}
}

func TestDetailMarksTheColumn(t *testing.T) {
	_, err := ParseScenarios("s.yaml", []byte("type: trigger\nname: a/b\nfilter: x\nlabels:\n\"\\ttab\": 1\n"))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	want := "s.yaml:5:1: a scenario has no key \"\\ttab\" (in a/b)\n  5 | \"\\ttab\": 1\n    | ^"
	if got := e.Detail(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAFileThatIsTooLargeIsRefused(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "scenarios", "acme")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("# filler\n", 10<<20/9)
	if err := os.WriteFile(filepath.Join(dir, "big.yaml"), []byte(big), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Load(Options{Roots: []string{root}, Strict: true})
	if err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("got %v, want a message about the size", err)
	}
}

func TestBytesThatAreNoTextAreRefusedWithTheirLine(t *testing.T) {
	_, err := ParseScenarios("s.yaml", []byte("type: trigger\nname: a/\xff\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "s.yaml:2:1: the file is not UTF-8 here") {
		t.Errorf("got %v", err)
	}
}

func TestAnEntryOfTheOptionsThatNamesNothingIsAlwaysAnError(t *testing.T) {
	root := filepath.Join("testdata", "load", "first")
	for _, tc := range []struct {
		name string
		opts Options
		want string
	}{
		{"a misspelt collection", Options{Collections: []string{"acme/hous"}}, `rules: no collection "acme/hous" below testdata/load/first; did you mean "acme/house"?`},
		{"a scenario without its author", Options{Scenarios: []string{"door-bf"}}, `rules: no scenario "door-bf" below testdata/load/first; did you mean "acme/door-bf"?`},
		{"a path that is not there", Options{Parsers: []string{"./parsers/s01-parse/acme/gate.yaml"}}, `rules: no file "./parsers/s01-parse/acme/gate.yaml" below testdata/load/first`},
		{"a parser's path without a stage", Options{Parsers: []string{"collections/acme/house.yaml"}}, `rules: "collections/acme/house.yaml" has no stage; its path must hold parsers/<stage>/`},
		{"no root", Options{Roots: []string{}}, "rules: no folder of rules is given"},
		{"a root that is not there", Options{Roots: []string{"testdata/nowhere"}}, `rules: folder "testdata/nowhere" cannot be read: stat testdata/nowhere: no such file or directory`},
		{"a root that is a file", Options{Roots: []string{"types.go"}}, `rules: "types.go" is a file; give the folder that holds parsers/ and scenarios/`},
		{"a root without rules", Options{Roots: []string{"testdata"}}, `rules: "testdata" holds none of parsers/, scenarios/, postoverflows/, collections/ or contexts/`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.opts.Roots == nil {
				tc.opts.Roots = []string{root}
			}
			_, err := Load(tc.opts)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}
