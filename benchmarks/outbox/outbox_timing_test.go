//go:build unix

package outbox

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"sluice/sinks"
	"sluice/sinks/file"
	"sluice/sinks/webhook"
)

// BenchmarkFile delivers to a file.
func BenchmarkFile(b *testing.B) {
	c := file.Default()
	c.Path = filepath.Join(b.TempDir(), "alerts.json")
	s, err := file.New("file", c, sinks.Env{})
	if err != nil {
		b.Fatal(err)
	}
	Run(b, s)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkHTTP delivers to a server on the loopback address that reads
// requests and says nothing: a hundred alerts a request, two requests at once.
func BenchmarkHTTP(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is cut off is missed at the end
	}))
	defer server.Close()
	c := webhook.Default()
	c.URL, c.Batch, c.Parallel = server.URL, 100, 2
	s, err := webhook.New("webhook", c, sinks.Env{})
	if err != nil {
		b.Fatal(err)
	}
	Run(b, s)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
