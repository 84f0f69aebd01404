package awsconn

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"go.uber.org/goleak"

	"sluice/pipeline/component"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bare takes away what the machine's environment says of AWS.
func bare(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func keys(endpoint string) Settings {
	s := Default()
	s.Region, s.AccessKeyID, s.SecretAccessKey, s.Endpoint = "eu-west-1", "AKIDEXAMPLE", "very-secret", endpoint
	s.MaxAttempts = 1
	return s
}

// asked is an STS that says who asked for what, in the order of the requests.
type asked struct {
	requests atomic.Int32
	answer   func(w http.ResponseWriter, action, as string)
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.requests.Add(1)
	_ = r.ParseForm()
	_, as, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	as, _, _ = strings.Cut(as, "/")
	if a.answer != nil {
		a.answer(w, r.Form.Get("Action"), as)
		return
	}
	switch r.Form.Get("Action") {
	case "AssumeRole":
		fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>OF-ROLE</AccessKeyId><SecretAccessKey>x</SecretAccessKey>
<SessionToken>%s,%s,%s</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			r.Form.Get("RoleSessionName"), r.Form.Get("DurationSeconds"), r.Form.Get("ExternalId"))
	default:
		fmt.Fprintf(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>%s %s</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>`,
			as, r.Header.Get("X-Amz-Security-Token"))
	}
}

// identity asks as whom requests come.
func identity(t *testing.T, s Settings) (string, error) {
	t.Helper()
	c, err := s.Load(t.Context())
	if err != nil {
		return "", err
	}
	defer CloseIdle(c)
	out, err := sts.NewFromConfig(c).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Arn), nil
}

func TestRequestsAreSignedWithTheKey(t *testing.T) {
	bare(t)
	server := httptest.NewServer(&asked{})
	defer server.Close()
	s := keys(server.URL)
	s.SessionToken = "temporary"
	if who, err := identity(t, s); err != nil || who != "AKIDEXAMPLE temporary" {
		t.Errorf("came as %q, %v", who, err)
	}
}

func TestARoleIsTakenOnAtItsOwnEndpoint(t *testing.T) {
	bare(t)
	service, roles := &asked{}, &asked{}
	atService, atRoles := httptest.NewServer(service), httptest.NewServer(roles)
	defer atService.Close()
	defer atRoles.Close()
	s := keys(atService.URL)
	s.AssumeRole.ARN, s.AssumeRole.ExternalID, s.AssumeRole.Endpoint = "arn:aws:iam::1:role/logs", "from-me", atRoles.URL
	who, err := identity(t, s)
	if err != nil || who != "OF-ROLE sluice,3600,from-me" {
		t.Errorf("came as %q, %v", who, err)
	}
	if service.requests.Load() != 1 || roles.requests.Load() != 1 {
		t.Errorf("%d requests to the service and %d to STS, want one each", service.requests.Load(), roles.requests.Load())
	}
}

func TestLoadingConnectsToNothing(t *testing.T) {
	bare(t)
	server := &asked{}
	at := httptest.NewServer(server)
	defer at.Close()
	s := keys(at.URL)
	s.AssumeRole.ARN, s.AssumeRole.Endpoint = "arn:aws:iam::1:role/logs", at.URL
	if _, err := s.Load(t.Context()); err != nil || server.requests.Load() != 0 {
		t.Errorf("%v, %d requests", err, server.requests.Load())
	}
}

func TestARequestIsTriedAsOftenAsTheSettingsSay(t *testing.T) {
	bare(t)
	server := &asked{answer: func(w http.ResponseWriter, _, _ string) { w.WriteHeader(http.StatusServiceUnavailable) }}
	at := httptest.NewServer(server)
	defer at.Close()
	s := keys(at.URL)
	s.MaxAttempts = 2
	if _, err := identity(t, s); err == nil || server.requests.Load() != 2 {
		t.Errorf("%v after %d requests", err, server.requests.Load())
	}
}

func TestAnEndpointThatFallsSilentIsGivenUp(t *testing.T) {
	bare(t)
	done := make(chan struct{})
	at := httptest.NewServer(&asked{answer: func(w http.ResponseWriter, _, _ string) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("<half"))
		_ = http.NewResponseController(w).Flush()
		<-done
	}})
	defer at.Close()
	defer close(done)
	s := keys(at.URL)
	s.StallTimeout = 3 * time.Second // within which a busy machine begins the answer
	c, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer CloseIdle(c)
	// Without the SDK: it closes a request's body once the answer begins, which
	// now and then ends a connection whose answer is still being read.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.HTTPClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var timeout interface{ Timeout() bool }
	if text, err := io.ReadAll(answer.Body); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("read %q, error %v", text, err)
	}
}

func TestAuthoritiesComeFromAFile(t *testing.T) {
	bare(t)
	at := httptest.NewUnstartedServer(&asked{})
	at.Config.ErrorLog = log.New(io.Discard, "", 0)
	at.StartTLS()
	defer at.Close()
	dir := t.TempDir()
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	authority := file("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: at.Certificate().Raw}))
	for _, tc := range []struct{ name, file, bundle, want string }{
		{"the server's own", authority, "", ""},
		{"the server's own, in AWS_CA_BUNDLE", "", authority, ""},
		{"the system's", "", "", "certificate"},
		{"a file that is not there", filepath.Join(dir, "gone"), "", "ca_file"},
		{"a file that is no certificate", file("no.pem", bytes.Repeat([]byte("x"), 10)), "", "holds no certificate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("AWS_CA_BUNDLE", tc.bundle)
			s := keys(at.URL)
			s.CAFile = tc.file
			who, err := identity(t, s)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%q, error %v, want %q", who, err, tc.want)
			}
		})
	}
}

func TestWhatCannotBeLoaded(t *testing.T) {
	bare(t)
	for _, tc := range []struct {
		name string
		edit func(*Settings)
		want string
	}{
		{"no region", func(s *Settings) { s.Region = "" }, "set region or AWS_REGION"},
		{"a profile that is not there", func(s *Settings) { s.AccessKeyID, s.SecretAccessKey, s.Profile = "", "", "gone" }, "gone"},
		{"settings that do not hold", func(s *Settings) { s.MaxAttempts = 0 }, "max_attempts"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := keys("")
			tc.edit(&s)
			if _, err := s.Load(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "very-secret") {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	t.Setenv("AWS_REGION", "eu-west-3")
	s := keys("")
	s.Region = ""
	if c, err := s.Load(t.Context()); err != nil || c.Region != "eu-west-3" {
		t.Errorf("region %q, %v", c.Region, err)
	}
}

// inlined is a component's configuration.
type inlined struct {
	Settings `yaml:",inline"`
	Stream   string `yaml:"stream"`
}

func (c *inlined) Validate() error { return c.Settings.Validate() }

func TestTheSettingsAreReadAndChecked(t *testing.T) {
	for _, tc := range []struct{ name, yaml, want string }{
		{"all of them", "stream: s\nregion: eu-west-1\naccess_key_id: A\nsecret_access_key: very-secret\nsession_token: very-secret\n" +
			"assume_role: {arn: a, external_id: x, session_name: n, duration: 30m, endpoint: 'https://sts.example'}\n" +
			"endpoint: 'http://127.0.0.1:1'\nca_file: x\nmax_attempts: 5\nconnect_timeout: 1s\nstall_timeout: 1m\n", ""},
		{"a profile", "profile: p\n", ""},
		{"half a key", "access_key_id: A\n", "go together"},
		{"a token without a key", "session_token: very-secret\n", "needs access_key_id"},
		{"a key and a profile", "access_key_id: A\nsecret_access_key: very-secret\nprofile: p\n", "one of them"},
		{"no attempts", "max_attempts: 0\n", "from 1 to 20"},
		{"no time to connect", "connect_timeout: 0s\n", "more than 0s"},
		{"no time to answer", "stall_timeout: 0s\n", "more than 0s"},
		{"an id for no role", "assume_role: {external_id: very-secret}\n", "line 1, column"},
		{"a role for a minute", "assume_role: {arn: a, duration: 1m}\n", "from 15m to 12h"},
		{"a role without a name for its session", "assume_role: {arn: a, session_name: ''}\n", "a name"},
		{"STS in the clear", "assume_role: {arn: a, endpoint: 'http://sts.example'}\n", "assume_role.endpoint"},
		{"an endpoint that is none", "endpoint: kinesis\n", "no URL"},
		{"an endpoint with a password", "endpoint: 'https://me:hunter2@host'\n", "holds a username"},
		{"an endpoint of another kind", "endpoint: 'ftp://x'\n", "neither https"},
		{"an endpoint in the clear", "endpoint: 'http://192.0.2.1:4566'\n", "in the clear"},
		{"an endpoint in the clear that is wanted so", "endpoint: 'http://192.0.2.1:4566'\nallow_http: true\n", ""},
		{"an endpoint on this host", "endpoint: 'http://localhost:4566'\n", ""},
		{"an endpoint on this host, by IPv6", "endpoint: 'http://[::1]:4566'\n", ""},
		{"a key that there is not", "regoin: x\n", `did you mean "region"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			node, err := component.Parse([]byte(tc.yaml))
			if err != nil {
				t.Fatal(err)
			}
			c := inlined{Settings: Default()}
			err = component.Decode(node, &c)
			if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret-")) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
