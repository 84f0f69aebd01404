//go:build integration

package decisions

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
)

// decided is how many decisions a benchmark has in force.
func decided(t testing.TB) int {
	t.Helper()
	text := os.Getenv("SLUICE_DECISIONS")
	if text == "" {
		return 1_000_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatal("SLUICE_DECISIONS: ", text)
	}
	return n
}

// report reports a memory's peak and, under another name, what stayed.
func report(b *testing.B, name string, m memory) {
	b.ReportMetric(m.peak, name+"-peak-MiB")
	b.ReportMetric(m.now, name+"-MiB")
}

// add imports addresses and returns how long the command took.
func (s *served) add(t testing.TB, addresses *bytes.Buffer, args ...string) time.Duration {
	t.Helper()
	n := bytes.Count(addresses.Bytes(), []byte("\n"))
	begin := time.Now()
	out := s.sluice(t, addresses, append([]string{"decisions", "import", "-"}, args...)...)
	took := time.Since(begin)
	if !strings.Contains(out, fmt.Sprint(n)) {
		t.Fatalf("of %d addresses the import said %q", n, out)
	}
	return took
}

// BenchmarkImport imports a file into a running sluice through its command
// line, and then the same file again, as a list is that is fetched every day.
func BenchmarkImport(b *testing.B) {
	n := decided(b)
	var first, again time.Duration
	for range b.N {
		s := serve(b)
		s.start(b)
		key := s.bouncer(b, "wall")
		report(b, "empty", s.memory(b))
		s.forgetPeak(b)
		first += s.add(b, list(0, n))
		report(b, "import", s.memory(b))
		b.ReportMetric(s.disk(b), "disk-MiB")
		s.stream(b, key, true, false)
		s.forgetPeak(b)
		again += s.add(b, list(0, n), "-d", "48h")
		report(b, "again", s.memory(b))
		b.ReportMetric(s.disk(b), "again-disk-MiB")
		s.forgetPeak(b)
		if y := s.stream(b, key, false, false); y != (told{added: n}) { // each is replaced by its successor, and none removed
			b.Fatalf("after the second import a bouncer is told %+v", y)
		}
		report(b, "behind", s.memory(b))
		s.Stop(b)
	}
	b.ReportMetric(float64(n*b.N)/first.Seconds(), "import/s")
	b.ReportMetric(float64(n*b.N)/again.Seconds(), "again/s")
}

// holding returns a running sluice with decisions that it has read from its
// disk, the keys of two bouncers, and how long the start took.
func holding(b *testing.B, n int) (s *served, keys []string, took time.Duration) {
	b.Helper()
	s = serve(b)
	s.start(b)
	keys = []string{s.bouncer(b, "wall"), s.bouncer(b, "door")}
	s.add(b, list(0, n))
	s.Stop(b)
	return s, keys, s.start(b)
}

// BenchmarkStream starts with decisions on the disk, and has bouncers begin:
// one, one with gzip, two at once; then tells one of what changed.
func BenchmarkStream(b *testing.B) {
	n := decided(b)
	s, keys, took := holding(b, n)
	begins := func(name string, clients int, compressed bool) {
		b.Run(name, func(b *testing.B) {
			s.forgetPeak(b)
			b.ResetTimer()
			for range b.N {
				var all sync.WaitGroup
				got := make([]told, clients)
				for i := range clients {
					all.Go(func() { got[i] = s.stream(b, keys[i], true, compressed) })
				}
				all.Wait()
				for _, y := range got {
					if y != (told{added: n}) {
						b.Fatalf("a bouncer was told %+v", y)
					}
				}
			}
			b.StopTimer()
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/startup")
			report(b, "stream", s.memory(b))
		})
	}
	b.Run("start", func(b *testing.B) {
		for i := range b.N {
			if i > 0 {
				s.Stop(b)
				took += s.start(b)
			}
		}
		b.ReportMetric(took.Seconds()/float64(b.N), "s/start")
		report(b, "start", s.memory(b))
	})
	begins("plain", 1, false)
	begins("gzip", 1, true)
	begins("two", 2, false)
	b.Run("delta", func(b *testing.B) {
		const some = 1000
		for i := range b.N {
			b.StopTimer()
			s.add(b, list(n+i*some, some))
			b.StartTimer()
			if y := s.stream(b, keys[0], false, false); y != (told{added: some}) {
				b.Fatalf("after %d more a bouncer was told %+v", some, y)
			}
		}
		b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/delta")
	})
}

// printed is what a command printed: how many lines, and the most memory that it had until then.
type printed struct {
	pid   func() int
	lines int
	peak  float64
}

// Write looks at the memory while the command still lives: it waits for the rest to be read.
func (p *printed) Write(text []byte) (int, error) {
	p.lines += bytes.Count(text, []byte("\n"))
	if m, err := memoryOf(p.pid()); err == nil {
		p.peak = max(p.peak, m.peak)
	}
	return len(text), nil
}

// BenchmarkPrint has the command line print all decisions in each of its forms.
func BenchmarkPrint(b *testing.B) {
	n := decided(b)
	s, _, _ := holding(b, n)
	for _, c := range []struct {
		args  string
		lines int
	}{
		{"list", n + 1}, {"list -o csv", n + 1}, {"list -o json", n*12 + 2}, {"export", n*8 + 2}, {"export -o csv", n + 1},
	} {
		b.Run(strings.ReplaceAll(c.args, " ", ""), func(b *testing.B) {
			s.forgetPeak(b)
			b.ResetTimer()
			for range b.N {
				cmd := exec.CommandContext(b.Context(), s.binary, append([]string{"decisions", "-c", s.ConfigFile()}, strings.Fields(c.args)...)...)
				out := &printed{pid: func() int { return cmd.Process.Pid }}
				cmd.Stdout, cmd.Stderr = out, os.Stderr
				if err := cmd.Run(); err != nil || out.lines != c.lines {
					b.Fatalf("%v; %d lines, not %d", err, out.lines, c.lines)
				}
				b.ReportMetric(out.peak, "command-peak-MiB")
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/print")
			report(b, "print", s.memory(b))
		})
	}
}

// watch asks for a verdict on an address every few milliseconds, until end is
// called, which returns how long the longest answer took, and the 99th percentile.
func (s *served) watch(b *testing.B, ip string) (end func() (longest, p99 time.Duration)) {
	done := make(chan struct{})
	var times []time.Duration
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			at := time.Now()
			s.verdict(b, ip)
			times = append(times, time.Since(at))
		}
	})
	return func() (longest, p99 time.Duration) {
		close(done)
		all.Wait()
		slices.Sort(times)
		return times[len(times)-1], times[len(times)*99/100]
	}
}

func reportWaits(b *testing.B, name string, longest, p99 time.Duration) {
	b.ReportMetric(float64(longest.Microseconds())/1000, name+"-longest-ms")
	b.ReportMetric(float64(p99.Microseconds())/1000, name+"-p99-ms")
}

// inTens writes n addresses of 10.0.0.0/8.
func inTens(n int) *bytes.Buffer {
	var out bytes.Buffer
	for i := range n {
		fmt.Fprintln(&out, address10(i))
	}
	return &out
}

func address10(n int) string { return fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255) }

// BenchmarkExpire ends a tenth of the decisions in one second, while others
// look up and a bouncer begins.
func BenchmarkExpire(b *testing.B) {
	n := decided(b)
	s, keys, _ := holding(b, n)
	some := n / 10
	for range b.N {
		s.stream(b, keys[0], false, false)
		s.add(b, inTens(some), "-d", "12s")
		if y := s.stream(b, keys[0], false, false); y != (told{added: some}) {
			b.Fatalf("a bouncer was told %+v", y)
		}
		quiet := s.watch(b, address(1))
		if err := rig.Pause(b.Context(), 2*time.Second); err != nil {
			b.Fatal(err)
		}
		longest, p99 := quiet()
		reportWaits(b, "quiet", longest, p99)
		s.forgetPeak(b)
		busy := s.watch(b, address(1))
		for s.verdict(b, address10(0)) != http.StatusOK || s.verdict(b, address10(some-1)) != http.StatusOK {
			if err := rig.Pause(b.Context(), time.Millisecond); err != nil {
				b.Fatal(err)
			}
		}
		ended := time.Now()
		if y := s.stream(b, keys[1], true, false); y.added != n {
			b.Fatalf("a bouncer that begins was told %+v", y)
		}
		removed := 0
		for removed < some {
			y := s.stream(b, keys[0], false, false)
			if removed += y.removed; y.added > 0 || time.Since(ended) > time.Minute {
				b.Fatalf("a bouncer was told %+v", y)
			}
			if err := rig.Pause(b.Context(), time.Millisecond); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(time.Since(ended).Seconds(), "s/told")
		longest, p99 = busy()
		reportWaits(b, "busy", longest, p99)
		report(b, "expire", s.memory(b))
	}
}

// BenchmarkWithdraw has an allow-list withdraw a tenth of the decisions, and
// then deletes all others.
func BenchmarkWithdraw(b *testing.B) {
	n := decided(b)
	for range b.N {
		s, keys, _ := holding(b, n)
		some := n / 10
		s.add(b, inTens(some))
		s.stream(b, keys[0], true, false)
		measure := func(name string, want int, do func()) {
			s.forgetPeak(b)
			end := s.watch(b, address(1))
			begin := time.Now()
			do()
			b.ReportMetric(time.Since(begin).Seconds(), name+"-s")
			longest, p99 := end()
			reportWaits(b, name, longest, p99)
			report(b, name, s.memory(b))
			if y := s.stream(b, keys[0], false, false); y != (told{removed: want}) {
				b.Fatalf("%s: a bouncer was told %+v", name, y)
			}
		}
		measure("allow", some, func() { s.sluice(b, nil, "allowlist", "add", "ours", "10.0.0.0/8") })
		measure("delete", n, func() { s.sluice(b, nil, "decisions", "delete", "--all") })
	}
}
