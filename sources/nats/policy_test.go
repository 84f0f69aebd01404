package nats

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"sluice/pipeline/component"
	"sluice/pipeline/tlsclient"
	"sluice/pipeline/tlsclient/tlstest"
	"sluice/sources"
)

// TestAPositionThatIsGoneIsNeverPassedInSilence breaks what stands behind the
// state's position, in all the ways there are.
func TestAPositionThatIsGoneIsNeverPassedInSilence(t *testing.T) {
	read := func(t *testing.T, b *broker, c Config, dir string, n int) {
		r := begin(t, c, dir, 0)
		r.awaitRecords(n)
		r.commit()
		b.await("the acknowledgements", func() bool { return b.consumer("sluice").NumAckPending == 0 })
		r.end()
	}
	// readAll reads what is left, and waits until the server has removed it, which it does in the background.
	readAll := func(t *testing.T, b *broker, c Config, dir string) {
		read(t, b, c, dir, 50)
		js := b.connect()
		b.await("the removal of what was acknowledged", func() bool {
			s, err := js.Stream(t.Context(), "LOGS")
			if err != nil {
				t.Fatal(err)
			}
			return s.CachedInfo().State.FirstSeq == 101
		})
	}
	for name, tc := range map[string]struct {
		retention jetstream.RetentionPolicy
		filter    string
		// harm is what happens between two runs; the position is then 51.
		harm func(t *testing.T, b *broker, c Config, dir string)
		says string
		// first is where on_reset: earliest goes on, of 20 more lines from 100 on.
		lines [2]int
	}{
		"dropped by limits": {jetstream.LimitsPolicy, "", func(t *testing.T, b *broker, c Config, _ string) {
			purge(t, b, 80)
		}, "sequence 51 is gone (the first is 80)", [2]int{79, 120}},
		"dropped by limits, with filters": {jetstream.LimitsPolicy, "logs.>", func(t *testing.T, b *broker, c Config, _ string) {
			purge(t, b, 80)
		}, "sequence 51 is gone (the first is 80)", [2]int{79, 120}},
		"the stream made anew, and shorter": {jetstream.LimitsPolicy, "", func(t *testing.T, b *broker, c Config, _ string) {
			anew(t, b, jetstream.LimitsPolicy)
		}, "made anew", [2]int{100, 120}},
		"the stream made anew, and as long": {jetstream.LimitsPolicy, "", func(t *testing.T, b *broker, c Config, _ string) {
			anew(t, b, jetstream.LimitsPolicy)
			b.publish("logs.a", 0, 100)
		}, "made anew", [2]int{0, 120}},
		"a work queue that was read by a younger copy of the state": {jetstream.WorkQueuePolicy, "", func(t *testing.T, b *broker, c Config, dir string) {
			readAll(t, b, c, dir)
		}, `sequence 51 is gone (the first is 101)`, [2]int{100, 120}},
		"a filtered work queue that was read by a younger copy": {jetstream.WorkQueuePolicy, "logs.>", func(t *testing.T, b *broker, c Config, dir string) {
			read(t, b, c, dir, 50)
		}, `consumer "sluice" has acknowledged messages up to 100`, [2]int{100, 120}},
		"interest that was acknowledged by a younger copy": {jetstream.InterestPolicy, "", func(t *testing.T, b *broker, c Config, dir string) {
			readAll(t, b, c, dir)
		}, "is gone (the first is 101)", [2]int{100, 120}},
		"interest without its consumer": {jetstream.InterestPolicy, "logs.>", func(t *testing.T, b *broker, c Config, _ string) {
			if err := b.connect().DeleteConsumer(t.Context(), "LOGS", "sluice"); err != nil {
				t.Fatal(err)
			}
			b.connect().DeleteConsumer(t.Context(), "LOGS", "sluice_guard")
		}, `consumer "sluice" is gone`, [2]int{100, 120}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			b.stream(retained(tc.retention))
			dir := t.TempDir()
			c := b.config()
			if tc.filter != "" {
				c.FilterSubjects = []string{tc.filter}
			}
			interested(t, c)
			b.publish("logs.a", 0, 50)
			read(t, b, c, dir, 50)
			b.publish("logs.a", 50, 100)
			tc.harm(t, b, c, dir)

			r := begin(t, c, dir, 51)
			err := r.ended()
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "sluice state reset --partition nats/LOGS/0") {
				t.Fatalf("it ends with %v", err)
			}
			r.end()
			if len(r.values) > 0 {
				t.Errorf("%d records were emitted before", len(r.values))
			}
			c.OnReset = sources.ResetEarliest
			r = begin(t, c, dir, 51)
			r.await("the gap", func() bool {
				return r.s.Stats().Gaps == 1 && strings.Contains(strings.ReplaceAll(r.log.String(), `\"`, `"`), tc.says)
			})
			r.await("the consumer", func() bool {
				i, err := b.connect().Consumer(t.Context(), "LOGS", "sluice")
				return err == nil && i.CachedInfo().NumWaiting > 0
			})
			b.publish("logs.a", 100, 120)
			r.awaitRecords(tc.lines[1] - tc.lines[0])
			r.want(tc.lines[0], tc.lines[1])
			r.end()
		})
	}
}

func purge(t *testing.T, b *broker, first uint64) {
	t.Helper()
	s, err := b.connect().Stream(t.Context(), "LOGS")
	if err == nil {
		err = s.Purge(t.Context(), jetstream.WithPurgeSequence(first))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func anew(t *testing.T, b *broker, retention jetstream.RetentionPolicy) {
	t.Helper()
	if err := b.connect().DeleteStream(t.Context(), "LOGS"); err != nil {
		t.Fatal(err)
	}
	// The server removes the files behind its answer, and refuses a stream whose folder it is about to remove.
	b.await("the stream to be made anew", func() bool {
		_, err := b.connect().CreateStream(t.Context(), logs(retained(retention)))
		return err == nil
	})
}

func TestWhatTheStreamDropsWhileItIsReadIsAGap(t *testing.T) {
	b := newBroker(t)
	b.stream(jetstream.StreamConfig{MaxMsgs: 200})
	c := b.config(func(c *Config) { c.MaxMessages, c.BatchRecords = 10, 10 })
	b.publish("logs.a", 0, 50)
	gate := make(chan struct{})
	r := beginWith(t, c, "", 0, gate)
	r.pass() // where it begins
	r.pass()
	b.publish("logs.a", 50, 1000) // 800 to 999 are left
	close(gate)
	r.await("the end", func() bool { return len(r.values) > 0 && r.values[len(r.values)-1] == "line 999" })
	r.await("the gap", func() bool { return r.s.Stats().Gaps >= 1 && strings.Contains(r.log.String(), "messages are missing") })
}

func TestMessagesThatWereDeletedOneByOneAreNoGap(t *testing.T) {
	b := newBroker(t)
	s := b.stream(jetstream.StreamConfig{})
	b.publish("logs.a", 0, 10)
	for _, seq := range []uint64{4, 5, 8} {
		if err := s.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	r := begin(t, b.config(), "", 0)
	r.awaitRecords(7)
	b.publish("logs.a", 10, 11)
	r.awaitRecords(8)
	if got := fmt.Sprint(r.offsets); got != "[1 2 3 6 7 9 10 11]" || r.s.Stats().Gaps != 0 {
		t.Errorf("offsets %s, %d gaps", got, r.s.Stats().Gaps)
	}
}

func TestAConsumerThatAnotherProcessTakesEndsTheFirst(t *testing.T) {
	b := newBroker(t)
	b.stream(jetstream.StreamConfig{})
	first := begin(t, b.config(), "", 0)
	b.publish("logs.a", 0, 100)
	first.awaitRecords(100)
	second := begin(t, b.config(), "", 1)
	second.awaitRecords(100)
	for i := range 20 { // messages are dealt out to both until one finds out
		b.publish("logs.a", 100+10*i, 110+10*i)
	}
	if err := first.ended(); err == nil || !strings.Contains(err.Error(), `another process has taken the consumer "sluice"`) {
		t.Errorf("the first ends with %v", err)
	}
	second.awaitRecords(300)
	second.want(0, 300)
	first.mu.Lock()
	defer first.mu.Unlock()
	wantLines(t, first.values, 0, len(first.values))
}

// Between the deleting of a consumer and its making another process may make
// it. Who then updated it would share its messages, and neither would know.
func TestAConsumerThatAnotherProcessMadeMeanwhileIsLeft(t *testing.T) {
	b := newBroker(t)
	stream := b.stream(jetstream.StreamConfig{})
	s, err := New("nats", b.config(), sources.Env{})
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{s: s, all: true}
	other := r.consumerConfig(stream.CachedInfo())
	other.Description = "another"
	if _, err := stream.CreateConsumer(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	err = r.create(t.Context(), stream, stream.CachedInfo())
	if err == nil || errors.As(r.refusal(err), new(*finalError)) {
		t.Errorf("the error is %v, want one after which the consumer is looked at again", err)
	}
	if got := b.consumer(other.Name).Config.Description; got != "another" {
		t.Errorf("the consumer is marked as that of %q", got)
	}
	if err := stream.DeleteConsumer(t.Context(), other.Name); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the answer to the first may have got lost
		if err := r.create(t.Context(), stream, stream.CachedInfo()); err != nil {
			t.Error(err)
		}
	}
}

func TestAConsumerThatIsDeletedIsMadeAnew(t *testing.T) {
	b := newBroker(t)
	b.stream(jetstream.StreamConfig{})
	r := begin(t, b.config(), "", 0)
	b.publish("logs.a", 0, 100)
	r.awaitRecords(100)
	if err := b.connect().DeleteConsumer(t.Context(), "LOGS", "sluice"); err != nil {
		t.Fatal(err)
	}
	b.publish("logs.a", 100, 200)
	r.awaitRecords(200)
	r.want(0, 200)
}

func TestAStreamThatIsMissing(t *testing.T) {
	b := newBroker(t)
	r := begin(t, b.config(), "", 0)
	if err := r.ended(); err == nil || !strings.Contains(err.Error(), "set missing_stream: wait") {
		t.Errorf("it ends with %v", err)
	}
	r.end()
	r = begin(t, b.config(func(c *Config) { c.MissingStream = missingWait }), "", 0)
	r.await("the trouble", func() bool { return r.s.Stats().Errors > 0 })
	b.stream(jetstream.StreamConfig{})
	b.publish("logs.a", 0, 3)
	r.awaitRecords(3)
}

func TestStreamsThatNeedAConsumerSaySo(t *testing.T) {
	for _, retention := range []jetstream.RetentionPolicy{jetstream.WorkQueuePolicy, jetstream.InterestPolicy} {
		b := newBroker(t)
		b.stream(retained(retention))
		r := begin(t, b.config(func(c *Config) { c.Consumer = "" }), "", 0)
		if err := r.ended(); err == nil || !strings.Contains(err.Error(), "set consumer") {
			t.Errorf("it ends with %v", err)
		}
	}
}

func TestWhatTheServerRefusesIsSaid(t *testing.T) {
	b := newBroker(t)
	s := b.stream(retained(jetstream.WorkQueuePolicy))
	if _, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "other", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	r := begin(t, b.config(), "", 0)
	if err := r.ended(); err == nil || !strings.Contains(err.Error(), "the server refuses the consumer") {
		t.Errorf("it ends with %v", err)
	}
}

// TestTheGuardOfARunThatWasKilledKeepsTheInterest begins after a crash between deleting the consumer and making it anew.
func TestTheGuardOfARunThatWasKilledKeepsTheInterest(t *testing.T) {
	b := newBroker(t)
	s := b.stream(retained(jetstream.InterestPolicy))
	c := b.config()
	interested(t, c)
	b.publish("logs.a", 0, 100)
	r := begin(t, c, "", 1)
	r.awaitRecords(100)
	r.end()
	_, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "sluice_guard", AckPolicy: jetstream.AckAllPolicy})
	if err == nil {
		err = s.DeleteConsumer(t.Context(), "sluice")
	}
	if err != nil {
		t.Fatal(err)
	}
	r = begin(t, c, "", 31)
	r.awaitRecords(70)
	r.want(30, 100)
	if _, err := s.Consumer(t.Context(), "sluice_guard"); err == nil {
		t.Error("the guard is still there")
	}
}

func TestAPipelineThatIsFullStopsTheReading(t *testing.T) {
	b := newBroker(t)
	b.stream(jetstream.StreamConfig{})
	gate := make(chan struct{})
	c := b.config(func(c *Config) { c.MaxMessages, c.BatchRecords = 50, 10 })
	r := beginWith(t, c, "", 0, gate)
	b.publish("logs.a", 0, 5000)
	r.pass()
	r.await("the first deliveries", func() bool { return b.consumer("sluice").Delivered.Consumer > 0 })
	if n := b.consumer("sluice").Delivered.Consumer; n > 200 {
		t.Errorf("%d messages were asked for while the pipeline is full", n)
	}
	close(gate)
	r.awaitRecords(5000)
	r.want(0, 5000)
}

func TestLargeMessagesPass(t *testing.T) {
	b := newBroker(t)
	b.stream(jetstream.StreamConfig{})
	large := strings.Repeat("x", 1<<20-200)
	for range 3 {
		if _, err := b.connect().Publish(t.Context(), "logs.a", []byte(large)); err != nil {
			t.Fatal(err)
		}
	}
	r := begin(t, b.config(func(c *Config) { c.MaxBytes = 64 << 10 }), "", 0)
	r.awaitRecords(3)
	if r.values[2] != large {
		t.Error("the message is another")
	}
}

func TestConnectionsAreEncryptedAndSignedIn(t *testing.T) {
	files := tlstest.Make(t)
	pair, err := tls.LoadX509KeyPair(files.ServerCert, files.ServerKey)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	encrypted := func(o *server.Options) {
		o.TLS, o.TLSTimeout = true, 20
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := key.Seed()
	public, _ := key.PublicKey()
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	nkeyFile := file(string(seed))
	mutual := tlsclient.Config{CAFile: files.CA, CertFile: files.ClientCert, KeyFile: files.ClientKey}
	for name, tc := range map[string]struct {
		server func(*server.Options)
		own    []nats.Option // of the test
		source func(*Config)
		fails  string
	}{
		"tls with a client's certificate": {encrypted, []nats.Option{nats.RootCAs(files.CA), nats.ClientCert(files.ClientCert, files.ClientKey)},
			func(c *Config) { c.TLS = mutual }, ""},
		"a certificate that is not trusted": {encrypted, []nats.Option{nats.RootCAs(files.CA), nats.ClientCert(files.ClientCert, files.ClientKey)},
			func(c *Config) { c.TLS = tlsclient.Config{CertFile: files.ClientCert, KeyFile: files.ClientKey} }, "certificate"},
		"a password": {func(o *server.Options) { o.Username, o.Password = "u", "p" }, []nats.Option{nats.UserInfo("u", "p")},
			func(c *Config) { c.Username, c.Password = "u", "p" }, ""},
		"a password in a file": {func(o *server.Options) { o.Username, o.Password = "u", "p" }, []nats.Option{nats.UserInfo("u", "p")},
			func(c *Config) { c.Username, c.PasswordFile = "u", file("p\n") }, ""},
		"a wrong password": {func(o *server.Options) { o.Username, o.Password = "u", "p" }, []nats.Option{nats.UserInfo("u", "p")},
			func(c *Config) { c.Username, c.Password = "u", "wrong-secret" }, "Authorization Violation"},
		"a token": {func(o *server.Options) { o.Authorization = "t" }, []nats.Option{nats.Token("t")},
			func(c *Config) { c.TokenFile = file("t") }, ""},
		"an nkey": {func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} },
			[]nats.Option{nats.Nkey(public, func(nonce []byte) ([]byte, error) { return key.Sign(nonce) })},
			func(c *Config) { c.NKeyFile = nkeyFile }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, tc.server)
			b.connect(tc.own...)
			b.stream(jetstream.StreamConfig{})
			b.publish("logs.a", 0, 3)
			r := begin(t, b.config(tc.source), "", 0)
			if tc.fails == "" {
				r.awaitRecords(3)
				return
			}
			r.await("the failure", func() bool { return r.s.Stats().Errors > 0 && strings.Contains(r.log.String(), tc.fails) })
			if log := r.log.String(); strings.Contains(log, "wrong-secret") {
				t.Errorf("the log is\n%s", log)
			}
		})
	}
}

func TestWhatTheConsumerAcknowledgedTellsOfAMissingState(t *testing.T) {
	b := newBroker(t)
	b.stream(jetstream.StreamConfig{})
	b.publish("logs.a", 0, 10)
	r := begin(t, b.config(), "", 0)
	ask := func() int64 {
		offset, err := r.s.Committed(context.Background(), r.s.part)
		if err != nil {
			t.Fatal(err)
		}
		return offset
	}
	r.awaitRecords(10)
	if got := ask(); got != -1 {
		t.Errorf("before a commit it is %d", got)
	}
	r.commit()
	r.await("the acknowledgement", func() bool { return ask() == 11 })
}

func TestMistakesInTheConfiguration(t *testing.T) {
	for name, tc := range map[string]struct {
		yaml string
		says string
	}{
		"no stream":                         {"servers: [nats://a]\n", "no name of a stream"},
		"a stream with a dot":               {"stream: a.b\n", "no name of a stream"},
		"no server":                         {"stream: a\nservers: []\n", "name at least one"},
		"an address that is none":           {"stream: a\nservers: [\"localhost:4222\"]\n", "no URL"},
		"a password in an address":          {"stream: a\nservers: [\"nats://u:hunter2@a\"]\n", "holds a user"},
		"a password without a user":         {"stream: a\npassword: x\n", "a password needs one"},
		"two ways to sign in":               {"stream: a\ntoken: x\nnkey_file: y\n", "set one"},
		"two tokens":                        {"stream: a\ntoken: x\ntoken_file: y\n", "one of them"},
		"a consumer with a star":            {"stream: a\nconsumer: \"a*\"\n", "no name of a consumer"},
		"a start that is none":              {"stream: a\nstart: soon\n", "none of earliest"},
		"an on_reset that is none":          {"stream: a\non_reset: never\n", "none of earliest"},
		"a subject that is none":            {"stream: a\nfilter_subjects: [\"a..b\"]\n", "no subject"},
		"a certificate without its key":     {"stream: a\ntls: {cert_file: x}\n", "go together"},
		"bytes that are too few":            {"stream: a\nmax_bytes: 1KiB\n", "from 64KiB"},
		"a backoff that goes the wrong way": {"stream: a\nbackoff_max: 1ms\n", "backoff_min"},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := component.Parse([]byte("type: nats\n" + tc.yaml))
			if err == nil {
				_, err = sources.New(node, sources.Env{})
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error = %v, want one that says %q", err, tc.says)
			}
		})
	}
	c := Default()
	c.Stream, c.CredentialsFile = "a", filepath.Join(t.TempDir(), "gone")
	if _, err := New("nats", c, sources.Env{}); err == nil || !strings.Contains(err.Error(), "credentials_file") {
		t.Errorf("error = %v", err)
	}
}
