package syslog

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"

	"sluice/pipeline/component"
)

// validate checks the keys without reading a file.
func (c *TLSConfig) validate() error {
	switch {
	case c.CertFile == "":
		return component.Invalid("tls.cert_file", "a tls:// address needs a certificate and its key: tls.cert_file and tls.key_file")
	case c.KeyFile == "":
		return component.Invalid("tls.key_file", "tls.cert_file needs its key")
	case len(c.ClientNames) > 0 && c.ClientCAFile == "":
		return component.Invalid("tls.client_names", "names can be checked only of certificates: set tls.client_ca_file")
	case c.HandshakeTimeout <= 0:
		return component.Invalid("tls.handshake_timeout", "it must be more than 0s")
	}
	return nil
}

// build reads the files.
func (c *TLSConfig) build() (*tls.Config, error) {
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("syslog: tls.cert_file and tls.key_file: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	out := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() },
	}
	if c.ClientCAFile == "" {
		return out, nil
	}
	text, err := os.ReadFile(c.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("syslog: tls.client_ca_file: %w", err)
	}
	out.ClientCAs = x509.NewCertPool()
	if !out.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("syslog: tls.client_ca_file: %s holds no certificate in PEM", c.ClientCAFile)
	}
	out.ClientAuth = tls.RequireAndVerifyClientCert
	if len(c.ClientNames) > 0 {
		out.VerifyConnection = c.verifyName
	}
	return out, nil
}

// verifyName checks a client's name, also where a session is resumed.
func (c *TLSConfig) verifyName(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the client shows no certificate")
	}
	cert := state.PeerCertificates[0]
	names := append(slices.Clone(cert.DNSNames), cert.Subject.CommonName)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, name := range names {
		if name != "" && slices.Contains(c.ClientNames, name) {
			return nil
		}
	}
	return fmt.Errorf("the client's certificate is of %q, which tls.client_names does not have", names)
}
