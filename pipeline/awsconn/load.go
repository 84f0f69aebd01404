package awsconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
)

// ErrNoRegion is what Load returns where neither the settings nor the
// environment name a region.
var ErrNoRegion = errors.New("the AWS region is unknown; set region or AWS_REGION")

// renewBefore is how long before their end the credentials of a role are renewed.
const renewBefore = 5 * time.Minute

// Load returns what the SDK's clients are made of. It reads AWS's files and
// the environment, and connects to nothing. The error is a sentence that names
// the setting at fault.
func (s *Settings) Load(ctx context.Context) (aws.Config, error) {
	if err := s.Validate(); err != nil {
		return aws.Config{}, err
	}
	c, err := config.LoadDefaultConfig(ctx, s.options()...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("AWS's configuration cannot be loaded: %w", err)
	}
	if c.Region == "" {
		return aws.Config{}, ErrNoRegion
	}
	if c.HTTPClient, err = s.client(c.HTTPClient); err != nil {
		return aws.Config{}, err
	}
	// The role is asked for at STS's own endpoint, whatever the service's is.
	if s.AssumeRole.ARN != "" {
		c.Credentials = s.role(c)
	}
	if s.Endpoint != "" {
		c.BaseEndpoint = aws.String(s.Endpoint)
	}
	return c, nil
}

func (s *Settings) options() []func(*config.LoadOptions) error {
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(awshttp.NewBuildableClient()),
		config.WithLogger(logging.Nop{}), // errors come back to the caller, who logs them once
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = s.MaxAttempts })
		}),
	}
	if s.Region != "" {
		options = append(options, config.WithRegion(s.Region))
	}
	if s.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(s.Profile))
	}
	if s.AccessKeyID != "" {
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(s.AccessKeyID, s.SecretAccessKey.Reveal(), s.SessionToken.Reveal())))
	}
	return options
}

// role returns credentials that STS gives for those of c.
func (s *Settings) role(c aws.Config) aws.CredentialsProvider {
	client := sts.NewFromConfig(c, func(o *sts.Options) {
		if s.AssumeRole.Endpoint != "" {
			o.BaseEndpoint = aws.String(s.AssumeRole.Endpoint)
		}
	})
	provider := stscreds.NewAssumeRoleProvider(client, s.AssumeRole.ARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.Duration = s.AssumeRole.SessionName, s.AssumeRole.Duration
		if id := s.AssumeRole.ExternalID.Reveal(); id != "" {
			o.ExternalID = aws.String(id)
		}
	})
	return aws.NewCredentialsCache(provider, func(o *aws.CredentialsCacheOptions) {
		o.ExpiryWindow, o.ExpiryWindowJitterFrac = renewBefore, 0.5
	})
}

// client returns the HTTP client with the settings' limits and authorities. It
// is made of the transport that the SDK made, which knows AWS_CA_BUNDLE and
// the proxies of the environment; the SDK's own client cannot be closed.
func (s *Settings) client(made aws.HTTPClient) (*http.Client, error) {
	transport := awshttp.NewBuildableClient().GetTransport()
	if b, ok := made.(*awshttp.BuildableClient); ok {
		transport = b.GetTransport()
	}
	dialer := &net.Dialer{Timeout: s.ConnectTimeout}
	transport.TLSHandshakeTimeout = s.ConnectTimeout
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &stallConn{conn, s.StallTimeout}, nil
	}
	if s.CAFile != "" {
		text, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		if transport.TLSClientConfig == nil {
			transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", s.CAFile)
		}
	}
	return &http.Client{Transport: transport, CheckRedirect: keepMethod}, nil
}

// keepMethod follows only redirects that repeat the request as it was.
func keepMethod(r *http.Request, via []*http.Request) error {
	if len(via) >= 10 || r.Response == nil ||
		r.Response.StatusCode != http.StatusTemporaryRedirect && r.Response.StatusCode != http.StatusPermanentRedirect {
		return http.ErrUseLastResponse
	}
	return nil
}

// CloseIdle closes the connections of Load's client that wait for the next
// request. Whoever called Load calls it when the last request has ended.
func CloseIdle(c aws.Config) {
	if client, ok := c.HTTPClient.(*http.Client); ok {
		client.CloseIdleConnections()
	}
}

// stallConn is a connection whose reads and writes fail once nothing has moved
// for a while. An idle connection of the pool ends by it too, which does no harm.
type stallConn struct {
	net.Conn
	stall time.Duration
}

// Read implements net.Conn.
func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn.
func (c *stallConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
