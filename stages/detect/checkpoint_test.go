package detect

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// coder returns a coder for the bench's events and scenarios.
func (b *bench) coder(dict *state.Dictionary) *pipeline.KeptCoder {
	return pipeline.NewKeptCoder(b.schema, dict, b.detector.ScenarioIDs())
}

// shards makes shards, which are empty.
func (b *bench) shards(n int, o ShardOptions) []*Shard {
	out := make([]*Shard, n)
	for i := range out {
		o.Index = i
		out[i] = b.detector.NewShard(o)
	}
	return out
}

// load gives the store's records to the shards that they belong to.
func (b *bench) load(t testing.TB, m *memory, shards []*Shard, c *pipeline.KeptCoder) {
	t.Helper()
	for key, value := range m.values {
		owners := shards
		if doc, own, ok := b.detector.Owner(c, []byte(key)); ok {
			i := b.route(doc, own) % uint32(len(shards))
			owners = shards[i : i+1]
		}
		for _, s := range owners {
			taken, err := s.Load([]byte(key), value, m.sums[key])
			if err != nil || !taken {
				t.Fatalf("loading %q: taken %v, %v", key, taken, err)
			}
		}
	}
	for _, s := range shards {
		s.Loaded()
	}
}

// TestCheckpointsChangeNothing freezes and encodes at random places, crashes,
// loads the last epoch into another number of shards and goes on: overflows
// and what is held in the end are those of a run without any of it.
func TestCheckpointsChangeNothing(t *testing.T) { checkpointsChangeNothing(t, 0, 6) }

// TestAMemoryLimitChangesNothing does so with limits that let next to nothing
// or a part stay in memory, and a store that folds late.
func TestAMemoryLimitChangesNothing(t *testing.T) {
	for _, limit := range []int64{1, 15_000} {
		stats := checkpointsChangeNothing(t, limit, 2)
		if stats.Evictions < 200 || stats.ColdReads < 70 || stats.Freed == 0 {
			t.Errorf("limit %d: too little leaves: %+v", limit, stats)
		}
	}
}

func checkpointsChangeNothing(t *testing.T, limit int64, seeds uint64) (stats Stats) {
	const backward = 40 * time.Second
	for seed := range seeds {
		script := randomScript(rand.New(rand.NewPCG(seed, 4)), 1200, len(zoo()), backward)
		b := compileBench(t, Options{}, zoo()...)
		plain := ShardOptions{Free: seed%3 != 0, Lateness: time.Duration(seed%4) * 10 * time.Second}
		want := b.plainly(t, script, plain)
		uninterrupted, store := b.saved(t, script, plain)
		if uninterrupted != want {
			t.Fatalf("seed %d: being saved makes a difference: %s", seed, firstDifference(uninterrupted, want))
		}

		opts := plain
		opts.Coder = b.coder(state.NewDictionary())
		m := newMemory()
		opts.Cold, opts.MemoryLimit = m, limit
		c := &crashing{
			feeder: b.newFeeder(), t: t, r: rand.New(rand.NewPCG(seed, 5)), opts: opts,
			store: m, shards: b.shards(3, opts), last: epoch{clocks: map[int32]time.Duration{}},
		}
		for c.line < len(script) {
			c.step(script)
		}
		if got := c.finish(); got != want {
			t.Fatalf("seed %d: %s", seed, firstDifference(got, want))
		}
		if got, want := c.store.describe(t, opts.Coder.Dictionary()), store; got != want {
			t.Fatalf("seed %d: stored is: %s", seed, firstDifference(got, want))
		}
		if c.crashes < 3 || c.restored < 50 {
			t.Errorf("seed %d: %d crashes with %d records restored: too tame", seed, c.crashes, c.restored)
		}
		stats.Add(c.stats)
	}
	return stats
}

// plainly is the outcome on one shard without state.
func (b *bench) plainly(t *testing.T, script []scriptLine, o ShardOptions) string {
	f, shards := b.newFeeder(), b.shards(1, o)
	var all []pipeline.Overflow
	for line := 0; line < len(script); {
		line, all = f.feed(script, line, 10, shards, all)
	}
	return outcomeOf(t, all, shards)
}

// saved is the outcome on one shard that is saved once, at the end, and the
// description of what it saved.
func (b *bench) saved(t *testing.T, script []scriptLine, o ShardOptions) (outcome, store string) {
	dict := state.NewDictionary()
	// Numbers are given in another order than in other runs.
	dict.Number(state.NumberDefinition, b.detector.ScenarioIDs()[5].Hash)
	o.Coder = b.coder(dict)
	f, shards := b.newFeeder(), b.shards(1, o)
	shards[0].looks = 1 // memory is freed late
	var all []pipeline.Overflow
	for line := 0; line < len(script); {
		line, all = f.feed(script, line, 10, shards, all)
	}
	m := newMemory()
	shards[0].Freeze()
	m.write(t, []*state.Writer{shards[0].Encode(1 << 20)})
	return outcomeOf(t, all, shards), m.describe(t, dict)
}

// TestForget drops what a partition fed last, and no more, here and in the store.
func TestForget(t *testing.T) {
	for _, limit := range []int64{0, 1} {
		t.Run(fmt.Sprint("memory limit ", limit), func(t *testing.T) { forget(t, limit) })
	}
}

func forget(t *testing.T, limit int64) {
	script := randomScript(rand.New(rand.NewPCG(1, 6)), 600, len(zoo()), time.Second)
	b := compileBench(t, Options{}, zoo()...)
	m := newMemory()
	o := ShardOptions{Free: true, Coder: b.coder(state.NewDictionary()), Cold: m, MemoryLimit: limit}
	f, shards := b.newFeeder(), b.shards(2, o)
	for line := 0; line < len(script); {
		line, _ = f.feed(script, line, 10, shards, nil)
		if line > 400 && len(m.values) == 0 { // some are stored, and some of those frozen anew
			m.write(t, b.checkpoint(shards))
			m.fold()
			for _, s := range shards {
				s.Stored(m.epoch)
			}
		}
	}
	for _, s := range shards {
		s.Freeze()
	}
	gone := pipeline.Partition{Source: "test", Topic: "log", ID: 1}
	before, after := 0, 0
	held := func(s *Shard) int {
		st := s.Stats()
		if limit > 0 && st.Evictions == 0 {
			t.Error("nothing is cold")
		}
		return st.Live + st.Cold + st.Blackholes
	}
	for _, s := range shards {
		before += held(s)
		s.Forget(gone)
		s.Forget(pipeline.Partition{Source: "never seen"})
		after += held(s)
	}
	m.write(t, []*state.Writer{shards[0].Encode(1 << 20), shards[1].Encode(1 << 20)})
	if got := len(m.values) - 2; got != before {
		t.Errorf("the frozen epoch has %d records, want all %d", got, before)
	}
	m.write(t, b.checkpoint(shards))
	if got := len(m.values) - 1; got != after || after == 0 || after == before {
		t.Errorf("%d records are left, want %d of %d", got, after, before)
	}
	for _, s := range shards {
		if e := s.Export(); len(e.Clocks) != 1 || e.Clocks[0].Partition == gone {
			t.Errorf("clocks %v", e.Clocks)
		} else if slices.ContainsFunc(e.Buckets, func(b BucketState) bool { return b.FedBy == gone }) {
			t.Error("a bucket that the partition fed last is left")
		}
	}
}

// checkpoint freezes and encodes shards.
func (b *bench) checkpoint(shards []*Shard) []*state.Writer {
	var out []*state.Writer
	for _, s := range shards {
		s.Freeze()
		for w := s.Encode(7); ; w = s.Encode(7) {
			if w != nil {
				out = append(out, w)
				break
			}
		}
	}
	return out
}

// TestEveryFreezeHasAWriter, also when the next comes before the last is written.
func TestEveryFreezeHasAWriter(t *testing.T) {
	b := compileBench(t, Options{}, zoo()...)
	f, shards := b.newFeeder(), b.shards(1, ShardOptions{Coder: b.coder(state.NewDictionary())})
	script := parseScript(t, []string{"1s a", "2s b", "3s a", "4s a", "5s a"})
	m := newMemory()
	if shards[0].Encode(1) != nil {
		t.Error("a Writer without a Freeze")
	}
	for line := range script {
		f.feed(script, line, 1, shards, nil)
		shards[0].Freeze()
	}
	counts := []string{}
	for range script {
		w := shards[0].Encode(10)
		if w == nil {
			t.Fatal("a Freeze has no Writer")
		}
		m.write(t, []*state.Writer{w})
		counts = append(counts, fmt.Sprint(w.Len()))
	}
	if w := shards[0].Encode(10); w != nil {
		t.Error("a Writer too many")
	}
	if got := strings.Join(counts, " "); got != "2 2 2 2 3" { // a bucket and the clock; the last is an overflow that arms a blackhole
		t.Errorf("changes %s", got)
	}
}

// TestWhatCannotBeReadBackStopsTheShard: nothing wrong becomes durable.
func TestWhatCannotBeReadBackStopsTheShard(t *testing.T) {
	for name, spoil := range map[string]func(m *memory){
		"the store fails":      func(m *memory) { m.fail = errors.New("disk on fire") },
		"the record is gone":   func(m *memory) { clear(m.folded.values) },
		"the record is an old": func(m *memory) { clear(m.folded.sums) },
	} {
		b := compileBench(t, Options{}, zoo()...)
		m := newMemory()
		f, shards := b.newFeeder(), b.shards(1, ShardOptions{Coder: b.coder(state.NewDictionary()), Cold: m, MemoryLimit: 1})
		script := parseScript(t, []string{"1s a", "2s", "3s a b"})
		f.feed(script, 0, 1, shards, nil)
		m.write(t, b.checkpoint(shards))
		m.fold()
		shards[0].Stored(m.epoch)
		for range 2*chunkLen/coldLooks + 1 { // the bucket was poured into: it stays for one round
			f.feed(script, 1, 1, shards, nil)
		}
		if st := shards[0].Stats(); st.Cold != 1 || st.Live != 0 {
			t.Fatalf("%s: %+v", name, st)
		}
		spoil(m)
		_, out := f.feed(script, 2, 1, shards, nil)
		shards[0].Freeze()
		if err := shards[0].Err(); err == nil || !strings.Contains(err.Error(), "the bucket") || len(out) > 0 || shards[0].Encode(10) != nil {
			t.Errorf("%s: error %v, %d overflows", name, err, len(out))
		}
	}
}
