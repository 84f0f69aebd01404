package tlsclient_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/pipeline/tlsclient"
	"sluice/pipeline/tlsclient/tlstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMistakesName(t *testing.T) {
	files := tlstest.Make(t)
	for name, tc := range map[string]struct {
		config tlsclient.Config
		says   string
	}{
		"a certificate without its key":   {tlsclient.Config{CertFile: files.ClientCert}, "go together"},
		"a file that is not there":        {tlsclient.Config{CAFile: files.CA + ".gone"}, "tls.ca_file"},
		"authorities that are none":       {tlsclient.Config{CAFile: files.ClientKey}, "no certificate in PEM"},
		"a key of another certificate":    {tlsclient.Config{CertFile: files.ClientCert, KeyFile: files.ServerKey}, "tls.cert_file"},
		"a certificate that is not there": {tlsclient.Config{CertFile: files.CA + ".gone", KeyFile: files.ClientKey}, "tls.cert_file"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.config.Validate()
			if err == nil {
				_, err = tc.config.Build()
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error = %v, want one that says %q", err, tc.says)
			}
		})
	}
}

// TestBothSidesAreChecked shakes hands with a server that wants a certificate of the same authority.
func TestBothSidesAreChecked(t *testing.T) {
	files := tlstest.Make(t)
	for name, tc := range map[string]struct {
		config tlsclient.Config
		host   string
		ok     bool
	}{
		"own authority and a certificate": {tlsclient.Config{CAFile: files.CA, CertFile: files.ClientCert, KeyFile: files.ClientKey}, "localhost", true},
		"another name that is told":       {tlsclient.Config{CAFile: files.CA, CertFile: files.ClientCert, KeyFile: files.ClientKey, ServerName: "localhost"}, "elsewhere", true},
		"another name":                    {tlsclient.Config{CAFile: files.CA, CertFile: files.ClientCert, KeyFile: files.ClientKey}, "elsewhere", false},
		"no certificate":                  {tlsclient.Config{CAFile: files.CA}, "localhost", false},
		"an unknown authority":            {tlsclient.Config{CertFile: files.ClientCert, KeyFile: files.ClientKey}, "localhost", false},
		"an unknown authority not minded": {tlsclient.Config{InsecureSkipVerify: true, CertFile: files.ClientCert, KeyFile: files.ClientKey}, "elsewhere", true},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := tc.config.Build()
			if err != nil {
				t.Fatal(err)
			}
			if config.ServerName == "" {
				config.ServerName = tc.host
			}
			if err := shake(t, files, config); (err == nil) != tc.ok {
				t.Errorf("the handshake gave %v, want ok = %v", err, tc.ok)
			}
		})
	}
}

func shake(t *testing.T, files tlstest.Files, config *tls.Config) error {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.ServerCert, files.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	text, err := os.ReadFile(files.CA)
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := listener.Accept(); err == nil {
			_, _ = c.Write([]byte("x")) // shakes hands first; what comes of it the client sees
			_ = c.Close()
		}
	}()
	client, err := tls.Dial("tcp", listener.Addr().String(), config)
	if err == nil {
		_, err = client.Read(make([]byte, 1))
		client.Close()
	}
	<-done
	return err
}
