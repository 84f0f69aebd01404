package expression

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"sluice/pipeline"
	"sluice/stages/expression/funcs"
)

// hubDir finds the hub or skips the test.
func hubDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SLUICE_HUB")
	if dir == "" {
		dir, _ = os.Getwd()
		for {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
				break
			}
			dir = filepath.Dir(dir)
		}
		dir = filepath.Join(dir, "..", "shared", "hub")
	}
	if _, err := os.Stat(filepath.Join(dir, "scenarios")); err != nil {
		t.Skip("hub not found: set SLUICE_HUB to a folder with parsers, scenarios and data")
	}
	return dir
}

// hubExpressions are the expressions of all rules, each once: over evt, over
// buckets, and of alert contexts.
type hubExpressions struct {
	events, queues, contexts []string
	data                     *funcs.Data
	seen                     map[string]bool
}

func loadHub(t testing.TB) *hubExpressions {
	dir := hubDir(t)
	h := &hubExpressions{data: funcs.NewData(), seen: make(map[string]bool)}
	for _, folder := range []string{"parsers", "scenarios", "postoverflows", "contexts"} {
		err := filepath.WalkDir(filepath.Join(dir, folder), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".yaml") && !strings.HasSuffix(file, ".yml") {
				return err
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for doc := range strings.SplitSeq("\n"+string(raw), "\n---") {
				var v any
				if err := yaml.Unmarshal([]byte(doc), &v); err != nil {
					return fmt.Errorf("%s: %w", file, err)
				}
				h.collect(dir, "", v)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *hubExpressions) collect(dir, key string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if key == "context" {
			for _, list := range v {
				for _, e := range list.([]any) {
					h.add(&h.contexts, e)
				}
			}
			return
		}
		if source, ok := v["dest_file"].(string); ok {
			h.load(dir, source, v)
			return
		}
		if key == "stash" || key == "" && v["value"] != nil && v["ttl"] != nil {
			h.add(&h.events, v["key"])
			h.add(&h.events, v["value"])
			return
		}
		for k, e := range v {
			h.collect(dir, k, e)
		}
	case []any:
		for _, e := range v {
			if key == "expression" {
				h.add(&h.events, e)
			} else {
				h.collect(dir, key, e)
			}
		}
	case string:
		switch key {
		case "filter", "expression", "groupby", "distinct", "cancel_on":
			h.add(&h.events, v)
		case "overflow_filter", "condition":
			h.add(&h.queues, v)
		}
	}
}

func (h *hubExpressions) add(to *[]string, v any) {
	if s, ok := v.(string); ok && strings.TrimSpace(s) != "" && !h.seen[s] {
		h.seen[s] = true
		*to = append(*to, s)
	}
}

func (h *hubExpressions) load(dir, dest string, entry map[string]any) {
	kind, _ := entry["type"].(string)
	url, _ := entry["source_url"].(string)
	for _, name := range []string{path.Base(url), dest} {
		file := filepath.Join(dir, "data", name)
		if _, err := os.Stat(file); err == nil {
			_ = h.data.Load(dest, file, kind, funcs.LoadOptions{}) // what cannot be loaded stays unloaded for both ways
			return
		}
	}
}

// TestHubExpressionsEqualReference holds every expression of the hub, on
// events made of its own literals, to the plain VM.
func TestHubExpressionsEqualReference(t *testing.T) {
	h := loadHub(t)
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	var fast, trues, errs, texts int
	for i, src := range h.events {
		d, err := newDiffer(src, h.data)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		r := rand.New(rand.NewPCG(1, uint64(i)))
		for range rounds {
			if problem := d.compare(r); problem != "" {
				t.Errorf("%s\n%s", src, problem)
				break
			}
		}
		f, v := d.compiled.Fast()
		if f {
			fast++
		}
		if v {
			texts++
		}
		trues += d.trues
		errs += d.errs
	}
	t.Logf("%d expressions: %d fast filters, %d fast values; %d runs were true, %d failed", len(h.events), fast, texts, trues, errs)
	if trues < len(h.events)/2 {
		t.Errorf("only %d runs gave true: the events are too unlike the rules", trues)
	}
}

func TestHubQueuesAndContextsCompile(t *testing.T) {
	h := loadHub(t)
	c := NewCompiler(pipeline.NewSchema(), h.data, Options{})
	for _, src := range h.queues {
		if _, err := c.CompileQueue(src); err != nil {
			t.Errorf("%s: %v", src, err)
		}
	}
	for _, src := range h.contexts {
		if _, err := c.CompileView(src, map[string]any{"match": map[string]any{}, "alert": (*pipeline.RuntimeAlert)(nil), "req": (*http.Request)(nil)}); err != nil {
			t.Errorf("%s: %v", src, err)
		}
	}
	t.Logf("%d queue expressions, %d contexts", len(h.queues), len(h.contexts))
}
