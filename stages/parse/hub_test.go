package parse

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/stages/enrich"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
	"sluice/stages/grok"
	"sluice/stages/rules"
)

func hubDir(t testing.TB) string {
	t.Helper()
	hub := os.Getenv("SLUICE_HUB")
	if hub == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for !exists(filepath.Join(dir, "go.mod")) {
			dir = filepath.Dir(dir)
		}
		hub = filepath.Join(dir, "..", "shared", "hub")
	}
	if !exists(filepath.Join(hub, "parsers")) {
		t.Skip("hub not found: set SLUICE_HUB to the folder that holds parsers/, data/ and tests/")
	}
	return hub
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// hubBench compiles the hub's parsers: all, or those of collections.
func hubBench(t testing.TB, reference bool, collections ...string) *bench {
	t.Helper()
	b, errs := compileHub(t, reference, collections...)
	for _, err := range errs {
		t.Log(err) // TestTheWholeHubCompiles fails of it
	}
	return b
}

func compileHub(t testing.TB, reference bool, collections ...string) (*bench, []error) {
	t.Helper()
	hub := hubDir(t)
	set, err := rules.Load(rules.Options{Roots: []string{hub}, Collections: collections, TestData: true, Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	data := funcs.NewData()
	for _, f := range set.Data {
		if f.Path != "" && f.Type != "" {
			if err := data.Load(f.DestFile, f.Path, f.Type, funcs.LoadOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	library := grok.NewLibrary()
	for _, dir := range set.PatternDirs {
		if err := library.LoadDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	schema := pipeline.NewSchema()
	methods, err := enrich.New(schema, enrich.Options{Data: set.Data})
	if err != nil {
		t.Fatal(err)
	}
	p, errs := Compile(set.Parsers, Options{
		Schema: schema, Library: library, Enrich: methods, Reference: reference,
		Compiler: expression.NewCompiler(schema, data, expression.Options{Reference: reference}),
	})
	_, more := Compile(set.Postoverflows, Options{
		Schema: schema, Library: library, Enrich: methods, Reference: reference,
		Compiler: expression.NewCompiler(schema, data, expression.Options{Reference: reference}),
	})
	b := &bench{Pipeline: p, schema: schema}
	b.start()
	return b, append(errs, more...)
}

func TestTheWholeHubCompiles(t *testing.T) {
	b, errs := compileHub(t, false)
	for _, err := range errs {
		t.Error(err)
	}
	n := 0
	for _, s := range b.stages {
		n += len(s.nodes)
		indexed := 0
		for i := range s.nodes {
			if s.index.always[i/64]&(1<<(i%64)) == 0 {
				indexed++
			}
		}
		t.Logf("%s: %d nodes, %d of them behind %d fields", s.name, len(s.nodes), indexed, len(s.index.gates))
	}
	if n < 160 {
		t.Errorf("%d nodes, want the hub's 164 or so", n)
	}
	for _, w := range b.Warnings() {
		t.Log(w)
	}
}

// hubLogs calls f for lines of every log of the hub's tests, with the label that its test gives.
func hubLogs(t testing.TB, most int, f func(kind, line string)) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(hubDir(t), "tests", "*", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range logs {
		kind := ""
		if config, err := os.ReadFile(filepath.Join(filepath.Dir(path), "config.yaml")); err == nil {
			for line := range strings.Lines(string(config)) {
				if v, ok := strings.CutPrefix(line, "log_type:"); ok {
					kind = strings.Trim(strings.TrimSpace(v), `"'`)
				}
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range bytes.Lines(text) {
			if s := strings.TrimRight(string(line), "\r\n"); s != "" && n < most {
				f(kind, s)
				n++
			}
		}
	}
}

// runLine runs a line as its source would deliver it.
func (b *bench) runLine(kind, line string, obs Observer) string {
	ev := b.ctx.Event
	ev.Reset()
	ev.Received, ev.Time = received, received
	ev.Set(pipeline.SlotLineRaw, line)
	ev.Set(pipeline.SlotLineSrc, "/var/log/x.log")
	ev.Set(pipeline.SlotLineModule, "file")
	ev.SetField(pipeline.Label, "type", kind)
	outcome := b.runner.Run(b.ctx, obs)
	return fmt.Sprint(outcome, b.runner.AbortReason(), ev.Time.UTC(), ev.Whitelisted, rendered(ev))
}

func rendered(ev *pipeline.Event) []string {
	var out []string
	for _, space := range []pipeline.Namespace{pipeline.Core, pipeline.Parsed, pipeline.Meta, pipeline.Enriched, pipeline.Label} {
		ev.Each(space, func(name, value string) {
			out = append(out, fmt.Sprintf("%s=%q", pipeline.Field{Space: space, Name: name}, value))
		})
	}
	slices.Sort(out)
	return out
}

// TestIndexChangesNothing holds three ways through the whole hub together:
// the index, every node under an observer, and the plain matcher and expr VM.
func TestIndexChangesNothing(t *testing.T) {
	fast, watched := hubBench(t, false), hubBench(t, false)
	lines, failures := 0, 0
	outcomes := map[Outcome]int{}
	hubLogs(t, 30, func(kind, line string) {
		if failures > 5 {
			return
		}
		lines++
		got, want := fast.runLine(kind, line, nil), watched.runLine(kind, line, &reachedQuietly{})
		if got != want {
			failures++
			t.Errorf("type %s, line %.300q:\n with the index %s\n every node     %s", kind, line, got, want)
		}
		for o := range Aborted + 1 {
			if strings.HasPrefix(got, o.String()) {
				outcomes[o]++
			}
		}
	})
	t.Logf("%d lines: %v; %+v", lines, outcomes, fast.runner.Stats)
}

func TestFastEqualsReference(t *testing.T) {
	if testing.Short() {
		t.Skip("the plain paths take a while")
	}
	fast, plain := hubBench(t, false), hubBench(t, true)
	lines, failures := 0, 0
	hubLogs(t, 2, func(kind, line string) {
		if failures > 5 {
			return
		}
		lines++
		if got, want := fast.runLine(kind, line, nil), plain.runLine(kind, line, nil); got != want {
			failures++
			t.Errorf("type %s, line %.300q:\n fast  %s\n plain %s", kind, line, got, want)
		}
	})
	t.Logf("%d lines", lines)
}

type reachedQuietly struct{}

func (*reachedQuietly) Enter(*Node)                        {}
func (*reachedQuietly) Observe(*Node, Observation)         {}
func (*reachedQuietly) Leave(*Node, *pipeline.Event, bool) {}

const accessLine = `192.0.2.77 - - [10/Oct/2023:13:55:36 +0000] "GET /shop/cart.php?item=7&q=shoes HTTP/1.1" 200 5316 "https://shop.example/" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"`

func (b *bench) access() Outcome {
	ev := b.ctx.Event
	ev.Reset()
	ev.Received, ev.Time = received, received
	ev.Set(pipeline.SlotLineRaw, accessLine)
	ev.Set(b.label, "nginx")
	return b.runner.Run(b.ctx, nil)
}

func BenchmarkAccessLine(b *testing.B) {
	for name, collections := range map[string][]string{
		"nginx": {"crowdsecurity/nginx", "crowdsecurity/linux", "crowdsecurity/http-cve"}, "whole hub": nil,
	} {
		b.Run(name, func(b *testing.B) {
			p := hubBench(b, false, collections...)
			if got := p.access(); got != Parsed {
				b.Fatal(got)
			}
			b.ReportAllocs()
			for b.Loop() {
				p.access()
			}
		})
	}
}
