package parse

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/expression"
)

var _ expression.Stash = (*Stashes)(nil)

func TestStashExpiresOnThePartitionsClock(t *testing.T) {
	s := NewStashes([]StashDef{{Name: "s"}})
	s.SetClock(received)
	if err := s.Set("s", "k", "v", time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		at   time.Duration
		want bool
	}{{0, true}, {time.Minute, true}, {-time.Hour, true}, {time.Minute + 1, false}, {0, false}} {
		s.SetClock(received.Add(step.at))
		if v, ok := s.Get("s", "k"); ok != step.want || ok && v != "v" {
			t.Errorf("at %v: %q, %v, want %v", step.at, v, ok, step.want)
		}
	}
	if _, ok := s.Get("other", "k"); ok {
		t.Error("a stash that is not defined holds nothing")
	}
	if err := s.Set("other", "k", "v", time.Minute); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("got %v, want an error with the name", err)
	}
}

func TestStashStrategies(t *testing.T) {
	tests := []struct {
		strategy, ops string // letters store, with ' they are read
		want          string
	}{
		{"", "abcd", "bcd"},
		{"lru", "abca'd", "acd"},
		{"LRU", "abcad", "acd"},
		{"LFU", "aabbcd", "abd"},
		{"LFU", "abca'b'de", "abe"},
		{"ARC", "aabcd", "acd"},
		{"ARC", "aabbcde", "abe"},
		{"ARC", "aabcdb", "abd"}, // b was forgotten too early: it comes back among the often used
	}
	for _, tc := range tests {
		t.Run(tc.strategy+" "+tc.ops, func(t *testing.T) {
			s := NewStashes([]StashDef{{Name: "s", Size: 3, Strategy: tc.strategy}})
			for i := 0; i < len(tc.ops); i++ {
				key := tc.ops[i : i+1]
				if i+1 < len(tc.ops) && tc.ops[i+1] == '\'' {
					s.Get("s", key)
					i++
					continue
				}
				if err := s.Set("s", key, key, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for key := range s.stores["s"].entries {
				got = append(got, key)
			}
			slices.Sort(got)
			if strings.Join(got, "") != tc.want {
				t.Errorf("kept %q, want %q", got, tc.want)
			}
		})
	}
}

// TestRestoredStashesGoOnAlike runs random operations on stashes and on a
// copy that is saved and restored over and over.
func TestRestoredStashesGoOnAlike(t *testing.T) {
	for _, strategy := range []string{"LRU", "LFU", "ARC"} {
		t.Run(strategy, func(t *testing.T) {
			defs := []StashDef{{Name: "s", Size: 5, Strategy: strategy}}
			random := rand.New(rand.NewPCG(1, 2))
			records := newStashRecords()
			a, b := NewStashes(defs), records.load(t, defs)
			for i := range 3000 {
				clock := received.Add(time.Duration(i) * time.Second)
				a.SetClock(clock)
				b.SetClock(clock)
				key := fmt.Sprint(random.IntN(12))
				if random.IntN(2) == 0 {
					ttl := time.Duration(random.IntN(30)) * time.Second
					if err := a.Set("s", key, fmt.Sprint(i), ttl); err != nil {
						t.Fatal(err)
					}
					_ = b.Set("s", key, fmt.Sprint(i), ttl)
				} else {
					v1, ok1 := a.Get("s", key)
					if v2, ok2 := b.Get("s", key); v1 != v2 || ok1 != ok2 {
						t.Fatalf("step %d: %q, %v after a restore, want %q, %v", i, v2, ok2, v1, ok1)
					}
				}
				if n := len(a.stores["s"].entries); n > 5 {
					t.Fatalf("step %d: %d entries, want at most 5", i, n)
				}
				if i%3 == 0 {
					records.save(t, b)
				}
				if i%9 == 0 {
					b = records.load(t, defs)
					if !reflect.DeepEqual(a.Entries(), b.Entries()) {
						t.Fatalf("step %d: restored\n %v, want\n %v", i, b.Entries(), a.Entries())
					}
				}
			}
		})
	}
}

// stashRules remember a name by its process, and take it up again.
const stashRules = `
nodes:
  - filter: evt.Line.Raw startsWith 'start '
    grok:
      pattern: 'start %{INT:pid} %{WORD:name}'
      apply_on: message
    stash:
      - name: names
        key: evt.Parsed.pid
        value: evt.Parsed.name
        ttl: 1m
        size: 2
  - filter: evt.Line.Raw startsWith 'stop '
    grok:
      pattern: 'stop %{INT:pid}'
      apply_on: message
      statics:
        - meta: name
          expression: GetFromStash('names', evt.Parsed.pid)
`

func TestStashNodesWaitForTheirTurn(t *testing.T) {
	b := newBench(t, map[string]string{
		"parsers/s00-raw/us/a.yaml": "name: us/a\nfilter: evt.Line.Raw != 'other'" + stashRules,
		"parsers/s00-raw/us/b.yaml": "name: us/b\nstatics:\n  - meta: b\n    value: '1'\n",
		"parsers/s00-raw/us/c.yaml": "name: us/c\nfilter: GetFromStash('names', '9') == 'x' && evt.Line.Raw != ''\nstatics:\n  - meta: c\n    value: '1'\n",
	})
	if !b.Ordered() {
		t.Error("the pipeline is ordered")
	}
	turns := 0
	b.runner.BeforeOrdered = func() { turns++ }
	stash := b.ctx.Stash.(*Stashes)
	stash.SetClock(received)
	for _, step := range []struct{ line, name string }{{"start 7 sshd", ""}, {"stop 7", "sshd"}, {"stop 8", ""}} {
		turns = 0
		b.run(step.line, nil)
		name := b.ctx.Event.Get(b.schema.Lookup(pipeline.Meta, "name"))
		if name != step.name || turns != 1 {
			t.Errorf("%s: name %q after %d turns, want %q after 1", step.line, name, turns, step.name)
		}
	}
	stash.SetClock(received.Add(2 * time.Minute))
	b.run("stop 7", nil)
	if name := b.ctx.Event.Get(b.schema.Lookup(pipeline.Meta, "name")); name != "" {
		t.Errorf("the entry has expired, got %q", name)
	}

	b = newBench(t, map[string]string{"parsers/s00-raw/us/a.yaml": "name: us/a\nfilter: evt.Line.Raw != 'other'" + stashRules})
	b.runner.BeforeOrdered = func() { t.Error("an event that no stash node takes needs no turn") }
	b.run("other", nil)
	b = newBench(t, one("statics:\n  - meta: a\n    value: '1'\n"))
	if b.Ordered() {
		t.Error("no node touches a stash")
	}
}

func TestWithoutStashesNothingIsRemembered(t *testing.T) {
	b := newBench(t, one(strings.TrimPrefix(stashRules, "\n")))
	b.ctx.Stash = nil
	b.run("start 7 sshd", nil)
	b.run("stop 7", nil)
}
