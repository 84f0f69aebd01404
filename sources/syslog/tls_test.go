package syslog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a folder of certificates: ca.pem, and NAME.pem with NAME.key.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// certificates makes an authority with a server, a client, and one of a stranger.
func certificates(t testing.TB) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.issue(t, "ca")
	for _, name := range []string{"server", "client", "other"} {
		a.issue(t, name)
	}
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// issue writes a certificate and its key.
func (a *authority) issue(t testing.TB, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name + ".example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: name == "ca", BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	parent, signer := cert, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		a.key = key
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(a.path(file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// config is that of a client with a certificate of the given name, or with none.
func (a *authority) config(t testing.TB, client string) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c := &tls.Config{RootCAs: pool, ServerName: "server.example"}
	if client != "" {
		pair, err := tls.LoadX509KeyPair(a.path(client+".pem"), a.path(client+".key"))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

func (a *authority) dial(t testing.TB, place, client string) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", place, a.config(t, client))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestClientsAreCheckedByTheirCertificates(t *testing.T) {
	files, strangers := certificates(t), certificates(t)
	for _, c := range []struct {
		name   string
		names  []string
		config *tls.Config
		ok     bool
	}{
		{"one of the authority's", nil, files.config(t, "client"), true},
		{"none", nil, files.config(t, ""), false},
		{"one of another authority", nil, func() *tls.Config {
			c := strangers.config(t, "client")
			c.RootCAs = files.config(t, "").RootCAs
			return c
		}(), false},
		{"one with the DNS name", []string{"client.example"}, files.config(t, "client"), true},
		{"one with the common name", []string{"client"}, files.config(t, "client"), true},
		{"one with another name", []string{"client.example"}, files.config(t, "other"), false},
		{"TLS 1.1", nil, func() *tls.Config {
			c := files.config(t, "client")
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			return c
		}(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := listening(t, func(conf *Config) {
				conf.TLS.CertFile, conf.TLS.KeyFile = files.path("server.pem"), files.path("server.key")
				conf.TLS.ClientCAFile, conf.TLS.ClientNames = files.path("ca.pem"), c.names
			}, "tls://127.0.0.1:0")
			for range 2 {
				conn, err := tls.Dial("tcp", w.place(0), c.config)
				if err == nil {
					defer conn.Close()
					_, _ = conn.Write([]byte(bsdMessage + "\n")) // TLS 1.3 clients hear later that they are refused
				}
			}
			if c.ok {
				w.got(2)
				return
			}
			w.drops(dropHandshake, 2)
			if n := strings.Count(w.log.String(), "cannot set up TLS"); n != 1 {
				t.Errorf("it is said %d times, want once:\n%s", n, w.log)
			}
			if w.source.Stats().Records != 0 {
				t.Error("a message was taken")
			}
		})
	}
}

func TestACertificateCanBeRenewed(t *testing.T) {
	files := certificates(t)
	w := listening(t, func(c *Config) {
		c.TLS.CertFile, c.TLS.KeyFile = files.path("server.pem"), files.path("server.key")
	}, "tls://127.0.0.1:0")
	serial := func() string {
		conn := files.dial(t, w.place(0), "")
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	files.issue(t, "server")
	if serial() == before {
		t.Error("the old certificate is still shown")
	}
}

func TestACertificateThatCannotBeReadIsSaid(t *testing.T) {
	files := certificates(t)
	for _, c := range []struct {
		name, want string
		config     TLSConfig
	}{
		{"no such file", "no such file", TLSConfig{CertFile: "gone.pem", KeyFile: "gone.key"}},
		{"no authority", "no such file", TLSConfig{CertFile: files.path("server.pem"), KeyFile: files.path("server.key"), ClientCAFile: "gone.pem"}},
		{"an authority that is a key", "holds no certificate", TLSConfig{CertFile: files.path("server.pem"), KeyFile: files.path("server.key"), ClientCAFile: files.path("server.key")}},
	} {
		if _, err := c.config.build(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
