package main

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// anyone lets everybody in, and tells of what is published.
type anyone struct {
	mochi.HookBase
	published chan string
}

func (*anyone) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck || b == mochi.OnPublish
}
func (*anyone) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*anyone) OnACLCheck(*mochi.Client, string, bool) bool              { return true }
func (a *anyone) OnPublish(_ *mochi.Client, p packets.Packet) (packets.Packet, error) {
	select {
	case a.published <- p.TopicName + " " + string(p.Payload):
	default:
	}
	return p, nil
}

func TestDevicesPublishUntilTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broker := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	hook := &anyone{published: make(chan string, 20)}
	if err := broker.AddHook(hook, nil); err != nil {
		t.Fatal(err)
	}
	if err := broker.AddListener(listeners.NewNet("l", l)); err != nil {
		t.Fatal(err)
	}
	if err := broker.Serve(); err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- publish(ctx, "mqtt://"+l.Addr().String(), 1000, 1) }()
	for range 20 {
		select {
		case got := <-hook.published:
			if !strings.HasPrefix(got, "devices/gateway/syslog ") || !strings.Contains(got, "]: ") {
				t.Errorf("published %s", got)
			}
		case err := <-done:
			t.Fatalf("it ended: %v", err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("at the end: %v", err)
	}
	if err := publish(t.Context(), "mqtt://127.0.0.1:1", 1, 1); err == nil {
		t.Error("no error without a broker")
	}
}
