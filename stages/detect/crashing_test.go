package detect

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

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
