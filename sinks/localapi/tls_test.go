package localapi

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"sluice/pipeline/tlsclient/tlstest"
)

// served shakes hands, and returns the certificate that is served.
func served(t *testing.T, config *tls.Config) string {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- tls.Server(server, config).Handshake() }()
	conn := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	client.Close()
	server.Close()
	return string(conn.ConnectionState().PeerCertificates[0].Raw)
}

// TestACertificateIsRenewed replaces the certificate and then the key, and takes the key away for a while.
func TestACertificateIsRenewed(t *testing.T) {
	one, other := tlstest.Make(t), tlstest.Make(t)
	replace := func(path, by string) {
		t.Helper()
		text, err := os.ReadFile(by)
		if err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := TLS{CertFile: t.TempDir() + "/cert", KeyFile: t.TempDir() + "/key"}
	replace(c.CertFile, one.ServerCert)
	replace(c.KeyFile, one.ServerKey)
	var log bytes.Buffer
	config, err := c.server(slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	old := served(t, config)
	replace(c.CertFile, other.ServerCert)
	for range 2 {
		if served(t, config) != old {
			t.Error("without its key the new one is served")
		}
	}
	if strings.Count(log.String(), "tls.cert_file and key_file") != 1 {
		t.Errorf("the log says %q", log.String())
	}
	replace(c.KeyFile, other.ServerKey)
	renewed := served(t, config)
	if renewed == old {
		t.Error("the old one is served still")
	}
	if err := os.Remove(c.KeyFile); err != nil {
		t.Fatal(err)
	}
	if served(t, config) != renewed || !strings.Contains(log.String(), "no such file") {
		t.Errorf("another one is served, or the log does not say why: %q", log.String())
	}
}
