package mqtt

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"text/template"
	"time"
	"unicode/utf8"

	paho "github.com/eclipse/paho.mqtt.golang"

	"sluice/pipeline"
	"sluice/sinks"
	"sluice/sinks/internal/window"
)

// Sink publishes alerts. See the package's comment.
type Sink struct {
	name   string
	config Config
	topic  *template.Template
	tls    *tls.Config
	client paho.Client // nil when there is no connection

	alerts, decisions, bytes, failed, rejected atomic.Uint64
}

// New makes the sink. It connects to nothing yet.
func New(name string, c Config, _ sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	topic, err := c.topic()
	if err != nil {
		return nil, err
	}
	config, err := c.TLS.Build()
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", name, err)
	}
	return &Sink{name: name, config: c, topic: topic, tls: config}, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

func (s *Sink) connect(ctx context.Context) error {
	if s.client != nil && s.client.IsConnectionOpen() {
		return nil
	}
	s.drop()
	// What was on its way when a connection ended is the outbox's to give again.
	opts := paho.NewClientOptions().SetAutoReconnect(false).SetConnectRetry(false).SetCleanSession(true).SetProtocolVersion(4).
		SetClientID(s.config.ClientID).SetUsername(s.config.Username).SetPassword(s.config.Password.Reveal()).
		SetConnectTimeout(s.config.Timeout).SetWriteTimeout(s.config.Timeout).
		SetCustomOpenConnectionFn(func(u *url.URL, _ paho.ClientOptions) (net.Conn, error) { return s.dial(ctx, u) })
	for _, b := range s.config.Brokers {
		opts.AddBroker(b)
	}
	client := paho.NewClient(opts)
	if err := done(ctx, client.Connect(), 2*s.config.Timeout*time.Duration(len(s.config.Brokers))); err != nil {
		client.Disconnect(0)
		return err
	}
	s.client = client
	return nil
}

func (s *Sink) dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	var conn net.Conn
	var err error
	if u.Scheme == "mqtts" {
		conn, err = (&tls.Dialer{Config: s.tls}).DialContext(ctx, "tcp", u.Host)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	}
	return conn, err
}

// done waits for what a token stands for.
func done(ctx context.Context, t paho.Token, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("the broker has not answered within %v", timeout)
	}
}

func (s *Sink) drop() {
	if s.client != nil {
		s.client.Disconnect(0)
		s.client = nil
	}
}

// inFlight is how many messages are on their way at once, at most.
const inFlight = 64

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	settled, rejected, err := s.deliver(ctx, alerts)
	if rejected != nil {
		s.rejected.Add(uint64(len(rejected.Alerts)))
	}
	if err != nil {
		s.failed.Add(1)
		s.drop()
		err = fmt.Errorf("sink %s: %w", s.name, err)
	}
	return sinks.Outcome(settled, rejected, err)
}

// deliver publishes alerts in order and returns how many from the first are settled.
func (s *Sink) deliver(ctx context.Context, alerts []pipeline.Alert) (settled int, rejected *sinks.RejectedError, err error) {
	if err := s.connect(ctx); err != nil {
		return 0, nil, err
	}
	return window.Deliver(alerts, inFlight, func(a *pipeline.Alert) (func() error, error) {
		topic, text, err := s.message(a)
		if err != nil {
			return nil, window.Refuse(err)
		}
		token := s.client.Publish(topic, 1, s.config.Retain, text)
		s.bytes.Add(uint64(len(text)))
		return func() error {
			if err := done(ctx, token, s.config.Timeout); err != nil {
				return err
			}
			s.alerts.Add(1)
			s.decisions.Add(uint64(len(a.Decisions)))
			return nil
		}, nil
	})
}

// message writes a message; an error says that none can be made of the alert.
func (s *Sink) message(a *pipeline.Alert) (topic string, text []byte, err error) {
	var out strings.Builder
	if err := s.topic.Execute(&out, topicData{a}); err != nil {
		return "", nil, fmt.Errorf("its topic cannot be made: %w", err)
	}
	if topic = out.String(); !validTopic(topic) {
		return "", nil, fmt.Errorf("its topic would be %q, which is none", topic)
	}
	text, err = s.config.Format.Append(nil, a)
	if n := len(topic) + len(text); err == nil && n > int(s.config.MaxMessage) {
		err = fmt.Errorf("its message is of %d bytes, and max_message is %v", n, s.config.MaxMessage)
	}
	return topic, text, err
}

// maxPacket is the most that the protocol's length can tell, less what else is in a packet.
const maxPacket = 268_435_455 - 16

// validTopic tells whether messages can be published to a topic: section 4.7 of the standard.
func validTopic(topic string) bool {
	return topic != "" && len(topic) <= 65535 && utf8.ValidString(topic) && !strings.ContainsAny(topic, "+#\x00")
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	return sinks.Stats{
		Alerts: s.alerts.Load(), Decisions: s.decisions.Load(), Bytes: s.bytes.Load(), Errors: s.failed.Load(), Rejected: s.rejected.Load(),
	}
}

// Close implements sinks.Sink.
func (s *Sink) Close() error {
	s.drop()
	return nil
}
