package mototest

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"sluice/cmd/internal/integration/rig"
)

// serve runs moto with corrections of its own: see there.
//
//go:embed serve.py
var serve string

// What sluice and the tests call themselves; moto takes any key.
const (
	region = "eu-west-1"
	key    = "moto"
)

// Server is a running moto. It ends with its test, and all that it holds with it.
type Server struct {
	*rig.Part
	// Address is host:port.
	Address string

	http *http.Client
}

// Start starts a moto on a free port of the loopback address.
func (m *Moto) Start(t testing.TB) *Server {
	t.Helper()
	port, dir := rig.Port(t), t.TempDir()
	// A transport of its own, so that its connections can be closed.
	client := &http.Client{Transport: &http.Transport{}}
	s := &Server{Address: "127.0.0.1:" + strconv.Itoa(port), http: client}
	t.Cleanup(client.CloseIdleConnections)
	s.Part = rig.Run(t, func() *exec.Cmd {
		return m.python.Command(dir, "-c", serve, "-H", "127.0.0.1", "-p", strconv.Itoa(port))
	}, s.ready)
	return s
}

func (s *Server) ready(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Address+"/moto-api/data.json", nil)
	if err != nil {
		return err
	}
	answer, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("moto answers %s", answer.Status)
	}
	return nil
}

// Config returns what the clients of a test are made of. S3's needs UsePathStyle.
func (s *Server) Config() aws.Config {
	return aws.Config{
		Region: region, Credentials: credentials.NewStaticCredentialsProvider(key, key, ""),
		BaseEndpoint: aws.String("http://" + s.Address), HTTPClient: s.http,
	}
}

// Source returns the configuration of a sluice source of a kind that reads
// from an address, a proxy's or the server's own, with more keys.
func (s *Server) Source(kind, address string, more map[string]any) map[string]any {
	c := map[string]any{
		"type": kind, "endpoint": "http://" + address, "region": region,
		"access_key_id": key, "secret_access_key": key,
	}
	maps.Copy(c, more)
	return c
}
