package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/pipeline/porttest"
	"sluice/sinks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func alerts(n int) []pipeline.Alert {
	out := make([]pipeline.Alert, n)
	for i := range out {
		out[i] = pipeline.Alert{
			UUID: fmt.Sprintf("00000000-0000-5000-8000-%012d", i), Scenario: "sluice/ssh-bf", StopAt: "2026-03-01T12:00:01Z", Events: []pipeline.AlertEvent{},
			Source: &pipeline.Source{Scope: "Ip", Value: fmt.Sprint("192.0.2.", i)}, Decisions: []pipeline.Decision{{Type: "ban"}},
		}
	}
	return out
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// broker is a server in the process, which can be ended and started again on its port and folder.
type broker struct {
	opts *server.Options
	*server.Server
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{opts: &server.Options{
		Host: "127.0.0.1", JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, MaxPayload: 4 << 10, Username: "me", Password: "right",
	}}
	if _, err := fmt.Sscanf(porttest.Keep(t), "127.0.0.1:%d", &b.opts.Port); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	t.Cleanup(func() { b.stop() })
	return b
}

func (b *broker) start(t *testing.T) {
	t.Helper()
	var err error
	if b.Server, err = server.NewServer(b.opts); err != nil {
		t.Fatal(err)
	}
	b.Start()
	if !b.ReadyForConnections(patience) {
		t.Fatal("the server does not get ready")
	}
}

func (b *broker) stop() {
	b.Shutdown()
	b.WaitForShutdown()
}

// with asks the server through a connection of its own.
func (b *broker) with(t *testing.T, ask func(ctx context.Context, js jetstream.JetStream) error) {
	t.Helper()
	conn, err := nats.Connect(b.ClientURL(), nats.UserInfo("me", "right"), nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := ask(ctx, js); err != nil {
		t.Fatal(err)
	}
}

func (b *broker) stream(t *testing.T) {
	t.Helper()
	b.with(t, func(ctx context.Context, js jetstream.JetStream) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"alerts.>"}, MaxMsgSize: 2 << 10})
		return err
	})
}

// ids are those of the stream's messages, in order, with their subjects.
func (b *broker) ids(t *testing.T) (out []string) {
	t.Helper()
	b.with(t, func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, "S")
		if err != nil {
			return err
		}
		info, err := s.Info(ctx)
		if err != nil {
			return err
		}
		for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if err != nil {
				return err
			}
			if !strings.Contains(string(m.Data), m.Header.Get("Nats-Msg-Id")) {
				t.Errorf("message %s holds %s", m.Header.Get("Nats-Msg-Id"), m.Data)
			}
			out = append(out, m.Header.Get("Nats-Msg-Id"))
		}
		return nil
	})
	return out
}

func newSink(t *testing.T, b *broker, change func(*Config)) *Sink {
	t.Helper()
	c := Default()
	c.Servers, c.Username, c.Password, c.Subject, c.Timeout = []string{b.ClientURL()}, "me", "right", "alerts.{{ .Alert.Source.Scope }}", patience
	if change != nil {
		change(&c)
	}
	s, err := New("bus", c, sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func want(n int) (out []string) {
	for _, a := range alerts(n) {
		out = append(out, a.UUID)
	}
	return out
}

func TestEachAlertIsInTheStreamOnceAndInOrder(t *testing.T) {
	b := newBroker(t)
	s := newSink(t, b, nil)
	if err := s.Alerts(t.Context(), alerts(2)); !sinks.Retryable(err) {
		t.Fatalf("without a stream: %v", err)
	}
	b.stream(t)
	const n = 3*inFlight + 1
	for _, part := range [][]pipeline.Alert{alerts(n)[:300], alerts(n)[100:]} { // the second repeats some
		if err := s.Alerts(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	b.stop()
	if err := s.Alerts(t.Context(), alerts(n)); !sinks.Retryable(err) {
		t.Errorf("with the server away: %v", err)
	}
	b.start(t)
	if err := s.Alerts(t.Context(), alerts(n+1)); err != nil {
		t.Fatal(err)
	}
	if got := b.ids(t); !slices.Equal(got, want(n+1)) {
		t.Errorf("%d messages, want %d once each and in order", len(got), n+1)
	}
	if st := s.Stats(); st.Errors != 2 || st.Rejected != 0 || st.Alerts != 300+n-100+n+1 {
		t.Errorf("stats %+v", st)
	}
}

// TestALostConnectionIsNotWaitedFor has the server end when it has the
// messages, and before anybody acknowledges them.
func TestALostConnectionIsNotWaitedFor(t *testing.T) {
	b := newBroker(t)
	conn, err := nats.Connect(b.ClientURL(), nats.UserInfo("me", "right"), nats.Timeout(patience), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	came := make(chan *nats.Msg, 10)
	if _, err := conn.ChanSubscribe("alerts.>", came); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	s := newSink(t, b, func(c *Config) { c.Timeout = time.Hour })
	done := make(chan error, 1)
	go func() { done <- s.Alerts(t.Context(), alerts(2)) }()
	for range 2 {
		select {
		case <-came:
		case err := <-done:
			t.Fatalf("before the messages came: %v", err)
		}
	}
	b.stop()
	select {
	case err := <-done:
		if !sinks.Retryable(err) || !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("error = %v", err)
		}
	case <-time.After(patience):
		t.Error("it waits for what cannot come")
	}
}

func TestWhatNoMessageCanHoldIsRefused(t *testing.T) {
	b := newBroker(t)
	b.stream(t)
	s := newSink(t, b, nil)
	batch := alerts(6)
	batch[1].Message = strings.Repeat("x", 3<<10) // for the stream
	batch[2].Message = strings.Repeat("x", 5<<10) // for the server
	batch[3].Source.Scope = "a b"
	batch[4].Source = nil
	err := s.Alerts(t.Context(), batch)
	var rejected *sinks.RejectedError
	if !errors.As(err, &rejected) || sinks.Retryable(err) || !slices.Equal(rejected.Alerts, []int{1, 2, 3, 4}) {
		t.Errorf("error = %v", err)
	}
	if got := b.ids(t); !slices.Equal(got, []string{batch[0].UUID, batch[5].UUID}) || s.Stats().Rejected != 4 {
		t.Errorf("messages %v, stats %+v", got, s.Stats())
	}
}

func TestWhoIsNotLetInTriesAgain(t *testing.T) {
	b := newBroker(t)
	s := newSink(t, b, func(c *Config) { c.Password = "hunter2" })
	if err := s.Alerts(t.Context(), alerts(1)); !sinks.Retryable(err) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error = %v", err)
	}
	s = newSink(t, b, func(c *Config) { c.Servers = []string{"nats://127.0.0.1:1", "nats://127.0.0.1:2"} })
	if err := s.Alerts(t.Context(), alerts(1)); err == nil || !strings.Contains(err.Error(), "nats://127.0.0.1:1, nats://127.0.0.1:2") {
		t.Errorf("the error does not say who is away: %v", err)
	}
	s = newSink(t, b, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Alerts(ctx, alerts(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"servers: []", "name at least one"}, {"servers: ['http://x']", "no URL"}, {"servers: ['nats://a:b@x']", "holds a user"},
		{"username: a", "go together"}, {"token: a\nnkey_file: b", "set one"}, {"subject: ''", "name the subject"}, {"subject: '{{'", "no template"}, {"subject: 'a.*'", "no subject to publish to"}, {"subject: '{{ .Alert.Nope }}'", "fails on every alert"},
		{"timeout: 0s", "above 0"}, {"tls: {cert_file: x}", "go together"}, {"nkey_file: /nowhere", "nkey_file"}, {"credentials_file: /nowhere", "credentials_file"},
	} {
		node, err := component.Parse([]byte("type: nats\n" + c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = sinks.New(node, sinks.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.yaml, err, c.want)
		}
	}
	for subject, valid := range map[string]bool{"a": true, "a.b/c": true, "a..b": false, "a.*": false, ">": false, "a b": false, "": false, "a.b\n": false} {
		if validSubject(subject) != valid {
			t.Errorf("%q: valid is not %v", subject, valid)
		}
	}
}
