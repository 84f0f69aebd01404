package objects

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRandomRunsCountEachRecordOnce announces objects in a random order, many of them
// more than once, ends runs at random moments, and resumes each where the last
// checkpoint stood. Whatever becomes of it, an offset is always of the same record, all
// records have one, and no message is gone before a checkpoint holds its objects.
func TestRandomRunsCountEachRecordOnce(t *testing.T) {
	for seed := range uint64(25) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t)
			records := make(map[string][]string) // by key
			var keys []string
			for i := range 40 {
				key := fmt.Sprintf("k%02d", i)
				for j := range rng.IntN(5) {
					records[key] = append(records[key], fmt.Sprintf("%s line %d", key, j))
				}
				w.put(key, zipped(strings.Join(records[key], "\n")))
				keys = append(keys, key)
			}
			said := make(map[string][]string) // the keys of a message
			announce := func() {
				some := []string{keys[rng.IntN(len(keys))]}
				for rng.IntN(3) == 0 {
					some = append(some, keys[rng.IntN(len(keys))])
				}
				said[w.announce(some...)] = some
			}
			for _, k := range keys {
				said[w.announce(k)] = []string{k}
				if rng.IntN(2) == 0 {
					announce()
				}
			}
			places := make(map[string]string) // of a record, by what it is
			committed := int64(0)
			edit := func(c *Config, _ *Format) {
				c.BatchRecords, c.Downloads, c.MaxInFlight = 1+rng.IntN(4), 1+rng.IntN(6), 10+rng.IntN(40)
				c.VisibilityTimeout = 10 * time.Second
			}
			take := func(r *run) {
				r.mu.Lock()
				defer r.mu.Unlock()
				for _, line := range r.lines {
					place, record, _ := strings.Cut(line, " ")
					if old, ok := places[record]; ok && old != place {
						t.Fatalf("seed %d: %q is at %s, and was at %s", seed, record, place, old)
					}
					places[record] = place
				}
			}
			check := func() {
				left := w.queue.left()
				for id, some := range said {
					if slices.Contains(left, id) {
						continue
					}
					for _, key := range some {
						for _, record := range records[key] {
							var seq, index int64
							if n, _ := fmt.Sscanf(places[record], "%d.%d", &seq, &index); n != 2 || offsetOf(seq, index) >= committed {
								t.Fatalf("seed %d: message %s is gone, and %q is at %q, which no checkpoint before %d holds", seed, id, record, places[record], committed)
							}
						}
					}
				}
			}
			for len(w.queue.left()) > 0 {
				r := w.start(committed, edit)
				passing := make(chan struct{})
				r.mu.Lock()
				r.block = passing
				r.mu.Unlock()
				for range rng.IntN(12) {
					next := make(chan struct{})
					r.mu.Lock()
					r.block = next
					r.mu.Unlock()
					close(passing)
					passing = next
					later(time.Duration(rng.IntN(3000)) * time.Millisecond)
					if rng.IntN(3) == 0 && r.behind() > committed {
						take(r)
						committed = r.behind()
						r.commit(committed)
					}
					if rng.IntN(8) == 0 {
						announce()
					}
					take(r)
					check()
				}
				take(r)
				r.stop()
				later(time.Duration(rng.IntN(20)) * time.Second)
			}
			for _, some := range records {
				for _, record := range some {
					if places[record] == "" {
						t.Errorf("seed %d: %q was never read", seed, record)
					}
				}
			}
			distinct := make(map[string]bool)
			for _, place := range places {
				distinct[place] = true
			}
			if len(distinct) != len(places) {
				t.Errorf("seed %d: %d records have %d places", seed, len(places), len(distinct))
			}
		})
		if t.Failed() {
			return
		}
	}
}
