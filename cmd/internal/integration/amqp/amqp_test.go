//go:build integration

package amqp_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline/tlsclient/tlstest"
)

// TestRabbitMQ runs all parts on one broker, since one takes seconds to start.
func TestRabbitMQ(t *testing.T) {
	files := tlstest.Make(t)
	r := startRabbit(t, files)
	p := newPublisher(t, r)
	p.declare(t, "one", "classic")
	p.declare(t, "two", "quorum")
	p.close()
	declared := time.Now()
	t.Run("killed under load", func(t *testing.T) { killedUnderLoad(t, r) })
	t.Run("stopped under load", func(t *testing.T) { stoppedUnderLoad(t, r) })
	t.Run("TLS and a certificate to sign in", func(t *testing.T) { external(t, r, files) })
	t.Run("the broker goes away", func(t *testing.T) { brokerGone(t, r, declared) })
}

// killedUnderLoad kills sluice between receiving and acknowledging. One queue
// is read by the ids of its messages, and each counts once; the other at least once.
func killedUnderLoad(t *testing.T, r *rabbit) {
	lines, kills := 8000, 6
	if rig.Soak() {
		lines, kills = 40_000, 40
	}
	random := rand.New(rand.NewPCG(rig.Seed(t), 1))
	p := newPublisher(t, r)
	p.declare(t, "plain", "classic")
	p.declare(t, "known", "quorum")
	known := source(r, "known", "known")
	known["unique_message_id"] = true
	in := rig.New(t, "amqp", rig.Probing(source(r, "plain", "plain"), known))
	in.StartReady(t, "the state is loaded")
	to := func(n int) string { return [...]string{"plain", "known"}[n%2] }
	var sending errgroup.Group
	sending.Go(func() error { return p.send(t.Context(), 0, lines, to) })
	for range kills {
		if err := rig.Pause(t.Context(), time.Duration(50+random.IntN(200))*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		in.Kill(t)
		in.StartReady(t, "connected")
	}
	if err := sending.Wait(); err != nil {
		t.Fatal(err)
	}
	in.Drained(t, lines)
	in.Stop(t)
	tally := in.Tally(t)
	repeats := tally.AtLeastOnce(t, lines)
	for n, ids := range tally {
		if to(n) == "known" && len(ids) > 1 {
			t.Errorf("line %d, known by its message_id, was poured %d times", n, len(ids))
		}
	}
	t.Logf("%d lines, %d kills: %d lines were poured more than once, none of those with ids", lines, kills, repeats)
}

// stoppedUnderLoad ends sluice in good order: all that was taken is
// acknowledged, so that nothing comes twice, whether a journal or a checkpoint makes it safe.
func stoppedUnderLoad(t *testing.T, r *rabbit) {
	const lines = 8000
	p := newPublisher(t, r)
	for _, intake := range []string{"journal", "direct"} {
		p.declare(t, intake, "quorum")
		c := source(r, "amqp", intake)
		c["intake"] = intake
		in := rig.New(t, intake, rig.Probing(c))
		in.StartReady(t, "connected")
		p.consumed(t, intake)
		var sending errgroup.Group
		sending.Go(func() error { return p.send(t.Context(), 0, lines, func(int) string { return intake }) })
		for range 3 {
			if err := rig.Pause(t.Context(), 150*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			in.Stop(t)
			in.StartReady(t, "connected")
		}
		if err := sending.Wait(); err != nil {
			t.Fatal(err)
		}
		in.Drained(t, lines)
		in.Stop(t)
		in.Tally(t).ExactlyOnce(t, lines)
	}
}

// external reads over TLS and signs in with the client's certificate.
func external(t *testing.T, r *rabbit, files tlstest.Files) {
	c := source(r, "secure", "secure")
	c["brokers"] = []string{fmt.Sprintf("amqps://127.0.0.1:%d", r.tls)}
	c["tls"] = map[string]any{"ca_file": files.CA, "cert_file": files.ClientCert, "key_file": files.ClientKey}
	c["sasl"] = "external"
	c["create"] = map[string]any{"type": "quorum", "bindings": []any{map[string]any{"exchange": "amq.topic", "routing_key": "logs.#"}}}
	in := rig.New(t, "secure", rig.Probing(c))
	in.StartReady(t, "connected")
	p := newPublisher(t, r)
	p.consumed(t, "secure")
	p.mustSend(t, 0, 500, func(int) string { return "secure" })
	in.Drained(t, 500)
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, 500)
}

// brokerGone kills the broker under a running source. RabbitMQ writes what it
// knows of a new queue some two seconds after it has said that it is there: queues younger than that
// would be gone with their messages.
func brokerGone(t *testing.T, r *rabbit, declared time.Time) {
	const lines = 4000
	p := newPublisher(t, r)
	in := rig.New(t, "outage", rig.Probing(source(r, "amqp", "one", "two")))
	in.StartReady(t, "connected")
	to := func(n int) string { return [...]string{"one", "two"}[n%2] }
	if err := rig.Pause(t.Context(), time.Until(declared.Add(5*time.Second))); err != nil {
		t.Fatal(err)
	}
	p.mustSend(t, 0, lines/2, to)
	r.Kill(t)
	if err := rig.Pause(t.Context(), rig.Outage()); err != nil {
		t.Fatal(err)
	}
	r.Start(t)
	in.WaitFor(t, "reading goes on")
	p = newPublisher(t, r)
	p.mustSend(t, lines/2, lines, to)
	in.Drained(t, lines)
	in.Stop(t)
	repeats := in.Tally(t).AtLeastOnce(t, lines)
	if in.Said("reading is interrupted") != 1 || in.Said("reading goes on") != 1 {
		t.Errorf("the outage was not said once\n%s", in.Output())
	}
	if strings.Contains(in.Output(), "ss/word") || strings.Contains(in.Output(), "ss%2Fword") {
		t.Errorf("the password is in the log\n%s", in.Output())
	}
	t.Logf("%d lines, one outage of the broker: %d lines were poured more than once", lines, repeats)
}
