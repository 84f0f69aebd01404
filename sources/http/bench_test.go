package http

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
)

// line is of the length that a web server's have.
const line = `192.0.2.1 - - [25/Nov/2026:19:00:00 +0000] "GET /index.html?n=%07d HTTP/1.1" 200 5316 "https://example.com/start" "Mozilla/5.0 (X11; Linux x86_64)"`

// BenchmarkRequests sends bodies over loopback connections, two at a time, to a
// pipeline that throws records away. It reports records a second.
func BenchmarkRequests(b *testing.B) {
	file := pushFile(b)
	ndjson := func(n int) []byte {
		var out strings.Builder
		for i := range n {
			fmt.Fprintf(&out, "{\"timestamp\":\"2026-11-25T19:00:00Z\",\"host\":\"web-1\",\"message\":%q}\n", fmt.Sprintf(line, i))
		}
		return []byte(out.String())
	}
	array := func(n int) []byte {
		text := strings.TrimSuffix(string(ndjson(n)), "\n")
		return []byte("[" + strings.ReplaceAll(text, "\n", ",") + "]")
	}
	push := func(n int) *pushed {
		s := stream{labels: [][2]string{{"job", "nginx"}, {"host", "web-1"}}}
		for i := range n {
			s.entries = append(s.entries, entry{at: time.Unix(1764097200, int64(i)), line: fmt.Sprintf(line, i)})
		}
		return &pushed{[]stream{s}}
	}
	for _, c := range []struct {
		name string
		body func(n int) []byte
		path string
		head []string
	}{
		{"ndjson", ndjson, "/ingest", []string{"Content-Type", "application/x-ndjson"}},
		{"ndjson, gzip", func(n int) []byte { return pack(b, "gzip", ndjson(n)) }, "/ingest",
			[]string{"Content-Type", "application/x-ndjson", "Content-Encoding", "gzip"}},
		{"ndjson, zstd", func(n int) []byte { return pack(b, "zstd", ndjson(n)) }, "/ingest",
			[]string{"Content-Type", "application/x-ndjson", "Content-Encoding", "zstd"}},
		{"json array", array, "/ingest", []string{"Content-Type", "application/json"}},
		{"loki protobuf", func(n int) []byte { return snappy.Encode(nil, push(n).protobuf(b, file)) }, "/loki/api/v1/push",
			[]string{"Content-Type", "application/x-protobuf"}},
		{"loki json", func(n int) []byte { return push(n).json(b) }, "/loki/api/v1/push", []string{"Content-Type", "application/json"}},
	} {
		for _, n := range []int{100, 1000} {
			for _, mode := range []string{"direct", "journal"} {
				b.Run(fmt.Sprintf("%s/%d/%s", c.name, n, mode), func(b *testing.B) {
					w := listening(b, func(config *Config) {
						config.Repeats.Remember = 0 // the same body comes all the time
						if mode == "journal" {
							config.Intake = Default().Intake
						}
					})
					w.bare = true
					body := c.body(n)
					b.SetBytes(int64(len(body)))
					b.SetParallelism(1)
					b.ReportAllocs()
					b.ResetTimer()
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if status, said := w.post(c.path, body, c.head...); status/100 != 2 {
								b.Errorf("answered %d %s", status, said)
								return
							}
						}
					})
					b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
				})
			}
		}
	}
}
