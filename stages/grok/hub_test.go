package grok

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// hubDir returns the folder of the hub, or skips the test.
func hubDir(t testing.TB) string {
	t.Helper()
	hub := os.Getenv("SLUICE_HUB")
	if hub == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for dir != filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			dir = filepath.Dir(dir)
		}
		hub = filepath.Join(dir, "..", "shared", "hub")
	}
	if _, err := os.Stat(filepath.Join(hub, "parsers")); err != nil {
		t.Skip("hub not found: set SLUICE_HUB to a folder that holds it")
	}
	return hub
}

// hubLibrary is the given library with the hub's patterns.
func hubLibrary(t testing.TB, hub string, base *Library) *Library {
	t.Helper()
	if err := base.LoadDir(filepath.Join(hub, "patterns")); err != nil {
		t.Fatal(err)
	}
	return base
}

// hubExpression is a grok expression of one of the hub's files.
type hubExpression struct {
	file, expr string
	scope      *Library
}

// hubExpressions collects the grok expressions of all parsers and postoverflows.
func hubExpressions(t testing.TB, hub string, library *Library) []hubExpression {
	t.Helper()
	var out []hubExpression
	for _, root := range []string{"parsers", "postoverflows"} {
		err := filepath.WalkDir(filepath.Join(hub, root), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".yaml") {
				return err
			}
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			scope := library.Scope()
			var found []string
			decoder := yaml.NewDecoder(file)
			for {
				var doc map[string]any
				if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					return err
				}
				collectGrok(doc, scope, &found)
			}
			for _, expr := range found {
				out = append(out, hubExpression{file: filepath.Base(path), expr: expr, scope: scope})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// collectGrok finds the grok expressions of a node and its children.
func collectGrok(node map[string]any, scope *Library, found *[]string) {
	if names, ok := node["pattern_syntax"].(map[string]any); ok {
		for name, pattern := range names {
			if text, ok := pattern.(string); ok {
				_ = scope.Add(name, text) // defined twice: the first stands, as it does for CrowdSec
			}
		}
	}
	if grok, ok := node["grok"].(map[string]any); ok {
		if pattern, ok := grok["pattern"].(string); ok && pattern != "" {
			*found = append(*found, pattern)
		}
		if name, ok := grok["name"].(string); ok && name != "" {
			*found = append(*found, "%{"+name+"}")
		}
	}
	children, _ := node["nodes"].([]any)
	for _, child := range children {
		if m, ok := child.(map[string]any); ok {
			collectGrok(m, scope, found)
		}
	}
}

// hubLines collects the lines of all test logs, and the parts of them that
// parsers see: what follows a syslog tag, and the strings of JSON lines.
func hubLines(t testing.TB, hub string) []string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(hub, "tests", "*", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("the hub's tests have no logs: %v", err)
	}
	var out []string
	known := make(map[string]bool)
	add := func(s string) {
		if s != "" && !known[s] {
			known[s] = true
			out = append(out, s)
		}
	}
	for _, log := range logs {
		content, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(content), "\n") {
			line = strings.TrimSuffix(line, "\r")
			if (testing.Short() || raceEnabled) && !sampled("", line, 12) {
				continue
			}
			add(line)
			for _, separator := range []string{": ", "]: "} {
				if _, message, ok := strings.Cut(line, separator); ok {
					add(message)
				}
			}
			if at := strings.IndexByte(line, '{'); at >= 0 {
				var value any
				if json.Unmarshal([]byte(line[at:]), &value) == nil {
					addStrings(value, add)
				}
			}
		}
	}
	return out
}

func addStrings(value any, add func(string)) {
	switch v := value.(type) {
	case string:
		add(v)
	case []any:
		for _, element := range v {
			addStrings(element, add)
		}
	case map[string]any:
		for _, element := range v {
			addStrings(element, add)
		}
	}
}
