package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"sluice/pipeline"
)

func benchEntry(records int) Entry {
	e := Entry{Stream: Stream{Topic: "bench"}, Labels: map[string]string{"type": "syslog"}}
	for range records {
		e.Records = append(e.Records, pipeline.Record{Value: []byte(strings.Repeat("x", 200))})
	}
	return e
}

// BenchmarkAppend appends from several goroutines that do not wait, and reads behind them.
func BenchmarkAppend(b *testing.B) {
	for _, senders := range []int{1, 8} {
		for _, records := range []int{1, 100} {
			b.Run(fmt.Sprintf("%d senders of %d", senders, records), func(b *testing.B) {
				j := start(b, Options{Dir: b.TempDir()})
				var reading sync.WaitGroup
				reading.Go(func() {
					r := j.Reader(nil)
					defer r.Close()
					for n := 0; ; {
						batch, err := r.Next(context.Background())
						if err != nil {
							return
						}
						s, end := batch.Stream, batch.Records[len(batch.Records)-1].Offset+1
						n += len(batch.Records)
						batch.Release()
						if n > 200_000 {
							n = 0
							_ = j.Trim(map[Stream]int64{s: end})
						}
					}
				})
				e := benchEntry(records)
				b.SetBytes(int64(200 * records))
				b.ReportAllocs()
				b.ResetTimer()
				var all sync.WaitGroup
				for i := range senders {
					all.Go(func() {
						for range b.N/senders + min(1, i) {
							if err := j.Append(context.Background(), &e, func(error) {}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				j.stop()
				err := <-j.done
				b.StopTimer()
				reading.Wait()
				if err := errors.Join(err, j.Close(nil)); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(b.N*records)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}

// BenchmarkLatency waits for each acknowledgement, with others beside it that share its syncs.
func BenchmarkLatency(b *testing.B) {
	for _, senders := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(senders, " senders"), func(b *testing.B) {
			j := start(b, Options{Dir: b.TempDir()})
			b.SetParallelism(max(1, senders/2)) // of two processors
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := j.put(benchEntry(1)); err != nil {
						b.Error(err)
						return
					}
				}
			})
			j.end()
		})
	}
}

// BenchmarkOpen opens a journal of some 100 MB, verifying all of it.
func BenchmarkOpen(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	j := start(b, o)
	e := benchEntry(1000)
	for range 500 {
		j.mustPut(e)
	}
	size := j.Bytes()
	j.end()
	b.SetBytes(size)
	for b.Loop() {
		j, err := Open(o)
		if err == nil {
			err = j.Close(nil)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
