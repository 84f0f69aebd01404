package rules

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

const first, second = "testdata/load/first", "testdata/load/second"

func mustLoad(t testing.TB, o Options) *Set {
	t.Helper()
	o.Strict = true
	set, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// names tells what a set holds, in order.
func names(s *Set) string {
	var out []string
	for _, n := range s.Parsers {
		out = append(out, n.Stage+":"+n.Name)
	}
	for _, n := range s.Postoverflows {
		out = append(out, n.Stage+":"+n.Name)
	}
	for _, x := range s.Scenarios {
		out = append(out, x.Name)
	}
	for _, c := range s.Contexts {
		out = append(out, "context:"+c.Key)
	}
	return strings.Join(out, " ")
}

func TestSelectionAndOrder(t *testing.T) {
	const allOfFirst = "s00-raw:acme/raw s00-raw:acme/second-document s01-parse:zeta/b-door s01-parse:acme/c-door s01-parse:acme/door " +
		"s00-enrich:acme/after acme/another-name acme/door-bf acme/door-count acme/door-bayes context:user context:port"
	for _, tc := range []struct {
		name string
		opts Options
		want string
	}{
		{"everything, by stage and base name (FIDELITY 1)", Options{Roots: []string{first}}, allOfFirst},
		{"All overrides the lists", Options{Roots: []string{first}, All: true, Parsers: []string{"acme/door"}}, allOfFirst},
		{"empty entries select nothing, so everything is loaded", Options{Roots: []string{first}, Scenarios: []string{""}}, allOfFirst},
		{"a second root adds and replaces", Options{Roots: []string{first, second}},
			strings.Replace(allOfFirst, "acme/door-bayes", "acme/door-bayes acme/window", 1)},
		{"a collection and the collections in it", Options{Roots: []string{first}, Collections: []string{"acme/house"}},
			"s00-raw:acme/raw s00-raw:acme/second-document s01-parse:acme/door s00-enrich:acme/after acme/another-name context:user context:port"},
		{"names are those of files, not those inside", Options{Roots: []string{first}, Scenarios: []string{"acme/alarm"}}, "acme/another-name"},
		{"paths in all forms of the hub's tests (FIDELITY 32)", Options{Roots: []string{first},
			Parsers:   []string{"./parsers/s01-parse/acme/door.yaml", "parsers/s01-parse/acme/c-door.yml"},
			Scenarios: []string{"/scenarios/acme/door-bf.yaml"}},
			"s01-parse:acme/c-door s01-parse:acme/door acme/door-bf acme/door-count acme/door-bayes"},
		{"an item that is named twice is loaded once", Options{Roots: []string{first},
			Collections: []string{"acme/raw", "acme/house"}, Parsers: []string{"acme/door", "parsers/s01-parse/acme/door.yaml"}},
			"s00-raw:acme/raw s00-raw:acme/second-document s01-parse:acme/door s00-enrich:acme/after acme/another-name context:user context:port"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := names(mustLoad(t, tc.opts)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestALaterRootReplacesItemsAndData(t *testing.T) {
	set := mustLoad(t, Options{Roots: []string{first, second}})
	for _, n := range set.Parsers {
		if n.Name == "acme/door" && (n.Statics[0].Value.Value != "second" || n.Pos.File != second+"/parsers/s01-parse/acme/door.yml") {
			t.Errorf("acme/door is %q from %s, want the second root's", n.Statics[0].Value.Value, n.Pos.File)
		}
	}
	for _, it := range set.Items {
		if it.Name == "acme/door" && it.Replaces != first+"/parsers/s01-parse/acme/door.yaml" {
			t.Errorf("acme/door replaces %q", it.Replaces)
		}
	}
	if got := dataPaths(set); got["words.txt"] != second+"/data/words.txt" {
		t.Errorf("words.txt is %s", got["words.txt"])
	}
	if want := []string{first + "/patterns"}; !reflect.DeepEqual(set.PatternDirs, want) {
		t.Errorf("pattern folders are %v, want %v", set.PatternDirs, want)
	}
}

func dataPaths(s *Set) map[string]string {
	m := map[string]string{}
	for _, d := range s.Data {
		m[d.DestFile] = d.Path
	}
	return m
}

func TestDataFilesAreFoundByNameThenAddressAndTheOtherWayInHubTests(t *testing.T) {
	opts := Options{Roots: []string{first}, Scenarios: []string{"acme/alarm"}}
	if got := dataPaths(mustLoad(t, opts))["list.txt"]; got != first+"/data/list.txt" {
		t.Errorf("list.txt is %s", got)
	}
	opts.TestData = true
	if got := dataPaths(mustLoad(t, opts))["list.txt"]; got != first+"/data/old.txt" {
		t.Errorf("in a hub test list.txt is %s", got)
	}
	opts.TestData = false
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "list.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	opts.DataDirs = []string{dir}
	if got := dataPaths(mustLoad(t, opts))["list.txt"]; got != filepath.Join(dir, "list.txt") {
		t.Errorf("with a data folder of one's own list.txt is %s", got)
	}
}

func TestAPathIsTakenFromTheFirstFolderThatHasIt(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "tests/own/parsers/s02-enrich/acme")
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	rule := []byte("name: acme/own\nstatics:\n  - meta: a\n    value: b\n")
	if err := os.WriteFile(filepath.Join(own, "own.yaml"), rule, 0o644); err != nil {
		t.Fatal(err)
	}
	set := mustLoad(t, Options{Roots: []string{first}, PathRoots: []string{first, dir},
		Parsers: []string{"./parsers/s01-parse/acme/door.yaml", "./.tests/own/parsers/s02-enrich/acme/own.yaml"}})
	if got, want := names(set), "s01-parse:acme/door s02-enrich:acme/own"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEveryKeyOfANodeIsRead(t *testing.T) {
	n := mustLoad(t, Options{Roots: []string{first}, Parsers: []string{"acme/raw"}}).Parsers[0]
	file := first + "/parsers/s00-raw/acme/raw.yaml"
	at := func(line, column int) Pos { return Pos{file, line, column} }
	text := func(line, column int, s string) Text { return Text{s, at(line, column), true} }
	on := true
	want := &Node{
		Pos: at(2, 1), Name: "acme/raw", Description: "Every key of a node.", Author: "acme", Format: "2.0", Debug: true, Stage: "s00-raw",
		Filter:        text(8, 3, "evt.Line.Labels.type == 'door' &&\n  evt.Line.Raw != ''\n"),
		OnSuccess:     "next_stage",
		PatternSyntax: []Pattern{{"ZETA", text(12, 10, "[a-z]+")}, {"ALPHA", text(13, 11, `\d+`)}},
		Grok: &Grok{Pos: at(15, 3), Pattern: text(15, 13, "^%{ZETA:word} %{ALPHA:number}"), ApplyOn: text(16, 13, "Line.Raw"),
			Statics: []Static{{Pos: at(18, 7), Meta: "log_type", Value: text(19, 14, "door")}}},
		Statics: []Static{
			{Pos: at(21, 5), Parsed: "count", Value: text(22, 12, "0x10")},
			{Pos: at(23, 5), Enriched: "on", Value: text(24, 12, "true")},
			{Pos: at(25, 5), Target: "evt.StrTime", Expression: text(26, 18, "evt.Parsed.word")},
			{Pos: at(27, 5), Method: "ParseDate", Expression: text(28, 17, "evt.StrTime")},
		},
		Stash: []Stash{{Pos: at(30, 5), Name: "doors", Key: text(31, 10, "evt.Parsed.word"), Value: text(32, 12, "evt.Parsed.number"),
			TTL: 90 * time.Second, Size: 100, Strategy: "LFU"}},
		Whitelist: &Whitelist{Pos: at(36, 3), Reason: "our own", IPs: []Text{text(37, 8, "192.0.2.1"), text(37, 20, "2001:db8::1")},
			CIDRs: []Text{text(39, 7, "198.51.100.0/24")}, Expressions: []Text{text(41, 7, "evt.Meta.user == 'root'")}},
		Nodes: []*Node{{Pos: at(43, 5), Grok: &Grok{Pos: at(44, 7), Name: text(44, 13, "WORD"), Expression: text(45, 19, "evt.Parsed.word")},
			Nodes: []*Node{{Pos: at(47, 9), Statics: []Static{{Pos: at(48, 13), Meta: "deep", Value: text(49, 21, "1")}}}}}},
		Data: []Data{{Pos: at(51, 5), SourceURL: "https://example.test/words.txt?raw=1", DestFile: "words.txt", Type: "regexp",
			Cache: &on, Strategy: "ARC", Size: 40, TTL: 5 * time.Second}},
	}
	compare(t, n, want)
}

// compare shows two values as JSON when they differ.
func compare(t *testing.T, got, want any) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	g, _ := json.MarshalIndent(got, "", " ")
	w, _ := json.MarshalIndent(want, "", " ")
	gl, wl := strings.Split(string(g), "\n"), strings.Split(string(w), "\n")
	for i := range min(len(gl), len(wl)) {
		if gl[i] != wl[i] {
			t.Errorf("line %d: got %s, want %s", i, gl[i], wl[i])
		}
	}
	t.Errorf("got %d lines, want %d", len(gl), len(wl))
}

func TestEveryKeyOfAScenarioIsRead(t *testing.T) {
	all := mustLoad(t, Options{Roots: []string{first}, Scenarios: []string{"acme/door-bf"}}).Scenarios
	file := first + "/scenarios/acme/door-bf.yaml"
	at := func(line, column int) Pos { return Pos{file, line, column} }
	text := func(line, column int, s string) Text { return Text{s, at(line, column), true} }
	compare(t, all[0], &Scenario{
		Pos: at(1, 1), Name: "acme/door-bf", Description: "Every key of a scenario.", Author: "acme", Type: "leaky", Format: "2.0",
		Version: "1.2", Debug: true, Filter: text(10, 9, "evt.Meta.log_type == 'door'"), GroupBy: text(11, 10, "evt.Meta.source_ip"),
		Distinct: text(12, 11, "evt.Meta.user"), CancelOn: text(13, 12, "evt.Meta.log_type == 'open'"),
		OverflowFilter: text(14, 18, "any(queue.Queue, {.Meta.user == 'root'})"),
		Capacity:       5, LeakSpeed: 500 * time.Millisecond, Blackhole: 5 * time.Minute, CacheSize: 10, Reprocess: true,
		ScopeType: "username", ScopeExpr: text(22, 15, "evt.Meta.user"),
		Labels: map[string]any{"confidence": 3, "ratio": 0.5, "remediation": true, "quoted": "yes",
			"classification": []any{"a", "b"}, "nothing": nil},
		References: []string{"https://example.test/door"}, Hash: all[0].Hash,
	})
	compare(t, all[1], &Scenario{Pos: at(31, 1), Name: "acme/door-count", Type: "counter", Filter: text(33, 10, "true"),
		Capacity: -1, Duration: time.Hour, Hash: all[1].Hash})
	compare(t, all[2].BayesianConditions, []BayesianCondition{{Pos: at(45, 5), Condition: text(45, 16, "evt.Meta.user == 'root'"),
		ProbGivenEvil: 0.9, ProbGivenBenign: 0.1, Guillotine: true}})
}

func TestContextsAreMergedByKeyAndExpression(t *testing.T) {
	set := mustLoad(t, Options{Roots: []string{first}})
	got := ""
	for _, c := range set.Contexts {
		got += c.Key + ":"
		for _, x := range c.Expressions {
			got += " " + x.Value
		}
		got += "\n"
	}
	want := "user: evt.Meta.user evt.Meta.target_user evt.Meta.account\nport: evt.Parsed.port\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAliasesAndMergeKeysOfYAMLAreResolved(t *testing.T) {
	nodes, err := ParseParsers("p.yaml", "s01-parse", []byte(`name: acme/alias
statics: &both
  - &one {meta: a, value: b}
  - <<: *one
    meta: c
nodes:
  - statics: *both
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range [][]Static{nodes[0].Statics, nodes[0].Nodes[0].Statics} {
		if len(s) != 2 || s[0].Meta != "a" || s[1].Meta != "c" || s[1].Value.Value != "b" {
			t.Errorf("got %+v", s)
		}
	}
}

func TestLineEndsAndAByteOrderMarkDoNotMatter(t *testing.T) {
	src := "type: trigger\nname: a/b\nfilter: |\n  true\n"
	plain, err := ParseScenarios("s.yaml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	dos, err := ParseScenarios("s.yaml", []byte("\xef\xbb\xbf"+strings.ReplaceAll(src, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	compare(t, dos, plain)
}

func TestTextAtFindsThePlaceInsideABlock(t *testing.T) {
	s, err := ParseScenarios("s.yaml", []byte("type: trigger\nname: a/b\nfilter: |\n  evt.A &&\n  evt.B\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s[0].Filter.At(2, 5).String(), "s.yaml:5:7"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAHashChangesWithDetectionOnly(t *testing.T) {
	hash := func(src string) string {
		t.Helper()
		s, err := ParseScenarios("s.yaml", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		return s[0].Hash
	}
	const src = "type: leaky\nname: a/b\nfilter: \"evt.Meta.a == 'x  y' && evt.Meta.b == 'z'\"\ncapacity: 5\nleakspeed: 60s\n"
	base := hash(src)
	for name, other := range map[string]string{
		"labels and description": src + "description: other\nlabels:\n  a: b\n",
		"spelling of a duration": strings.Replace(src, "60s", "1m", 1),
		"the default scope":      src + "scope:\n  type: Ip\n",
		"folding of the filter":  strings.Replace(src, "\"evt.Meta.a == 'x  y' && evt.Meta.b == 'z'\"", "|\n  evt.Meta.a == 'x  y' &&\n    evt.Meta.b == 'z'", 1),
	} {
		if hash(other) != base {
			t.Errorf("%s changes the hash", name)
		}
	}
	for name, other := range map[string]string{
		"capacity":            strings.Replace(src, "5", "6", 1),
		"a quoted blank":      strings.Replace(src, "x  y", "x y", 1),
		"groupby":             src + "groupby: evt.Meta.source_ip\n",
		"a word moved across": src + "distinct: evt.Meta.source_ip\n",
		"blackhole":           src + "blackhole: 1m\n",
	} {
		if hash(other) == base {
			t.Errorf("%s does not change the hash", name)
		}
	}
}

func TestHashesAreTheSameInEveryRun(t *testing.T) {
	s, err := ParseScenarios("s.yaml", []byte("type: trigger\nname: a/b\nfilter: \"true\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	// Alert ids hold this value: a change of the digest changes them all.
	if want := "3295391d9721df2cdae749cbac1b6b4f"; s[0].Hash != want {
		t.Errorf("hash is %s, want %s", s[0].Hash, want)
	}
}

func TestRulesLeftOutAreLogged(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "scenarios", "a")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	src := "type: trigger\nname: a/good\nfilter: x\n---\ntype: trigger\nname: a/bad\ncapacity: 1\n"
	if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	set, err := Load(Options{Roots: []string{root}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(set); got != "a/good" || len(set.Skipped) != 1 {
		t.Errorf("loaded %q, left out %v", got, set.Skipped)
	}
	if !strings.Contains(log.String(), "rule=a/bad") {
		t.Errorf("log is %s", log.String())
	}
}

func TestLinkedItemsAreFollowedAndLoopsEnd(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "scenarios")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	target, err := filepath.Abs(second + "/scenarios/acme/window.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "window.yaml")); err != nil {
		t.Skip("no links here:", err)
	}
	if got := names(mustLoad(t, Options{Roots: []string{root}, Scenarios: []string{"window"}})); got != "acme/window" {
		t.Errorf("got %q", got)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(root); err != nil {
		t.Errorf("a loop of links: %v", err)
	}
}

func TestTheResultDoesNotDependOnTheNumberOfProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := mustLoad(t, Options{Roots: []string{first, second}})
	runtime.GOMAXPROCS(8)
	for range 5 {
		compare(t, mustLoad(t, Options{Roots: []string{first, second}}), one)
	}
}
