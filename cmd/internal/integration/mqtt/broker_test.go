//go:build integration

package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline/tlsclient/tlstest"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// mosquitto is a real broker that keeps its sessions in a folder.
type mosquitto struct {
	*rig.Part
	dir                    string
	plain, tls, ws, secure int // ports
}

// startMosquitto runs a broker on loopback ports: plain, TLS with client certificates, WebSocket, both.
func startMosquitto(t *testing.T, files tlstest.Files) *mosquitto {
	t.Helper()
	path := rig.Need(t, "mosquitto", "mosquitto")
	m := &mosquitto{dir: t.TempDir(), plain: rig.Port(t)}
	lines := []string{
		"user root",                                                                      // where root runs it; of no meaning to others
		"persistence true", "persistence_location " + m.dir + "/", "autosave_interval 0", // save has it written
		"set_tcp_nodelay true", // or each exchange of QoS 2 waits 40 ms for the kernel
		"allow_anonymous true", "max_queued_messages 0", "max_queued_bytes 0", "log_dest stderr", "log_type error", "log_type warning",
		fmt.Sprintf("listener %d 127.0.0.1", m.plain),
	}
	if files.CA != "" {
		secured := []string{"cafile " + files.CA, "certfile " + files.ServerCert, "keyfile " + files.ServerKey, "require_certificate true"}
		m.tls, m.ws, m.secure = rig.Port(t), rig.Port(t), rig.Port(t)
		lines = append(lines, fmt.Sprintf("listener %d 127.0.0.1", m.tls))
		lines = append(lines, secured...)
		lines = append(lines, fmt.Sprintf("listener %d 127.0.0.1", m.ws), "protocol websockets")
		lines = append(lines, fmt.Sprintf("listener %d 127.0.0.1", m.secure), "protocol websockets")
		lines = append(lines, secured...)
	}
	ready := func(ctx context.Context) error { // it opens its listeners one after the other
		for _, port := range []int{m.plain, m.tls, m.ws, m.secure} {
			if port == 0 {
				continue
			}
			if err := rig.Listens(fmt.Sprintf("127.0.0.1:%d", port))(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	config := filepath.Join(m.dir, "mosquitto.conf")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Part = rig.Run(t, func() *exec.Cmd { return exec.Command(path, "-c", config) }, ready)
	return m
}

func (m *mosquitto) url() string { return fmt.Sprintf("mqtt://127.0.0.1:%d", m.plain) }

func (m *mosquitto) webSocketURL() string { return fmt.Sprintf("ws://127.0.0.1:%d/mqtt", m.ws) }

// save has the broker write its sessions and messages to disk, and waits until it has.
func (m *mosquitto) save(t *testing.T) {
	t.Helper()
	file := filepath.Join(m.dir, "mosquitto.db")
	written := func() time.Time {
		info, err := os.Stat(file)
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	before := written()
	if err := m.Process().Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := rig.Poll(ctx, "the broker's file", func() (bool, error) { return written().After(before), nil }); err != nil {
		t.Fatal(err)
	}
}

// publisher sends lines and waits for the broker to have them.
type publisher struct{ client paho.Client }

func newPublisher(t *testing.T, m *mosquitto, id string) *publisher {
	t.Helper()
	client := paho.NewClient(paho.NewClientOptions().AddBroker(m.url()).SetClientID(id).SetAutoReconnect(false).SetOrderMatters(false))
	if err := wait(client.Connect()); err != nil {
		t.Fatal(err)
	}
	p := &publisher{client}
	t.Cleanup(p.close)
	return p
}

func (p *publisher) close() {
	if p.client.IsConnected() {
		p.client.Disconnect(200)
	}
}

func wait(token paho.Token) error {
	if !token.WaitTimeout(30 * time.Second) {
		return errors.New("the broker does not answer the publisher")
	}
	return token.Error()
}

// send publishes the lines from one number up to another, with the QoS that
// qos gives each, so many at a time. Mosquitto leaves a publisher that has more of QoS 2 under way than its window of 20.
func (p *publisher) send(from, to, window int, qos func(n int) byte) error {
	tokens := make([]paho.Token, 0, window)
	for n := from; n < to; n++ {
		tokens = append(tokens, p.client.Publish(fmt.Sprintf("probe/dev%d", n%7), qos(n), false, rig.Line(n)))
		if len(tokens) < window && n < to-1 {
			continue
		}
		for _, token := range tokens {
			if err := wait(token); err != nil {
				return fmt.Errorf("publishing before line %d: %w", n, err)
			}
		}
		tokens = tokens[:0]
	}
	return nil
}

func (p *publisher) mustSend(t *testing.T, from, to, window int, qos func(n int) byte) {
	t.Helper()
	if err := p.send(from, to, window, qos); err != nil {
		t.Fatal(err)
	}
}

// source is the source's configuration.
func source(brokers ...string) map[string]any {
	return map[string]any{
		"type": "mqtt", "brokers": brokers, "client_id": "sluice-test", "backoff_max": "500ms",
		"subscriptions": []any{map[string]any{"filter": "probe/{device}", "qos": 2}},
	}
}
