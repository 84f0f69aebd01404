package tlsclient

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"sluice/pipeline/component"
)

// Config says how the other side is checked, and with what this side proves
// itself. The zero value checks certificates by the system's authorities.
type Config struct {
	// CAFile holds the authorities, in PEM, that certificates are checked by; the system's when empty.
	CAFile string `yaml:"ca_file"`
	// CertFile is the client's own certificate in PEM, for servers that ask
	// for one. It is read at every connection, so that it can be renewed.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the key of cert_file, in PEM.
	KeyFile string `yaml:"key_file"`
	// ServerName is the name that certificates must be of; the address's host when empty.
	ServerName string `yaml:"server_name"`
	// InsecureSkipVerify takes any certificate, so that anyone in between can read and change all.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// Validate checks the configuration without reading a file. It blames keys of `tls`.
func (c *Config) Validate() error {
	if (c.CertFile == "") != (c.KeyFile == "") {
		return component.Invalid("tls.cert_file", "cert_file and key_file go together")
	}
	return nil
}

// Build reads the files that the configuration names. The name that
// certificates must be of is left to the caller where none is configured.
func (c *Config) Build() (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.InsecureSkipVerify}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile == "" {
		return out, nil
	}
	certFile, keyFile := c.CertFile, c.KeyFile
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file and key_file: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return out, nil
}
