package kafkaconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
)

// Conn is one connection to one broker, signed in. One goroutine uses it at a time.
type Conn struct {
	*protocol.Conn
	clientID string
	timeout  time.Duration
	ranges   map[protocol.ApiKey]versionRange
	// expires is when the broker wants a new sign-in, zero for never: from
	// then on it closes the connection.
	expires time.Time
}

type versionRange struct{ min, max int16 }

// Connect opens a connection to the broker at an address, host:port, shakes
// hands and signs in.
func (c *Connector) Connect(ctx context.Context, address string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.settings.Timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	conn, err := c.handshake(ctx, raw, address)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("broker %s: %w", address, cause(ctx, err))
	}
	return conn, nil
}

// cause prefers the context's error to that of the connection it broke.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return err
}

func (c *Connector) handshake(ctx context.Context, raw net.Conn, address string) (*Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if c.tls != nil {
		config := c.tls
		if config.ServerName == "" {
			config = config.Clone()
			config.ServerName = host
		}
		encrypted := tls.Client(raw, config)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		raw = encrypted
	}
	conn := &Conn{Conn: protocol.NewConn(raw, c.settings.ClientID), clientID: c.settings.ClientID, timeout: c.settings.Timeout}
	if err := conn.negotiate(); err != nil {
		return nil, err
	}
	if c.sasl == nil {
		return conn, nil
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("the port %q is no number", port)
	}
	return conn, conn.signIn(sasl.WithMetadata(ctx, &sasl.Metadata{Host: host, Port: number}), c.sasl)
}

// negotiate asks which versions the broker speaks.
func (c *Conn) negotiate() error {
	msg, err := c.Conn.RoundTrip(new(apiversions.Request))
	if err != nil {
		return fmt.Errorf("asking for the protocol's versions: %w", err)
	}
	res := msg.(*apiversions.Response)
	if res.ErrorCode != 0 {
		return fmt.Errorf("asking for the protocol's versions: %w", kafka.Error(res.ErrorCode))
	}
	selected := make(map[protocol.ApiKey]int16, len(res.ApiKeys))
	c.ranges = make(map[protocol.ApiKey]versionRange, len(res.ApiKeys))
	for _, k := range res.ApiKeys {
		key := protocol.ApiKey(k.ApiKey)
		selected[key] = key.SelectVersion(k.MinVersion, k.MaxVersion)
		c.ranges[key] = versionRange{k.MinVersion, k.MaxVersion}
	}
	c.SetVersions(selected)
	return nil
}

// signIn runs a mechanism's exchange.
func (c *Conn) signIn(ctx context.Context, m sasl.Mechanism) error {
	msg, err := c.Conn.RoundTrip(&saslhandshake.Request{Mechanism: m.Name()})
	if err != nil {
		return fmt.Errorf("sasl: %w", err)
	}
	if res := msg.(*saslhandshake.Response); res.ErrorCode != 0 {
		return fmt.Errorf("sasl: the broker does not offer %s but %v: %w", m.Name(), res.Mechanisms, kafka.Error(res.ErrorCode))
	}
	session, out, err := m.Start(ctx)
	if err != nil {
		return err
	}
	for done := false; !done; {
		challenge, err := c.authenticate(out)
		if err != nil {
			return err
		}
		if done, out, err = session.Next(ctx, challenge); err != nil {
			return fmt.Errorf("sasl: %w", err)
		}
	}
	return nil
}

func (c *Conn) authenticate(out []byte) ([]byte, error) {
	asked := time.Now()
	msg, err := c.Conn.RoundTrip(&saslauthenticate.Request{AuthBytes: out})
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = kafka.SASLAuthenticationFailed // some brokers just close
	}
	if err != nil {
		return nil, fmt.Errorf("sasl: %w", err)
	}
	res := msg.(*saslauthenticate.Response)
	if res.ErrorCode != 0 {
		return nil, fmt.Errorf("sasl: the broker refuses the sign-in (%s): %w", res.ErrorMessage, kafka.Error(res.ErrorCode))
	}
	if res.SessionLifetimeMs > 0 {
		// A tenth early, so that no request is under way when the broker closes.
		c.expires = asked.Add(time.Duration(res.SessionLifetimeMs) * time.Millisecond * 9 / 10)
	}
	return res.AuthBytes, nil
}

// Expired tells whether the sign-in is about to end, so that the caller
// connects anew before the broker closes the connection.
func (c *Conn) Expired(now time.Time) bool { return !c.expires.IsZero() && now.After(c.expires) }

// Version returns the highest version of an API, up to max, that the broker
// speaks; an error when its lowest is above max or its highest below min.
func (c *Conn) Version(key protocol.ApiKey, min, max int16) (int16, error) {
	r, ok := c.ranges[key]
	if !ok || r.min > max || r.max < min {
		return 0, fmt.Errorf("broker %s speaks versions %d to %d of %v, and %d to %d are needed: %w",
			c.RemoteAddr(), r.min, r.max, key, min, max, kafka.UnsupportedVersion)
	}
	return r.maxUpTo(max), nil
}

func (r versionRange) maxUpTo(limit int16) int16 { return min(r.max, limit) }

// ClientID is the name that requests carry.
func (c *Conn) ClientID() string { return c.clientID }

// Ask sends a request and waits for its answer, within the settings' timeout.
// After an error the connection is of no use any more.
func (c *Conn) Ask(ctx context.Context, msg protocol.Message) (protocol.Message, error) {
	release := c.Bound(ctx, c.timeout)
	defer release()
	res, err := c.Conn.RoundTrip(msg)
	if err != nil {
		return nil, cause(ctx, err)
	}
	return res, nil
}

// Bound makes reads and writes end when ctx is done or limit has passed, until release is called.
func (c *Conn) Bound(ctx context.Context, limit time.Duration) (release func()) {
	_ = c.SetDeadline(time.Now().Add(limit))
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			_ = c.SetDeadline(time.Time{})
		}
	}
}
