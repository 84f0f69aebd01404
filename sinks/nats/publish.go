package nats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"text/template"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pipeline"
	"sluice/pipeline/natsconn"
	"sluice/sinks"
	"sluice/sinks/internal/window"
)

// Sink publishes alerts. See the package's comment.
type Sink struct {
	name    string
	config  Config
	subject *template.Template
	conn    *nats.Conn    // nil when there is none
	lost    chan struct{} // closed when conn is
	js      jetstream.JetStream

	alerts, decisions, bytes, failed, rejected atomic.Uint64
}

// New makes the sink. It connects to nothing yet.
func New(name string, c Config, _ sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	subject, err := c.subject()
	if err != nil {
		return nil, err
	}
	if _, err := c.options(); err != nil {
		return nil, fmt.Errorf("sink %s: %w", name, err)
	}
	return &Sink{name: name, config: c, subject: subject}, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// options are those of every connection. They read the files that the configuration names.
func (c *Config) options() ([]nats.Option, error) {
	// What was on its way when a connection ended is the outbox's to give again.
	opts, err := natsconn.Options(c.ClientName, c.Timeout, c.TLS)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Username != "":
		opts = append(opts, nats.UserInfo(c.Username, c.Password.Reveal()))
	case c.Token != "":
		opts = append(opts, nats.Token(c.Token.Reveal()))
	case c.CredentialsFile != "":
		if _, err := os.Stat(c.CredentialsFile); err != nil {
			return nil, fmt.Errorf("credentials_file: %w", err)
		}
		opts = append(opts, nats.UserCredentials(c.CredentialsFile))
	case c.NKeyFile != "":
		key, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("nkey_file: %w", err)
		}
		opts = append(opts, key)
	}
	return opts, nil
}

func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil && s.conn.IsConnected() {
		return nil
	}
	s.drop()
	opts, err := s.config.options()
	if err != nil {
		return err
	}
	lost := make(chan struct{})
	opts = append(opts, nats.ClosedHandler(func(*nats.Conn) { close(lost) }))
	conn, err := natsconn.Connect(ctx, s.config.Servers, s.config.Timeout, opts...)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(s.config.Servers, ", "), err)
	}
	s.js, err = natsconn.JetStream(conn, s.config.Domain,
		jetstream.WithPublishAsyncTimeout(s.config.Timeout), jetstream.WithPublishAsyncMaxPending(2*inFlight))
	if err != nil {
		conn.Close()
		return err
	}
	s.conn, s.lost = conn, lost
	return nil
}

func (s *Sink) drop() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// inFlight is how many messages are on their way at once, at most.
const inFlight = 256

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	settled, rejected, err := s.deliver(ctx, alerts)
	if rejected != nil {
		s.rejected.Add(uint64(len(rejected.Alerts)))
	}
	if err != nil {
		s.failed.Add(1)
		s.drop()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		err = fmt.Errorf("sink %s: %w", s.name, err)
	}
	return sinks.Outcome(settled, rejected, err)
}

// deliver publishes alerts in order and returns how many from the first are
// settled. What was taken behind one that failed is published again, and dropped by the stream.
func (s *Sink) deliver(ctx context.Context, alerts []pipeline.Alert) (settled int, rejected *sinks.RejectedError, err error) {
	if err := s.connect(ctx); err != nil {
		return 0, nil, err
	}
	return window.Deliver(alerts, inFlight, func(a *pipeline.Alert) (func() error, error) {
		m, err := s.message(a)
		if err != nil {
			return nil, window.Refuse(fmt.Errorf("no message can be made of it: %w", err))
		}
		f, err := s.js.PublishMsgAsync(m, jetstream.WithMsgID(a.UUID))
		if err != nil {
			return nil, refused(err)
		}
		s.bytes.Add(uint64(len(m.Data)))
		return func() error {
			if err := acknowledged(ctx, f, s.lost); err != nil {
				return refused(err)
			}
			s.alerts.Add(1)
			s.decisions.Add(uint64(len(a.Decisions)))
			return nil
		}, nil
	})
}

// acknowledged waits for an acknowledgement. The library waits for its timeout,
// too, when the connection over which it would have come is lost.
func acknowledged(ctx context.Context, f jetstream.PubAckFuture, lost <-chan struct{}) error {
	ok := f.Ok()
	select {
	case <-ok:
		return nil
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-lost:
	}
	select {
	case <-ok: // it had come before
		return nil
	default:
		return nats.ErrConnectionClosed
	}
}

// tooLong is JetStream's code for a message that is longer than the stream takes.
const tooLong = 10054

// refused marks an error that will be the same the next time.
func refused(err error) error {
	var api *jetstream.APIError
	if errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == tooLong {
		return window.Refuse(err)
	}
	return err
}

// message writes a message; an error says that none can be made of the alert.
func (s *Sink) message(a *pipeline.Alert) (*nats.Msg, error) {
	var subject strings.Builder
	if err := s.subject.Execute(&subject, subjectData{a}); err != nil {
		return nil, err
	}
	if !validSubject(subject.String()) {
		return nil, fmt.Errorf("its subject would be %q", subject.String())
	}
	text, err := s.config.Format.Append(nil, a)
	if err != nil {
		return nil, err
	}
	m := nats.NewMsg(subject.String())
	m.Data = text
	return m, nil
}

// validSubject tells whether a server takes a subject to publish to.
func validSubject(subject string) bool {
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" || token == "*" || token == ">" {
			return false
		}
	}
	return strings.IndexFunc(subject, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) < 0
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
