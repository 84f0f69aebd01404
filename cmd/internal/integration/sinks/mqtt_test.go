//go:build integration

package sinks

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"sluice/cmd/internal/integration/rig"
)

// newMosquitto runs a broker that keeps its sessions when it is ended in good order.
func newMosquitto(t *testing.T) (broker *rig.Part, url string) {
	t.Helper()
	path, dir, port := rig.Need(t, "mosquitto", "mosquitto"), t.TempDir(), rig.Port(t)
	config := filepath.Join(dir, "mosquitto.conf")
	text := strings.Join([]string{
		"user root", "persistence true", "persistence_location " + dir + "/", "allow_anonymous true", "max_queued_messages 0", "max_inflight_messages 0",
		"log_dest stderr", "log_type error", "log_type warning", fmt.Sprintf("listener %d 127.0.0.1", port), "",
	}, "\n")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	return rig.Run(t, func() *exec.Cmd { return exec.Command(path, "-c", config) }, rig.Listens(address)), "mqtt://" + address
}

// subscribe counts what is published, with a session that outlives connections.
func subscribe(t *testing.T, url string) *received {
	t.Helper()
	have, subscribed := newReceived(), make(chan struct{}, 1)
	options := paho.NewClientOptions().AddBroker(url).SetClientID("subscriber").SetCleanSession(false).SetAutoReconnect(true).
		SetConnectRetry(true).SetConnectRetryInterval(100 * time.Millisecond).SetMaxReconnectInterval(200 * time.Millisecond)
	options.OnConnect = func(c paho.Client) {
		if token := c.Subscribe("sluice/#", 1, func(_ paho.Client, m paho.Message) { have.add(m.Payload()) }); token.WaitTimeout(time.Minute) && token.Error() == nil {
			select {
			case subscribed <- struct{}{}:
			default:
			}
		}
	}
	client := paho.NewClient(options)
	client.Connect()
	t.Cleanup(func() { client.Disconnect(250) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-subscribed:
	case <-ctx.Done():
		t.Fatal("the subscriber cannot subscribe")
	}
	return have
}

// TestMQTT kills sluice, ends the broker in good order while alerts are
// published, and kills it when all that it has acknowledged is with the
// subscriber: Mosquitto keeps what it has acknowledged in memory only.
func TestMQTT(t *testing.T) {
	broker, url := newMosquitto(t)
	have := subscribe(t, url)
	f := rig.NewFeed(t, "mqtt", map[string]any{"type": "mqtt", "brokers": []string{url}, "topic": "sluice/{{ .Alert.Scenario }}"})
	during := f.KillTimes(t, kills(), 1500, have.distinct)
	f.Write(t, 2000)
	if err := rig.Pause(t.Context(), 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	broker.Stop(t)
	f.Write(t, 500)
	broker.Start(t)
	arrive(t, f, have.distinct)
	broker.Kill(t)
	f.Write(t, 500)
	if err := rig.Pause(t.Context(), 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	broker.Start(t)
	arrive(t, f, have.distinct)
	f.Stop(t)
	again := have.repeats(t, f.Lines)
	midway(t, during)
	t.Logf("%d alerts over Mosquitto, which was away twice; %d kills, %d of them during delivery: %d alerts came again", f.Lines, kills(), during, again)
}
