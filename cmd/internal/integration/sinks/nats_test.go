//go:build integration

package sinks

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"sluice/cmd/internal/integration/rig"
)

// stream is a stream of a nats-server.
type stream struct {
	*rig.Part
	address string
	js      jetstream.JetStream
}

const natsToken = "a-token-for-nats"

func newStream(t *testing.T) *stream {
	t.Helper()
	path, dir := rig.Need(t, "nats-server", "nats-server"), t.TempDir()
	s := &stream{address: fmt.Sprintf("127.0.0.1:%d", rig.Port(t))}
	config := filepath.Join(dir, "server.conf")
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q }\nauthorization { token: %q }\n", s.address, filepath.Join(dir, "data"), natsToken)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Part = rig.Run(t, func() *exec.Cmd { return exec.Command(path, "-c", config) }, rig.Listens(s.address))
	conn, err := nats.Connect("nats://"+s.address, nats.Token(natsToken), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := rig.Poll(ctx, "the connection", func() (bool, error) { return conn.IsConnected(), nil }); err != nil {
		t.Fatal(err)
	}
	if s.js, err = jetstream.New(conn); err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.CreateStream(ctx, jetstream.StreamConfig{Name: "ALERTS", Subjects: []string{"sluice.>"}, Duplicates: 2 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	return s
}

// stored is how many messages the stream has; -1 when the server does not say.
func (s *stream) stored(t *testing.T) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	st, err := s.js.Stream(ctx, "ALERTS")
	if err != nil {
		return -1
	}
	return int(st.CachedInfo().State.Msgs)
}

// read returns all that the stream has.
func (s *stream) read(t *testing.T) *received {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	left := s.stored(t)
	consumer, err := s.js.OrderedConsumer(ctx, "ALERTS", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	have := newReceived()
	for left > 0 {
		batch, err := consumer.Fetch(min(left, 1000))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			have.add(m.Data())
			left--
		}
		if err := batch.Error(); err != nil {
			t.Fatal(err)
		}
	}
	return have
}

// TestNATS kills sluice and the server while alerts are published: the stream has each once.
func TestNATS(t *testing.T) {
	s := newStream(t)
	f := rig.NewFeed(t, "nats", map[string]any{"type": "nats", "servers": []string{"nats://" + s.address}, "token": natsToken, "subject": "sluice.alerts.{{ .Alert.Source.Scope }}"})
	stored := func() int { return s.stored(t) }
	during := f.KillTimes(t, kills(), 2000, stored)
	f.Write(t, 3000)
	if err := rig.Pause(t.Context(), 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)
	f.Write(t, 500)
	if err := rig.Pause(t.Context(), 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	arrive(t, f, stored)
	f.Stop(t)
	again := s.read(t).repeats(t, f.Lines)
	if again != 0 {
		t.Errorf("%d alerts are in the stream again", again)
	}
	midway(t, during)
	t.Logf("%d alerts over a nats-server that was killed once; %d kills of sluice, %d of them during delivery: %d are in the stream again", f.Lines, kills(), during, again)
}
