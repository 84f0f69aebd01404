package kafkaconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/aws_msk_iam_v2"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"sluice/pipeline/awsconn"
)

// mechanism returns the configured way to sign in, nil when there is none.
func (s *SASL) mechanism() sasl.Mechanism {
	switch s.Mechanism {
	case Plain:
		return &passworded{sasl: s, name: "PLAIN", with: func(password string) (sasl.Mechanism, error) {
			return plain.Mechanism{Username: s.Username, Password: password}, nil
		}}
	case ScramSHA256:
		return &passworded{sasl: s, name: scram.SHA256.Name(), with: func(password string) (sasl.Mechanism, error) {
			return scram.Mechanism(scram.SHA256, s.Username, password)
		}}
	case ScramSHA512:
		return &passworded{sasl: s, name: scram.SHA512.Name(), with: func(password string) (sasl.Mechanism, error) {
			return scram.Mechanism(scram.SHA512, s.Username, password)
		}}
	case AWSMSKIAM:
		return &mskIAM{sasl: s}
	}
	return nil
}

// passworded is a mechanism that gets its password anew at each sign-in.
type passworded struct {
	sasl *SASL
	name string
	with func(password string) (sasl.Mechanism, error)
}

// Name implements sasl.Mechanism.
func (p *passworded) Name() string { return p.name }

// Start implements sasl.Mechanism.
func (p *passworded) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	password, err := p.sasl.password()
	if err != nil {
		return nil, nil, err
	}
	m, err := p.with(password)
	if err != nil {
		return nil, nil, fmt.Errorf("sasl: the username or the password cannot be used with %s: %w", p.name, err)
	}
	return m.Start(ctx)
}

// password returns the configured one, or what its file holds now.
func (s *SASL) password() (string, error) {
	if s.PasswordFile == "" {
		return s.Password.Reveal(), nil
	}
	text, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("sasl.password_file: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}

// mskIAM is Amazon MSK's mechanism. AWS's configuration is loaded at the first
// sign-in, because that may read files and ask the instance's metadata; its
// credentials are cached and renewed by the SDK.
type mskIAM struct {
	sasl *SASL

	mu     sync.Mutex // guards loaded, and lets one sign-in load
	loaded *aws_msk_iam_v2.Mechanism
}

// Name implements sasl.Mechanism.
func (m *mskIAM) Name() string { return "AWS_MSK_IAM" }

// Start implements sasl.Mechanism.
func (m *mskIAM) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	inner, err := m.load(ctx)
	if err != nil {
		return nil, nil, err
	}
	return inner.Start(ctx)
}

func (m *mskIAM) load(ctx context.Context) (*aws_msk_iam_v2.Mechanism, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.loaded != nil {
		return m.loaded, nil
	}
	settings := awsconn.Default()
	settings.Region, settings.Profile, settings.AssumeRole.ARN = m.sasl.Region, m.sasl.Profile, m.sasl.Role
	c, err := settings.Load(ctx)
	switch {
	case errors.Is(err, awsconn.ErrNoRegion):
		return nil, errors.New("sasl: the region of the MSK cluster is unknown; set sasl.region or AWS_REGION")
	case err != nil:
		return nil, fmt.Errorf("sasl: %w", err)
	}
	m.loaded = aws_msk_iam_v2.NewMechanism(c)
	return m.loaded, nil
}
