package detect

import (
	"encoding/json"
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
}

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
	// crashes and restored count what happened.
	crashes, restored int
}

func (c *crashing) step(script []scriptLine) {
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
	c.shards = c.bench.shards(1+c.r.IntN(5), c.opts)
	c.load(c.t, c.store, c.shards, c.opts.Coder)
	c.line, c.all, c.clocks = c.last.line, c.all[:c.last.overflows], maps.Clone(c.last.clocks)
	c.open = nil
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
func TestCheckpointsChangeNothing(t *testing.T) {
	const backward = 40 * time.Second
	for seed := range uint64(12) {
		script := randomScript(rand.New(rand.NewPCG(seed, 4)), 1200, len(zoo()), backward)
		b := compileBench(t, Options{}, zoo()...)
		plain := ShardOptions{Free: seed%3 != 0, Lateness: time.Duration(seed%4) * 10 * time.Second}
		want := b.plainly(t, script, plain)

		opts := plain
		opts.Coder = b.coder(state.NewDictionary())
		c := &crashing{
			feeder: b.newFeeder(), t: t, r: rand.New(rand.NewPCG(seed, 5)), opts: opts,
			store: newMemory(), shards: b.shards(3, opts), last: epoch{clocks: map[int32]time.Duration{}},
		}
		for c.line < len(script) {
			c.step(script)
		}
		if got := c.finish(); got != want {
			t.Fatalf("seed %d: %s", seed, firstDifference(got, want))
		}
		if c.crashes < 3 || c.restored < 50 {
			t.Errorf("seed %d: %d crashes with %d records restored: too tame", seed, c.crashes, c.restored)
		}
	}
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
