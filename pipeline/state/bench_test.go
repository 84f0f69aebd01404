package state

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// threadTime is what the locked thread has used.
func threadTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(1, &ru); err != nil { // RUSAGE_THREAD
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// writtenBytes is what this process has dirtied in files, memory maps included.
func writtenBytes(tb testing.TB) int64 {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		tb.Skip("the kernel does not count what a process writes: ", err)
	}
	_, after, _ := strings.Cut(string(text), "\nwrite_bytes: ")
	n, err := strconv.ParseInt(strings.TrimSpace(strings.SplitN(after, "\n", 2)[0]), 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// fleet makes records that look like buckets: a scenario, an address, times,
// positions and a few of the fields of the events that were poured.
type fleet struct {
	r    *rand.Rand
	sums []Sum
	key  []byte
	val  []byte
}

func newFleet(n int) *fleet {
	return &fleet{r: rand.New(rand.NewPCG(1, 2)), sums: make([]Sum, n)}
}

var paths = []string{"/", "/index.html", "/wp-login.php", "/.env", "/api/v1/session", "/assets/app.3f9c1d.js", "/admin/config.php", "/xmlrpc.php"}

func (f *fleet) put(w *Writer, i int, at time.Time) {
	f.key = append(f.key[:0], byte(KindBucket), 1)
	f.key = append(f.key, fmt.Sprintf("%d.%d.%d.%d", 11+i>>18, i>>12&63, i>>6&63, i&63)...)
	v := binary.AppendUvarint(f.val[:0], 7)
	v = binary.LittleEndian.AppendUint64(v, uint64(at.UnixNano()))
	v = binary.LittleEndian.AppendUint64(v, uint64(at.Add(-time.Minute).UnixNano()))
	v = binary.AppendUvarint(v, uint64(i%40))
	for e := range 2 {
		v = binary.AppendUvarint(v, uint64(f.r.IntN(8)))
		v = binary.AppendUvarint(v, f.r.Uint64N(1<<28))
		v = binary.LittleEndian.AppendUint64(v, uint64(at.UnixNano())-f.r.Uint64N(1e9))
		for _, s := range []string{"http_access-log", string(f.key[2:]), paths[f.r.IntN(len(paths))], strconv.Itoa(200 + f.r.IntN(5)*100), "GET", "nginx",
			"web-" + strconv.Itoa(f.r.IntN(40)), at.Add(time.Duration(-e) * time.Second).Format(time.RFC3339), "Mozilla/5.0 (X11; Linux x86_64)"} {
			v = binary.AppendUvarint(v, uint64(len(s)))
			v = append(v, s...)
		}
	}
	f.val = v
	f.sums[i] = w.Put(f.key, v, f.sums[i])
}

// epoch changes n of the first keys records.
func (f *fleet) epoch(n, keys int, at time.Time) *Epoch {
	e := &Epoch{Parts: []*Writer{{}, {}}}
	for k := range n {
		i := k
		if keys > n {
			i = f.r.IntN(keys)
		}
		f.put(e.Parts[i%2], i, at)
	}
	return e
}

// BenchmarkCommit commits 60 epochs of 100,000 changed records each, with the
// folds that they cause, and says what one costs. Making the epochs is not counted.
func BenchmarkCommit(b *testing.B) {
	for _, keys := range []int{100_000, 300_000, 1_000_000} {
		b.Run(fmt.Sprintf("%d records", keys), func(b *testing.B) {
			const epochs, changes = 60, 100_000
			for b.Loop() {
				s := mustOpen(b, Options{Dir: b.TempDir()})
				if err := s.Load(func(_, _ []byte, _ Sum) error { return nil }); err != nil {
					b.Fatal(err)
				}
				f := newFleet(keys)
				at := time.Date(2025, 3, 1, 10, 0, 0, 0, time.UTC)
				var making time.Duration
				var encoded, bytes, used, reserve int64
				disk, start, begin := writtenBytes(b), cpuTime(), time.Now()
				for i := range epochs {
					runtime.LockOSThread()
					made := threadTime()
					e := f.epoch(changes, keys, at.Add(time.Duration(i)*time.Second))
					making += threadTime() - made
					runtime.UnlockOSThread()
					done, err := s.Commit(context.Background(), e)
					if err != nil {
						b.Fatal(err)
					}
					if sp, err := s.Space(); err == nil {
						used, reserve = max(used, sp.Used), max(reserve, sp.Reserve)
					}
					encoded += done.Encoded
					bytes += done.Bytes
				}
				s.folding.Lock() // a fold that runs belongs to the bill
				cpu := cpuTime() - start - making
				s.folding.Unlock()
				st := s.Stats()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(cpu.Seconds()/epochs, "cpu-s/epoch")
				b.ReportMetric(making.Seconds()/epochs, "making-cpu-s/epoch")
				b.ReportMetric(time.Since(begin).Seconds()/epochs, "s/epoch")
				b.ReportMetric(float64(encoded)/epochs/1e6, "encoded-MB/epoch")
				b.ReportMetric(float64(bytes)/float64(encoded), "compressed/encoded")
				b.ReportMetric(float64(writtenBytes(b)-disk)/float64(encoded), "disk/encoded")
				b.ReportMetric(float64(st.Disk)/float64(encoded), "told-disk/encoded")
				b.ReportMetric(float64(used)/1e6, "most-used-MB")
				b.ReportMetric(float64(reserve)/1e6, "most-reserved-MB")
				b.ReportMetric(float64(st.Folds), "folds")
				b.ReportMetric(float64(st.Folded)/float64(encoded), "folded/encoded")
			}
		})
	}
}

// BenchmarkLoad opens and loads a state of 1,000,000 records: all of them
// folded, or with a million changes more in epochs that are not.
func BenchmarkLoad(b *testing.B) {
	for _, unfolded := range []int{0, 10} {
		b.Run(fmt.Sprintf("%d epochs unfolded", unfolded), func(b *testing.B) {
			const keys = 1_000_000
			o := Options{Dir: b.TempDir(), FoldBytes: 1 << 40}
			s := mustOpen(b, o)
			ctx := context.Background()
			if err := s.Load(func(_, _ []byte, _ Sum) error { return nil }); err != nil {
				b.Fatal(err)
			}
			f := newFleet(keys)
			at := time.Date(2025, 3, 1, 10, 0, 0, 0, time.UTC)
			if _, err := s.Commit(ctx, f.epoch(keys, keys, at)); err != nil {
				b.Fatal(err)
			}
			if err := s.Fold(ctx); err != nil {
				b.Fatal(err)
			}
			for range unfolded {
				if _, err := s.Commit(ctx, f.epoch(100_000, keys, at)); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			start := cpuTime()
			for b.Loop() {
				s := mustOpen(b, o)
				var n [2]int
				if err := s.LoadParallel(2, func(w int, _, _ []byte, _ Sum) error { n[w]++; return nil }); err != nil {
					b.Fatal(err)
				}
				if n[0]+n[1] != keys {
					b.Fatalf("%d records", n[0]+n[1])
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpuTime()-start).Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// BenchmarkGet reads folded records at random, as cold buckets are.
func BenchmarkGet(b *testing.B) {
	const keys = 200_000
	s := mustOpen(b, Options{Dir: b.TempDir()})
	if err := s.Load(func(_, _ []byte, _ Sum) error { return nil }); err != nil {
		b.Fatal(err)
	}
	f := newFleet(keys)
	if _, err := s.Commit(context.Background(), f.epoch(keys, keys, time.Now())); err != nil {
		b.Fatal(err)
	}
	if err := s.Fold(context.Background()); err != nil {
		b.Fatal(err)
	}
	var w Writer
	var buf []byte
	for b.Loop() {
		f.put(&w, f.r.IntN(keys), time.Time{}) // for its key
		w = Writer{}
		var ok bool
		var err error
		if buf, _, ok, err = s.Get(f.key, buf[:0]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
