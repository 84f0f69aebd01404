package detect

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// TestDescriptionsSayWhatShardsHold: what is described of the records in the
// store is what the shards that wrote them hold, whatever memory was freed.
func TestDescriptionsSayWhatShardsHold(t *testing.T) {
	for seed := range uint64(6) {
		script := randomScript(rand.New(rand.NewPCG(seed, 14)), 600, len(zoo()), 40*time.Second)
		b := compileBench(t, Options{}, zoo()...)
		dict := state.NewDictionary()
		o := ShardOptions{Free: seed%3 != 0, Lateness: time.Duration(seed%4) * 10 * time.Second, Coder: b.coder(dict)}
		f, shards, m := b.newFeeder(), b.shards(3, o), newMemory()
		var all []pipeline.Overflow
		for line := 0; line < len(script); {
			line, all = f.feed(script, line, 10, shards, all)
			var writers []*state.Writer
			for _, s := range shards {
				s.Freeze()
				writers = append(writers, s.Encode(1<<30))
			}
			m.write(t, writers)
			for _, s := range shards {
				s.Stored(m.epoch)
			}
		}
		var want []string
		for _, s := range shards {
			want = append(want, described(s.Export())...)
		}
		slices.Sort(want)
		got := describedRecords(t, m, dict)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d records described, %d held: %s", seed, len(got), len(want), firstDifference(strings.Join(got, "\n"), strings.Join(want, "\n")))
		}
		if len(want) < 5 {
			t.Errorf("seed %d: only %d records: too few to show anything", seed, len(want))
		}
	}
}

// described renders what a shard holds as describedRecords renders records.
func described(s State) (out []string) {
	for _, b := range s.Buckets {
		out = append(out, fmt.Sprintln("bucket ", b.Scenario, b.Filter, b.Key, b.Count, b.First.UTC(), b.Last.UTC(), b.From, b.To, b.FedBy,
			b.Tokens, b.Accepted.UTC(), b.Distinct, b.Held, len(b.Queue), b.Queue[0].Position, b.Queue[0].Scope, b.Queue[0].Meta["user"]))
	}
	for _, h := range s.Blackholes {
		out = append(out, fmt.Sprintln("blackhole ", h.Scenario, h.Key, h.Until.UTC()))
	}
	return out
}

// describedRecords describes all records of a store, but for clocks.
func describedRecords(t *testing.T, m *memory, dict *state.Dictionary) (out []string) {
	d := NewDescriber(dict)
	for k, v := range m.values {
		if state.Kind(k[0]) == state.KindShardClock {
			if c, err := d.Clock([]byte(k), v); err != nil || c.Partition == "" {
				t.Fatal(c, err)
			}
		}
	}
	for k, v := range m.values {
		var b *BucketRecord
		var h *BlackholeRecord
		var err error
		switch state.Kind(k[0]) {
		case state.KindBucket:
			b, err = d.Bucket([]byte(k), v)
		case state.KindBlackhole:
			h, err = d.Blackhole([]byte(k), v)
		}
		if err != nil {
			t.Fatalf("%q: %v", k, err)
		}
		if b != nil {
			out = append(out, fmt.Sprintln("bucket ", b.Scenario, b.Filter, b.Key, b.Count, b.First.UTC(), b.Last.UTC(), b.From, b.To, b.FedBy,
				b.Tokens, b.Accepted.UTC(), b.Distinct, b.Held, len(b.Queue), b.Queue[0].Position, b.Queue[0].Scope, b.Queue[0].Fields["evt.Meta.user"]))
		}
		if h != nil {
			out = append(out, fmt.Sprintln("blackhole ", h.Scenario, h.Key, h.Until.UTC()))
		}
	}
	slices.Sort(out)
	return out
}

func TestRecordsThatAreDamagedAreNotDescribed(t *testing.T) {
	d := NewDescriber(state.NewDictionary())
	for _, record := range [][2]string{{"b", ""}, {"b\x01k", "\x01"}, {"b\x01k", "\x02"}, {"h\x01k", ""}, {"s\x01k", ""}, {"s\x01", "\x01"}} {
		var err error
		key, value := []byte(record[0]), []byte(record[1])
		switch state.Kind(key[0]) {
		case state.KindBucket:
			_, err = d.Bucket(key, value)
		case state.KindBlackhole:
			_, err = d.Blackhole(key, value)
		case state.KindShardClock:
			_, err = d.Clock(key, value)
		}
		if err == nil {
			t.Errorf("%q: no error", record)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	dict := state.NewDictionary()
	b := compileBench(f, Options{}, zoo()...)
	shards := b.shards(1, ShardOptions{Free: true, Coder: b.coder(dict)})
	b.newFeeder().feed(randomScript(rand.New(rand.NewPCG(1, 1)), 100, len(zoo()), time.Second), 0, 100, shards, nil)
	shards[0].Freeze()
	m := newMemory()
	m.write(f, []*state.Writer{shards[0].Encode(1 << 30)})
	for k, v := range m.values {
		f.Add([]byte(k), v)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(key) == 0 {
			return
		}
		d := NewDescriber(dict)
		_, _ = d.Clock(key, value)
		_, _ = d.Blackhole(key, value)
		if b, err := d.Bucket(key, value); err == nil && b != nil && (len(b.Queue) == 0 || b.Scenario == "") {
			t.Errorf("%q is described as %+v", key, b)
		}
	})
}
