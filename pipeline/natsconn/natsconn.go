package natsconn

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
)

// CheckServers checks URLs of servers. It blames the key servers, and shows
// none of them: one may hold a password.
func CheckServers(servers []string) error {
	if len(servers) == 0 {
		return component.Invalid("servers", "name at least one, such as nats://localhost:4222")
	}
	for _, s := range servers {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return component.Invalid("servers", "an address is no URL such as nats://localhost:4222 or tls://localhost:4222")
		}
		if u.User != nil {
			return component.Invalid("servers", "an address holds a user; set username and password, or token, so that no log shows them")
		}
	}
	return nil
}

// Options are those of every connection: the name that servers are told, the
// time that opening one may take, and TLS where any of its keys is set. A lost
// connection is not opened anew behind its user's back. The files of TLS are read.
func Options(name string, timeout time.Duration, encryption tlsclient.Config) ([]nats.Option, error) {
	opts := []nats.Option{nats.Name(name), nats.Timeout(timeout), nats.NoReconnect()}
	if encryption == (tlsclient.Config{}) {
		return opts, nil
	}
	config, err := encryption.Build()
	if err != nil {
		return nil, err
	}
	return append(opts, nats.Secure(config)), nil
}

// Connect opens a connection to one of the servers, which are tried in turn.
// The attempt ends with ctx; each server has the timeout.
func Connect(ctx context.Context, servers []string, timeout time.Duration, opts ...nats.Option) (*nats.Conn, error) {
	opts = append(slices.Clip(opts), nats.SetCustomDialer(dialer{ctx, timeout}))
	return nats.Connect(strings.Join(servers, ","), opts...)
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

// JetStream returns the JetStream of a domain; of the connection's own where it is empty.
func JetStream(conn *nats.Conn, domain string, opts ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	if domain != "" {
		return jetstream.NewWithDomain(conn, domain, opts...)
	}
	return jetstream.New(conn, opts...)
}
