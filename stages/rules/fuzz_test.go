package rules

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"
)

// FuzzParse reads anything as each kind of rule file: it must neither panic
// nor accept a rule without what later steps rely on.
func FuzzParse(f *testing.F) {
	_ = filepath.WalkDir("testdata/load", func(p string, e fs.DirEntry, err error) error {
		if err == nil && isYAML(p) {
			if src, err := os.ReadFile(p); err == nil {
				f.Add(src)
			}
		}
		return nil
	})
	archives, _ := filepath.Glob("testdata/errors/*.txtar")
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			f.Add(file.Data)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, k := range kinds() {
			c := parseFile(k, "s00-raw", "f.yaml", src)
			for _, n := range c.nodes {
				if n.Name == "" {
					t.Error("a parser without a name is accepted")
				}
			}
			for _, s := range c.scenarios {
				if s.Name == "" || s.Filter.Value == "" || s.Type == "" || s.Hash == "" {
					t.Errorf("an incomplete scenario is accepted: %+v", s)
				}
			}
			for _, errs := range c.broken {
				if len(errs) == 0 || errs.Error() == "" || errs[0].Detail() == "" {
					t.Error("a fault without words")
				}
			}
		}
	})
}
