package detect

import (
	"runtime"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/rules"
)

// BenchmarkColdMillion loads a million buckets with room for few, and pours
// into every hundredth: what a cold bucket takes, and what reading one back
// costs besides the store.
func BenchmarkColdMillion(b *testing.B) {
	const buckets = 1_000_000
	l := newLoad(b, 1000, &rules.Scenario{Type: "leaky", Capacity: 40, CacheSize: 5, LeakSpeed: 10 * time.Second})
	l.accessLog()
	coder := l.b.coder(state.NewDictionary())
	s := l.b.detector.NewShard(ShardOptions{Free: true, Coder: coder})
	l.fill(s, buckets, 1)
	s.Freeze()
	m := newMemory()
	m.write(b, []*state.Writer{s.Encode(buckets)})
	m.folded = m
	s = nil
	for b.Loop() {
		before := liveHeap()
		into := l.b.detector.NewShard(ShardOptions{Free: true, Coder: coder, Cold: m, MemoryLimit: 1 << 20})
		start := time.Now()
		for k, v := range m.values {
			if _, err := into.Load([]byte(k), v, m.sums[k]); err != nil {
				b.Fatal(err)
			}
		}
		into.Loaded()
		b.ReportMetric(time.Since(start).Seconds(), "s/million-loaded")
		b.ReportMetric(float64(liveHeap()-before)/buckets, "heap-B/bucket")
		b.ReportMetric(float64(into.Stats().Bytes)/buckets, "counted-B/bucket")
		start = time.Now()
		reads := 0
		for i := 0; i < buckets; i += 100 {
			l.arena.Reset()
			l.ev.Reset()
			l.ev.Time, l.ev.Received = origin, origin
			l.ev.Position = pipeline.Position{Partition: loadPartition, Offset: 2_000_000}
			key := l.arena.Copy(addressOf(i))
			into.Apply(loadPartition, nil, []*pipeline.Pour{{Key: key, Event: l.arena.Keep(l.ev, l.b.keep)}}, nil)
			reads++
		}
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(reads), "ns/read")
		if n := into.Stats().ColdReads; into.Err() != nil || n < uint64(reads*9/10) {
			b.Fatal(into.Err(), n)
		}
		runtime.KeepAlive(into)
	}
}
