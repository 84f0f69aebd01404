package decisions

import (
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

const million = 1_000_000

// address returns the nth of many addresses that lie far apart.
func address(n int) netip.Addr {
	h := uint32(n) * 2654435761
	return netip.AddrFrom4([4]byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)})
}

func filled(b *testing.B, n int, until func(int) time.Time) *Index {
	b.Helper()
	x := &Index{}
	for i := range n {
		d := Decision{Scope: ScopeIP, Value: address(i).String(), Type: "ban", Origin: "lists:bench", Scenario: "a/list", Until: until(i)}
		if i%100 == 0 {
			d.Scope, d.Value = ScopeRange, netip.PrefixFrom(address(i), 24).Masked().String()
		}
		if _, err := x.Add(&d); err != nil {
			b.Fatal(err)
		}
	}
	return x
}

func inAnHour(int) time.Time { return begin.Add(time.Hour) }

func BenchmarkAddAMillion(b *testing.B) {
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		x := filled(b, million, inAnHour)
		runtime.GC()
		runtime.ReadMemStats(&after)
		slots := uint64(len(x.slots.chunks)) * uint64(unsafe.Sizeof([chunkSlots]slot{})) // which are not in the heap
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc+slots)/million, "B/decision")
		runtime.KeepAlive(x)
	}
	b.ReportMetric(float64(b.N)*million/b.Elapsed().Seconds(), "decisions/s")
}

func BenchmarkCovering(b *testing.B) {
	x := filled(b, million, inAnHour)
	b.ResetTimer()
	hits := 0
	for i := range b.N {
		x.Covering(address(i%(2*million)), begin, func(*Decision) bool { hits++; return false })
	}
	b.ReportMetric(float64(hits)/float64(b.N), "hits/op")
}

func BenchmarkStartup(b *testing.B) {
	x := filled(b, million, inAnHour)
	b.ResetTimer()
	for range b.N {
		n := 0
		if _, err := x.Startup(&Filter{}, begin, true, func(page []Decision) error { n += len(page); return nil }); err != nil || n < million*9/10 {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkExpire ends 100,000 decisions in one second, and reports the longest
// time that others had to wait.
func BenchmarkExpire(b *testing.B) {
	var longest time.Duration
	for range b.N {
		b.StopTimer()
		x := filled(b, 100_000, inAnHour)
		b.StartTimer()
		for {
			at := time.Now()
			n := len(x.Expire(begin.Add(time.Hour), 1000))
			longest = max(longest, time.Since(at))
			if n < 1000 {
				break
			}
		}
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-us")
}
