package match

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
	"sluice/stages/rules"
)

// newHubBench compiles all scenarios of the hub, with their data files.
func newHubBench(t testing.TB) (*bench, []*rules.Scenario) {
	t.Helper()
	set, err := rules.Load(rules.Options{Roots: []string{hubDir(t)}, All: true, TestData: true})
	if err != nil {
		t.Fatal(err)
	}
	data := funcs.NewData()
	for _, f := range set.Data {
		if f.Path == "" {
			continue
		}
		if err := data.Load(f.DestFile, f.Path, f.Type, funcs.LoadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b := newBenchWith(t, set.Scenarios, data, -1)
	for _, err := range b.errs {
		// evt.Appsec belongs to CrowdSec's own HTTP server.
		if !strings.Contains(err.Error(), "Appsec") {
			t.Error(err)
		}
	}
	return b, set.Scenarios
}

func hubDir(t testing.TB) string {
	t.Helper()
	hub := os.Getenv("SLUICE_HUB")
	if hub == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
		}
		hub = filepath.Join(dir, "..", "shared", "hub")
	}
	if _, err := os.Stat(filepath.Join(hub, "scenarios")); err != nil {
		t.Skip("hub not found: set SLUICE_HUB to a checkout of the hub to run this test on its rules")
	}
	return hub
}

var (
	fieldInFilter = regexp.MustCompile(`evt\.(Meta|Parsed|Enriched)\.(\w+)`)
	textInFilter  = regexp.MustCompile(`'([^']*)'|"([^"]*)"`)
)

// mentioned are the fields and literals of a filter, in its order.
func mentioned(filter string) (fields []pipeline.Field, literals []string) {
	spaces := map[string]pipeline.Namespace{"Meta": pipeline.Meta, "Parsed": pipeline.Parsed, "Enriched": pipeline.Enriched}
	for _, m := range fieldInFilter.FindAllStringSubmatch(filter, -1) {
		fields = append(fields, pipeline.Field{Space: spaces[m[1]], Name: m[2]})
	}
	for _, m := range textInFilter.FindAllStringSubmatch(filter, -1) {
		literals = append(literals, strings.ReplaceAll(m[1]+m[2], `\\`, `\`))
	}
	return fields, literals
}

// nextTo guesses a value for each field of a filter: the literal that follows it.
func nextTo(filter string) map[pipeline.Field]string {
	out := make(map[pipeline.Field]string)
	places := fieldInFilter.FindAllStringIndex(filter, -1)
	for i, at := range places {
		end := len(filter)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		fields, literals := mentioned(filter[at[0]:end])
		if _, done := out[fields[0]]; len(literals) > 0 && !done {
			out[fields[0]] = literals[0]
		}
	}
	return out
}

// TestHub compiles the whole hub once and looks at it from several sides.
func TestHub(t *testing.T) {
	b, scenarios := newHubBench(t)
	t.Run("routing", func(t *testing.T) { checkHubRouting(t, b, scenarios) })
	t.Run("match equals the plain loop", func(t *testing.T) { checkHubMatch(t, b, scenarios) })
}

// checkHubMatch runs the hub on events made of the words of its filters, so
// that many are true.
func checkHubMatch(t *testing.T, b *bench, scenarios []*rules.Scenario) {
	t.Logf("%d documents, index %+v", b.fast.Len(), b.fast.IndexStats())
	rng := rand.New(rand.NewPCG(11, 12))
	step := 1
	if testing.Short() {
		step = 5
	}
	tried, poured, hit := 0, 0, make(map[int32]bool)
	for i := 0; i < len(scenarios); i += step {
		tried++
		for _, p := range b.matchFields(t, guessEvent(rng, scenarios[i].Filter.Value)...) {
			poured++
			hit[p.Scenario] = true
		}
	}
	t.Logf("%d events, %d pours into %d documents", tried, poured, len(hit))
	if len(hit) < tried/3 {
		t.Errorf("%d events pour into %d documents only: they do not test much", tried, len(hit))
	}
}

// guessEvent makes an event that a filter is likely to be true on.
func guessEvent(rng *rand.Rand, filter string) []field {
	values := nextTo(filter)
	values[pipeline.Field{Space: pipeline.Meta, Name: "source_ip"}] = []string{"192.0.2.1", "2001:db8::7", ""}[rng.IntN(3)]
	fields, literals := mentioned(filter)
	if len(fields) > 0 && len(literals) > 0 && rng.IntN(3) == 0 { // another value for one of them
		values[fields[rng.IntN(len(fields))]] += "-" + literals[rng.IntN(len(literals))]
	}
	var made []field
	for f, v := range values {
		made = append(made, field{f, v})
	}
	return made
}

// checkHubRouting compares the routes with what the groupbys look like.
func checkHubRouting(t *testing.T, b *bench, scenarios []*rules.Scenario) {
	for i, sc := range scenarios {
		if !b.fast.Compiled(int32(i)) {
			continue
		}
		want := strings.HasPrefix(sc.GroupBy.Value, "evt.Meta.source_ip")
		if got := b.fast.RoutedBySourceIP(int32(i)); got != want {
			t.Errorf("%s, groupby %q: by address %v, want %v", sc.Name, sc.GroupBy.Value, got, want)
		}
		if got, want := b.fast.Consumer(int32(i)), strings.Contains(sc.Filter.Value, "evt.GetType()"); got != want {
			t.Errorf("%s: takes alerts %v, want %v", sc.Name, got, want)
		}
	}
}

func accessEvent(b *bench) *pipeline.Event {
	return b.event(
		meta("service", "http"), meta("log_type", "http_access-log"), meta("source_ip", "192.0.2.17"),
		meta("http_path", "/wp-content/themes/twentyten/style.css"), meta("http_status", "200"), meta("http_verb", "GET"),
		meta("http_user_agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
		parsed("request", "/wp-content/themes/twentyten/style.css"), parsed("verb", "GET"), parsed("http_version", "1.1"),
		parsed("http_user_agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
		parsed("program", "nginx"), parsed("file_name", "style.css"), parsed("file_ext", ".css"), parsed("static_ressource", "true"),
		parsed("http_args", ""), parsed("target_fqdn", "example.org"),
	)
}

func processEvent(b *bench) *pipeline.Event {
	return b.event(
		meta("service", "sysmon"), parsed("EventID", "1"),
		parsed("Image", `C:\Program Files\Editor\editor.exe`), parsed("ParentImage", `C:\Windows\explorer.exe`),
		parsed("CommandLine", `"C:\Program Files\Editor\editor.exe" --open "C:\Users\alice\Documents\notes.txt"`),
		parsed("ParentCommandLine", `C:\Windows\explorer.exe`), parsed("OriginalFileName", "editor.exe"),
		parsed("User", `EXAMPLE\alice`), parsed("IntegrityLevel", "Medium"), parsed("ParentProcessId", "4711"),
		parsed("CurrentDirectory", `C:\Users\alice\`), parsed("Product", "Editor"), parsed("Description", "An editor"), parsed("Company", "Example"),
	)
}

func BenchmarkHubMatch(b *testing.B) {
	bn, _ := newHubBench(b)
	for _, c := range []struct {
		name string
		ev   *pipeline.Event
	}{
		{"http access", accessEvent(bn)},
		{"process creation", processEvent(bn)},
		{"nobody's", bn.event(meta("service", "cron"), meta("log_type", "cron"), parsed("program", "cron"))},
	} {
		// The events are reset and filled again, since memos last as long as a line.
		var fields []field
		for s := range bn.schema.Len() {
			if c.ev.Has(pipeline.Slot(s)) {
				fields = append(fields, field{bn.schema.Field(pipeline.Slot(s)), c.ev.Get(pipeline.Slot(s))})
			}
		}
		fill := func() {
			c.ev.Reset()
			for _, f := range fields {
				c.ev.Set(bn.schema.Lookup(f.Space, f.Name), f.value)
			}
		}
		ctx := &expression.Context{Event: c.ev}
		b.Run(c.name, func(b *testing.B) {
			out := make([]pipeline.Pour, 0, 1024)
			pours, candidates := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				fill()
				out = bn.runner.Match(ctx, 0, &bn.keep, &bn.arena, out[:0])
				bn.arena.Reset()
				pours = len(out)
			}
			candidates = count(bn.runner.search.alive)
			b.ReportMetric(float64(pours), "pours")
			b.ReportMetric(float64(candidates), "candidates")
		})
		b.Run(c.name+", index alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				fill()
				bn.fast.index.candidates(&bn.runner.search, bn.fast.compiler, ctx)
			}
		})
		b.Run(c.name+", filling the event", func(b *testing.B) {
			for b.Loop() {
				fill()
			}
		})
	}
}
