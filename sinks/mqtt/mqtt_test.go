package mqtt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
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

// keeper is the broker's hook: it lets in who knows the password, and keeps what is published.
type keeper struct {
	mochi.HookBase
	mu  sync.Mutex
	got []string // topic, quality of service, text
}

func (k *keeper) Provides(b byte) bool {
	return slices.Contains([]byte{mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPublish}, b)
}

func (k *keeper) OnConnectAuthenticate(_ *mochi.Client, p packets.Packet) bool {
	return string(p.Connect.Password) == "right"
}

func (k *keeper) OnACLCheck(*mochi.Client, string, bool) bool { return true }

func (k *keeper) OnPublish(_ *mochi.Client, p packets.Packet) (packets.Packet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = append(k.got, fmt.Sprint(p.TopicName, " ", p.FixedHeader.Qos, " ", string(p.Payload)))
	return p, nil
}

func startBroker(t *testing.T, address string, k *keeper) (stop func()) {
	t.Helper()
	b := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := b.AddHook(k, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.AddListener(listeners.NewTCP(listeners.Config{ID: "l", Address: address})); err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = b.Close() })
	t.Cleanup(stop)
	return stop
}

func newSink(t *testing.T, address string, change func(*Config)) *Sink {
	t.Helper()
	c := Default()
	c.Brokers, c.Username, c.Password, c.Timeout = []string{"mqtt://" + address}, "me", "right", time.Minute // a busy machine takes seconds
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

func TestAlertsAreAcknowledgedAndInOrder(t *testing.T) {
	k := new(keeper)
	address := porttest.Keep(t)
	stop := startBroker(t, address, k)
	s := newSink(t, address, nil)
	const n = 2*inFlight + 3
	if err := s.Alerts(t.Context(), alerts(n)); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := s.Alerts(t.Context(), alerts(1)); !sinks.Retryable(err) {
		t.Errorf("with the broker away: %v", err)
	}
	startBroker(t, address, k)
	if err := s.Alerts(t.Context(), alerts(1)); err != nil {
		t.Fatal(err)
	}
	if len(k.got) != n+1 {
		t.Fatalf("%d messages, want %d", len(k.got), n+1)
	}
	for i, got := range k.got {
		if !strings.HasPrefix(got, "sluice/alerts 1 {") || !strings.Contains(got, alerts(n)[i%n].UUID) {
			t.Errorf("message %d is %s", i, got)
		}
	}
	if st := s.Stats(); st.Alerts != n+1 || st.Errors != 1 || st.Rejected != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestATopicThatIsNoneIsRefused(t *testing.T) {
	k := new(keeper)
	address := porttest.Keep(t)
	startBroker(t, address, k)
	s := newSink(t, address, func(c *Config) { c.Topic = "a/{{ .Alert.Source.Value }}" })
	batch := alerts(4)
	batch[1].Source.Value, batch[2].Source = "#", nil
	err := s.Alerts(t.Context(), batch)
	var rejected *sinks.RejectedError
	if !errors.As(err, &rejected) || sinks.Retryable(err) || !slices.Equal(rejected.Alerts, []int{1, 2}) {
		t.Errorf("error = %v", err)
	}
	if len(k.got) != 2 || !strings.HasPrefix(k.got[1], "a/192.0.2.3 ") || s.Stats().Rejected != 2 {
		t.Errorf("messages %q, stats %+v", k.got, s.Stats())
	}
}

// TestOneThatIsTooLongHoldsBackNoOther: a broker of MQTT 3.1.1 can say nothing
// of a message that it does not like, and closes the connection.
func TestOneThatIsTooLongHoldsBackNoOther(t *testing.T) {
	k := new(keeper)
	address := porttest.Keep(t)
	startBroker(t, address, k)
	s := newSink(t, address, func(c *Config) { c.MaxMessage = 1000 })
	batch := alerts(3)
	batch[1].Message = strings.Repeat("x", 1000)
	err := s.Alerts(t.Context(), batch)
	var rejected *sinks.RejectedError
	if !errors.As(err, &rejected) || sinks.Retryable(err) || !slices.Equal(rejected.Alerts, []int{1}) || !strings.Contains(err.Error(), "max_message") {
		t.Errorf("error = %v", err)
	}
	if len(k.got) != 2 {
		t.Errorf("messages %q", k.got)
	}
}

func TestWhoIsNotLetInTriesAgain(t *testing.T) {
	address := porttest.Keep(t)
	startBroker(t, address, new(keeper))
	s := newSink(t, address, func(c *Config) { c.Password = "hunter2" })
	if err := s.Alerts(t.Context(), alerts(1)); !sinks.Retryable(err) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newSink(t, address, nil).Alerts(ctx, alerts(1)); !sinks.Retryable(err) {
		t.Errorf("error = %v", err)
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	const good = "brokers: ['mqtt://x:1']\n"
	for _, c := range []struct{ yaml, want string }{
		{"retain: true", "name at least one"}, {"brokers: ['tcp://x:1']", "no URL"}, {"brokers: ['mqtt://x']", "no URL"},
		{"brokers: ['mqtt://a:b@x:1']", "holds a user"}, {good + "password: a", "needs one"}, {good + "topic: ''", "name the topic"},
		{good + "topic: '{{'", "no template"}, {good + "topic: 'a/#'", "no topic to publish to"}, {good + "topic: '{{ .Alert.Nope }}'", "fails on every alert"}, {good + "timeout: 0s", "above 0"}, {good + "max_message: 0", "between 1"}, {good + "max_message: 1GiB", "between 1"}, {"brokers: ['mqtts://x:1']\ntls: {cert_file: x}", "go together"}, {good + "tls: {insecure_skip_verify: true}", "not encrypted"},
	} {
		node, err := component.Parse([]byte("type: mqtt\n" + c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = sinks.New(node, sinks.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.yaml, err, c.want)
		}
	}
}
