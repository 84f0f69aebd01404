package detect

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/stages/rules"
)

// load makes batches of pours on one arena.
type load struct {
	b     *bench
	arena pipeline.KeptArena
	ev    *pipeline.Event
	pours []*pipeline.Pour
	slot  pipeline.Slot
	ip    pipeline.Slot
	// fields are set in each event of fill.
	fields map[pipeline.Slot]string
}

func newLoad(t testing.TB, batch int, docs ...*rules.Scenario) *load {
	l := &load{b: compileBench(t, Options{}, docs...)}
	l.slot = l.b.schema.Lookup(pipeline.Meta, "user")
	l.ip = l.b.schema.Lookup(pipeline.Meta, "line")
	l.ev = pipeline.NewEvent(l.b.schema)
	for range batch {
		l.pours = append(l.pours, &pipeline.Pour{})
	}
	return l
}

// set makes the i-th pour of the batch.
func (l *load) set(i int, key string, at time.Time) {
	l.ev.Reset()
	l.ev.Time, l.ev.Received = at, at
	l.ev.Position = pipeline.Position{Partition: loadPartition, Offset: int64(i)}
	l.ev.Set(l.slot, "somebody")
	l.ev.Set(l.ip, key)
	*l.pours[i] = pipeline.Pour{Line: int32(i), Key: l.arena.Copy(key), Event: l.arena.Keep(l.ev, l.b.keep)}
}

var loadPartition = pipeline.Partition{Source: "bench", Topic: "log"}

func benchmarkPours(b *testing.B, doc *rules.Scenario, keys int, step time.Duration) {
	const batch = 512
	l := newLoad(b, batch, doc)
	for i := range batch {
		l.set(i, "10.0.0."+strconv.Itoa(i%keys), origin.Add(time.Duration(i)*step))
	}
	s := l.b.detector.NewShard(ShardOptions{Free: true})
	var out []pipeline.Overflow
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		out = s.Apply(loadPartition, nil, l.pours, out[:0])
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pours/s")
	b.ReportMetric(float64(s.Stats().Overflows)/float64(b.N), "overflows/pour")
}

func BenchmarkPour(b *testing.B) {
	b.Run("leaky, one hot bucket", func(b *testing.B) {
		benchmarkPours(b, &rules.Scenario{Type: "leaky", Capacity: 40, CacheSize: 5, LeakSpeed: time.Second}, 1, time.Second)
	})
	b.Run("leaky, 100 keys, overflowing", func(b *testing.B) {
		benchmarkPours(b, &rules.Scenario{Type: "leaky", Capacity: 5, LeakSpeed: 10 * time.Second, Blackhole: time.Minute}, 100, 0)
	})
	b.Run("leaky, distinct, all duplicates", func(b *testing.B) {
		benchmarkPours(b, &rules.Scenario{Type: "leaky", Capacity: 5, LeakSpeed: 10 * time.Second, Distinct: text("evt.Meta.user")}, 100, 0)
	})
	b.Run("trigger", func(b *testing.B) {
		benchmarkPours(b, &rules.Scenario{Type: "trigger"}, 100, 0)
	})
	b.Run("trigger, muted", func(b *testing.B) {
		benchmarkPours(b, &rules.Scenario{Type: "trigger", Blackhole: time.Hour}, 100, 0)
	})
}

// BenchmarkMillionBuckets makes a million buckets with an event each, and
// lets all of them die at once. It reports the live heap of a bucket, the
// longest Apply, in time on the CPU, while they are made and while they go,
// and the memory left.
func BenchmarkMillionBuckets(b *testing.B) {
	const buckets, batch = 1_000_000, 1000
	runtime.LockOSThread() // the thread's own time is what is taken
	defer runtime.UnlockOSThread()
	for b.Loop() {
		l := newLoad(b, batch, &rules.Scenario{Type: "leaky", Capacity: 5, LeakSpeed: 10 * time.Second})
		before := liveHeap()
		s := l.b.detector.NewShard(ShardOptions{Free: true})
		var making, freeing time.Duration
		steps := []pipeline.ClockStep{{Clock: origin}}
		for n := 0; n < buckets; n += batch {
			l.arena.Reset()
			for i := range batch {
				k := n + i
				l.set(i, fmt.Sprintf("10.%d.%d.%d", k>>16, k>>8&255, k&255), origin)
			}
			start := threadTime()
			s.Apply(loadPartition, steps, l.pours, nil)
			making = max(making, threadTime()-start)
			steps = nil
		}
		if live := s.Stats().Live; live != buckets {
			b.Fatalf("%d buckets", live)
		}
		held := liveHeap() - before
		applies := 0
		for ; s.Stats().Live > 0; applies++ {
			start := threadTime()
			s.Apply(loadPartition, []pipeline.ClockStep{{Clock: origin.Add(time.Hour + time.Duration(applies))}}, nil, nil)
			freeing = max(freeing, threadTime()-start)
		}
		left := liveHeap() - before
		runtime.KeepAlive(s)
		b.ReportMetric(float64(held)/buckets, "B/bucket")
		b.ReportMetric(float64(left)/buckets, "B-left/bucket")
		b.ReportMetric(making.Seconds()*1e3, "ms-longest-making")
		b.ReportMetric(freeing.Seconds()*1e3, "ms-longest-freeing")
		b.ReportMetric(float64(applies), "applies-to-free")
	}
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
