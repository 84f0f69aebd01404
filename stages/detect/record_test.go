package detect

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/rules"
)

var update = flag.Bool("update", false, "write the golden files of the versions of today")

// hashed gives scenarios hashes that do not change.
func hashed(docs []*rules.Scenario) []*rules.Scenario {
	for i, d := range docs {
		d.Hash = fmt.Sprint("hash", i)
	}
	return docs
}

// TestYesterdaysRecords reads records as each version has written them: they
// still load, and still mean the same. A new version adds a file with -update; it rewrites none.
func TestYesterdaysRecords(t *testing.T) {
	b := compileBench(t, Options{}, hashed(zoo())...)
	today := filepath.Join("testdata", fmt.Sprintf("records-v%d", bucketVersion))
	if *update {
		if _, err := os.Stat(today + ".hex"); err == nil {
			t.Fatalf("%s.hex is what was written then: it does not change. Delete it by hand if that version was never released", today)
		}
		b.writeRecords(t, today)
	}
	files, err := filepath.Glob("testdata/records-v*.hex")
	if err != nil || !slices.Contains(files, today+".hex") {
		t.Fatalf("no records of today's version in %v, %v", files, err)
	}
	for _, file := range files {
		m, dict := readRecords(t, file)
		shards := b.shards(2, ShardOptions{Free: true, Coder: b.coder(dict)})
		b.load(t, m, shards, shards[0].opts.Coder)
		got := m.describe(t, dict)
		for _, s := range shards { // written anew, by today's version
			for _, r := range s.index {
				s.touch(r, s.slab.at(r))
			}
		}
		m.write(t, b.checkpoint(shards))
		if again := m.describe(t, dict); again != got {
			t.Errorf("%s: what was loaded is other: %s", file, firstDifference(again, got))
		}
		golden := strings.TrimSuffix(file, ".hex") + ".golden"
		if *update && file == today+".hex" {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: %s", file, firstDifference(got, string(want)))
		}
	}
}

// writeRecords writes what a random script leaves, with its dictionary.
func (b *bench) writeRecords(t *testing.T, name string) {
	dict := state.NewDictionary()
	f, shards := b.newFeeder(), b.shards(1, ShardOptions{Free: true, Coder: b.coder(dict)})
	script := randomScript(rand.New(rand.NewPCG(3, 3)), 12, len(zoo()), time.Second)
	for line := 0; line < len(script); {
		line, _ = f.feed(script, line, 10, shards, nil)
	}
	m := newMemory()
	w := new(state.Writer)
	dict.Save(w)
	m.write(t, append(b.checkpoint(shards), w))
	var out bytes.Buffer
	for _, k := range slices.Sorted(maps.Keys(m.values)) {
		fmt.Fprintf(&out, "%x %x\n", k, m.values[k])
	}
	if err := os.WriteFile(name+".hex", out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readRecords(t *testing.T, file string) (*memory, *state.Dictionary) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m, dict := newMemory(), state.NewDictionary()
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		k, v, _ := strings.Cut(lines.Text(), " ")
		key, err1 := hex.DecodeString(k)
		value, err2 := hex.DecodeString(v)
		if err1 != nil || err2 != nil || len(key) == 0 {
			t.Fatal(file, err1, err2)
		}
		if state.Kind(key[0]) == state.KindNumber {
			if err := dict.Load(key, value); err != nil {
				t.Fatal(err)
			}
			continue
		}
		m.values[string(key)], m.sums[string(key)] = value, state.SumOf(key, value)
	}
	if err := dict.Loaded(); err != nil {
		t.Fatal(err)
	}
	return m, dict
}

// TestRecordsOfOtherRules: a record whose scenario is gone, or defined
// otherwise, is not taken, and no other is harmed.
func TestRecordsOfOtherRules(t *testing.T) {
	old := compileBench(t, Options{}, hashed(zoo())...)
	dict := state.NewDictionary()
	f, shards, m := old.newFeeder(), old.shards(1, ShardOptions{Coder: old.coder(dict)}), newMemory()
	script := randomScript(rand.New(rand.NewPCG(3, 4)), 40, len(zoo()), time.Second)
	for line := 0; line < len(script); {
		line, _ = f.feed(script, line, 10, shards, nil)
	}
	m.write(t, old.checkpoint(shards))

	docs := hashed(zoo())
	docs[0].Name = "test/renamed"
	docs[1].Hash = "changed"
	docs[9].Hash = "changed too"                      // of a group that stays
	docs[2], docs[6] = docs[6], docs[2]               // the order does not matter
	docs[2].Name, docs[6].Name = "test/s6", "test/s2" // as they were called
	docs[5].Filter = text(" true\n")                  // the same, written otherwise
	b := compileBench(t, Options{}, docs...)
	into := b.shards(1, ShardOptions{Coder: b.coder(dict)})[0]
	for k, v := range m.values {
		if _, err := into.Load([]byte(k), v, m.sums[k]); err != nil {
			t.Fatal(err)
		}
	}
	into.Loaded()
	var got, want []string
	for _, bs := range into.Export().Buckets {
		got = append(got, fmt.Sprint(bs.Scenario, " ", bs.Key, " ", docs[bs.Document].Hash, " ", bs.Count))
	}
	lost := map[string]bool{}
	for _, bs := range shards[0].Export().Buckets {
		if d := bs.Document; d == 0 || d == 1 || d == 9 {
			lost[fmt.Sprint(d)] = true
			continue
		}
		want = append(want, fmt.Sprint(bs.Scenario, " ", bs.Key, " hash", bs.Document, " ", bs.Count))
	}
	if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, " hash5 ") }) {
		t.Error("no bucket of the scenario whose filter is written otherwise")
	}
	if !slices.Equal(got, want) || len(want) < 5 || len(lost) < 2 {
		t.Errorf("got  %q\nwant %q, without %v", got, want, lost)
	}
}

// FuzzLoad gives a shard records that nobody wrote.
func FuzzLoad(f *testing.F) {
	b := compileBench(f, Options{}, hashed(zoo())...)
	data, err := os.ReadFile("testdata/records-v1.hex")
	if err != nil {
		f.Fatal(err)
	}
	var dictionary [][2][]byte
	for line := range strings.Lines(string(data)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		key, _ := hex.DecodeString(k)
		value, _ := hex.DecodeString(v)
		if state.Kind(key[0]) == state.KindNumber {
			dictionary = append(dictionary, [2][]byte{key, value})
		} else {
			f.Add(key, value)
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		dict := state.NewDictionary()
		for _, d := range dictionary {
			if err := dict.Load(d[0], d[1]); err != nil {
				t.Fatal(err)
			}
		}
		s := b.detector.NewShard(ShardOptions{Free: true, Coder: b.coder(dict)})
		taken, err := s.Load(key, value, 1)
		if taken && err != nil {
			t.Error("taken with an error")
		}
		s.Loaded()
		if !taken {
			return
		}
		// What is taken can be described, used, and written again.
		if state.Kind(key[0]) == state.KindBucket {
			if _, err := NewDescriber(dict).Bucket(key, value); err != nil {
				t.Errorf("taken, but: %v", err)
			}
		}
		s.Export()
		step := []pipeline.ClockStep{{Clock: time.Unix(1<<40, 0)}}
		for _, p := range s.parts {
			s.Apply(p.name, step, nil, nil)
		}
		s.Freeze()
		if s.Encode(1<<20) == nil {
			t.Error("no Writer")
		}
	})
}

// TestGroupsThatDifferInBlanksStayApart: their buckets have equal keys.
func TestGroupsThatDifferInBlanksStayApart(t *testing.T) {
	b := compileBench(t, Options{}, hashed([]*rules.Scenario{
		{Name: "x", Type: "leaky", Capacity: 3, LeakSpeed: time.Second, Filter: text("true")},
		{Name: "x", Type: "leaky", Capacity: 3, LeakSpeed: time.Second, Filter: text(" true")},
	})...)
	c := b.coder(state.NewDictionary())
	if c.GroupNumber(0) == c.GroupNumber(1) {
		t.Error("two groups have one number")
	}
}
