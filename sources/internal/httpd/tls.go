package httpd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"sluice/pipeline/component"
)

// TLSConfig is how connections are encrypted. Without a certificate they are not.
type TLSConfig struct {
	// CertFile is the certificate, in PEM, with those that lead to its authority behind it. Files are read again when they have changed, so that
	// certificates can be renewed.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the key of `cert_file`, in PEM.
	KeyFile string `yaml:"key_file"`
	// ClientCAFile has the authorities, in PEM, that clients' certificates are checked by. With it, every client must show one.
	ClientCAFile string `yaml:"client_ca_file"`
	// ClientNames are the names that a client's certificate must have one of: a DNS name or an address of its subject alternative names, or its common name. Others are answered
	// with 403. Left empty every certificate of `client_ca_file` is good.
	ClientNames []string `yaml:"client_names"`
}

func (c *TLSConfig) on() bool { return c.CertFile != "" }

func (c *TLSConfig) validate() error {
	switch {
	case c.CertFile != "" && c.KeyFile == "":
		return component.Invalid("tls.key_file", "tls.cert_file needs its key")
	case c.CertFile == "" && (c.KeyFile != "" || c.ClientCAFile != ""):
		return component.Invalid("tls.cert_file", "TLS needs a certificate and its key: tls.cert_file and tls.key_file")
	case len(c.ClientNames) > 0 && c.ClientCAFile == "":
		return component.Invalid("tls.client_names", "names can be checked only of certificates: set tls.client_ca_file")
	}
	return nil
}

// certificates holds what the files say, and reads them again when they have changed.
type certificates struct {
	config *TLSConfig
	failed func(error)

	mu      sync.Mutex
	checked time.Time
	seen    []time.Time
	now     *tls.Config
}

// newCertificates reads the files.
func newCertificates(c *TLSConfig, failed func(error)) (*certificates, error) {
	t := &certificates{config: c, failed: failed, checked: time.Now()}
	var err error
	if t.seen, err = t.times(); err != nil {
		return nil, err
	}
	t.now, err = c.load()
	return t, err
}

// server returns the configuration of the listeners.
func (t *certificates) server() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current(), nil },
		// It stands for the one that GetConfigForClient gives, which is always there.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &t.current().Certificates[0], nil },
	}
}

// current returns what holds now. Where the files cannot be read, that is what held before.
func (t *certificates) current() *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.checked) < recheck {
		return t.now
	}
	t.checked = time.Now()
	seen, err := t.times()
	if err == nil && slices.EqualFunc(seen, t.seen, time.Time.Equal) {
		return t.now
	}
	var fresh *tls.Config
	if err == nil {
		fresh, err = t.config.load()
	}
	if err != nil { // half written, perhaps: it is tried again
		t.failed(err)
		return t.now
	}
	t.now, t.seen = fresh, seen
	return t.now
}

// times returns when the files were changed.
func (t *certificates) times() ([]time.Time, error) {
	var out []time.Time
	for _, name := range []string{t.config.CertFile, t.config.KeyFile, t.config.ClientCAFile} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		out = append(out, info.ModTime())
	}
	return out, nil
}

func (c *TLSConfig) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls.cert_file and tls.key_file: %w", err)
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if c.ClientCAFile == "" {
		return out, nil
	}
	text, err := os.ReadFile(c.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca_file: %w", err)
	}
	out.ClientCAs = x509.NewCertPool()
	if !out.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("tls.client_ca_file: %s holds no certificate in PEM", c.ClientCAFile)
	}
	out.ClientAuth = tls.RequireAndVerifyClientCert
	return out, nil
}

// names returns the names of a client's certificate; nil when it shows none.
func names(state *tls.ConnectionState) []string {
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	cert := state.PeerCertificates[0]
	out := slices.Clone(cert.DNSNames)
	if cert.Subject.CommonName != "" {
		out = append(out, cert.Subject.CommonName)
	}
	for _, ip := range cert.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}
