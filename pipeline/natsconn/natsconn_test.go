package natsconn

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/pipeline/tlsclient"
)

func TestServersAreURLsWithoutAUser(t *testing.T) {
	for _, c := range []struct {
		servers []string
		want    string // in the error; none when empty
	}{
		{[]string{"nats://a:4222", "tls://b", "ws://c", "wss://d:443"}, ""},
		{nil, "name at least one"},
		{[]string{"nats://a:4222", "http://b"}, "no URL"},
		{[]string{"localhost:4222"}, "no URL"},
		{[]string{"nats://me:hunter2@a"}, "holds a user"},
	} {
		err := CheckServers(c.servers)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%q: error %v, want %q", c.servers, err, c.want)
		}
	}
}

// TestAnAttemptEndsWithItsContext: a server that says nothing holds up nobody who is told to end.
func TestAnAttemptEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	opts, err := Options("test", time.Minute, tlsclient.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Connect(ctx, []string{"nats://" + l.Addr().String()}, time.Minute, opts...); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
