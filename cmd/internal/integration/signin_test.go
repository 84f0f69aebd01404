//go:build integration

package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"sluice/cmd/internal/integration/kafkatest"
	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline"
	"sluice/pipeline/kafkaconn"
	sink "sluice/sinks/kafka"
	"sluice/sources"
	"sluice/sources/kafka"
)

// TestEncryptedAndSignedIn writes to and reads from a real broker over TLS,
// with certificates on both sides, and signed in with each mechanism that a
// broker of one's own offers. A wrong password is refused and not shown.
func TestEncryptedAndSignedIn(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	certificates(t, dir)
	b, err := startBroker(ctx, filepath.Join(dir, "kafka"), kafkatest.Options{
		Listeners: map[string]string{"MUTUAL": "SSL", "SIGNED": "SASL_SSL"},
		Settings:  guarded(dir),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	if err := b.addUsers(ctx); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	ca := kafkaconn.TLS{Enabled: true, CAFile: file("ca.pem")}
	mutual := ca
	mutual.CertFile, mutual.KeyFile = file("client.crt"), file("client.key")
	sasl := func(mechanism string, password kafkaconn.Secret) kafkaconn.SASL {
		return kafkaconn.SASL{Mechanism: mechanism, Username: "alice", Password: password}
	}
	for i, tc := range []struct {
		name, listener string
		tls            kafkaconn.TLS
		sasl           kafkaconn.SASL
		refused        bool
	}{
		{"with certificates", "MUTUAL", mutual, kafkaconn.SASL{}, false},
		{"without the client's", "MUTUAL", ca, kafkaconn.SASL{}, true},
		{"plain", "SIGNED", ca, sasl(kafkaconn.Plain, "secret-1"), false},
		{"scram-sha-256", "SIGNED", ca, sasl(kafkaconn.ScramSHA256, "secret-2"), false},
		{"scram-sha-512", "SIGNED", ca, sasl(kafkaconn.ScramSHA512, "secret-3"), false},
		{"a wrong password, plain", "SIGNED", ca, sasl(kafkaconn.Plain, "secret-9"), true},
		{"a wrong password, scram", "SIGNED", ca, sasl(kafkaconn.ScramSHA512, "secret-9"), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			topic := fmt.Sprint("signed-", i)
			if err := b.admin.CreateTopic(ctx, topic, 1, nil); err != nil {
				t.Fatal(err)
			}
			brokers := []string{b.Listener(tc.listener)}
			within := time.Minute
			if tc.refused { // which would be tried again for ever
				within = 5 * time.Second
			}
			err := errors.Join(writeOne(ctx, brokers, topic, tc.tls, tc.sasl), readOne(ctx, within, brokers, topic, tc.tls, tc.sasl))
			if (err != nil) != tc.refused || err != nil && strings.Contains(err.Error(), "secret-") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// writeOne writes a record as the sink's writers do.
func writeOne(ctx context.Context, brokers []string, topic string, tls kafkaconn.TLS, sasl kafkaconn.SASL) error {
	config := sink.DefaultRaw()
	config.Brokers, config.Topic, config.TLS, config.SASL = brokers, topic, tls, sasl
	w, err := sink.NewRawWriter(config, nil)
	if err != nil {
		return err
	}
	return errors.Join(w.Write(ctx, []sink.RawRecord{{Key: []byte("k"), Value: []byte("signed")}}), w.Close())
}

// readOne reads it, and commits to a group, within a time.
func readOne(ctx context.Context, within time.Duration, brokers []string, topic string, tls kafkaconn.TLS, sasl kafkaconn.SASL) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	config := kafka.Default()
	config.Brokers, config.Topics, config.Group, config.TLS, config.SASL = brokers, []string{topic}, "g-"+topic, tls, sasl
	s, err := kafka.New("k", config, sources.Env{})
	if err != nil {
		return err
	}
	read := errors.New("the record is read")
	err = s.Run(ctx, nil, func(_ context.Context, batch *pipeline.RecordBatch) error {
		defer batch.Release()
		if string(batch.Records[0].Value) != "signed" {
			return fmt.Errorf("the record is %q", batch.Records[0].Value)
		}
		return read
	})
	if errors.Is(err, read) {
		err = s.Commit(ctx, sources.Positions{{Source: "k", Topic: topic}: 1})
	}
	return errors.Join(err, s.Close())
}

// guarded are the broker's settings: one listener asks for a client's
// certificate, the other for a password.
func guarded(dir string) map[string]string {
	const module = "org.apache.kafka.common.security."
	s := map[string]string{"listener.name.mutual.ssl.client.auth": "required"}
	for _, listener := range []string{"mutual", "signed"} {
		prefix := "listener.name." + listener + ".ssl."
		s[prefix+"keystore.type"], s[prefix+"keystore.location"] = "PEM", filepath.Join(dir, "broker.both")
		s[prefix+"truststore.type"], s[prefix+"truststore.location"] = "PEM", filepath.Join(dir, "ca.pem")
	}
	s["listener.name.signed.sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
	s["listener.name.signed.plain.sasl.jaas.config"] = module + `plain.PlainLoginModule required user_alice="secret-1";`
	for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
		s["listener.name.signed."+mechanism+".sasl.jaas.config"] = module + "scram.ScramLoginModule required;"
	}
	return s
}

// addUsers makes the user of the SCRAM mechanisms, and waits until the broker knows it.
func (b *broker) addUsers(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...))
	if err != nil {
		return err
	}
	defer client.Close()
	for mechanism, password := range map[int8]string{1: "secret-2", 2: "secret-3"} {
		const iterations = 4096
		newHash, size := func() hash.Hash { return sha256.New() }, sha256.Size
		if mechanism == 2 {
			newHash, size = func() hash.Hash { return sha512.New() }, sha512.Size
		}
		salted, err := pbkdf2.Key(newHash, password, []byte("a salt of 16 byte"), iterations, size)
		if err != nil {
			return err
		}
		u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
		u.Name, u.Mechanism, u.Iterations, u.Salt, u.SaltedPassword = "alice", mechanism, iterations, []byte("a salt of 16 byte"), salted
		req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest() // one user once a request
		req.Upsertions = append(req.Upsertions, u)
		res, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(res.Results[0].ErrorCode); err != nil {
			return err
		}
	}
	return rig.Poll(ctx, "the user", func() (bool, error) {
		res, err := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest().RequestWith(ctx, client)
		return err == nil && len(res.Results) == 1 && len(res.Results[0].CredentialInfos) == 2, err
	})
}

// certificates writes ca.pem, and for the broker and the client a .crt and a
// .key each, and both in one .both, all in PEM.
func certificates(t *testing.T, dir string) {
	t.Helper()
	write := func(file string, blocks ...*pem.Block) {
		var out []byte
		for _, b := range blocks {
			out = append(out, pem.EncodeToMemory(b)...)
		}
		if err := os.WriteFile(filepath.Join(dir, file), out, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(name string, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: parent == nil,
			KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		c.Subject.CommonName = name
		if parent == nil {
			parent, by = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		cert, secret := &pem.Block{Type: "CERTIFICATE", Bytes: der}, &pem.Block{Type: "PRIVATE KEY", Bytes: private}
		write(name+".crt", cert)
		write(name+".key", secret)
		write(name+".both", secret, cert)
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return parsed, key
	}
	ca, key := issue("ca", nil, nil)
	issue("broker", ca, key)
	issue("client", ca, key)
	if err := os.Rename(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
}
