package blocklist

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/pipeline/tlsclient/tlstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a list and returns what is in it.
func open(t *testing.T, c Config, old Stamp) (string, Stamp, error) {
	t.Helper()
	f, err := NewFetcher(c)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	body, stamp, err := f.Open(t.Context(), old)
	if err != nil || body == nil {
		return "unchanged", stamp, err
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	return string(text), stamp, err
}

func secure(t *testing.T, files tlstest.Files, h http.Handler) *httptest.Server {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.ServerCert, files.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	s.URL = strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	return s
}

func TestServersAreCheckedByTheirAuthority(t *testing.T) {
	files := tlstest.Make(t)
	lists := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("192.0.2.1")) })
	s := secure(t, files, lists)
	if text, _, err := open(t, Config{Name: "a", URL: s.URL, TLS: tlsclient.Config{CAFile: files.CA}}, Stamp{}); err != nil || text != "192.0.2.1" {
		t.Errorf("by its own authority: %q, %v", text, err)
	}
	if text, _, err := open(t, Config{Name: "a", URL: s.URL}, Stamp{}); err == nil {
		t.Errorf("by the system's authorities: %q", text)
	}
	if _, err := NewFetcher(Config{Name: "a", URL: s.URL, TLS: tlsclient.Config{CAFile: files.CA + ".gone"}}); err == nil || !strings.Contains(err.Error(), "list a: tls.ca_file") {
		t.Errorf("error = %v", err)
	}
	plain := httptest.NewServer(lists)
	defer plain.Close()
	down := secure(t, files, http.RedirectHandler(plain.URL, http.StatusFound))
	if text, _, err := open(t, Config{Name: "a", URL: down.URL, TLS: tlsclient.Config{CAFile: files.CA}}, Stamp{}); err == nil || !strings.Contains(err.Error(), "without encryption") {
		t.Errorf("led away from encryption: %q, %v", text, err)
	}
}

func TestListsComeThroughProxies(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.URL.Host + " " + r.Header.Get("Proxy-Authorization")))
	}))
	defer proxy.Close()
	through := component.Secret(strings.Replace(proxy.URL, "http://", "http://me:secret@", 1))
	text, _, err := open(t, Config{Name: "a", URL: "http://lists.invalid/all", Proxy: through}, Stamp{})
	if err != nil || !strings.HasPrefix(text, "lists.invalid Basic ") {
		t.Errorf("%q, %v", text, err)
	}
}

func TestWhatUnpacksToTooMuchIsRefused(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(make([]byte, 10<<20)); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "list.gz")
	if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, _, err := open(t, Config{Name: "a", File: path, MaxSize: 1 << 20}, Stamp{}); err == nil || !strings.Contains(err.Error(), "max_size") || len(text) > 1<<20 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if text, _, err := open(t, Config{Name: "a", File: path, MaxSize: 10 << 20}, Stamp{}); err != nil || len(text) != 10<<20 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if _, _, err := open(t, Config{Name: "a", File: filepath.Dir(path)}, Stamp{}); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("of a folder: %v", err)
	}
}

func TestAServerThatSaysNothingIsGivenUp(t *testing.T) {
	stuck := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("192.0.2.1\n"))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-stuck:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(stuck)
	// A busy machine may not even have connected by then, of which the words are others.
	if _, _, err := open(t, Config{Name: "a", URL: s.URL, Timeout: 50 * time.Millisecond}, Stamp{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v", err)
	}
}

func TestOnlyWhatIsKnownCanBeUnchanged(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }))
	defer s.Close()
	c := Config{Name: "a", URL: s.URL}
	if text, stamp, err := open(t, c, Stamp{LastModified: "then"}); err != nil || text != "unchanged" || stamp.LastModified != "then" {
		t.Errorf("%q, %+v, %v", text, stamp, err)
	}
	if _, _, err := open(t, c, Stamp{}); err == nil || !strings.Contains(err.Error(), "304") {
		t.Errorf("error = %v", err)
	}
}
