package amqp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// connect connects to a broker and signs in.
func (s *Source) connect(ctx context.Context, b *broker) (*amqp091.Connection, error) {
	limited, cancel := context.WithTimeout(ctx, s.config.ConnectTimeout)
	defer cancel()
	conn, err := s.signIn(limited, b)
	if err != nil {
		if limited.Err() != nil {
			err = fmt.Errorf("%w (%w)", limited.Err(), err)
		}
		return nil, fmt.Errorf("%s: %w", b.name(), err)
	}
	return conn, nil
}

func (s *Source) signIn(ctx context.Context, b *broker) (*amqp091.Connection, error) {
	auth, err := s.auth(b)
	if err != nil {
		return nil, err
	}
	raw, err := s.dial(ctx, b)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // the library knows no context
	conn, err := amqp091.Open(&bounded{raw, s.config.ConnectTimeout}, amqp091.Config{
		SASL: []amqp091.Authentication{auth}, Vhost: b.vhost, Heartbeat: s.config.Heartbeat, Locale: "en_US", FrameSize: 128 << 10,
		Properties: amqp091.Table{"product": "Sluice", "connection_name": "sluice " + s.name},
	})
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		return nil, refusal(err)
	}
	return conn, nil
}

// refusal says what can be done about a refused sign-in.
func refusal(err error) error {
	switch {
	case errors.Is(err, amqp091.ErrCredentials):
		return errors.New("the broker refuses the username or the password; guest is allowed from the broker's own machine only")
	case errors.Is(err, amqp091.ErrVhost):
		return errors.New("the vhost does not exist, or the user has no access to it")
	case errors.Is(err, amqp091.ErrSASL):
		return errors.New("the broker does not offer the way to sign in that sasl says")
	}
	return err
}

func (s *Source) dial(ctx context.Context, b *broker) (net.Conn, error) {
	if !b.encrypted {
		return (&net.Dialer{}).DialContext(ctx, "tcp", b.address)
	}
	config := s.tls
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = b.host
	}
	return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", b.address)
}

// auth returns how to sign in, with the password that is right now.
func (s *Source) auth(b *broker) (amqp091.Authentication, error) {
	if s.config.SASL == saslExternal {
		return &amqp091.ExternalAuth{}, nil
	}
	if s.config.Username == "" && b.username != "" {
		return &amqp091.PlainAuth{Username: b.username, Password: b.password}, nil
	}
	if s.config.Username == "" {
		return &amqp091.PlainAuth{Username: "guest", Password: "guest"}, nil
	}
	password := s.config.Password.Reveal()
	if s.config.PasswordFile != "" {
		text, err := os.ReadFile(s.config.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("password_file: %w", err)
		}
		password = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	}
	return &amqp091.PlainAuth{Username: s.config.Username, Password: password}, nil
}

// bounded is a connection on which no write waits for ever: acknowledgements
// are small, so that a broker that takes none is gone.
type bounded struct {
	net.Conn
	timeout time.Duration
}

// Write implements net.Conn.
func (b *bounded) Write(p []byte) (int, error) {
	_ = b.SetWriteDeadline(time.Now().Add(b.timeout))
	return b.Conn.Write(p)
}
