//go:build integration

package mqtt_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline/tlsclient/tlstest"
)

// TestKilledUnderLoad kills sluice again and again between receiving and
// acknowledging. Messages of QoS 2 are counted once, those of QoS 1 at least once.
func TestKilledUnderLoad(t *testing.T) {
	lines, kills := 16_000, 6
	if rig.Soak() {
		lines, kills = 40_000, 40
	}
	random := rand.New(rand.NewPCG(rig.Seed(t), 1))
	m := startMosquitto(t, tlstest.Files{})
	in := rig.New(t, "mqtt", rig.Probing(source(m.url())))
	in.StartReady(t, "subscribed")
	p := newPublisher(t, m, "publisher")
	qos := func(n int) byte { return byte(1 + n%2) }
	var sending errgroup.Group
	sending.Go(func() error { return p.send(0, lines, 10, qos) })
	for range kills {
		if err := rig.Pause(t.Context(), time.Duration(50+random.IntN(200))*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		in.Kill(t)
		in.StartReady(t, "subscribed")
	}
	if err := sending.Wait(); err != nil {
		t.Fatal(err)
	}
	in.Drained(t, lines)
	in.Stop(t)
	tally := in.Tally(t)
	repeats := tally.AtLeastOnce(t, lines)
	for n, ids := range tally {
		if qos(n) == 2 && len(ids) > 1 {
			t.Errorf("line %d, of QoS 2, was poured %d times", n, len(ids))
		}
	}
	t.Logf("%d lines, %d kills: %d lines of QoS 1 were poured more than once, none of QoS 2", lines, kills, repeats)
}

// TestStoppedUnderLoad ends sluice in good order: all that was taken is acknowledged, so
// that nothing comes twice, whether a journal or a checkpoint makes it safe, over TCP and over WebSocket.
func TestStoppedUnderLoad(t *testing.T) {
	for _, tc := range []struct {
		intake    string
		websocket bool
		lines     int
	}{{"journal", false, 16_000}, {"direct", false, 3000}, {"direct", true, 3000}} {
		t.Run(fmt.Sprintf("%s, WebSocket %v", tc.intake, tc.websocket), func(t *testing.T) {
			m := startMosquitto(t, tlstest.Make(t))
			c := source(m.url())
			if tc.websocket {
				c = source(m.webSocketURL())
			}
			c["intake"] = tc.intake
			in := rig.New(t, tc.intake, rig.Probing(c))
			in.StartReady(t, "subscribed")
			p := newPublisher(t, m, "publisher")
			var sending errgroup.Group
			sending.Go(func() error { return p.send(0, tc.lines, 10, func(n int) byte { return byte(1 + n%2) }) })
			for range 3 {
				if err := rig.Pause(t.Context(), 200*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				in.Stop(t)
				in.StartReady(t, "subscribed")
			}
			if err := sending.Wait(); err != nil {
				t.Fatal(err)
			}
			in.Drained(t, tc.lines)
			in.Stop(t)
			in.Tally(t).ExactlyOnce(t, tc.lines)
		})
	}
}

// TestTheBrokerGoesAway kills the broker under a running source, and then with
// messages waiting in the session of one that is not there.
func TestTheBrokerGoesAway(t *testing.T) {
	const lines = 4000
	m := startMosquitto(t, tlstest.Files{})
	in := rig.New(t, "mqtt", rig.Probing(source(m.url())))
	in.StartReady(t, "subscribed")
	qos := func(n int) byte { return byte(1 + n%2) }
	send := func(from, to int) {
		p := newPublisher(t, m, fmt.Sprint("publisher", from))
		p.mustSend(t, from, to, 10, qos)
		p.close()
	}
	send(0, lines/4)
	outage := func() {
		m.save(t) // what the broker has not written, no client can bring back
		m.Kill(t)
		if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
			t.Fatal(err)
		}
		m.Start(t)
	}
	outage()
	in.WaitFor(t, "reading goes on")
	send(lines/4, lines/2)
	in.Drained(t, lines/2)
	if in.Said("reading is interrupted") != 1 || in.Said("reading goes on") != 1 || in.Said("has not kept the session") != 0 {
		t.Errorf("the outage was not said once\n%s", in.Output())
	}
	in.Kill(t)
	send(lines/2, 3*lines/4)
	m.save(t)
	m.Kill(t)
	m.Start(t)
	in.StartReady(t, "subscribed")
	send(3*lines/4, lines)
	in.Drained(t, lines)
	in.Stop(t)
	repeats := in.Tally(t).AtLeastOnce(t, lines)
	t.Logf("%d lines, two outages of the broker: %d lines were poured more than once", lines, repeats)
}

// TestEveryWayIn reads over TLS with a client certificate, WebSocket, and both.
func TestEveryWayIn(t *testing.T) {
	files := tlstest.Make(t)
	m := startMosquitto(t, files)
	own := map[string]any{"ca_file": files.CA, "cert_file": files.ClientCert, "key_file": files.ClientKey}
	var list []map[string]any
	for i, url := range []string{
		fmt.Sprintf("mqtts://127.0.0.1:%d", m.tls), m.webSocketURL(), fmt.Sprintf("wss://127.0.0.1:%d/mqtt", m.secure),
	} {
		c := source(url)
		c["name"], c["client_id"], c["tls"] = fmt.Sprint("way", i), fmt.Sprint("way", i), own
		c["subscriptions"] = []any{map[string]any{"filter": fmt.Sprintf("$share/group%d/probe/#", i), "qos": 1}}
		list = append(list, c)
	}
	in := rig.New(t, "ways", rig.Probing(list...))
	in.Start(t)
	for i := range list {
		in.WaitFor(t, fmt.Sprintf("source=way%d broker=", i))
	}
	p := newPublisher(t, m, "publisher")
	p.mustSend(t, 0, 500, 100, func(int) byte { return 1 })
	in.Poured(t, 3*500)
	in.Stop(t)
	for n, ids := range in.Tally(t) {
		if len(ids) != 3 {
			t.Errorf("line %d came %d times over three ways", n, len(ids))
		}
	}
	if in.Said("interrupted") != 0 {
		t.Errorf("the log is\n%s", in.Output())
	}
}

// TestOthersSeeWhetherItIsAlive watches the last will's topic through a kill and an end in good order.
func TestOthersSeeWhetherItIsAlive(t *testing.T) {
	m := startMosquitto(t, tlstest.Files{})
	c := source(m.url())
	c["last_will"] = map[string]any{"topic": "alive/sluice", "payload": "gone", "online": "here", "qos": 2, "retain": true}
	seen := make(chan string, 100)
	watcher := newPublisher(t, m, "watcher")
	if err := wait(watcher.client.Subscribe("alive/#", 1, func(_ paho.Client, m paho.Message) { seen <- string(m.Payload()) })); err != nil {
		t.Fatal(err)
	}
	in := rig.New(t, "alive", rig.Probing(c))
	for _, step := range []struct {
		do   func()
		want string
	}{{func() { in.Start(t) }, "here"}, {func() { in.Kill(t) }, "gone"}, {func() { in.Start(t) }, "here"}, {func() { in.Stop(t) }, "gone"}} {
		step.do()
		select {
		case got := <-seen:
			if got != step.want {
				t.Fatalf("others see %q, want %q", got, step.want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("others do not see %q", step.want)
		}
	}
}

// TestRates says how fast a broker with a window of 20 messages is read with a journal, and
// without one when only checkpoints acknowledge.
func TestRates(t *testing.T) {
	m := startMosquitto(t, tlstest.Files{})
	for i, tc := range []struct {
		intake   string
		interval string
		lines    int
	}{{"journal", "1s", 20_000}, {"direct", "1s", 400}} {
		c := source(m.url())
		c["client_id"], c["intake"] = fmt.Sprint("rate", i), tc.intake
		config := rig.Probing(c)
		config["rules"].(map[string]any)["scenarios"] = []string{"test/each-line"}
		in := rig.New(t, fmt.Sprint("rate", i), config)
		config["state"] = map[string]any{"dir": in.State(), "interval": tc.interval, "min_interval": tc.interval}
		in.Configure(t, config)
		in.StartReady(t, "subscribed")
		p := newPublisher(t, m, "publisher")
		began := time.Now()
		p.mustSend(t, 0, tc.lines, 500, func(int) byte { return 1 })
		published := time.Since(began)
		in.Drained(t, tc.lines)
		took := time.Since(began)
		p.close()
		in.Stop(t)
		t.Logf("intake: %s, a checkpoint every %s: %d lines published in %v, through in %v, %.0f lines/s",
			tc.intake, tc.interval, tc.lines, published.Round(time.Millisecond), took.Round(time.Millisecond), float64(tc.lines)/took.Seconds())
	}
}
