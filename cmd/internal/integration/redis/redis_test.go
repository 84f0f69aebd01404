//go:build integration

package redis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline/tlsclient"
	"sluice/pipeline/tlsclient/tlstest"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

const password = "p@ss/word"

// server is a real one in a folder of its own, that writes every command to
// its disk before it answers, with TLS and an ACL user.
type server struct {
	*rig.Part
	plain, tls string
	files      tlstest.Files
	client     *redis.Client
}

func start(t *testing.T) *server {
	t.Helper()
	binary := rig.Need(t, "redis-server", "redis-server")
	dir := t.TempDir()
	plain, encrypted := rig.Port(t), rig.Port(t)
	s := &server{plain: fmt.Sprintf("127.0.0.1:%d", plain), tls: fmt.Sprintf("127.0.0.1:%d", encrypted), files: tlstest.Make(t)}
	config := filepath.Join(dir, "redis.conf")
	text := fmt.Sprintf(`bind 127.0.0.1
port %d
tls-port %d
tls-cert-file %q
tls-key-file %q
tls-ca-cert-file %q
dir %q
appendonly yes
appendfsync always
save ""
user default on nopass ~* &* +@all
user sluice on ">%s" ~* resetchannels -@all +@stream +@connection
`, plain, encrypted, s.files.ServerCert, s.files.ServerKey, s.files.CA, dir, password)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.client = redis.NewClient(&redis.Options{Addr: s.plain, MaxRetries: -1})
	t.Cleanup(func() { _ = s.client.Close() })
	s.Part = rig.Run(t, func() *exec.Cmd { return exec.Command(binary, config) }, func(ctx context.Context) error {
		return s.client.Ping(ctx).Err() // it listens before it has loaded its data
	})
	return s
}

func (s *server) source(name, group string, streams ...string) map[string]any {
	return map[string]any{
		"type": "redis", "name": name, "addresses": []string{"rediss://" + s.tls}, "streams": streams, "group": group, "field": "message",
		"username": "sluice", "password": password, "backoff_max": "500ms", "block": "200ms",
		"tls": tlsKeys(s.files),
	}
}

func tlsKeys(f tlstest.Files) map[string]any {
	c := tlsclient.Config{CAFile: f.CA, CertFile: f.ClientCert, KeyFile: f.ClientKey}
	return map[string]any{"ca_file": c.CAFile, "cert_file": c.CertFile, "key_file": c.KeyFile}
}

// send adds lines, each until the server has said that it has it. An answer that was lost
// is looked for before a line is sent again, so that the server holds each once.
func (s *server) send(ctx context.Context, from, to int, stream func(int) string, pace time.Duration) error {
	for n := from; n < to; n++ {
		for tries := 0; ; tries++ {
			if tries > 0 {
				last, err := s.client.XRevRangeN(ctx, stream(n), "+", "-", 1).Result()
				if err == nil && len(last) > 0 && last[0].Values["message"] == rig.Line(n) {
					break
				}
				if err != nil {
					if err := rig.Pause(ctx, 50*time.Millisecond); err != nil {
						return err
					}
					continue
				}
			}
			err := s.client.XAdd(ctx, &redis.XAddArgs{Stream: stream(n), Values: []string{"message", rig.Line(n), "host", "web"}}).Err()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if n%50 == 0 {
			if err := rig.Pause(ctx, pace); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestRedis runs all parts on one server.
func TestRedis(t *testing.T) {
	s := start(t)
	t.Run("ended under load", func(t *testing.T) { endedUnderLoad(t, s) })
	t.Run("the server goes away", func(t *testing.T) { serverGone(t, s) })
	t.Run("a group of two", func(t *testing.T) { groupOfTwo(t, s) })
	t.Run("trimmed", func(t *testing.T) { trimmed(t, s) })
}

// endedUnderLoad kills sluice between reading and acknowledging, and ends it there in good
// order, by turns: with a group, without one, and several streams.
func endedUnderLoad(t *testing.T, s *server) {
	lines, ends := 9000, 8
	if rig.Soak() {
		lines, ends = 120_000, 120
	}
	random := rand.New(rand.NewPCG(rig.Seed(t), 1))
	in := rig.New(t, "killed", rig.Probing(s.source("grouped", "sluice", "kill:a", "kill:b"), s.source("plain", "", "kill:c")))
	in.StartReady(t, "the state is loaded")
	stream := func(n int) string { return [...]string{"kill:a", "kill:b", "kill:c"}[n%3] }
	var sending errgroup.Group
	sending.Go(func() error { return s.send(t.Context(), 0, lines, stream, 5*time.Millisecond) })
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
	s.acknowledged(t, "kill:a", "kill:b")
	if strings.Contains(in.Output(), password) {
		t.Error("the password is in the log")
	}
	t.Logf("%d lines, %d ends: each was poured once", lines, ends)
}

// serverGone kills the server under a running source, and sends before, meanwhile and after.
func serverGone(t *testing.T, s *server) {
	const lines = 6000
	in := rig.New(t, "outage", rig.Probing(s.source("grouped", "sluice", "gone:a", "gone:b"), s.source("plain", "", "gone:c")))
	in.StartReady(t, "the state is loaded")
	stream := func(n int) string { return [...]string{"gone:a", "gone:b", "gone:c"}[n%3] }
	var sending errgroup.Group
	sending.Go(func() error { return s.send(t.Context(), 0, lines, stream, 5*time.Millisecond) })
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
	s.acknowledged(t, "gone:a", "gone:b")
	if went, back := in.Said("reading is interrupted"), in.Said("reading goes on"); went != 2 || back != 2 {
		t.Errorf("two sources said %d times that they were interrupted and %d times that they go on\n%s", went, back, in.Output())
	}
	t.Logf("%d lines over one outage of %s: each was poured once", lines, rig.Outage())
}

// groupOfTwo has two instances divide a group, and kills one of them again and again.
func groupOfTwo(t *testing.T, s *server) {
	const lines = 6000
	var both [2]*rig.Instance
	for i := range both {
		c := s.source("redis", "two", "two")
		c["shared_group"], c["consumer"], c["count"] = true, fmt.Sprint("sluice-", i), 20
		both[i] = rig.New(t, fmt.Sprint("member", i), rig.Probing(c))
		both[i].StartReady(t, "the state is loaded")
	}
	var sending errgroup.Group
	sending.Go(func() error {
		return s.send(t.Context(), 0, lines, func(int) string { return "two" }, 10*time.Millisecond)
	})
	for range 3 {
		if err := rig.Pause(t.Context(), 300*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		both[1].Kill(t)
		both[1].StartReady(t, "the state is loaded")
	}
	if err := sending.Wait(); err != nil {
		t.Fatal(err)
	}
	tally := make(rig.Tally)
	count := func() int {
		clear(tally)
		for _, in := range both {
			for n, ids := range in.Tally(t) {
				if tally[n] == nil {
					tally[n] = make(map[string]bool)
				}
				for id := range ids {
					tally[n][in.AlertsFile()+id] = true // the same id from both would be twice, too
				}
			}
		}
		return len(tally)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := rig.Poll(ctx, "the alerts of all lines", func() (bool, error) {
		return count() >= lines, errors.Join(both[0].Ended(), both[1].Ended())
	}); err != nil {
		t.Fatal(err)
	}
	for _, in := range both {
		in.Stop(t)
	}
	count()
	tally.ExactlyOnce(t, lines)
	s.acknowledged(t, "two")
	t.Logf("%d lines, of which %d and %d: each was poured once", lines, len(both[0].Tally(t)), len(both[1].Tally(t)))
}

// trimmed trims streams behind the position, and up to it, while sluice is down.
func trimmed(t *testing.T, s *server) {
	for name, group := range map[string]string{"plain": "", "grouped": "sluice"} {
		key := "trim:" + name
		all := func(int) string { return key }
		source := s.source("redis", group, key)
		in := rig.New(t, "trimmed-"+name, rig.Probing(source))
		in.StartReady(t, "the state is loaded")
		if err := s.send(t.Context(), 0, 500, all, 0); err != nil {
			t.Fatal(err)
		}
		in.Drained(t, 500)
		in.Stop(t)
		// All that was read may go; what is there behind is read on.
		s.trim(t, key, 100)
		if err := s.send(t.Context(), 500, 600, all, 0); err != nil {
			t.Fatal(err)
		}
		in.StartReady(t, "the state is loaded")
		in.Drained(t, 600)
		in.Stop(t)
		if in.Said("entries are missing") != 0 {
			t.Errorf("a loss was told where there is none\n%s", in.Output())
		}
		// 100 entries that were not read go.
		if err := s.send(t.Context(), 600, 800, all, 0); err != nil {
			t.Fatal(err)
		}
		s.trim(t, key, 100)
		in.Start(t)
		select {
		case <-in.Process().Done():
		case <-time.After(30 * time.Second):
			t.Fatalf("it runs on\n%s", in.LastRun())
		}
		if out := in.LastRun(); !strings.Contains(out, "trimmed away") || !strings.Contains(out, "sluice state reset --partition redis/"+key+"/0") {
			t.Fatalf("it does not say what is wrong\n%s", out)
		}
		source["on_reset"] = "earliest"
		in.Configure(t, rig.Probing(source))
		in.StartReady(t, "entries are missing")
		in.Drained(t, 700)
		in.Stop(t)
		tally := in.Tally(t)
		for n := range 800 {
			if want := n < 600 || n >= 700; (len(tally[n]) == 1) != want || len(tally[n]) > 1 {
				t.Fatalf("line %d was poured %d times", n, len(tally[n]))
			}
		}
		if in.Said("entries are missing") != 1 {
			t.Errorf("the loss was not told once\n%s", in.Output())
		}
	}
}

// trim leaves the last n entries.
func (s *server) trim(t *testing.T, key string, n int64) {
	t.Helper()
	if err := s.client.XTrimMaxLen(t.Context(), key, n).Err(); err != nil {
		t.Fatal(err)
	}
}

// acknowledged checks that nothing is pending and nothing left to deliver.
func (s *server) acknowledged(t *testing.T, streams ...string) {
	t.Helper()
	for _, key := range streams {
		groups, err := s.client.XInfoGroups(t.Context(), key).Result()
		if err != nil || len(groups) != 1 || groups[0].Pending != 0 || groups[0].Lag != 0 {
			t.Errorf("the groups of %s are %+v, %v", key, groups, err)
		}
	}
}
