package mqtt

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"sluice/pipeline/porttest"
	"sluice/pipeline/tlsclient"
	"sluice/pipeline/tlsclient/tlstest"
)

// mochi is a whole broker in the process.
type mochi struct {
	*mqtt.Server
	address string
	close   func() error // once
}

// startMochi starts a broker; address is where it listens, any port when empty.
func startMochi(t *testing.T, address string, ws bool, secure *tls.Config, hook mqtt.Hook) *mochi {
	t.Helper()
	if address == "" {
		address = porttest.Keep(t)
	}
	server := mqtt.New(&mqtt.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	if hook == nil {
		hook = new(passwordHook)
	}
	if err := server.AddHook(hook, nil); err != nil {
		t.Fatal(err)
	}
	c := listeners.Config{ID: "l", Address: address, TLSConfig: secure}
	var l listeners.Listener = listeners.NewTCP(c)
	if ws {
		l = listeners.NewWebsocket(c)
	}
	if err := server.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	m := &mochi{server, address, sync.OnceValue(server.Close)}
	t.Cleanup(func() { m.close() })
	return m
}

// subscriptions counts the clients subscribed to what a topic is of.
func (m *mochi) subscriptions(topic string) int {
	subs := m.Topics.Subscribers(topic)
	n := len(subs.Subscriptions)
	for _, group := range subs.Shared {
		n += len(group)
	}
	return n
}

func (m *mochi) publish(t *testing.T, topic, text string, retain bool, qos byte) {
	t.Helper()
	if err := m.Publish(topic, []byte(text), retain, qos); err != nil {
		t.Fatal(err)
	}
}

// serverTLS wants certificates of the same authority from clients.
func serverTLS(t *testing.T, files tlstest.Files) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.ServerCert, files.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(files.CA)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

func TestMessagesOfEveryQoSBecomeLinesWithLabels(t *testing.T) {
	b := startMochi(t, "", false, nil, nil)
	r := read(t, config("mqtt://"+b.address, func(c *Config) {
		c.Labels = map[string]string{"site": "x"}
		c.Subscriptions = []Subscription{
			{Filter: "devices/{device}/auth", QoS: 1, Labels: map[string]string{"type": "auth"}},
			{Filter: "plain/{path...}", QoS: 2},
			{Filter: "zero", QoS: 0},
		}
	}), t.TempDir(), nil)
	until(t, "the subscriptions", func() bool {
		return b.subscriptions("devices/x/auth") == 1 && b.subscriptions("plain/x") == 1 && b.subscriptions("zero") == 1
	})
	for qos := range byte(3) {
		for _, m := range []struct {
			topic string
			want  map[string]string
		}{
			{"devices/door/auth", map[string]string{"site": "x", "type": "auth", "device": "door"}},
			{"plain/a/b", map[string]string{"site": "x", "path": "a/b"}},
			{"zero", map[string]string{"site": "x"}},
		} {
			b.publish(t, m.topic, fmt.Sprint(m.topic, qos), false, qos)
			got := r.Line(t)
			if got.Text != fmt.Sprint(m.topic, qos) || got.Headers[headerTopic] != m.topic || fmt.Sprint(got.Labels) != fmt.Sprint(m.want) {
				t.Errorf("got %+v, want the labels %v", got, m.want)
			}
		}
	}
}

func TestEveryWayToTheBroker(t *testing.T) {
	files := tlstest.Make(t)
	own := tlsclient.Config{CAFile: files.CA, CertFile: files.ClientCert, KeyFile: files.ClientKey}
	for _, tc := range []struct {
		scheme    string
		websocket bool
		secure    bool
	}{{"mqtt", false, false}, {"mqtts", false, true}, {"ws", true, false}, {"wss", true, true}} {
		t.Run(tc.scheme, func(t *testing.T) {
			var secure *tls.Config
			c := config("")
			if tc.secure {
				secure, c.TLS = serverTLS(t, files), own
			}
			b := startMochi(t, "", tc.websocket, secure, nil)
			c.Brokers = []string{tc.scheme + "://" + b.address}
			r := read(t, c, t.TempDir(), nil)
			until(t, "the subscription", func() bool { return b.subscriptions("logs/x") == 1 })
			long := strings.Repeat("0123456789", 20_000) // longer than a WebSocket library's usual limit
			b.publish(t, "logs/x", long, false, 1)
			b.publish(t, "logs/x", "short", false, 2)
			r.Expect(t, long, "short")
		})
	}
	t.Run("an authority that is not known", func(t *testing.T) {
		// Nothing but the handshake is reached, and mochi's end races with connections that come.
		l, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS(t, files))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_ = conn.(*tls.Conn).HandshakeContext(t.Context()) // the client ends it
				_ = conn.Close()
			}
		}()
		t.Cleanup(func() { _ = l.Close(); <-ended })
		r := read(t, config("mqtts://"+l.Addr().String()), t.TempDir(), nil)
		until(t, "the refusal", func() bool { return r.Log.Said("certificate signed by unknown authority") == 1 })
	})
}

func TestSigningInWithAFileThatChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong\n")
	b := startMochi(t, "", false, nil, &passwordHook{want: "right"})
	r := read(t, config("mqtt://"+b.address, func(c *Config) { c.Username, c.PasswordFile = "me", path }), t.TempDir(), nil)
	until(t, "the refusal", func() bool { return r.source.Stats().Errors > 2 })
	write("right\r\n")
	until(t, "the subscription", func() bool { return b.subscriptions("logs/x") == 1 })
	until(t, "the log", func() bool { return r.Log.Said("reading goes on") == 1 })
	if r.Log.Said("reading is interrupted") != 1 || r.Log.Said("level=WARN") != 1 {
		t.Errorf("the log is\n%s", r.Log)
	}
}

func TestTheNextBrokerIsTriedAndAnOutageIsSaidOnce(t *testing.T) {
	dead := startMochi(t, "", false, nil, nil)
	dead.close()
	b := startMochi(t, "", false, nil, nil)
	c := config("", func(c *Config) {
		c.Brokers = []string{"mqtt://" + dead.address, "mqtt://" + b.address}
		c.CleanSession = true // this broker keeps nothing across its end
	})
	r := read(t, c, t.TempDir(), nil)
	for range 3 {
		until(t, "the subscription", func() bool { return b.subscriptions("logs/x") == 1 })
		b.publish(t, "logs/x", "here", false, 1)
		r.Expect(t, "here")
		failed := r.source.Stats().Errors
		b.close()
		until(t, "several attempts", func() bool { return r.source.Stats().Errors > failed+5 })
		b = startMochi(t, b.address, false, nil, nil)
	}
	until(t, "the end of the outage", func() bool { return r.source.Stats().Reconnects == 4 })
	if r.Log.Said("reading is interrupted") != 4 || r.Log.Said("reading goes on") != 4 || r.Log.Said("msg=subscribed") != 1 ||
		strings.Count(r.Log.String(), "\n") != 9 {
		t.Errorf("the log is\n%s", r.Log)
	}
}

func TestSharedSubscriptionsSplitTheMessages(t *testing.T) {
	b := startMochi(t, "", false, nil, nil)
	var members []*reading
	for _, id := range []string{"a", "b"} {
		members = append(members, read(t, config("mqtt://"+b.address, func(c *Config) {
			c.ClientID = id
			c.Subscriptions = []Subscription{{Filter: "$share/sluice/logs/{what}", QoS: 1}}
		}), t.TempDir(), nil))
	}
	until(t, "the subscriptions", func() bool { return b.subscriptions("logs/x") == 2 })
	for i := range 100 {
		b.publish(t, "logs/x", fmt.Sprint(i), false, 1)
	}
	seen := make(map[string]int)
	until(t, "all messages", func() bool {
		for _, m := range members {
			for len(m.Lines) > 0 {
				l := <-m.Lines
				seen[l.Text]++
				if l.Labels["what"] != "x" {
					t.Errorf("the labels of %s are %v", l.Headers[headerTopic], l.Labels)
				}
			}
		}
		return len(seen) == 100
	})
	for text, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", text, n)
		}
	}
}

func TestTwoClientsOfOneIDAreTold(t *testing.T) {
	b := startMochi(t, "", false, nil, nil)
	one := read(t, config("mqtt://"+b.address), t.TempDir(), nil)
	until(t, "the subscription", func() bool { return one.Log.Said("subscribed") == 1 })
	two := read(t, config("mqtt://"+b.address), t.TempDir(), nil)
	until(t, "the hint", func() bool { return one.Log.Said("another client may use the client_id") > 0 })
	two.Stop(t)
	until(t, "peace", func() bool { return one.Log.Said("reading goes on") == one.Log.Said("is interrupted") })
}

func TestLongMessagesAreCut(t *testing.T) {
	b := startMochi(t, "", false, nil, nil)
	r := read(t, config("mqtt://"+b.address, func(c *Config) { c.MaxPayloadBytes = 10 }), t.TempDir(), nil)
	until(t, "the subscription", func() bool { return b.subscriptions("logs/x") == 1 })
	b.publish(t, "logs/x", strings.Repeat("x", 1<<20), false, 1)
	b.publish(t, "logs/x", "short", false, 1)
	r.Expect(t, "xxxxxxxxxx", "short")
	if st := r.source.Stats(); st.Cut != 1 {
		t.Errorf("%+v", st)
	}
}

func TestOverlapsAreSaid(t *testing.T) {
	b := startMochi(t, "", false, nil, nil)
	r := read(t, config("mqtt://"+b.address, func(c *Config) {
		c.Subscriptions = []Subscription{{Filter: "a/#"}, {Filter: "b/#"}, {Filter: "a/{x}/c"}}
	}), t.TempDir(), nil)
	until(t, "the subscription", func() bool { return r.Log.Said("subscribed") == 1 })
	if r.Log.Said("two subscriptions overlap") != 1 || r.Log.Said("filter=a/# other=a/+/c") != 1 {
		t.Errorf("the log is\n%s", r.Log)
	}
}

func TestConfigurationsThatAreNone(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"no broker":                      {func(c *Config) { c.Brokers = nil }, "brokers: name at least one"},
		"another scheme":                 {func(c *Config) { c.Brokers = []string{"tcp://x"} }, "brokers: an address does not begin with"},
		"a password in an address":       {func(c *Config) { c.Brokers = []string{"mqtt://me:hunter2@x"} }, "keys of their own"},
		"a path without ws":              {func(c *Config) { c.Brokers = []string{"mqtt://x/mqtt"} }, "only ws://"},
		"no host":                        {func(c *Config) { c.Brokers = []string{"mqtt://:1883"} }, "no host"},
		"no client_id":                   {func(c *Config) { c.ClientID = "" }, "client_id: the broker keeps the session"},
		"a password without a name":      {func(c *Config) { c.Password = "x" }, "username"},
		"two passwords":                  {func(c *Config) { c.Username, c.Password, c.PasswordFile = "a", "b", "c" }, "one of them"},
		"no subscription":                {func(c *Config) { c.Subscriptions = nil }, "subscriptions: name at least one"},
		"a filter twice":                 {func(c *Config) { c.Subscriptions = []Subscription{{Filter: "a/+"}, {Filter: "a/{b}"}} }, "twice"},
		"QoS 3":                          {func(c *Config) { c.Subscriptions[0].QoS = 3 }, "none of 0, 1, 2"},
		"a bad filter":                   {func(c *Config) { c.Subscriptions[0].Filter = "a/#/b" }, "must be the last"},
		"retained":                       {func(c *Config) { c.Retained = "no" }, "retained"},
		"a broken keep_alive":            {func(c *Config) { c.KeepAlive = 1500e6 }, "keep_alive"},
		"a will without topic":           {func(c *Config) { c.LastWill.Payload = "x" }, "last_will: it needs a topic"},
		"a will to a filter":             {func(c *Config) { c.LastWill.Topic = "a/#" }, "last_will.topic"},
		"a will to a named filter":       {func(c *Config) { c.LastWill.Topic = "a/{b}" }, "last_will.topic"},
		"a certificate without its key":  {func(c *Config) { c.TLS.CertFile = "x" }, "go together"},
		"a payload longer than possible": {func(c *Config) { c.MaxPayloadBytes = 1 << 30 }, "max_payload_bytes"},
	} {
		c := config("mqtt://localhost", tc.change)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want an error that says %q", name, err, tc.says)
		}
	}
	c := config("mqtt://localhost", func(c *Config) { c.ClientID, c.CleanSession = "", true })
	if err := c.Validate(); err != nil {
		t.Errorf("a clean session without client_id: %v", err)
	}
	if b, err := parseBroker("wss://[::1]/mqtt"); err != nil || b.name != "wss://[::1]:443/mqtt" || !b.encrypted() {
		t.Errorf("%+v, %v", b, err)
	}
}

// passwordHook lets in whoever has the password, or everybody when it is empty.
type passwordHook struct {
	mqtt.HookBase
	want string
}

// Provides implements mqtt.Hook.
func (h *passwordHook) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}

// OnConnectAuthenticate implements mqtt.Hook.
func (h *passwordHook) OnConnectAuthenticate(_ *mqtt.Client, p packets.Packet) bool {
	return h.want == "" || string(p.Connect.Password) == h.want
}

// OnACLCheck implements mqtt.Hook.
func (h *passwordHook) OnACLCheck(*mqtt.Client, string, bool) bool { return true }
