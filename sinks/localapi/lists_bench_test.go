package localapi

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"sluice/sinks"
	"sluice/sinks/localapi/blocklist"
)

// BenchmarkList reads a list of a million items: for the first time, once more
// when one in a hundred items is another, and once more when none is.
func BenchmarkList(b *testing.B) {
	path := filepath.Join(b.TempDir(), "list")
	write := func(changed int) {
		var out bytes.Buffer
		for i := range million {
			if n := i; changed > 0 && i%changed == 0 {
				fmt.Fprintln(&out, value(n+million))
			} else {
				fmt.Fprintln(&out, value(n))
			}
		}
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		b.StopTimer()
		write(0)
		now := begin
		c := Default()
		c.Dir, c.Blocklists = b.TempDir(), []blocklist.Config{{Name: "bad", File: path}}
		s, err := New("api", c, sinks.Env{Now: func() time.Time { return now }})
		if err == nil {
			err = s.Open()
		}
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		for _, phase := range []string{"first", "changed", "same"} {
			if now = now.Add(time.Hour); phase == "changed" {
				write(100)
			}
			at := time.Now()
			if _, err := s.refreshList(b.Context(), s.lists[0], phase == "same"); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(at).Seconds(), "s-"+phase)
		}
		b.ReportMetric(heldBy(b, s), "B/item")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// heldBy returns what is held of an item while a list is read, beside what is in force.
func heldBy(b *testing.B, s *Sink) float64 {
	b.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := s.lists[0].config
	t := newTaking(s, &list{config: l, seed: s.lists[0].seed}, s.store.Now())
	body, err := os.Open(l.File)
	if err == nil {
		_, err = blocklist.Load(body, l, t.take)
		body.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(t)
	return float64(after.HeapAlloc-before.HeapAlloc) / million
}
