package detect

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/rules"
)

// fill pours events into buckets: events in each.
func (l *load) fill(s *Shard, buckets, events int) {
	for e := range events {
		for n := 0; n < buckets; n += len(l.pours) {
			l.arena.Reset()
			for i := range l.pours {
				k := n + i
				l.ev.Reset()
				at := origin.Add(time.Duration(e) * time.Second)
				l.ev.Time, l.ev.Received = at, at.Add(123*time.Millisecond)
				l.ev.Position = pipeline.Position{Partition: loadPartition, Offset: int64(1_000_000 + k)}
				ip := addressOf(k)
				for slot, value := range l.fields {
					l.ev.Set(slot, value)
				}
				l.ev.Set(l.ip, ip)
				*l.pours[i] = pipeline.Pour{Line: int32(i), Key: l.arena.Copy(ip), Event: l.arena.Keep(l.ev, l.b.keep)}
			}
			s.Apply(loadPartition, []pipeline.ClockStep{{Clock: origin.Add(time.Duration(e) * time.Second)}}, l.pours, nil)
		}
	}
}

func addressOf(k int) string { return fmt.Sprintf("10.%d.%d.%d", k>>16, k>>8&255, k&255) }

// accessLog gives the load's events the meta fields of an access log's line.
func (l *load) accessLog() {
	l.fields = map[pipeline.Slot]string{}
	for name, value := range map[string]string{
		"log_type": "http_access-log", "service": "http", "http_path": "/wp-login.php?redirect=1", "http_status": "404",
		"http_verb": "GET", "http_user_agent": "Mozilla/5.0 (X11; Linux x86_64)", "timestamp": "2024-02-29T12:00:00Z",
	} {
		l.fields[l.b.schema.Slot(pipeline.Meta, name)] = value
	}
	l.b.keep.Prepare(l.b.schema)
	l.ev = pipeline.NewEvent(l.b.schema)
}

// BenchmarkEncode writes 100,000 changed buckets down: an op is a bucket.
func BenchmarkEncode(b *testing.B) {
	for _, events := range []int{1, 6} {
		b.Run(fmt.Sprint("events=", events), func(b *testing.B) {
			const buckets, portion = 100_000, 256
			l := newLoad(b, 1000, &rules.Scenario{Type: "leaky", Capacity: 40, CacheSize: 5, LeakSpeed: 10 * time.Second})
			l.accessLog()
			s := l.b.detector.NewShard(ShardOptions{Free: true, Coder: l.b.coder(state.NewDictionary())})
			l.fill(s, buckets, events)
			runtime.LockOSThread() // the thread's own time is what is taken
			defer runtime.UnlockOSThread()
			var freeze, portions, total time.Duration
			var bytes, mallocs uint64
			var m runtime.MemStats
			b.ResetTimer()
			for n := 0; n < b.N; n += buckets {
				b.StopTimer()
				for r := range ref(buckets) {
					s.touch(r+1, s.slab.at(r+1))
				}
				runtime.ReadMemStats(&m)
				mallocs -= m.Mallocs
				b.StartTimer()
				begin, start := threadTime(), time.Now()
				s.Freeze()
				freeze = max(freeze, time.Since(start))
				for {
					start := time.Now()
					w := s.Encode(portion)
					portions = max(portions, time.Since(start))
					if w != nil {
						bytes = uint64(w.Bytes())
						total += threadTime() - begin
						break
					}
				}
				b.StopTimer()
				runtime.ReadMemStats(&m)
				mallocs += m.Mallocs
				b.StartTimer()
			}
			rounds := float64((b.N + buckets - 1) / buckets)
			b.ReportMetric(float64(total.Nanoseconds())/rounds/buckets, "cpu-ns/bucket")
			b.ReportMetric(float64(mallocs)/rounds/buckets, "allocs/bucket")
			b.ReportMetric(float64(bytes)/buckets, "B/bucket")
			b.ReportMetric(float64(freeze.Microseconds()), "µs-freeze")
			b.ReportMetric(float64(portions.Microseconds()), "µs-longest-portion")
		})
	}
}

// BenchmarkLoad reads a million buckets back into one shard.
func BenchmarkLoad(b *testing.B) {
	for _, events := range []int{1, 6} {
		b.Run(fmt.Sprint("events=", events), func(b *testing.B) {
			const buckets = 1_000_000
			l := newLoad(b, 1000, &rules.Scenario{Type: "leaky", Capacity: 40, CacheSize: 5, LeakSpeed: 10 * time.Second})
			l.accessLog()
			coder := l.b.coder(state.NewDictionary())
			s := l.b.detector.NewShard(ShardOptions{Free: true, Coder: coder})
			l.fill(s, buckets, events)
			s.Freeze()
			w := s.Encode(buckets)
			s = nil
			runtime.LockOSThread() // the thread's own time is what is taken
			defer runtime.UnlockOSThread()
			for b.Loop() {
				before := liveHeap()
				into := l.b.detector.NewShard(ShardOptions{Free: true, Coder: coder})
				start, begin := time.Now(), threadTime()
				err := w.Each(func(key, value []byte) error {
					if _, _, ok := l.b.detector.Owner(coder, key); ok {
						taken, err := into.Load(key, value, 1)
						if !taken {
							b.Fatal("not taken")
						}
						return err
					}
					_, err := into.Load(key, value, 1)
					return err
				}, nil)
				into.Loaded()
				took, cpu := time.Since(start), threadTime()-begin
				if err != nil || into.Stats().Live != buckets {
					b.Fatal(err, into.Stats().Live)
				}
				b.ReportMetric(took.Seconds(), "s/million")
				b.ReportMetric(cpu.Seconds(), "cpu-s/million")
				b.ReportMetric(float64(liveHeap()-before)/buckets, "heap-B/bucket")
				runtime.KeepAlive(into)
			}
		})
	}
}
