package kafkaconn

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	"sluice/pipeline/tlsclient"
)

// Connector makes connections to one cluster. It is safe for concurrent use
// and holds no connection itself.
type Connector struct {
	settings Settings
	tls      *tls.Config // nil without encryption
	sasl     sasl.Mechanism
}

// New checks the settings and reads the files that they name. It connects to nothing.
func New(s Settings) (*Connector, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	c := &Connector{settings: s}
	var err error
	if c.tls, err = s.TLS.config(); err != nil {
		return nil, err
	}
	c.sasl = c.settings.SASL.mechanism()
	if s.SASL.Mechanism != "" && s.SASL.Mechanism != AWSMSKIAM {
		if _, err := s.SASL.password(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Brokers returns the addresses to begin at.
func (c *Connector) Brokers() []string { return c.settings.Brokers }

// Transport returns a new transport for kafka-go's Client and Writer. Its own
// goroutines end with ctx; the caller closes its idle connections.
func (c *Connector) Transport(ctx context.Context) *kafka.Transport {
	return &kafka.Transport{
		ClientID: c.settings.ClientID, DialTimeout: c.settings.Timeout, Context: ctx, TLS: c.tls, SASL: c.sasl,
		// How soon a new leader, or a topic that is waited for, is noticed.
		MetadataTTL: 2 * time.Second,
	}
}

// Dialer returns a dialer for kafka-go's ConsumerGroup and Conn.
func (c *Connector) Dialer() *kafka.Dialer {
	return &kafka.Dialer{ClientID: c.settings.ClientID, Timeout: c.settings.Timeout, DualStack: true, TLS: c.tls, SASLMechanism: c.sasl}
}

// config reads the files; nil means no encryption.
func (t *TLS) config() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := tlsclient.Config{
		CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify,
	}
	return c.Build()
}
