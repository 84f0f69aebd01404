package kafkaconn

import (
	"slices"
	"strings"
	"time"

	"sluice/pipeline/component"
)

// Settings say how a cluster is reached. TLS and SASL are mappings of a
// component's configuration; the rest comes from keys of its own.
type Settings struct {
	// Brokers are addresses to begin at, host:port.
	Brokers []string
	// ClientID is the name told to the brokers.
	ClientID string
	// Timeout bounds making a connection, with its handshakes, and a request.
	Timeout time.Duration
	TLS     TLS
	SASL    SASL
}

// TLS says how connections are encrypted, and with which certificates.
type TLS struct {
	// Enabled turns encryption on; the other keys need it.
	Enabled bool `yaml:"enabled"`
	// CAFile holds the authorities, in PEM, that brokers' certificates are
	// checked by; the system's when empty.
	CAFile string `yaml:"ca_file"`
	// CertFile is the client's own certificate, in PEM, for brokers that ask for one. It is read at every connection.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the key of `cert_file`, in PEM.
	KeyFile string `yaml:"key_file"`
	// ServerName is the name that certificates must be of; the broker's host when empty.
	ServerName string `yaml:"server_name"`
	// InsecureSkipVerify takes any certificate. Anyone in between can then read and change everything.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// The mechanisms of SASL.
const (
	Plain       = "plain"
	ScramSHA256 = "scram-sha-256"
	ScramSHA512 = "scram-sha-512"
	AWSMSKIAM   = "aws-msk-iam"
)

// SASL says how the client signs in.
type SASL struct {
	// Mechanism is how: `plain`, `scram-sha-256`, `scram-sha-512` or `aws-msk-iam`; nobody signs in when empty.
	Mechanism string `yaml:"mechanism"`
	// Username is for `plain` and `scram`.
	Username string `yaml:"username"`
	// Password is that of `username`. It is never logged; `${NAME}` keeps it out of the file.
	Password Secret `yaml:"password"`
	// PasswordFile holds the password instead. It is read at every connection; its last line end does not count.
	PasswordFile string `yaml:"password_file"`
	// Region is the cluster's, for `aws-msk-iam`; the environment's when empty. Credentials are found as AWS's tools find them.
	Region string `yaml:"region"`
	// Profile is one of AWS's configuration, for `aws-msk-iam`; the environment's when empty.
	Profile string `yaml:"profile"`
	// Role is the ARN of a role to take on, for `aws-msk-iam`.
	Role string `yaml:"role"`
}

// Validate checks the settings without reading a file. It blames the keys
// brokers, request_timeout, tls and sasl, as components name them.
func (s *Settings) Validate() error {
	switch {
	case len(s.Brokers) == 0 || slices.Contains(s.Brokers, ""):
		return component.Invalid("brokers", "name at least one, such as localhost:9092")
	case slices.ContainsFunc(s.Brokers, func(b string) bool { return strings.Contains(b, "/") }):
		return component.Invalid("brokers", "an address is host:port, such as localhost:9092, and no URL")
	case s.Timeout <= 0:
		return component.Invalid("request_timeout", "it must be more than 0s")
	}
	if err := s.TLS.validate(); err != nil {
		return err
	}
	return s.SASL.validate(s.TLS.Enabled)
}

func (t *TLS) validate() error {
	switch {
	case !t.Enabled && *t != TLS{}:
		return component.Invalid("tls", "set enabled: true, or leave the other keys out")
	case (t.CertFile == "") != (t.KeyFile == ""):
		return component.Invalid("tls.cert_file", "cert_file and key_file go together")
	}
	return nil
}

func (s *SASL) validate(encrypted bool) error {
	password := s.Username != "" || s.Password != "" || s.PasswordFile != ""
	aws := s.Region != "" || s.Profile != "" || s.Role != ""
	switch s.Mechanism {
	case "":
		if password || aws {
			return component.Invalid("sasl.mechanism", "name one of %s", mechanismNames)
		}
	case Plain, ScramSHA256, ScramSHA512:
		switch {
		case s.Username == "":
			return component.Invalid("sasl.username", "%s needs one", s.Mechanism)
		case (s.Password == "") == (s.PasswordFile == ""):
			return component.Invalid("sasl.password", "%s needs a password or a password_file, one of them", s.Mechanism)
		case aws:
			return component.Invalid("sasl.mechanism", "region, profile and role are for %s", AWSMSKIAM)
		}
	case AWSMSKIAM:
		switch {
		case password:
			return component.Invalid("sasl.mechanism", "%s signs in with AWS credentials, not with a username and a password", AWSMSKIAM)
		case !encrypted:
			return component.Invalid("tls.enabled", "%s needs tls", AWSMSKIAM)
		}
	default:
		return component.Invalid("sasl.mechanism", "%q is none of %s", s.Mechanism, mechanismNames)
	}
	return nil
}

var mechanismNames = strings.Join([]string{Plain, ScramSHA256, ScramSHA512, AWSMSKIAM}, ", ")
