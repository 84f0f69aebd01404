package lapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/lapi"
	"sluice/pipeline/tlsclient/tlstest"
	"sluice/sinks"
	"sluice/sinks/localapi"
)

const token = "a registration token of many characters"

// own is Sluice's own API.
type own struct {
	*localapi.Sink
	clock *clock
}

func newOwn(t *testing.T, clk *clock, change func(*localapi.Config)) *own {
	t.Helper()
	c := localapi.Default()
	c.Dir = t.TempDir()
	c.AutoRegistration.Token, c.AutoRegistration.AllowedRanges = token, []string{"127.0.0.0/8"}
	if change != nil {
		change(&c)
	}
	s, err := localapi.New("api", c, sinks.Env{Now: clk.Now})
	if err == nil {
		err = s.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &own{s, clk}
}

// admin asks as the command line does.
func (o *own) admin(t *testing.T, path string, into any) {
	t.Helper()
	w := httptest.NewRecorder()
	o.Admin().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
}

// check looks whether the API has alerts with decisions that end when they should.
func (o *own) check(t *testing.T, n int) {
	t.Helper()
	var have lapi.GetAlertsResponse
	o.admin(t, "/alerts", &have)
	if len(have) != n {
		t.Fatalf("it has %d alerts, want %d", len(have), n)
	}
	for i := range have {
		if ds := *have[i].Decisions; len(ds) != 1 || *ds[0].Until != begin.Add(time.Hour).Format(time.RFC3339) || have[i].Scenario != "sluice/ssh-bf" {
			t.Errorf("it has %+v", have[i])
		}
	}
}

// TestOurOwnAPI registers, pushes, refreshes and reports.
func TestOurOwnAPI(t *testing.T) {
	clk := &clock{now: begin}
	o := newOwn(t, clk, nil)
	server := httptest.NewServer(o.Handler())
	defer server.Close()
	s, _ := newSink(t, func(c *Config) { c.Register, c.RegistrationToken = true, token }, server.URL)
	s.env.Now = clk.Now
	s.lanes[0].targets[0].env.Now = clk.Now
	s.doubtful = 0
	given := alerts(20)
	deliver(t, s, given[:10])
	clk.After(50 * time.Minute) // the token is renewed
	deliver(t, s, given[10:])
	deliver(t, s, given) // what the API has is found
	o.check(t, 20)
	ctx := t.Context()
	s.beat(ctx, s.lanes[0].targets[0])
	if !s.report()(ctx, s.lanes[0].targets[0]) {
		t.Error("usage metrics were not taken")
	}
	var machines []struct {
		Name     string
		LastBeat time.Time `json:"last_beat"`
	}
	o.admin(t, "/machines", &machines)
	if len(machines) != 1 || machines[0].Name != "sluice" {
		t.Errorf("its machines are %+v", machines)
	}
}

// TestRegistrationThatWaits says what is to be done.
func TestRegistrationThatWaits(t *testing.T) {
	clk := &clock{now: begin}
	o := newOwn(t, clk, func(c *localapi.Config) { c.Registration = true })
	server := httptest.NewServer(o.Handler())
	defer server.Close()
	s, _ := newSink(t, func(c *Config) { c.Register = true }, server.URL)
	if err := s.Alerts(t.Context(), alerts(1)); err == nil || !strings.Contains(err.Error(), "cscli machines validate sluice") {
		t.Errorf("error = %v", err)
	}
	w := httptest.NewRecorder()
	o.Admin().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/machines/sluice/validate", nil))
	deliver(t, s, alerts(1))
	var have lapi.GetAlertsResponse
	if o.admin(t, "/alerts", &have); len(have) != 1 {
		t.Errorf("it has %d alerts", len(have))
	}
}

// TestSocketsAndCertificates reaches the API through a socket, and over TLS
// with an authority of our own and a client certificate.
func TestSocketsAndCertificates(t *testing.T) {
	clk := &clock{now: begin}
	files := tlstest.Make(t)
	pair, err := tls.LoadX509KeyPair(files.ServerCert, files.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	f := &fake{asked: make(map[string]int)}
	seen := ""
	f.denies = func(r *http.Request) int {
		if len(r.TLS.PeerCertificates) == 0 {
			return http.StatusForbidden
		}
		seen = r.TLS.PeerCertificates[0].Subject.CommonName
		return 0
	}
	server := httptest.NewUnstartedServer(f)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven}
	server.StartTLS()
	defer server.Close()
	s, _ := newSink(t, func(c *Config) {
		c.MachineID, c.Password, c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile = "", "", files.CA, files.ClientCert, files.ClientKey
	}, server.URL)
	deliver(t, s, alerts(2))
	if len(f.ids()) != 2 || seen != "client" {
		t.Errorf("as %q it delivers %v", seen, f.ids())
	}
	stranger, _ := newSink(t, nil, server.URL)
	if err := stranger.Alerts(t.Context(), alerts(1)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the authority: %v", err)
	}

	o := newOwn(t, clk, func(c *localapi.Config) { c.AutoRegistration.AllowedRanges = []string{"::/0"} }) // what a socket's clients come from
	path := filepath.Join(t.TempDir(), "api.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	socket := httptest.NewUnstartedServer(o.Handler())
	socket.Listener.Close()
	socket.Listener = listener
	socket.Start()
	defer socket.Close()
	through, _ := newSink(t, func(c *Config) { c.Register, c.RegistrationToken = true, token }, "unix:"+path)
	deliver(t, through, alerts(3))
	o.check(t, 3)
}

// TestRun beats until it is told to end, and stops to report where that is not known.
func TestRun(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.denies = func(r *http.Request) int {
		if f.asked["GET /v1/heartbeat"] >= 5 && f.asked["POST /v1/usage-metrics"] > 0 {
			cancel()
		}
		return 0
	}
	s, clk := newSink(t, nil, f.URL)
	if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := f.count("POST /v1/usage-metrics"); n != 1 || len(clk.waits) < 4 || clk.waits[0] != time.Minute {
		t.Errorf("%d reports, and waits of %v", n, clk.waits)
	}
}
