package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"sluice/benchmarks/workload"
	"sluice/cmd/internal/app"
	"sluice/pipeline/lapi"
	"sluice/sinks"
	"sluice/sinks/localapi"
)

// TestTheComposedPipelineDelivers runs the pipeline of docker-compose.yml
// between stand-ins of its other services, as their settings are there: attacks
// in Kafka and over MQTT become alerts in the LAPI and decisions in Kafka.
func TestTheComposedPipelineDelivers(t *testing.T) {
	p := composed(t)
	password := *p.Services["lapi"].Environment["AGENT_PASSWORD"]
	api, upstream := newLAPI(t, *p.Services["lapi"].Environment["AGENT_USERNAME"], password)
	broker := newKafka(t)
	devices := newMosquitto(t)
	for name, value := range map[string]string{
		"SLUICE_KAFKA": broker, "SLUICE_MQTT": "mqtt://" + devices, "SLUICE_LAPI": upstream, "SLUICE_STATE": t.TempDir(),
		"SLUICE_LAPI_PASSWORD": *p.Services["sluice"].Environment["SLUICE_LAPI_PASSWORD"],
	} {
		t.Setenv(name, value)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var out safeText
	ended := make(chan struct{})
	all.Go(func() {
		defer close(ended)
		if err := app.RunFile(ctx, composedConfig(t), false, &out, &out); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v\n%s", err, out.String())
		}
	})
	writeKafka(t, broker)
	all.Go(func() { keepPublishing(ctx, devices) })
	wait := time.NewTicker(50 * time.Millisecond)
	defer wait.Stop()
	var have []lapi.Alert
	late := time.After(5 * time.Minute)
	for come := false; !come; have = api() {
		select {
		case <-wait.C:
			come = fromBoth(have) && hasDecisions(t, broker)
			continue
		case <-ended: // it said why
		case <-late:
		}
		t.Errorf("the LAPI has %d alerts:\n%s", len(have), out.String())
		break
	}
	for i := range have {
		if ds := have[i].Decisions; ds == nil || len(*ds) == 0 {
			t.Errorf("alert %d has no decision", i)
		}
	}
	cancel()
	all.Wait()
}

// composedConfig is configs/compose.yaml with a port of its own.
func composedConfig(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.FromSlash("../../configs"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for old, with := range map[string]string{"roots: [rules]": "roots: [" + filepath.Join(dir, "rules") + "]", "0.0.0.0:8080": "127.0.0.1:0"} {
		if !strings.Contains(string(text), old) {
			t.Fatalf("configs/compose.yaml does not hold %q", old)
		}
		text = []byte(strings.ReplaceAll(string(text), old, with))
	}
	path := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newLAPI is an API with one machine, and what it has.
func newLAPI(t *testing.T, machine, password string) (alerts func() []lapi.Alert, url string) {
	t.Helper()
	c := localapi.Default()
	c.Dir = t.TempDir()
	s, err := localapi.New("lapi", c, sinks.Env{})
	if err == nil {
		err = s.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path, body string) []byte {
		w := httptest.NewRecorder()
		s.Admin().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		if w.Code/100 != 2 {
			t.Fatalf("%s %s is answered %d: %s", method, path, w.Code, w.Body)
		}
		return w.Body.Bytes()
	}
	text, err := json.Marshal(localapi.NewMachine{Password: password})
	if err != nil {
		t.Fatal(err)
	}
	ask(http.MethodPut, "/machines/"+machine, string(text))
	server := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		server.Close()
		_ = s.Close()
	})
	return func() (have []lapi.Alert) {
		if err := json.Unmarshal(ask(http.MethodGet, "/alerts", ""), &have); err != nil {
			t.Fatal(err)
		}
		return have
	}, server.URL
}

// newKafka is a broker with the topics that the service topics creates.
func newKafka(t *testing.T) string {
	t.Helper()
	var topics []string
	for _, m := range regexp.MustCompile(`(?m)^\s*create ([a-z.-]+)`).FindAllStringSubmatch(composed(t).Services["topics"].Command[0], -1) {
		topics = append(topics, m[1])
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

// anyone lets everybody in, as configs/mosquitto.conf does.
type anyone struct{ mochi.HookBase }

func (*anyone) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*anyone) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*anyone) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

func newMosquitto(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	err = errors.Join(b.AddHook(new(anyone), nil), b.AddListener(listeners.NewNet("l", l)), b.Serve())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return l.Addr().String()
}

// writeKafka writes a minute of logs with attacks.
func writeKafka(t *testing.T, broker string) {
	t.Helper()
	w := &kafka.Writer{Addr: kafka.TCP(broker), Balancer: &kafka.Hash{}, BatchTimeout: 10 * time.Millisecond}
	defer w.Close()
	stream := workload.New(workload.Options{Seed: 1, Start: time.Now().Add(-time.Minute), Step: 30 * time.Millisecond, Attacks: 0.3})
	var messages []kafka.Message
	for range 2000 {
		l := stream.Next()
		messages = append(messages, kafka.Message{Topic: "logs." + string(l.Kind), Key: []byte(l.Key), Value: []byte(l.Text)})
	}
	if err := w.WriteMessages(t.Context(), messages...); err != nil {
		t.Fatal(err)
	}
}

// keepPublishing has a device tell of attacks, again and again, for whoever has subscribed by then.
func keepPublishing(ctx context.Context, broker string) {
	client := paho.NewClient(paho.NewClientOptions().AddBroker("mqtt://" + broker).SetClientID("device"))
	<-client.Connect().Done()
	defer client.Disconnect(0)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			client.Publish("devices/gateway/syslog", 1, false, now.UTC().Format(time.Stamp)+
				" gw sshd[7]: Failed password for root from "+attackOfDevice+" port 4242 ssh2")
		}
	}
}

// attackOfDevice is an address that no other stream has.
const attackOfDevice = "192.0.2.77"

// fromBoth tells whether there are alerts of what came over MQTT, and of what came from Kafka.
func fromBoth(have []lapi.Alert) bool {
	device, other := false, false
	for i := range have {
		if have[i].Source.Value == attackOfDevice {
			device = true
		} else {
			other = true
		}
	}
	return device && other
}

// hasDecisions tells whether the topic of decisions holds one.
func hasDecisions(t *testing.T, broker string) bool {
	t.Helper()
	for partition := range 4 {
		conn, err := kafka.DialLeader(t.Context(), "tcp", broker, "sluice-decisions", partition)
		if err != nil {
			t.Fatal(err)
		}
		last, err := conn.ReadLastOffset()
		_ = conn.Close()
		if err == nil && last > 0 {
			return true
		}
	}
	return false
}

// safeText is what several goroutines write.
type safeText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *safeText) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *safeText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}
