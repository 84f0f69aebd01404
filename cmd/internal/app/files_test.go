package app

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "sluice/sources/file"
)

// inFolder changes to a new folder, which holds a link to itself called here
// and, where there is to be a file, alerts.jsonl.
func inFolder(t *testing.T, file bool) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.Symlink(".", "here"); err != nil {
		t.Fatal(err)
	}
	if file {
		if err := os.WriteFile("alerts.jsonl", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFileHasOneWriterAndNoReader(t *testing.T) {
	rules, err := filepath.Abs(filepath.FromSlash("../../../configs/rules"))
	if err != nil {
		t.Fatal(err)
	}
	const (
		twice = "c.yaml:4:80: path: sink b writes the file %s, and so does sink a (path: alerts.jsonl); give each a file of its own"
		loop  = "c.yaml:3:23: paths: source file reads the file alerts.jsonl, which sink a writes (path), so that what is written is read as lines again; name the file under exclude"
	)
	for _, tc := range []struct{ name, paths, b, more, want string }{
		{name: "files of their own", b: "path: others.jsonl"},
		{name: "two sinks on one path", b: "path: alerts.jsonl", want: fmt.Sprintf(twice, "alerts.jsonl")},
		{name: "over the folder itself", b: "path: ./alerts.jsonl", want: fmt.Sprintf(twice, "./alerts.jsonl")},
		{name: "over a linked folder", b: "path: here/alerts.jsonl", want: fmt.Sprintf(twice, "here/alerts.jsonl")},
		{name: "one name in two folders", b: "path: " + filepath.Join(t.TempDir(), "alerts.jsonl")},
		{name: "standard output twice", b: "path: '-'}, {type: file, name: c, path: '-'"},
		{name: "dead letters", b: "path: others.jsonl", more: "dead_letters: {file: {path: here/others.jsonl}}",
			want: "c.yaml:5:29: path: dead_letters writes the file here/others.jsonl, and so does sink b (path: others.jsonl)"},
		{name: "a source of the file", paths: "alerts.jsonl", b: "path: others.jsonl", want: loop},
		{name: "a pattern of a source", paths: "*.jsonl", b: "path: others.jsonl", want: loop},
		{name: "a pattern over links", paths: "h*/a*", b: "path: others.jsonl", want: loop},
		{name: "a pattern that excludes it", paths: "*.jsonl'], exclude: ['alerts.*', 'others.*", b: "path: others.jsonl"},
		{name: "another pattern", paths: "*.log", b: "path: others.jsonl"},
	} {
		for state, there := range map[string]bool{"there": true, "not there yet": false} {
			t.Run(tc.name+", "+state, func(t *testing.T) {
				inFolder(t, there)
				text := fmt.Sprintf("rules: {roots: [%s], collections: [sluice/linux]}\n"+
					"sources:\n- {type: file, paths: ['%s']}\nsinks: [{type: file, name: a, path: alerts.jsonl}, {type: file, name: b, %s}]\n%s\n",
					rules, cmp.Or(tc.paths, "auth.log"), tc.b, tc.more)
				if err := os.WriteFile("c.yaml", []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				c, err := Load("c.yaml")
				if err != nil {
					t.Fatal(err)
				}
				_, err = Check(c, slog.New(slog.DiscardHandler))
				if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
					t.Errorf("got  %v\nwant %s", err, tc.want)
				}
			})
		}
	}
}
