package amqp

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline/component"
	"sluice/sources"
	"sluice/sources/intake"
	"sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reading is a source that runs, and what it emitted.
type reading struct {
	*sourcetest.Reading
	source *Source
}

func config(broker string, change ...func(*Config)) Config {
	c := Default()
	c.Brokers, c.Queues = []component.Secret{component.Secret(broker)}, []string{"logs"}
	c.BackoffMin, c.BackoffMax, c.Heartbeat = time.Millisecond, 20*time.Millisecond, 5*time.Minute
	c.Intake, c.Ack = intake.Direct, intake.AckAccepted
	for _, f := range change {
		f(&c)
	}
	return c
}

// read starts a source with its state in dir, and stops it with the test.
func read(t *testing.T, c Config, dir string) *reading {
	t.Helper()
	return readFrom(t, c, dir, nil)
}

// again starts a source of the same configuration where this one's checkpoint
// would stand: behind all that it emitted.
func (r *reading) again(t *testing.T, c Config, dir string) *reading {
	t.Helper()
	r.Stop(t)
	return readFrom(t, c, dir, sources.Positions{{Source: "amqp", Topic: "logs"}: r.Next.Load()})
}

func readFrom(t *testing.T, c Config, dir string, from sources.Positions) *reading {
	t.Helper()
	env, log := sourcetest.Env(nil, dir)
	source, err := New("amqp", c, env)
	if err != nil {
		t.Fatal(err)
	}
	return &reading{sourcetest.Read(t, source, log, from, nil), source}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(limit) {
			t.Fatalf("waiting for %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func TestMessagesAreReadAndAcknowledged(t *testing.T) {
	f := newFake(t)
	r := read(t, config(f.url(), func(c *Config) { c.Prefetch, c.MaxPayloadBytes = 77, 5 }), t.TempDir())
	s := f.session()
	if s.queue != "logs" || s.prefetch != 77 {
		t.Errorf("consumed %q with %d ahead", s.queue, s.prefetch)
	}
	headers := slices.Concat(short("type"), []byte("S"), long("nginx"), short("n"), []byte("l"), u64(7), short("b"), []byte{'t', 1}, short("list"), []byte("A"), u32(0))
	tag := s.deliver(message{body: "one", id: "m1", headers: headers}, message{}, message{body: "toolong"}, message{body: "three", again: true})
	f.wantAck(tag)
	got := r.Line(t)
	want := map[string]string{"type": "nginx", "n": "7", "b": "true", "exchange": "ex", "routing_key": "key.x", "message_id": "m1"}
	if got.Text != "one" || got.Topic != "logs" || got.Key != "key.x" || fmt.Sprint(got.Headers) != fmt.Sprint(want) {
		t.Errorf("got %+v", got)
	}
	r.Expect(t, "toolo", "three")
	r.Stop(t)
	f.goodbye()
	if st := r.source.Stats(); st.Skipped != 1 || st.Cut != 1 || st.Redelivered != 1 || st.Drops != nil {
		t.Errorf("%+v", st)
	}
}

func TestTheCheckpointAfterTheEndIsAcknowledged(t *testing.T) {
	f := newFake(t)
	r := read(t, config(f.url(), func(c *Config) { c.Ack = intake.AckCheckpoint }), t.TempDir())
	commit := func(n int64) {
		t.Helper()
		if err := r.source.Commit(t.Context(), sources.Positions{{Source: "amqp", Topic: "logs"}: n}); err != nil {
			t.Fatal(err)
		}
	}
	s := f.session()
	for i := range 5 {
		s.deliver(message{body: fmt.Sprint(i)})
		r.Expect(t, fmt.Sprint(i)) // so that each is an entry of its own
	}
	commit(2)
	f.wantAck(2)
	r.End(t)
	commit(4)
	r.Stop(t)
	f.wantAck(4)
	f.goodbye()
}

func TestAnOutageIsSaidOnce(t *testing.T) {
	f := newFake(t)
	r := read(t, config(f.url()), t.TempDir())
	for i := range 5 {
		s := f.session()
		f.wantAck(s.deliver(message{body: fmt.Sprint(i)}))
		r.Expect(t, fmt.Sprint(i))
		f.drop()
	}
	f.session()
	until(t, "the last recovery", func() bool { return r.source.Stats().Reconnects == 5 })
	if r.Log.Said("reading is interrupted") != 5 || r.Log.Said("reading goes on") != 5 || strings.Count(r.Log.String(), "\n") != 11 {
		t.Errorf("the log is\n%s", r.Log)
	}
}

func TestTroubleOfOneQueueLeavesTheOthers(t *testing.T) {
	f := newFake(t)
	f.missing["b"] = true
	r := read(t, config(f.url(), func(c *Config) { c.Queues = []string{"a", "b"} }), t.TempDir())
	a := f.session()
	f.wantAck(a.deliver(message{body: "1"}))
	until(t, "attempts", func() bool { return r.source.Stats().Errors > 3 })
	f.wantAck(a.deliver(message{body: "2"}))
	f.set(func() { f.missing["b"] = false })
	b := f.session()
	f.wantAck(b.deliver(message{body: "3"}))
	r.Expect(t, "1", "2", "3")
	b.cancel()
	b = f.session()
	f.wantAck(b.deliver(message{body: "4"}))
	r.Expect(t, "4")
	if r.Log.Said("is not there or not to be read") != 1 || r.Log.Said("was deleted, or its leader has changed") != 1 || r.Log.Said("reading goes on") != 2 {
		t.Errorf("the log is\n%s", r.Log)
	}
	if len(f.made) != 0 {
		t.Errorf("made %v", f.made)
	}
}

func TestAQueueThatIsNotAnsweredIsSaidAndHoldsUpNothing(t *testing.T) {
	f := newFake(t)
	f.mute["b"] = true
	r := read(t, config(f.url(), func(c *Config) { c.Queues, c.ConnectTimeout = []string{"a", "b"}, 2*time.Second }), t.TempDir())
	s := f.session()
	until(t, "the complaint", func() bool { return r.Log.Said("may have no leader") > 0 })
	f.wantAck(s.deliver(message{body: "1"}))
	r.Expect(t, "1")
	r.Stop(t) // although the call is still under way
}

func TestQueuesAreMadeOnRequest(t *testing.T) {
	f := newFake(t)
	read(t, config(f.url(), func(c *Config) {
		c.Create = Create{Type: "quorum", Bindings: []Binding{{Exchange: "amq.topic", RoutingKey: "logs.#"}}}
	}), t.TempDir())
	f.session()
	want := []string{fmt.Sprintf("logs, durable true, %q", slices.Concat(short("x-queue-type"), []byte("S"), long("quorum"))), "logs from amq.topic by logs.#"}
	f.set(func() {
		if !slices.Equal(f.made, want) {
			t.Errorf("made %v, want %v", f.made, want)
		}
	})
}

func TestTheRingForgetsTheOldest(t *testing.T) {
	r, _ := restoreIDs("q", 3, nil)
	marks := make(map[string]string)
	for i := range 7 {
		mark, value := r.add(fmt.Sprint(i))
		marks[mark] = value
	}
	check := func(r *ids, want ...string) {
		t.Helper()
		var have []string
		for i := range 10 {
			if r.has(fmt.Sprint(i)) {
				have = append(have, fmt.Sprint(i))
			}
		}
		if !slices.Equal(have, want) {
			t.Errorf("knows %v, want %v", have, want)
		}
	}
	check(r, "4", "5", "6")
	if len(marks) != 3 {
		t.Errorf("%d marks", len(marks))
	}
	again, stale := restoreIDs("q", 3, marks)
	check(again, "4", "5", "6")
	again.add("7")
	if check(again, "5", "6", "7"); len(stale) != 0 {
		t.Errorf("stale are %v", stale)
	}
	again.add("7") // twice: the publisher does not keep its word
	again.add("8")
	check(again, "7", "8")
	again.add("9")
	again.add("9")
	check(again, "8", "9")

	other, stale := restoreIDs("other", 3, marks)
	if check(other); len(stale) != 0 {
		t.Errorf("stale are %v", stale)
	}
	smaller, stale := restoreIDs("q", 2, marks)
	smaller.add("7")
	if !smaller.has("5") || !smaller.has("6") || len(stale) == 0 {
		t.Errorf("a smaller ring knows %v, stale %v", smaller.at, stale)
	}
}

func TestSigningIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		userinfo string
		change   func(*Config)
		want     string
	}{
		"nothing said":   {"", func(*Config) {}, "PLAIN |guest|guest"},
		"in the address": {"me:hunter2%40@", func(*Config) {}, "PLAIN |me|hunter2@"},
		"by keys":        {"", func(c *Config) { c.Username, c.Password = "me", "hunter2" }, "PLAIN |me|hunter2"},
		"by a file":      {"", func(c *Config) { c.Username, c.PasswordFile = "me", path }, "PLAIN |me|hunter2"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.refuse = true
			r := read(t, config(strings.Replace(f.url(), "amqp://", "amqp://"+tc.userinfo, 1), tc.change), t.TempDir())
			until(t, "refusals", func() bool { return r.source.Stats().Errors > 2 })
			f.set(func() { f.refuse = false })
			f.session()
			f.set(func() {
				if got := f.signedIn[len(f.signedIn)-1]; got != tc.want {
					t.Errorf("signed in with %q, want %q", got, tc.want)
				}
			})
			r.Stop(t)
			if r.Log.Said("refuses the username or the password") != 1 || strings.Contains(r.Log.String(), "hunter2") {
				t.Errorf("the log is\n%s", r.Log)
			}
		})
	}
}

// TestABrokerThatIsNoneIsLeft connects to what speaks no AMQP, and goes on to what does.
func TestABrokerThatIsNoneIsLeft(t *testing.T) {
	for name, says := range map[string][]byte{
		"another protocol":      []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"a frame without end":   {1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 10, 0, 10},
		"a method nobody knows": method(0, 99, 99, u64(0)),
		"an end at once":        nil,
		"nothing":               {},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					defer c.Close()
					_, _ = c.Write(says)
					if says == nil {
						_ = c.Close()
					}
				}
			}()
			defer func() { l.Close(); <-served }()
			f := newFake(t)
			r := read(t, config("", func(c *Config) {
				c.Brokers = []component.Secret{component.Secret("amqp://" + l.Addr().String()), component.Secret(f.url())}
				c.ConnectTimeout = time.Second
			}), t.TempDir())
			f.wantAck(f.session().deliver(message{body: "here"}))
			r.Expect(t, "here")
			if st := r.source.Stats(); st.Errors == 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestTheNextBrokerIsTried(t *testing.T) {
	dead := newFake(t)
	dead.stop()
	f := newFake(t)
	r := read(t, config("", func(c *Config) {
		c.Brokers = []component.Secret{component.Secret(dead.url()), component.Secret(f.url())}
	}), t.TempDir())
	f.wantAck(f.session().deliver(message{body: "here"}))
	r.Expect(t, "here")
}

func TestConfigurationsThatAreNone(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"no broker":                  {func(c *Config) { c.Brokers = nil }, "brokers: name at least one"},
		"another scheme":             {func(c *Config) { c.Brokers = []component.Secret{"http://me:hunter2@x"} }, "begin with amqp://"},
		"no URL":                     {func(c *Config) { c.Brokers = []component.Secret{"amqp://me:hunter2%@x"} }, "is no URL"},
		"a query":                    {func(c *Config) { c.Brokers = []component.Secret{"amqp://x?password=hunter2"} }, "keys of their own"},
		"two usernames":              {func(c *Config) { c.Brokers, c.Username, c.Password = []component.Secret{"amqp://a:b@x"}, "c", "d" }, "username"},
		"external without a key":     {func(c *Config) { c.SASL = "external" }, "cert_file"},
		"another mechanism":          {func(c *Config) { c.SASL = "scram" }, "neither plain nor external"},
		"a username alone":           {func(c *Config) { c.Username = "me" }, "password"},
		"no queue":                   {func(c *Config) { c.Queues = nil }, "queues"},
		"a queue twice":              {func(c *Config) { c.Queues = []string{"a", "a"} }, "twice"},
		"a stream":                   {func(c *Config) { c.Create.Type = "stream" }, "create.type"},
		"bindings alone":             {func(c *Config) { c.Create.Bindings = []Binding{{Exchange: "x"}} }, "set create.type"},
		"a binding to nothing":       {func(c *Config) { c.Create = Create{Type: "quorum", Bindings: []Binding{{}}} }, "needs an exchange"},
		"a prefetch without bounds":  {func(c *Config) { c.Prefetch = 0 }, "prefetch"},
		"a heartbeat of a half":      {func(c *Config) { c.Heartbeat = 1500 * time.Millisecond }, "heartbeat"},
		"a certificate without keys": {func(c *Config) { c.TLS.CertFile = "x" }, "go together"},
	} {
		c := config("amqp://localhost", tc.change)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want an error that says %q", name, err, tc.says)
		}
	}
	b, err := parseBroker("amqps://u:p@[::1]/a%2Fb")
	if err != nil || b.address != "[::1]:5671" || b.vhost != "a/b" || b.username != "u" || b.password != "p" || b.name() != "amqps://[::1]:5671/a%2Fb" {
		t.Errorf("%+v, %v", b, err)
	}
}
