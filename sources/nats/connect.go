package nats

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"sluice/pipeline/natsconn"
)

// options are those of every connection, but for what ends with a session.
// They read the files that the configuration names where the library does not.
func (c *Config) options() ([]nats.Option, error) {
	// A session is a connection: what follows it has to put the consumer right first.
	opts, err := natsconn.Options(c.ClientName, c.RequestTimeout, c.TLS)
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.PingInterval(10*time.Second), nats.MaxPingsOutstanding(2))
	if c.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	return c.signIn(opts)
}

func (c *Config) signIn(opts []nats.Option) ([]nats.Option, error) {
	switch {
	case c.Username != "":
		password, err := secret(c.Password.Reveal(), "password_file", c.PasswordFile)
		if err != nil {
			return nil, err
		}
		return append(opts, nats.UserInfo(c.Username, password)), nil
	case c.Token != "" || c.TokenFile != "":
		token, err := secret(c.Token.Reveal(), "token_file", c.TokenFile)
		if err != nil {
			return nil, err
		}
		return append(opts, nats.Token(token)), nil
	case c.CredentialsFile != "":
		if _, err := os.Stat(c.CredentialsFile); err != nil {
			return nil, fmt.Errorf("credentials_file: %w", err)
		}
		return append(opts, nats.UserCredentials(c.CredentialsFile)), nil
	case c.NKeyFile != "":
		key, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("nkey_file: %w", err)
		}
		return append(opts, key), nil
	}
	return opts, nil
}

// secret returns a text, or that of a file without its line end.
func secret(text, key, path string) (string, error) {
	if path == "" {
		return text, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}

// connect opens the session's connection. ended gets why it is of no more use.
func (s *Source) connect(ctx context.Context, ended func(error)) (*nats.Conn, error) {
	opts, err := s.config.options()
	if err != nil {
		return nil, err
	}
	opts = append(opts,
		nats.ClosedHandler(func(nc *nats.Conn) {
			err := nc.LastError()
			if err == nil {
				err = nats.ErrConnectionClosed
			}
			ended(err)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { ended(err) }),
	)
	return natsconn.Connect(ctx, s.config.Servers, s.config.RequestTimeout, opts...)
}
