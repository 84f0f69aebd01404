package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/app"
	"sluice/cmd/internal/reference"
	"sluice/pipeline/component"
	"sluice/sinks/outbox"
	"sluice/stages/decide"
)

// readPage reads the page that describes the configuration.
func readPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.FromSlash("../../docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

var row = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([^|]*) \\| ([^|]*) ?\\| (.+) \\|$")

// tables returns the rows of the page as "key: type, default", by heading.
func tables(page string) map[string][]string {
	out := make(map[string][]string)
	for _, part := range regexp.MustCompile(`(?m)^##+ `).Split(page, -1)[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		for _, m := range row.FindAllStringSubmatch(body, -1) {
			out[heading] = append(out[heading], fmt.Sprintf("%s: %s, %s", m[1], strings.TrimSpace(m[2]), strings.TrimSpace(m[3])))
		}
	}
	return out
}

// described returns what the rows of a configuration's table must say.
func described(config any) []string {
	v := reflect.ValueOf(config)
	var out []string
	for i := range v.NumField() {
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if key == "" {
			continue
		}
		kind, value := kindOf(v.Type().Field(i).Type), ""
		switch f := v.Field(i); {
		case f.Type() == reflect.TypeFor[time.Duration]():
			value = f.Interface().(time.Duration).String()
			for _, zero := range []string{"m0s", "h0m"} { // 10m, not 10m0s
				if whole, ok := strings.CutSuffix(value, zero); ok {
					value = whole + zero[:1]
				}
			}
		case kind == "string" || kind == "bool" || kind == "number" || kind == "size":
			value = fmt.Sprint(f.Interface())
		}
		out = append(out, fmt.Sprintf("%s: %s, %s", key, kind, value))
	}
	return out
}

func kindOf(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t == reflect.TypeFor[component.Bytes]():
		return "size"
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list of " + kindOf(t.Elem()) + "s"
	case reflect.Map:
		return "map of " + kindOf(t.Elem()) + "s"
	}
	return "mapping"
}

// TestEveryKeyIsDocumented holds the tables of the page to the structs that
// files are decoded into: the same keys, types and defaults. Those of sources
// and sinks are on pages of their own, which TestReference writes.
func TestEveryKeyIsDocumented(t *testing.T) {
	config := app.Default()
	want := map[string][]string{
		"Pipeline's file": append(described(config), "sources: list of mappings, ", "sinks: list of mappings, ", "dead_letters: mapping, "),
		"rules":           described(config.Rules),
		"pipeline":        described(config.Pipeline),
		"state":           described(config.State),
		"outbox":          described(config.Outbox),
		"Sinks":           described(reference.SinkKeys{}),
		"batching":        described(outbox.Batching{}),
		"retry":           described(outbox.DefaultRetry()),
		"retry.budget":    described(outbox.DefaultRetry().Budget),
		"retry.breaker":   described(outbox.DefaultRetry().Breaker),
		"dead_letters":    append(described(app.DefaultDeadLetters()), "kafka: mapping, ", "file: mapping, "),
		"simulation":      described(config.Simulation),
		"profiles":        described(decide.Profile{}),
		"decisions":       described(decide.Template{}),
		"allowlists":      described(decide.Allowlist{}),
		"items":           described(decide.AllowlistItem{}),
	}
	got := tables(readPage(t))
	for heading, rows := range want {
		slices.Sort(rows)
		have := slices.Sorted(slices.Values(got[heading]))
		if !slices.Equal(have, rows) {
			t.Errorf("the table of %q differs from the code\npage: %s\ncode: %s", heading, strings.Join(have, "\n      "), strings.Join(rows, "\n      "))
		}
	}
	for heading := range got {
		if want[heading] == nil {
			t.Errorf("the table of %q describes nothing that there is", heading)
		}
	}
}

// link is one to a heading of a page in docs, as [text](page.md#heading).
var link = regexp.MustCompile(`\]\(([a-z-]*\.md)?(#[a-z0-9_-]+)?\)`)

// TestLinksBetweenPagesLeadSomewhere follows the links between the pages of docs.
func TestLinksBetweenPagesLeadSomewhere(t *testing.T) {
	files, err := filepath.Glob(filepath.FromSlash("../../docs/*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	texts, headings := make(map[string]string), make(map[string]bool)
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		page := filepath.Base(path)
		texts[page], headings[page] = string(text), true
		for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
			headings[page+"#"+reference.Anchor(m[1])] = true
		}
	}
	for page, text := range texts {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to := m[1]
			if to == "" {
				to = page
			}
			if !headings[to+m[2]] {
				t.Errorf("%s has a link to %s%s, which is not there", page, to, m[2])
			}
		}
	}
}

// TestExamplesOfThePageAreSound checks the page's configurations, and those that are shipped.
func TestExamplesOfThePageAreSound(t *testing.T) {
	rules, err := filepath.Abs(filepath.FromSlash("../../configs/rules"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.FromSlash("../../configs/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no configurations: %v", err)
	}
	for i, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readPage(t), -1) {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("example%d.yaml", i+1))
		text := strings.ReplaceAll(m[1], "configs/rules", filepath.ToSlash(rules))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, path)
	}
	t.Setenv("SLUICE_HTTP_TOKEN", "a token that the environment must give: there is no safe default")
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, err := app.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			report, err := app.Check(c, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if report.Skipped > 0 || report.Scenarios == 0 {
				t.Errorf("%v", report)
			}
		})
	}
}
