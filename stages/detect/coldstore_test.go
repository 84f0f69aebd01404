package detect

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
)

// TestColdBucketsOfTheStore runs with next to no memory on the real store,
// closes it, opens it anew and goes on: outcomes are those without a limit.
func TestColdBucketsOfTheStore(t *testing.T) {
	script := randomScript(rand.New(rand.NewPCG(9, 9)), 900, len(zoo()), 10*time.Second)
	b := compileBench(t, Options{}, hashed(zoo())...)
	plain := ShardOptions{Free: true, Lateness: 10 * time.Second}
	want := b.plainly(t, script, plain)

	dir := t.TempDir()
	f := b.newFeeder()
	var (
		all   []pipeline.Overflow
		stats Stats
		got   string
	)
	for line := 0; line < len(script); {
		store, err := state.Open(state.Options{Dir: dir, MemTable: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		o := plain
		o.Coder, o.Cold, o.MemoryLimit = b.coder(store.Dictionary()), store, 1
		shard := b.detector.NewShard(o)
		m := newMemory()
		err = store.Load(func(key, value []byte, sum state.Sum) error {
			m.values[string(key)], m.sums[string(key)] = append([]byte(nil), value...), sum
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// Load leaves buckets to the store, which must be folded for that.
		if err := store.Fold(context.Background()); err != nil {
			t.Fatal(err)
		}
		b.load(t, m, []*Shard{shard}, o.Coder)
		for end := min(len(script), line+300); line < end; {
			line, all = f.feed(script, line, 10, []*Shard{shard}, all)
			shard.Freeze()
			committed, err := store.Commit(context.Background(), &state.Epoch{Parts: []*state.Writer{shard.Encode(1 << 20)}})
			if err != nil {
				t.Fatal(err)
			}
			shard.Stored(committed.Epoch)
			if line%3 == 0 {
				if err := store.Fold(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := store.Fold(context.Background()); err != nil {
			t.Fatal(err)
		}
		got = outcomeOf(t, all, []*Shard{shard})
		if shard.Err() != nil {
			t.Fatal(shard.Err())
		}
		stats.Add(shard.Stats())
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got != want {
		t.Error(firstDifference(got, want))
	}
	if stats.Evictions < 20 || stats.ColdReads < 20 {
		t.Errorf("too little leaves: %+v", stats)
	}
}
