package awsconn

import (
	"net"
	"net/url"
	"time"

	"sluice/pipeline/component"
)

// Settings say how AWS is reached. Start from Default.
type Settings struct {
	// Region is the AWS region, such as `eu-west-1`. When empty it is that of
	// `AWS_REGION` or of the profile; one of them must name it.
	Region string `yaml:"region"`
	// Profile is the profile of ~/.aws/config and ~/.aws/credentials to use;
	// that of `AWS_PROFILE`, or the default one, when empty.
	Profile string `yaml:"profile"`
	// AccessKeyID is an access key, with SecretAccessKey. When empty, credentials
	// are found as AWS's own tools find them: the environment, the profile, the
	// role of the container or the instance.
	AccessKeyID string `yaml:"access_key_id"`
	// SecretAccessKey is the secret of AccessKeyID.
	SecretAccessKey component.Secret `yaml:"secret_access_key"`
	// SessionToken goes with an access key that is temporary, as STS gives it.
	SessionToken component.Secret `yaml:"session_token"`
	// AssumeRole is a role to take on with these credentials.
	AssumeRole AssumeRole `yaml:"assume_role"`
	// Endpoint is the URL to send requests to instead of AWS's own, such as a
	// VPC endpoint's or that of a service that speaks AWS's protocol. It is
	// `https://`, or `http://` on a loopback address.
	Endpoint string `yaml:"endpoint"`
	// AllowHTTP lets Endpoint be `http://` elsewhere too: requests and answers are
	// then for anyone on the way to read and change.
	AllowHTTP bool `yaml:"allow_http"`
	// CAFile holds the authorities in PEM that the endpoints' certificates are
	// checked by; those of `AWS_CA_BUNDLE`, or the system's, when empty.
	CAFile string `yaml:"ca_file"`
	// MaxAttempts is how often a request is tried in a row, from 1, before it
	// counts as failed and is tried again after a longer wait.
	MaxAttempts int `yaml:"max_attempts"`
	// ConnectTimeout bounds making a connection.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// StallTimeout is how long an endpoint may send nothing before a request
	// counts as failed; an answer that goes on, however slowly, is waited for.
	StallTimeout time.Duration `yaml:"stall_timeout"`
}

// AssumeRole is a role that is taken on through STS.
type AssumeRole struct {
	// ARN names the role, such as `arn:aws:iam::123456789012:role/logs`; none when empty.
	ARN string `yaml:"arn"`
	// ExternalID is the id that the role's owner asks for, where he does.
	ExternalID component.Secret `yaml:"external_id"`
	// SessionName is what CloudTrail calls this use of the role.
	SessionName string `yaml:"session_name"`
	// Duration is how long the role's credentials last, from 15m to 12h; they
	// are renewed before. A role that was taken on by a role lasts 1h at most.
	Duration time.Duration `yaml:"duration"`
	// Endpoint is STS's URL, with the same rules as the endpoint; the region's own when empty.
	Endpoint string `yaml:"endpoint"`
}

// Default returns settings that leave all to the environment.
func Default() Settings {
	return Settings{
		AssumeRole:  AssumeRole{SessionName: "sluice", Duration: time.Hour},
		MaxAttempts: 3, ConnectTimeout: 5 * time.Second, StallTimeout: 30 * time.Second,
	}
}

// Validate checks the settings without reading a file or the environment. It
// blames the keys by the names that they have where Settings is inlined.
func (s *Settings) Validate() error {
	switch {
	case (s.AccessKeyID == "") != (s.SecretAccessKey == ""):
		return component.Invalid("access_key_id", "access_key_id and secret_access_key go together")
	case s.SessionToken != "" && s.AccessKeyID == "":
		return component.Invalid("session_token", "it needs access_key_id and secret_access_key")
	case s.AccessKeyID != "" && s.Profile != "":
		return component.Invalid("profile", "name a profile or an access_key_id, one of them")
	case s.MaxAttempts < 1 || s.MaxAttempts > 20:
		return component.Invalid("max_attempts", "it must be from 1 to 20")
	case s.ConnectTimeout <= 0:
		return component.Invalid("connect_timeout", "it must be more than 0s")
	case s.StallTimeout <= 0:
		return component.Invalid("stall_timeout", "it must be more than 0s")
	}
	if err := s.validateEndpoint("endpoint", s.Endpoint); err != nil {
		return err
	}
	return s.validateRole()
}

func (s *Settings) validateRole() error {
	r := &s.AssumeRole
	if r.ARN == "" {
		if r.ExternalID != "" || r.Endpoint != "" {
			return component.Invalid("assume_role.arn", "name the role, or leave the other keys out")
		}
		return nil
	}
	if r.Duration < 15*time.Minute || r.Duration > 12*time.Hour {
		return component.Invalid("assume_role.duration", "it must be from 15m to 12h")
	}
	if r.SessionName == "" {
		return component.Invalid("assume_role.session_name", "give the session a name")
	}
	return s.validateEndpoint("assume_role.endpoint", r.Endpoint)
}

func (s *Settings) validateEndpoint(key, endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "": // it is not shown: there may be a password in it
		return component.Invalid(key, "it is no URL such as https://kinesis.eu-west-1.amazonaws.com")
	case u.User != nil:
		return component.Invalid(key, "it holds a username; credentials come from the profile, the environment or assume_role")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return component.Invalid(key, "%q is neither https:// nor http://", endpoint)
	case !s.AllowHTTP && !loopback(u.Hostname()):
		return component.Invalid(key, "%s would carry records in the clear; write https://, or set allow_http: true", endpoint)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
