package detect

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// memory is a store that holds its records in a map.
type memory struct {
	values map[string][]byte
	sums   map[string]state.Sum
	epoch  uint64
	// folded is what Get sees: an epoch that may be behind.
	folded      *memory
	foldedEpoch uint64
	fail        error
}

// fold lets Get see all.
func (m *memory) fold() {
	m.folded = &memory{values: maps.Clone(m.values), sums: maps.Clone(m.sums)}
	m.foldedEpoch = m.epoch
}

// Get and Folded implement Cold.
func (m *memory) Get(key, buf []byte) ([]byte, state.Sum, bool, error) {
	if m.folded == nil || m.fail != nil {
		return buf, 0, false, m.fail
	}
	value, ok := m.folded.values[string(key)]
	return append(buf, value...), m.folded.sums[string(key)], ok, nil
}

func (m *memory) Folded() uint64 { return m.foldedEpoch }

func newMemory() *memory {
	return &memory{values: map[string][]byte{}, sums: map[string]state.Sum{}}
}

// write makes an epoch of Writers, as the store does.
func (m *memory) write(t testing.TB, writers []*state.Writer) {
	m.epoch++
	for _, w := range writers {
		err := w.Each(func(key, value []byte) error {
			m.values[string(key)], m.sums[string(key)] = slices.Clone(value), state.SumOf(key, value)
			return nil
		}, func(key []byte) error {
			if _, ok := m.values[string(key)]; !ok {
				t.Errorf("%q is deleted and was not there", key)
			}
			delete(m.values, string(key))
			delete(m.sums, string(key))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

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

// epoch is a barrier whose Writers are not all there yet.
type epoch struct {
	line      int // the next line
	overflows int // those before it
	clocks    map[int32]time.Duration
	writers   []*state.Writer
}

// crashing runs a script with barriers, encoding and crashes at random places.
type crashing struct {
	*feeder
	t      *testing.T
	r      *rand.Rand
	opts   ShardOptions
	store  *memory
	shards []*Shard
	open   *epoch // frozen, not yet in the store
	last   epoch  // in the store
	all    []pipeline.Overflow
	line   int
	// crashes and restored count what happened, stats what the shards did that crashed.
	crashes, restored int
	stats             Stats
}

func (c *crashing) step(script []scriptLine) {
	for _, s := range c.shards {
		if err := s.Err(); err != nil {
			c.t.Fatal(err)
		}
	}
	switch n := c.r.IntN(100); {
	case n < 20 && c.open == nil:
		c.open = &epoch{c.line, len(c.all), maps.Clone(c.clocks), make([]*state.Writer, len(c.shards))}
		for _, s := range c.shards {
			s.Freeze()
		}
	case n < 50 && c.open != nil:
		c.encode(1 + c.r.IntN(10))
	case n < 52:
		c.crash()
	case n < 60:
		c.store.fold()
	default:
		c.line, c.all = c.feed(script, c.line, 1+c.r.IntN(12), c.shards, c.all)
	}
}

// encode lets a shard write, and makes the epoch durable when it was the last.
func (c *crashing) encode(n int) {
	done := true
	for i, s := range c.shards {
		if c.open.writers[i] == nil {
			c.open.writers[i] = s.Encode(n)
		}
		done = done && c.open.writers[i] != nil
	}
	if done {
		c.store.write(c.t, c.open.writers)
		c.last, c.open = *c.open, nil
		for _, s := range c.shards {
			s.Stored(c.store.epoch)
			if w := s.Encode(1); w != nil {
				c.t.Fatal("a second Writer of one Freeze")
			}
		}
	}
}

// crash goes back to what is in the store.
func (c *crashing) crash() {
	c.crashes++
	c.restored += len(c.store.values)
	c.count()
	c.store.fold()
	c.shards = c.bench.shards(1+c.r.IntN(5), c.opts)
	c.load(c.t, c.store, c.shards, c.opts.Coder)
	c.line, c.all, c.clocks = c.last.line, c.all[:c.last.overflows], maps.Clone(c.last.clocks)
	c.open = nil
}

func (c *crashing) count() {
	for _, s := range c.shards {
		c.stats.Add(s.Stats())
		if err := s.Err(); err != nil {
			c.t.Error(err)
		}
	}
}

// finish writes everything and returns the outcome.
func (c *crashing) finish() string {
	for c.open != nil {
		c.encode(1000)
	}
	c.open = &epoch{writers: make([]*state.Writer, len(c.shards))}
	for _, s := range c.shards {
		s.Freeze()
	}
	for c.open != nil {
		c.encode(1000)
	}
	c.checkSums()
	c.count()
	c.store.fold()
	return outcomeOf(c.t, c.all, c.shards)
}

// checkSums holds the sums that shards keep to those of the records.
func (c *crashing) checkSums() {
	records := 0
	check := func(key []byte, sum state.Sum) {
		records++
		if want := c.store.sums[string(key)]; sum != want {
			c.t.Errorf("the sum of %q is %x, in the store %x", key, sum, want)
		}
	}
	for _, s := range c.shards {
		for _, r := range s.index {
			if r < 0 {
				b := s.cold.at(coldRef(-r))
				check(s.coldKey(b), b.sum)
				continue
			}
			check(s.appendBucketKey(nil, s.slab.at(r)), s.slab.at(r).sum)
		}
		for k, h := range s.holes {
			check(s.saving.holeKey(k), h.sum)
		}
		for _, p := range s.parts {
			if s.opts.Index == 0 && p.started {
				check(s.appendClockKey(nil, p), p.sum)
			}
		}
	}
	if records != len(c.store.values) {
		c.t.Errorf("the store has %d records, the shards %d", len(c.store.values), records)
	}
}

func outcomeOf(t *testing.T, all []pipeline.Overflow, shards []*Shard) string {
	sortOverflows(all)
	var st State
	for _, s := range shards {
		e := s.Export()
		st.Clocks = e.Clocks // the same in all
		st.Buckets = append(st.Buckets, e.Buckets...)
		st.Blackholes = append(st.Blackholes, e.Blackholes...)
	}
	st.sort()
	dump, err := json.MarshalIndent(st, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s\n%s", strings.Join(describeAll(all), "\n"), dump)
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

// describe describes what is stored and not dead.
func (m *memory) describe(t testing.TB, dict *state.Dictionary) string {
	t.Helper()
	d := NewDescriber(dict)
	var all []string
	add := func(r any, err error) {
		if err != nil {
			t.Fatal(err)
		}
		if line, _ := json.Marshal(r); string(line) != "null" {
			all = append(all, string(line))
		}
	}
	for _, kind := range []state.Kind{state.KindShardClock, state.KindBlackhole, state.KindBucket} {
		for k, v := range m.values {
			switch key := []byte(k); {
			case state.Kind(k[0]) != kind:
			case kind == state.KindShardClock:
				add(d.Clock(key, v))
			case kind == state.KindBlackhole:
				add(d.Blackhole(key, v))
			default:
				add(d.Bucket(key, v))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
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
