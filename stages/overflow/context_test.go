package overflow_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/pipeline"
	"sluice/stages/expression"
	"sluice/stages/expression/funcs"
	"sluice/stages/overflow"
	"sluice/stages/rules"
)

// entry is a key of a context with its expressions.
func entry(key string, expressions ...string) rules.ContextEntry {
	e := rules.ContextEntry{Key: key}
	for _, x := range expressions {
		e.Expressions = append(e.Expressions, text(x))
	}
	return e
}

func TestTheContextHoldsDistinctValuesInOrder(t *testing.T) {
	events := []fields{
		{"Meta.source_ip": "192.0.2.1", "Meta.user": "root", "Parsed.port": "22"},
		{"Meta.source_ip": "192.0.2.1", "Meta.user": "alice", "Parsed.port": "22"},
		{"Meta.source_ip": "192.0.2.1", "Meta.user": "root", "Meta.user2": "bob"},
		{"Meta.source_ip": "192.0.2.1"},
	}
	for _, tc := range []struct {
		name    string
		entries []rules.ContextEntry
		want    string // key=value lines
	}{
		{"no context, no values", nil, ""},
		{"a value is there once, in order of first appearance", []rules.ContextEntry{entry("user", "evt.Meta.user")}, `user=["root","alice"]`},
		{"keys are sorted", []rules.ContextEntry{entry("user", "evt.Meta.user"), entry("port", "evt.Parsed.port")}, "port=[\"22\"]\nuser=[\"root\",\"alice\"]"},
		{"several expressions fill one key, event by event", []rules.ContextEntry{entry("user", "evt.Meta.user", "evt.Meta.user2")}, `user=["root","alice","bob"]`},
		{"entries of one key are put together", []rules.ContextEntry{entry("user", "evt.Meta.user2"), entry("user", "evt.Meta.user")}, `user=["root","alice","bob"]`},
		{"a key without values is left out", []rules.ContextEntry{entry("agent", "evt.Meta.agent")}, ""},
		{"a list gives its elements", []rules.ContextEntry{entry("part", `Split("a,b,a", ",")`)}, `part=["a","b"]`},
		{"numbers are written in decimal", []rules.ContextEntry{entry("n", "len(evt.Meta.user)", "[7, 8]")}, `n=["4","[7 8]","5","0"]`},
		{"nil says nothing", []rules.ContextEntry{entry("n", "evt.Unmarshaled.absent")}, ""},
		{"what fails says nothing and harms no other", []rules.ContextEntry{entry("user", "evt.Unmarshaled.a.b", "evt.Meta.user")}, `user=["root","alice"]`},
		{"expressions about a WAF's request are skipped", []rules.ContextEntry{entry("user", "match.id", "req.URL.Path", "evt.Meta.user")}, `user=["root","alice"]`},
		{"a field called req or match is none", []rules.ContextEntry{entry("x", "evt.Meta.req + evt.Meta.match + 'y'")}, `x=["y"]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, scenario("", ""), overflow.Options{}, tc.entries...)
			var queue []*pipeline.Kept
			for _, f := range events {
				queue = append(queue, b.event(f))
			}
			var got []string
			for _, m := range build(t, b, full(nil, queue...)).Alert.Meta {
				got = append(got, m.Key+"="+m.Value)
			}
			if s := strings.Join(got, "\n"); s != tc.want {
				t.Errorf("got\n%s\nwant\n%s", s, tc.want)
			}
		})
	}
}

func TestTheContextIsCutToItsLength(t *testing.T) {
	for _, tc := range []struct {
		name   string
		values []string
		limit  int
		want   string // "" when nothing fits
	}{
		{"what fits is whole", []string{"abcdef"}, 10, `["abcdef"]`},
		{"values are dropped from the end", []string{"abc", "def", "ghi"}, 13, `["abc","def"]`},
		{"the last value is halved until it fits", []string{strings.Repeat("a", 40)}, 20, `["aaaaaaaaaa..."]`},
		{"a value that is longer than those after it", []string{strings.Repeat("a", 16), "b"}, 16, `["aaaaaaaa..."]`},
		{"a character is not cut in two", []string{strings.Repeat("é", 5)}, 13, `["éé..."]`},
		{"nor is one of four bytes", []string{"😀😀😀"}, 14, `["😀..."]`},
		{"what JSON must escape counts as escaped", []string{strings.Repeat("\x01", 8)}, 20, `["\u0001\u0001..."]`},
		{"bytes that are no UTF-8 are replaced", []string{"\xff\xfe"}, 4000, `["\ufffd\ufffd"]`},
		{"a length that leaves room for the dots alone", []string{"abcdefghijkl"}, 8, `["a..."]`},
		{"a length below that leaves the key out", []string{"abcdefghijkl"}, 7, ""},
		{"a wide character that never fits", []string{"😀😀😀😀"}, 9, ""},
		{"control characters that never fit", []string{"\x01\x01\x01\x01"}, 12, ""},
		{"without a length it is 4000", []string{strings.Repeat("a", 4097)}, 0, `["` + strings.Repeat("a", 2048) + `..."]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, scenario("", ""), overflow.Options{ContextLength: tc.limit}, entry("v", "evt.Meta.v"))
			var queue []*pipeline.Kept
			for _, v := range tc.values {
				queue = append(queue, b.event(fields{"Meta.source_ip": "192.0.2.1", "Meta.v": v}))
			}
			got := ""
			if meta := build(t, b, full(nil, queue...)).Alert.Meta; len(meta) > 0 {
				got = meta[0].Value
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func FuzzTheContextIsValidJSONWithinItsLength(f *testing.F) {
	f.Add("root", "é\xff😀", 9)
	f.Add("abc...", "x", 8)
	f.Fuzz(func(t *testing.T, first, second string, limit int) {
		limit = max(1, limit%64)
		b := newBench(t, scenario("", ""), overflow.Options{ContextLength: limit}, entry("v", "evt.Meta.v"))
		queue := []*pipeline.Kept{
			b.event(fields{"Meta.source_ip": "192.0.2.1", "Meta.v": first}),
			b.event(fields{"Meta.source_ip": "192.0.2.1", "Meta.v": second}),
		}
		for _, m := range build(t, b, full(nil, queue...)).Alert.Meta {
			var values []string
			if err := json.Unmarshal([]byte(m.Value), &values); err != nil || len(values) == 0 {
				t.Errorf("%q is no list: %v", m.Value, err)
			}
			if len(m.Value) > limit {
				t.Errorf("%q is longer than %d bytes", m.Value, limit)
			}
			if utf8.ValidString(first) && utf8.ValidString(second) && strings.ContainsRune(m.Value, utf8.RuneError) &&
				!strings.ContainsRune(first+second, utf8.RuneError) {
				t.Errorf("%q cuts a character in two", m.Value)
			}
		}
	})
}

func TestErrorsOfTheContextTellTheirPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	if err := os.WriteFile(path, []byte("context:\n  user:\n    - evt.Meta.user\n    - evt.Metta.user\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, expression string
		want             string
	}{
		{"a field that does not exist", "evt.Metta.user", fmt.Sprintf("%s:4:", path)},
		{"half an expression", "evt.Meta.user +", fmt.Sprintf("%s:4:", path)},
		{"a helper that does not exist", "Uper(evt.Meta.user)", `alert context "user"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			schema := pipeline.NewSchema()
			c := expression.NewCompiler(schema, funcs.NewData(), expression.Options{})
			x := rules.Text{Value: tc.expression, Pos: rules.Pos{File: path, Line: 4, Column: 7}, Set: true}
			_, err := overflow.NewBuilder(nil, []rules.ContextEntry{{Key: "user", Expressions: []rules.Text{x}}}, c, schema, overflow.Options{})
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, tc.want)
			}
		})
	}
}
