package localapi

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/pipeline/decisions"
	"sluice/sinks"
	"sluice/sinks/localapi/store"
)

const million = 1_000_000

// filled returns a server with a million decisions and a bouncer's key.
func filled(b *testing.B) (*Sink, *httptest.Server, string) {
	b.Helper()
	c := Default()
	c.Dir = b.TempDir()
	s, err := New("api", c, sinks.Env{Now: func() time.Time { return begin }})
	if err == nil {
		err = s.Open()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	for at := 0; at < million; {
		ds := make([]decisions.Decision, 10_000)
		for i := range ds {
			ds[i] = decisions.Decision{Scope: "Ip", Value: value(at), Type: "ban", Origin: "lists:bench", Scenario: "bench/list", Until: begin.Add(24 * time.Hour)}
			at++
		}
		if _, _, err := s.store.AddAlert(&store.NewAlert{Decisions: ds}); err != nil {
			b.Fatal(err)
		}
	}
	key, err := s.store.AddBouncer("bench", "")
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	b.Cleanup(server.Close)
	return s, server, key
}

// value returns the nth of many addresses that lie far apart.
func value(n int) string {
	h := uint32(n) * 2654435761
	return fmt.Sprintf("%d.%d.%d.%d", h>>24, h>>16&255, h>>8&255, h&255)
}

// resident returns how much memory the process has, in MiB, 0 where that is not told.
func resident() float64 {
	text, err := os.ReadFile(filepath.FromSlash("/proc/self/statm"))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseFloat(strings.Fields(string(text))[1], 64)
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

// BenchmarkStream has a bouncer begin with a million decisions.
func BenchmarkStream(b *testing.B) {
	_, server, key := filled(b)
	runtime.GC()
	b.ResetTimer()
	for range b.N {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, server.URL+"/v1/decisions/stream?startup=true", nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("X-Api-Key", key)
		req.Header.Set("Accept-Encoding", "identity")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || n < million*100 {
			b.Fatal(n, err)
		}
		b.SetBytes(n)
	}
	b.ReportMetric(resident(), "resident-MiB")
}

// BenchmarkLookUps asks for one address after the other, eight at a time.
func BenchmarkLookUps(b *testing.B) {
	_, server, key := filled(b)
	for name, path := range map[string]string{"decisions": "/v1/decisions?ip=", "verdict": "/v1/verdict?ip="} {
		b.Run(name, func(b *testing.B) {
			const clients = 8
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
			defer client.CloseIdleConnections()
			times := make([][]time.Duration, clients)
			var all sync.WaitGroup
			for c := range clients {
				all.Go(func() {
					for i := c; i < b.N; i += clients {
						req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, server.URL+path+value(i%(2*million)), nil)
						if err != nil {
							b.Error(err)
							return
						}
						req.Header.Set("X-Api-Key", key)
						at := time.Now()
						res, err := client.Do(req)
						if err != nil {
							b.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, res.Body)
						res.Body.Close()
						times[c] = append(times[c], time.Since(at))
					}
				})
			}
			all.Wait()
			sorted := slices.Sorted(slices.Values(slices.Concat(times...)))
			b.ReportMetric(float64(len(sorted))/b.Elapsed().Seconds(), "requests/s")
			b.ReportMetric(float64(sorted[len(sorted)*99/100].Microseconds()), "p99-us")
		})
	}
}

// BenchmarkVerdictPaced offers 5,000 requests a second, as proxies do, whatever
// the answers take: p50-us and p99-us are from when a request was sent, and
// p99-due-us from when it was due, which adds what the client itself is late.
func BenchmarkVerdictPaced(b *testing.B) {
	const clients, perSecond = 16, 5_000
	_, server, _ := filled(b)
	runtime.GC()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	sent, due := make([]time.Duration, b.N), make([]time.Duration, b.N)
	b.ResetTimer()
	begin := time.Now()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				at := begin.Add(time.Duration(i) * time.Second / perSecond)
				time.Sleep(time.Until(at))
				now := time.Now()
				res, err := client.Get(server.URL + verdictPath + "?ip=" + value(i%(2*million)))
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				sent[i], due[i] = time.Since(now), time.Since(at)
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	slices.Sort(sent)
	slices.Sort(due)
	b.ReportMetric(float64(sent[len(sent)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(sent[len(sent)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(float64(due[len(due)*99/100].Microseconds()), "p99-due-us")
}
