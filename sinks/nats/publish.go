package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"text/template"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pipeline"
	"sluice/pipeline/tlsclient"
	"sluice/sinks"
)

// Sink publishes alerts. See the package's comment.
type Sink struct {
	name    string
	config  Config
	subject *template.Template
	conn    *nats.Conn // nil when there is none
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
	if _, err := c.options(context.Background()); err != nil {
		return nil, fmt.Errorf("sink %s: %w", name, err)
	}
	return &Sink{name: name, config: c, subject: subject}, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// options are those of a connection that is made while ctx lasts. They read the files that the configuration names.
func (c *Config) options(ctx context.Context) ([]nats.Option, error) {
	opts := []nats.Option{
		// What was on its way when a connection ended is the outbox's to give again.
		nats.Name(c.ClientName), nats.Timeout(c.Timeout), nats.NoReconnect(), nats.SetCustomDialer(dialer{ctx, c.Timeout}),
	}
	if c.TLS != (tlsclient.Config{}) {
		config, err := c.TLS.Build()
		if err != nil {
			return nil, err
		}
		opts = append(opts, nats.Secure(config))
	}
	switch {
	case c.Username != "":
		opts = append(opts, nats.UserInfo(c.Username, c.Password.Reveal()))
	case c.Token != "":
		opts = append(opts, nats.Token(c.Token.Reveal()))
	case c.CredentialsFile != "":
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

// dialer ends a connection attempt when ctx is done.
type dialer struct {
	ctx     context.Context
	timeout time.Duration
}

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: d.timeout}).DialContext(d.ctx, network, address)
}

func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil && s.conn.IsConnected() {
		return nil
	}
	s.drop()
	opts, err := s.config.options(ctx)
	if err != nil {
		return err
	}
	conn, err := nats.Connect(strings.Join(s.config.Servers, ","), opts...)
	if err != nil {
		return err
	}
	js := []jetstream.JetStreamOpt{jetstream.WithPublishAsyncTimeout(s.config.Timeout), jetstream.WithPublishAsyncMaxPending(2 * window)}
	if s.config.Domain != "" {
		s.js, err = jetstream.NewWithDomain(conn, s.config.Domain, js...)
	} else {
		s.js, err = jetstream.New(conn, js...)
	}
	if err != nil {
		conn.Close()
		return err
	}
	s.conn = conn
	return nil
}

func (s *Sink) drop() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// window is how many messages are on their way at once, at most.
const window = 256

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	settled, rejected, err := s.deliver(ctx, alerts)
	if rejected != nil {
		s.rejected.Add(uint64(len(rejected.Alerts)))
	}
	switch {
	case err != nil:
		s.failed.Add(1)
		s.drop()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		err = fmt.Errorf("sink %s: %w", s.name, err)
		if settled > 0 {
			return &sinks.PartialError{Settled: settled, Rejected: rejected, Err: err}
		}
		return err
	case rejected != nil:
		return rejected
	}
	return nil
}

// deliver publishes alerts in order and returns how many from the first are
// settled. What was taken behind one that failed is published again, and dropped by the stream.
func (s *Sink) deliver(ctx context.Context, alerts []pipeline.Alert) (settled int, rejected *sinks.RejectedError, err error) {
	if err := s.connect(ctx); err != nil {
		return 0, nil, err
	}
	for len(alerts) > settled {
		part := alerts[settled:min(len(alerts), settled+window)]
		futures := make([]jetstream.PubAckFuture, len(part))
		refusals := make([]error, len(part))
		var failure error
		for i := range part {
			if futures[i], failure = s.publish(&part[i]); failure != nil {
				if !refuses(failure) {
					break
				}
				refusals[i], failure = failure, nil
			}
		}
		for i := range part {
			err := refusals[i]
			if futures[i] != nil {
				err = acknowledged(ctx, futures[i])
			} else if err == nil {
				return settled, rejected, failure // it was not published
			}
			switch {
			case err == nil:
				s.alerts.Add(1)
				s.decisions.Add(uint64(len(part[i].Decisions)))
			case refuses(err):
				if rejected == nil {
					rejected = &sinks.RejectedError{Reason: err}
				}
				rejected.Alerts = append(rejected.Alerts, settled)
			default:
				return settled, rejected, err
			}
			settled++
		}
	}
	return settled, rejected, nil
}

func acknowledged(ctx context.Context, f jetstream.PubAckFuture) error {
	select {
	case <-f.Ok():
		return nil
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errRefused is of an alert that no message can be made of.
var errRefused = errors.New("no message can be made of it")

// tooLong is JetStream's code for a message that is longer than the stream takes.
const tooLong = 10054

// refuses tells whether an error will be the same the next time.
func refuses(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, errRefused) || errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == tooLong
}

func (s *Sink) publish(a *pipeline.Alert) (jetstream.PubAckFuture, error) {
	var subject strings.Builder
	if err := s.subject.Execute(&subject, struct{ Alert *pipeline.Alert }{a}); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	if !validSubject(subject.String()) {
		return nil, fmt.Errorf("%w: its subject would be %q", errRefused, subject.String())
	}
	text, err := s.config.Format.Append(nil, a)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	m := nats.NewMsg(subject.String())
	m.Data = text
	f, err := s.js.PublishMsgAsync(m, jetstream.WithMsgID(a.UUID))
	if err == nil {
		s.bytes.Add(uint64(len(text)))
	}
	return f, err
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
