//go:build integration

package nats_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline/tlsclient/tlstest"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

const password = "p@ss-word"

// server is a real one in a folder of its own, with TLS and a password.
type server struct {
	*rig.Part
	address string
	files   tlstest.Files
	js      jetstream.JetStream
}

func start(t *testing.T) *server {
	t.Helper()
	binary := rig.Need(t, "nats-server", "nats-server")
	dir := t.TempDir()
	s := &server{address: fmt.Sprintf("127.0.0.1:%d", rig.Port(t)), files: tlstest.Make(t)}
	config := filepath.Join(dir, "server.conf")
	text := fmt.Sprintf(`listen: %q
jetstream { store_dir: %q }
authorization { user: sluice, password: %q }
tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }
`, s.address, filepath.Join(dir, "data"), password, s.files.ServerCert, s.files.ServerKey, s.files.CA)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Part = rig.Run(t, func() *exec.Cmd { return exec.Command(binary, "-c", config) }, rig.Listens(s.address))
	conn, err := nats.Connect("tls://"+s.address, nats.UserInfo("sluice", password), nats.RootCAs(s.files.CA),
		nats.ClientCert(s.files.ClientCert, s.files.ClientKey), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
		nats.RetryOnFailedConnect(true))
	if err == nil {
		t.Cleanup(conn.Close)
		s.js, err = jetstream.New(conn)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := rig.Poll(ctx, "the connection", func() (bool, error) { return conn.IsConnected(), nil }); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) stream(t *testing.T, name string, retention jetstream.RetentionPolicy) {
	t.Helper()
	_, err := s.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Retention: retention})
	if err != nil {
		t.Fatal(err)
	}
}

// publish sends lines, each until the server has said that it has it. The
// message's id lets the server know one that is sent again.
func (s *server) publish(ctx context.Context, from, to int, subject func(int) string, pace time.Duration) error {
	for n := from; n < to; n++ {
		for {
			ask, cancel := context.WithTimeout(ctx, time.Second)
			_, err := s.js.Publish(ask, subject(n), []byte(rig.Line(n)), jetstream.WithMsgID(fmt.Sprint(n)))
			cancel()
			if err == nil {
				break
			}
			if err := rig.Pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
		if pace > 0 && n%50 == 0 {
			if err := rig.Pause(ctx, pace); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *server) source(name, stream, consumer string) map[string]any {
	return map[string]any{
		"type": "nats", "name": name, "servers": []string{"tls://" + s.address}, "stream": stream, "consumer": consumer,
		"username": "sluice", "password": password, "backoff_max": "500ms",
		"tls": map[string]any{"ca_file": s.files.CA, "cert_file": s.files.ClientCert, "key_file": s.files.ClientKey},
	}
}

func (s *server) info(t *testing.T, stream, consumer string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := s.js.Consumer(t.Context(), stream, consumer)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}

// TestNATS runs all parts on one server.
func TestNATS(t *testing.T) {
	s := start(t)
	t.Run("ended under load", func(t *testing.T) { endedUnderLoad(t, s) })
	t.Run("the server goes away", func(t *testing.T) { serverGone(t, s) })
}

// sources are one for each way to read, so that every way meets every fault.
func sources(t *testing.T, s *server, prefix string) (list []map[string]any, subject func(int) string) {
	streams := []string{prefix + "_LIMITS", prefix + "_QUEUE", prefix + "_INTEREST", prefix + "_PLAIN"}
	s.stream(t, streams[0], jetstream.LimitsPolicy)
	s.stream(t, streams[1], jetstream.WorkQueuePolicy)
	s.stream(t, streams[2], jetstream.InterestPolicy)
	s.stream(t, streams[3], jetstream.LimitsPolicy)
	for i, name := range streams {
		consumer := "sluice"
		if i == 3 {
			consumer = ""
		}
		source := s.source(strings.ToLower(name), name, consumer)
		if i < 2 {
			source["filter_subjects"] = []string{name + ".probe.>"}
		}
		list = append(list, source)
	}
	return list, func(n int) string { return fmt.Sprintf("%s.probe.%d", streams[n%len(streams)], n%7) }
}

// endedUnderLoad kills sluice between reading and acknowledging, and ends it there in good order, by turns.
func endedUnderLoad(t *testing.T, s *server) {
	lines, ends := 12_000, 8
	if rig.Soak() {
		lines, ends = 120_000, 120
	}
	random := rand.New(rand.NewPCG(rig.Seed(t), 1))
	list, subject := sources(t, s, "KILL")
	in := rig.New(t, "killed", rig.Probing(list...))
	in.StartReady(t, "the state is loaded")
	interest(t, s, "KILL_INTEREST")
	var sending errgroup.Group
	sending.Go(func() error { return s.publish(t.Context(), 0, lines, subject, 5*time.Millisecond) })
	for i := range ends {
		if err := rig.Pause(t.Context(), time.Duration(100+random.IntN(500))*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			in.Kill(t)
		} else {
			in.Stop(t)
		}
		in.StartReady(t, "the state is loaded")
	}
	if err := sending.Wait(); err != nil {
		t.Fatal(err)
	}
	in.Drained(t, lines)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, lines)
	acknowledged(t, s, "KILL")
	if strings.Contains(in.Output(), password) {
		t.Error("the password is in the log")
	}
	t.Logf("%d lines, %d ends: each was poured once", lines, ends)
}

// serverGone kills the server under a running source, and publishes before, meanwhile and after.
func serverGone(t *testing.T, s *server) {
	const lines = 8000
	list, subject := sources(t, s, "GONE")
	in := rig.New(t, "outage", rig.Probing(list...))
	in.StartReady(t, "the state is loaded")
	interest(t, s, "GONE_INTEREST")
	var sending errgroup.Group
	sending.Go(func() error { return s.publish(t.Context(), 0, lines, subject, 5*time.Millisecond) })
	if err := rig.Pause(t.Context(), 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)
	if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	if err := sending.Wait(); err != nil {
		t.Fatal(err)
	}
	in.Drained(t, lines)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, lines)
	acknowledged(t, s, "GONE")
	if went, back := in.Said("reading is interrupted"), in.Said("reading goes on"); went != len(list) || back != len(list) {
		t.Errorf("%d sources said %d times that they were interrupted and %d times that they go on\n%s", len(list), went, back, in.Output())
	}
	t.Logf("%d lines over one outage of %s: each was poured once", lines, rig.Outage())
}

// interest waits until the stream has its consumer: what comes before is kept for nobody.
func interest(t *testing.T, s *server, stream string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := rig.Poll(ctx, "the consumer of "+stream, func() (bool, error) {
		c, err := s.js.Consumer(ctx, stream, "sluice")
		return err == nil && c.CachedInfo().NumWaiting > 0, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// acknowledged waits until the server knows of all that it is through, and has deleted what it keeps no longer.
func acknowledged(t *testing.T, s *server, prefix string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, stream := range []string{prefix + "_LIMITS", prefix + "_QUEUE", prefix + "_INTEREST"} {
		err := rig.Poll(ctx, "the acknowledgements of "+stream, func() (bool, error) {
			info := s.info(t, stream, "sluice")
			return info.NumAckPending == 0 && info.NumPending == 0, nil
		})
		if err != nil {
			t.Errorf("%v: %+v", err, s.info(t, stream, "sluice"))
		}
		if strings.HasSuffix(stream, "LIMITS") {
			continue
		}
		err = rig.Poll(ctx, "messages to leave "+stream, func() (bool, error) {
			st, err := s.js.Stream(ctx, stream)
			return err == nil && st.CachedInfo().State.Msgs == 0, err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
