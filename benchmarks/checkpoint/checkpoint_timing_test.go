package checkpoint

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"sluice/pipeline/state"
)

// dirtyPerSecond is how many buckets change in each second of BenchmarkCost.
const dirtyPerSecond = 100_000

// BenchmarkCost changes 100,000 buckets a second for half a minute, with and without
// durable state: the difference is what state costs. "young" buckets have seen one or two
// events, "grown" ones keep six.
//
//	cpu-s/s       processor seconds a second that state adds
//	disk/encoded  bytes that the kernel was given to write, by bytes encoded
//	pause-ms      99th percentile and maximum of the times for which a shard wrote instead of pouring
func BenchmarkCost(b *testing.B) {
	for _, kind := range []struct {
		name string
		// first is the number of the first bucket of a second, step the time between seconds.
		first func(second int) int
		step  time.Duration
	}{
		{"young", func(s int) int { return s * dirtyPerSecond / 2 }, time.Second},
		{"grown", func(s int) int { return s % 3 * dirtyPerSecond }, 20 * time.Second},
	} {
		b.Run(kind.name, func(b *testing.B) {
			const seconds = 30
			feed := func(w *world) func(ctx context.Context) error {
				return func(ctx context.Context) error { return w.paced(ctx, seconds, kind.first, kind.step) }
			}
			for range b.N {
				plain := newWorld(b, false)
				before := cpu(b)
				plain.run(b, plain.options(b, 2), feed(plain))
				without := cpu(b) - before

				w := newWorld(b, true)
				before, written := cpu(b), diskBytes(b)
				w.run(b, w.options(b, 2), feed(w))
				with, spent := cpu(b)-before, w.spent
				if err := w.store.Close(); err != nil {
					b.Fatal(err)
				}
				written = diskBytes(b) - written
				b.ReportMetric((with-without).Seconds()/seconds, "cpu-s/s")
				b.ReportMetric(with.Seconds()/seconds, "all-cpu-s/s")
				b.ReportMetric(float64(written)/float64(spent.Encoded), "disk/encoded")
				b.ReportMetric(float64(spent.Encoded)/seconds/dirtyPerSecond, "B/bucket")
				b.ReportMetric(ms(percentile(w.pauses, 0.99)), "pause-p99-ms")
				b.ReportMetric(ms(percentile(w.pauses, 1)), "pause-max-ms")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// paced emits a tenth of each second's pours every tenth of a second.
func (w *world) paced(ctx context.Context, seconds int, first func(int) int, step time.Duration) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	start := time.Date(2024, time.March, 1, 0, 0, 0, 0, time.UTC)
	for i := range 10 * seconds {
		at := start.Add(time.Duration(i/10) * step)
		if err := w.emit(ctx, first(i/10)+i%10*dirtyPerSecond/10, dirtyPerSecond/10, at); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// diskBytes is what the process has given to the disk so far, maps included.
func diskBytes(b *testing.B) int64 {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip("the kernel does not tell how much is written")
	}
	var read, n int64
	var rest [4]int64
	if _, err := fmt.Sscanf(string(text), "rchar: %d\nwchar: %d\nsyscr: %d\nsyscw: %d\nread_bytes: %d\nwrite_bytes: %d",
		&rest[0], &rest[1], &rest[2], &rest[3], &read, &n); err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkRecovery opens a state of a million buckets and measures how long
// it takes until the first record may enter the graph, and the heap behind it.
func BenchmarkRecovery(b *testing.B) {
	const buckets = 1_000_000
	dir := b.TempDir()
	w := newWorld(b, false)
	w.begin(b, dir)
	w.run(b, w.options(b, 2), func(ctx context.Context) error {
		start := time.Date(2024, time.March, 1, 0, 0, 0, 0, time.UTC)
		for i := range 10 {
			if err := w.emit(ctx, i*buckets/10, buckets/10, start.Add(time.Duration(i)*time.Second)); err != nil {
				return err
			}
			if err := w.cp.Checkpoint(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err := w.store.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		w = newWorld(b, false)
		b.StartTimer()
		w.open(b, dir)
		n := w.recover(b)
		b.StopTimer()
		if n < buckets {
			b.Fatalf("%d records, want more than %d", n, buckets)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
		if err := w.store.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// recover does what a restart does before the first record.
func (w *world) recover(b *testing.B) int {
	b.Helper()
	r, err := w.engine.Resume(engineOptions(), engineState(w.store))
	if err != nil {
		b.Fatal(err)
	}
	err = w.store.LoadParallel(runtime.GOMAXPROCS(0), func(_ int, key, value []byte, sum state.Sum) error {
		switch state.Kind(key[0]) {
		case state.KindPosition, state.KindClock:
			return w.cp.Load(key, value, sum)
		}
		return r.Load(key, value, sum)
	})
	if err != nil {
		b.Fatal(err)
	}
	g, orphans, err := r.Graph(w.cp.Held())
	if err != nil {
		b.Fatal(err)
	}
	if orphans.Len() > 0 {
		b.Fatalf("%d records found no owner", orphans.Len())
	}
	w.graph = g
	return r.Records()
}
