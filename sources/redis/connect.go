package redis

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// connect makes a client, which connects when it is asked for something. It reads the files that the configuration names.
func (c *Config) connect() (redis.UniversalClient, error) {
	o := &redis.UniversalOptions{
		Addrs: c.hosts, IsClusterMode: c.Cluster, MasterName: c.SentinelMaster,
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword.Reveal(),
		DB: c.Database, ClientName: c.ClientName, DisableIdentity: true,
		DialTimeout: c.RequestTimeout, ReadTimeout: c.RequestTimeout, WriteTimeout: c.RequestTimeout,
		// Failures are met by sessions, which put things right before they try again.
		MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		PoolSize:                   len(c.Streams) + 2,
		CredentialsProviderContext: c.credentials,
		MaintNotificationsConfig:   &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if _, _, err := c.credentials(context.Background()); err != nil {
		return nil, err
	}
	if c.encrypted {
		config, err := c.TLS.Build()
		if err != nil {
			return nil, err
		}
		o.TLSConfig = config
	}
	return redis.NewUniversalClient(o), nil
}

// silent takes what the library would write to the standard error by itself,
// such as a line for every attempt to connect: the errors are returned as well, and told once.
type silent struct{}

// Printf implements the library's logger.
func (silent) Printf(context.Context, string, ...any) {}

// The library has one logger for the process, which can be set safely only before there are clients.
func init() { redis.SetLogger(silent{}) }

// credentials returns the user and the password, for every connection anew.
func (c *Config) credentials(context.Context) (username, password string, err error) {
	if c.PasswordFile == "" {
		return c.Username, c.Password.Reveal(), nil
	}
	content, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", "", fmt.Errorf("password_file: %w", err)
	}
	return c.Username, strings.TrimRight(string(content), "\r\n"), nil
}
