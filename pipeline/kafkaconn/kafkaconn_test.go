package kafkaconn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"sluice/pipeline/component"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority issues certificates into files of a folder.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", nil, nil)
	return a
}

// issue writes name.pem and name.key, signed by a parent or by itself.
func (a *authority) issue(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: parent == nil,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) serverConfig(mutual bool) *tls.Config {
	a.issue("broker", a.cert, a.key)
	pair, err := tls.LoadX509KeyPair(a.file("broker.pem"), a.file("broker.key"))
	if err != nil {
		a.t.Fatal(err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}}
	if mutual {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		c.ClientCAs.AddCert(a.cert)
	}
	return c
}

func cluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.SeedTopics(1, "logs"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// reach connects in all three ways and asks for a topic.
func reach(t *testing.T, s Settings) error {
	t.Helper()
	s.Timeout = 20 * time.Second
	c, err := New(s)
	if err != nil {
		return err
	}
	conn, err := c.Connect(t.Context(), s.Brokers[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	res, err := conn.Ask(t.Context(), &metadata.Request{TopicNames: []string{"logs"}})
	if err != nil {
		return err
	}
	if topics := res.(*metadata.Response).Topics; len(topics) != 1 || topics[0].Name != "logs" {
		t.Errorf("topics %+v", topics)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	transport := c.Transport(ctx)
	defer transport.CloseIdleConnections()
	client := kafka.Client{Addr: kafka.TCP(s.Brokers...), Transport: transport}
	if _, err := client.Metadata(t.Context(), &kafka.MetadataRequest{Topics: []string{"logs"}}); err != nil {
		t.Errorf("by the transport: %v", err)
	}
	dialed, err := c.Dialer().DialContext(t.Context(), "tcp", s.Brokers[0])
	if err != nil {
		t.Errorf("by the dialer: %v", err)
		return nil
	}
	return dialed.Close()
}

func TestEncryptedConnections(t *testing.T) {
	a := newAuthority(t)
	a.issue("client", a.cert, a.key)
	other := newAuthority(t)
	plain, encrypted, mutual := cluster(t), cluster(t, kfake.TLS(a.serverConfig(false))), cluster(t, kfake.TLS(a.serverConfig(true)))
	for _, tc := range []struct {
		name    string
		cluster *kfake.Cluster
		tls     TLS
		want    string // "" for success
	}{
		{"none", plain, TLS{}, ""},
		{"by an authority of our own", encrypted, TLS{Enabled: true, CAFile: a.file("ca.pem")}, ""},
		{"by the broker's other name", encrypted, TLS{Enabled: true, CAFile: a.file("ca.pem"), ServerName: "broker"}, ""},
		{"without a check", encrypted, TLS{Enabled: true, InsecureSkipVerify: true}, ""},
		{"with a client's certificate", mutual, TLS{Enabled: true, CAFile: a.file("ca.pem"), CertFile: a.file("client.pem"), KeyFile: a.file("client.key")}, ""},
		{"by the system's authorities", encrypted, TLS{Enabled: true}, "certificate"},
		{"by another authority", encrypted, TLS{Enabled: true, CAFile: other.file("ca.pem")}, "certificate"},
		{"by a name that is wrong", encrypted, TLS{Enabled: true, CAFile: a.file("ca.pem"), ServerName: "elsewhere"}, "elsewhere"},
		{"without the certificate that is asked for", mutual, TLS{Enabled: true, CAFile: a.file("ca.pem")}, "certificate"},
		{"with a file that is not there", encrypted, TLS{Enabled: true, CAFile: a.file("gone.pem")}, "tls.ca_file"},
		{"with a file that is no certificate", encrypted, TLS{Enabled: true, CAFile: a.file("ca.key")}, "no certificate in PEM"},
		{"with a key that is not there", encrypted, TLS{Enabled: true, CertFile: a.file("client.pem"), KeyFile: a.file("gone")}, "tls.cert_file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := reach(t, Settings{Brokers: tc.cluster.ListenAddrs(), ClientID: "sluice", TLS: tc.tls})
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestSigningIn(t *testing.T) {
	c := cluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "u1", "p1"), kfake.Superuser("SCRAM-SHA-256", "u2", "p2"), kfake.Superuser("SCRAM-SHA-512", "u3", "p3"))
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("p2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		sasl   SASL
		failed bool
	}{
		{"plain", SASL{Mechanism: Plain, Username: "u1", Password: "p1"}, false},
		{"scram-sha-256, with a file", SASL{Mechanism: ScramSHA256, Username: "u2", PasswordFile: file}, false},
		{"scram-sha-512", SASL{Mechanism: ScramSHA512, Username: "u3", Password: "p3"}, false},
		{"plain with a wrong password", SASL{Mechanism: Plain, Username: "u1", Password: "secret-p2"}, true},
		{"scram with a wrong password", SASL{Mechanism: ScramSHA512, Username: "u3", Password: "secret-p2"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := reach(t, Settings{Brokers: c.ListenAddrs(), SASL: tc.sasl})
			if (err != nil) != tc.failed {
				t.Fatalf("error %v", err)
			}
			if tc.failed && (!errors.Is(err, kafka.SASLAuthenticationFailed) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestAPasswordFileIsReadAtEverySignIn(t *testing.T) {
	c := cluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "u", "new"))
	file := filepath.Join(t.TempDir(), "password")
	s := Settings{Brokers: c.ListenAddrs(), Timeout: 20 * time.Second, SASL: SASL{Mechanism: Plain, Username: "u", PasswordFile: file}}
	if _, err := New(s); err == nil || !strings.Contains(err.Error(), "sasl.password_file") {
		t.Errorf("a file that is not there: %v", err)
	}
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	connector, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connector.Connect(t.Context(), s.Brokers[0]); !errors.Is(err, kafka.SASLAuthenticationFailed) {
		t.Errorf("the old password: %v", err)
	}
	write("new\r\n")
	conn, err := connector.Connect(t.Context(), s.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.Expired(time.Now().Add(1000 * time.Hour)) {
		t.Error("a sign-in without an end has expired")
	}
}

func TestMSKSignsWithTheEnvironmentsCredentials(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	ctx := contextOfBroker(t)
	m := (&SASL{Mechanism: AWSMSKIAM}).mechanism()
	if _, _, err := m.Start(ctx); err == nil || !strings.Contains(err.Error(), "set sasl.region or AWS_REGION") {
		t.Errorf("without a region: %v", err)
	}
	m = (&SASL{Mechanism: AWSMSKIAM, Region: "eu-west-1"}).mechanism()
	for range 2 { // the second time with what was loaded
		_, out, err := m.Start(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var signed map[string]string
		if err := json.Unmarshal(out, &signed); err != nil {
			t.Fatal(err)
		}
		if signed["host"] != "b-1.example" || !strings.HasPrefix(signed["x-amz-credential"], "AKIDEXAMPLE/") ||
			!strings.Contains(signed["x-amz-credential"], "/eu-west-1/kafka-cluster/") || strings.Contains(string(out), "very-secret") {
			t.Errorf("signed %s", out)
		}
	}
	if m := (&SASL{Mechanism: AWSMSKIAM, Profile: "gone", Region: "eu-west-1"}).mechanism(); m.Name() != "AWS_MSK_IAM" {
		t.Errorf("name %s", m.Name())
	} else if _, _, err := m.Start(ctx); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("a profile that is not there: %v", err)
	}
}

func TestTheSettingsAreChecked(t *testing.T) {
	good := Settings{Brokers: []string{"a:9092"}, Timeout: time.Second}
	for _, tc := range []struct {
		name        string
		edit        func(*Settings)
		field, want string
	}{
		{"no brokers", func(s *Settings) { s.Brokers = nil }, "brokers", "at least one"},
		{"no timeout", func(s *Settings) { s.Timeout = 0 }, "request_timeout", "more than 0s"},
		{"TLS keys without TLS", func(s *Settings) { s.TLS.CAFile = "x" }, "tls", "enabled: true"},
		{"a certificate without a key", func(s *Settings) { s.TLS = TLS{Enabled: true, CertFile: "x"} }, "tls.cert_file", "go together"},
		{"an unknown mechanism", func(s *Settings) { s.SASL.Mechanism = "magic" }, "sasl.mechanism", "none of plain"},
		{"a password without a mechanism", func(s *Settings) { s.SASL.Password = "secret-x" }, "sasl.mechanism", "name one of"},
		{"no username", func(s *Settings) { s.SASL.Mechanism = Plain }, "sasl.username", "needs one"},
		{"two passwords", func(s *Settings) {
			s.SASL = SASL{Mechanism: Plain, Username: "u", Password: "secret-x", PasswordFile: "f"}
		}, "sasl.password", "one of them"},
		{"a role with a password", func(s *Settings) {
			s.SASL = SASL{Mechanism: Plain, Username: "u", Password: "secret-x", Role: "r"}
		}, "sasl.mechanism", "are for aws-msk-iam"},
		{"MSK with a password", func(s *Settings) {
			s.TLS.Enabled, s.SASL = true, SASL{Mechanism: AWSMSKIAM, Password: "secret-x"}
		}, "sasl.mechanism", "AWS credentials"},
		{"MSK without TLS", func(s *Settings) { s.SASL.Mechanism = AWSMSKIAM }, "tls.enabled", "needs tls"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := good
			tc.edit(&s)
			_, err := New(s)
			var field *component.FieldError
			if !errors.As(err, &field) || field.Field != tc.field || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestABrokerThatSpeaksTooOldOrTooNew(t *testing.T) {
	s := Settings{Brokers: cluster(t).ListenAddrs(), Timeout: 20 * time.Second}
	c, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.Connect(t.Context(), s.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if v, err := conn.Version(protocol.Fetch, 4, 11); v != 11 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	if _, err := conn.Version(protocol.Fetch, 0, 3); !errors.Is(err, kafka.UnsupportedVersion) {
		t.Errorf("error %v", err)
	}
}

func TestTheContextEndsAWait(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c, err := New(Settings{Brokers: []string{silent.Addr().String()}, Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Connect(t.Context(), silent.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Connect(ctx, silent.Addr().String()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func contextOfBroker(t *testing.T) context.Context {
	return sasl.WithMetadata(t.Context(), &sasl.Metadata{Host: "b-1.example", Port: 9098})
}
