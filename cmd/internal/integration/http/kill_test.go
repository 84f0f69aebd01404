//go:build integration

package http_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/cmd/internal/integration/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// way is how a client sends its lines.
type way struct {
	name   string
	source map[string]any
	path   string
	head   map[string]string
	key    bool // each request has a key
	body   func(first, n int) string
	once   bool // each line must be counted once, not only at least once
}

func lines(first, n int) string {
	var out strings.Builder
	for i := range n {
		out.WriteString(rig.Line(first+i) + "\n")
	}
	return out.String()
}

// push is Loki's, of two streams, whose entries have times of their own.
func push(first, n int) string {
	streams := make([]string, 2)
	for s := range streams {
		var values []string
		for i := s * n / 2; i < (s+1)*n/2; i++ {
			values = append(values, fmt.Sprintf("[%q,%q]", fmt.Sprint(time.Now().UnixNano()), rig.Line(first+i)))
		}
		streams[s] = fmt.Sprintf(`{"stream":{"s":"%d"},"values":[%s]}`, s, strings.Join(values, ","))
	}
	return `{"streams":[` + strings.Join(streams, ",") + "]}"
}

// auditList is what an API server posts.
func auditList(first, n int) string {
	events := make([]string, n)
	for i := range events {
		events[i] = fmt.Sprintf(`{"level":"Metadata","auditID":"%d","stage":"ResponseComplete","verb":"get","user":{"username":"kim"},"userAgent":%q}`, first+i, rig.Line(first+i))
	}
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(events, ",") + "]}\n"
}

func ways() []way {
	text := map[string]string{"Content-Type": "text/plain"}
	return []way{
		{"journal, with keys", map[string]any{"intake": "journal"}, "/ingest", text, true, lines, true},
		{"journal, without keys", map[string]any{"intake": "journal"}, "/ingest", text, false, lines, false},
		{"journal, pushes of Loki's", map[string]any{"intake": "journal"}, "/loki/api/v1/push", map[string]string{"Content-Type": "application/json"}, false, push, true},
		{"journal, audit events", map[string]any{"type": "kubernetes_audit", "intake": "journal"}, "/audit", map[string]string{"Content-Type": "application/json"},
			false, auditList, true},
		{"direct, at the checkpoint", map[string]any{"intake": "direct", "ack": "checkpoint"}, "/ingest", text, true, lines, false},
	}
}

// load is clients that send until they are stopped, and send each request again until it is answered with 2xx.
type load struct {
	way
	url  string
	next atomic.Int64 // line

	mu              sync.Mutex
	acked           map[int]bool // the first lines of requests that were acknowledged
	tries, canceled int
}

const each = 20

func (l *load) client(ctx context.Context, patient context.Context, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 9))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	for ctx.Err() == nil {
		first := int(l.next.Add(each)) - each
		body := l.body(first, each)
		for {
			err := l.post(patient, c, body, first, rng)
			if err == nil {
				break
			}
			if final := (*unexpectedError)(nil); errors.As(err, &final) || patient.Err() != nil {
				return fmt.Errorf("lines from %d on: %w", first, err)
			}
			if err := rig.Pause(patient, 10*time.Millisecond); err != nil {
				return err
			}
		}
		l.mu.Lock()
		l.acked[first] = true
		l.mu.Unlock()
	}
	return nil
}

// post sends a request; one of ten is given up before it is answered, to be sent again.
func (l *load) post(ctx context.Context, c *http.Client, body string, first int, rng *rand.Rand) error {
	l.mu.Lock()
	l.tries++
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if rng.IntN(10) == 0 {
		stop := time.AfterFunc(time.Duration(rng.IntN(5000))*time.Microsecond, cancel)
		defer stop.Stop()
	}
	req, err := http.NewRequestWithContext(ctx, "POST", l.url, strings.NewReader(body))
	if err != nil {
		return err
	}
	for k, v := range l.head {
		req.Header.Set(k, v)
	}
	if l.key {
		req.Header.Set("Idempotency-Key", fmt.Sprintf("request-%d", first))
	}
	resp, err := c.Do(req)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			l.mu.Lock()
			l.canceled++
			l.mu.Unlock()
		}
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	switch {
	case resp.StatusCode/100 == 2:
		return nil // what follows the status does not matter any more
	case err != nil:
		return err
	case resp.StatusCode == 429 || resp.StatusCode == 503:
		return fmt.Errorf("answered %d %s", resp.StatusCode, said)
	}
	return &unexpectedError{fmt.Sprintf("answered %d %s", resp.StatusCode, said)}
}

// unexpectedError is an answer that no client should get.
type unexpectedError struct{ text string }

func (e *unexpectedError) Error() string { return e.text }

// TestKilledUnderLoad kills sluice, and stops it in good order, while clients send. Nothing that was
// acknowledged may be lost; with keys and a journal each line counts once.
func TestKilledUnderLoad(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			seed := rig.Seed(t)
			rng := rand.New(rand.NewPCG(seed, 7))
			place := fmt.Sprintf("127.0.0.1:%d", rig.Port(t))
			source := map[string]any{"type": "http", "listen": []string{place}}
			for k, v := range w.source {
				source[k] = v
			}
			in := rig.New(t, "sluice", rig.Probing(source))
			in.StartReady(t, "listening")
			l := &load{way: w, url: "http://" + place + w.path, acked: make(map[int]bool)}
			patient, end := context.WithTimeout(t.Context(), 2*time.Minute)
			defer end()
			ctx, stop := context.WithCancel(patient)
			defer stop()
			var g errgroup.Group
			clients := 3
			if w.name == "direct, at the checkpoint" { // each waits for most of the time
				clients = 30
			}
			for i := range clients {
				g.Go(func() error { return l.client(ctx, patient, seed+uint64(i)) })
			}
			kills := 3
			if rig.Soak() {
				kills = 30
			}
			for i := range kills {
				if err := rig.Pause(patient, time.Duration(200+rng.IntN(500))*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				if i%3 == 2 {
					in.Stop(t)
				} else {
					in.Kill(t)
				}
				in.StartReady(t, "listening")
			}
			if err := rig.Pause(patient, 200*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			stop() // those under way are sent until they are acknowledged
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			n := int(l.next.Load())
			if len(l.acked) != n/each {
				t.Fatalf("%d of %d requests were acknowledged", len(l.acked), n/each)
			}
			in.Drained(t, n)
			in.Stop(t)
			repeats := in.Tally(t).AtLeastOnce(t, n)
			t.Logf("%d ends, %d lines in %d requests, %d tries of which %d were given up: %d lines counted more than once",
				kills, n, n/each, l.tries, l.canceled, repeats)
			if w.once && repeats > 0 {
				t.Errorf("%d lines were counted more than once", repeats)
			}
		})
	}
}
