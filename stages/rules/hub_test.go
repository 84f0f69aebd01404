package rules

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// hub returns the folder of CrowdSec's public rules, or skips.
func hub(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SLUICE_HUB")
	if dir == "" {
		root, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
				break
			}
			if root == filepath.Dir(root) {
				t.Fatal("no go.mod above the package")
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "..", "shared", "hub")
	}
	if _, err := os.Stat(filepath.Join(dir, "scenarios")); err != nil {
		t.Skip("hub not found: set SLUICE_HUB to a folder with the hub's parsers/ and scenarios/")
	}
	return dir
}

func TestTheWholeHubLoadsStrictly(t *testing.T) {
	root := hub(t)
	set := mustLoad(t, Options{Roots: []string{root}})
	index, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	files := map[Kind]int{}
	for _, it := range set.Items {
		files[it.Kind]++
	}
	if len(set.Items) != len(index.Items()) {
		t.Errorf("%d items loaded of %d", len(set.Items), len(index.Items()))
	}
	t.Logf("files %v; %d parsers, %d postoverflows, %d scenarios, %d contexts, %d data files",
		files, len(set.Parsers), len(set.Postoverflows), len(set.Scenarios), len(set.Contexts), len(set.Data))
	if len(set.Parsers) < files[Parsers] || len(set.Scenarios) < files[Scenarios] {
		t.Error("there are fewer documents than files")
	}
	for _, d := range set.Data {
		if d.Path == "" {
			t.Errorf("%s: data file %s has no path", d.Pos, d.DestFile)
		}
	}
}

// TestTextsOfTheHubStandWhereTheySay looks each text up in its file.
func TestTextsOfTheHubStandWhereTheySay(t *testing.T) {
	set := mustLoad(t, Options{Roots: []string{hub(t)}})
	lines := map[string][]string{}
	checked := 0
	eachText(reflect.ValueOf(set), func(x Text) {
		if strings.TrimSpace(x.Value) == "" {
			return
		}
		checked++
		file := x.Pos.File
		if lines[file] == nil {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			lines[file] = strings.Split(strings.ReplaceAll(string(src), "\r\n", "\n"), "\n")
		}
		rest := ""
		if l := lines[file]; x.Pos.Line >= 1 && x.Pos.Line <= len(l) && x.Pos.Column >= 1 {
			if r := []rune(l[x.Pos.Line-1]); x.Pos.Column <= len(r) {
				rest = string(r[x.Pos.Column-1:])
			} else if x.Pos.Line < len(l) {
				rest = l[x.Pos.Line] // quotes that open at the end of a line
			}
		}
		// A value may hold characters that its quotes escape; its first ones do for a place.
		want, _, _ := strings.Cut(x.Value, "\n")
		want = strings.TrimSpace(want[:min(len(want), 12)])
		rest = strings.TrimLeft(rest, " ")
		want, _, _ = strings.Cut(want, `\`)
		want, _, _ = strings.Cut(want, `"`)
		want, _, _ = strings.Cut(want, `'`)
		if !strings.HasPrefix(rest, want) {
			t.Errorf("%s: text %q, but the file has %q", x.Pos, cut(x.Value, 40), cut(rest, 40))
		}
	})
	if checked < 4000 {
		t.Errorf("only %d texts were looked up", checked)
	}
}

// eachText calls f with each Text inside a value.
func eachText(v reflect.Value, f func(Text)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachText(v.Elem(), f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachText(v.Index(i), f)
		}
	case reflect.Struct:
		if x, ok := v.Interface().(Text); ok {
			if x.Set {
				f(x)
			}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				eachText(v.Field(i), f)
			}
		}
	}
}

func TestEveryTestOfTheHubSelectsItsItems(t *testing.T) {
	root := hub(t)
	configs, err := filepath.Glob(filepath.Join(root, "tests", "*", "config.yaml"))
	if err != nil || len(configs) == 0 {
		t.Skip("hub not found: it has no tests/")
	}
	index, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range configs {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c struct{ Parsers, Scenarios, Postoverflows, Collections []string }
		if err := yaml.Unmarshal(src, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		set, err := Load(Options{Roots: []string{root}, Index: index, TestData: true, Strict: true, PathRoots: []string{root, filepath.Dir(file)},
			Parsers: c.Parsers, Scenarios: c.Scenarios, Postoverflows: c.Postoverflows, Collections: c.Collections})
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(filepath.Dir(file)), err)
			continue
		}
		named := slices.ContainsFunc(append(c.Scenarios, c.Collections...), func(s string) bool { return s != "" })
		if named && len(set.Scenarios) == 0 || len(set.Parsers) == 0 {
			t.Errorf("%s: %d parsers, %d scenarios", filepath.Base(filepath.Dir(file)), len(set.Parsers), len(set.Scenarios))
		}
	}
}

// BenchmarkLoadHub loads all of the hub: files, YAML, checks and data look-ups.
func BenchmarkLoadHub(b *testing.B) {
	root := hub(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(Options{Roots: []string{root}}); err != nil {
			b.Fatal(err)
		}
	}
}
