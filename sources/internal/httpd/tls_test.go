package httpd

import (
	"crypto/tls"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/tlsclient/tlstest"
)

// certified are certificates in files.
type certified struct {
	tlstest.Files
	config TLSConfig
}

func certificatesOf(t testing.TB) certified {
	t.Helper()
	f := tlstest.Make(t)
	return certified{f, TLSConfig{CertFile: f.ServerCert, KeyFile: f.ServerKey}}
}

// client has the world's client show a certificate.
func (w *world) shows(certFile, keyFile string) {
	w.t.Helper()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		w.t.Fatal(err)
	}
	old := w.client.Transport.(*http.Transport)
	old.CloseIdleConnections()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}, DisableKeepAlives: true}
	w.client.Transport = tr
}

func TestClientCertificates(t *testing.T) {
	f := certificatesOf(t)
	endpoints := standard()
	endpoints[1].Clients = []string{"client"}
	endpoints[2].Clients = []string{"somebody else"}
	w := listening(t, func(s *setup) {
		s.TLS, s.Endpoints = f.config, endpoints
		s.TLS.ClientCAFile = f.CA
	})
	if _, err := w.try("POST", "/lines", strings.NewReader("a")); err == nil {
		t.Error("a client without a certificate is let in")
	}
	w.drops(dropHandshake, 1)
	w.shows(f.ClientCert, f.ClientKey)
	w.post("/lines", "a", 200)
	w.post("/ndjson", "1", 200)
	w.post("/json", "1", 403)
	// The server's own is of the same authority, but not made for clients.
	w.shows(f.ServerCert, f.ServerKey)
	if _, err := w.try("POST", "/lines", strings.NewReader("a")); err == nil {
		t.Error("a certificate for servers is taken from a client")
	}
}

func TestNamesOfClientCertificates(t *testing.T) {
	f := certificatesOf(t)
	for name, status := range map[string]int{"client": 200, "127.0.0.1": 200, "other": 403} {
		w := listening(t, func(s *setup) {
			s.TLS = f.config
			s.TLS.ClientCAFile, s.TLS.ClientNames = f.CA, []string{name}
		})
		w.shows(f.ClientCert, f.ClientKey)
		w.post("/lines", "a", status)
	}
}

func TestCertificatesAreReadAgain(t *testing.T) {
	f, fresh := certificatesOf(t), certificatesOf(t)
	w := listening(t, func(s *setup) { s.TLS = f.config })
	serial := func() string {
		c, err := tls.Dial("tcp", w.address(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return string(c.ConnectionState().PeerCertificates[0].Signature)
	}
	before := serial()
	replace := func(from, to string, later time.Duration) {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(to, time.Now(), time.Now().Add(later)); err != nil {
			t.Fatal(err)
		}
	}
	replace(fresh.ServerCert, f.ServerCert, time.Minute) // with a key that is not there yet
	w.until("the log says that they do not fit", func() bool {
		return serial() == before && strings.Contains(w.log.String(), "a file that changed cannot be read")
	})
	replace(fresh.ServerKey, f.ServerKey, time.Minute)
	w.until("the new certificate is shown", func() bool { return serial() != before })
	w.shows(f.ServerCert, f.ServerKey)
	w.serves()
}
