package http

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/sources"
	"sluice/sources/intake"
	"sluice/sources/internal/httpd"
	"sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world runs a source and keeps what it emits, a line for each record.
type world struct {
	t      testing.TB
	source *httpd.Source
	client *http.Client

	mu      sync.Mutex
	records []string
	count   int
	bare    bool // records are counted alone
}

func listening(t testing.TB, change func(*Config)) *world {
	t.Helper()
	c := Default()
	c.Listen = []string{"127.0.0.1:0"}
	c.Intake = intake.Default(intake.Direct)
	c.Intake.Ack = intake.AckAccepted
	if change != nil {
		change(&c)
	}
	w := &world{t: t}
	var err error
	if w.source, err = New("in", c, sources.Env{Log: slog.New(slog.DiscardHandler), Clock: sourcetest.NewClock(), Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.source.Run(ctx, nil, w.emit) }()
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	w.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && err != context.Canceled {
			t.Errorf("Run: %v", err)
		}
		if err := w.source.Close(); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	})
	for len(w.source.Addresses()) == 0 {
		select {
		case err := <-ended:
			t.Fatalf("Run: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	return w
}

func (w *world) emit(_ context.Context, b *pipeline.RecordBatch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count += len(b.Records)
	if !w.bare {
		for i := range b.Records {
			w.records = append(w.records, describe(b, &b.Records[i]))
		}
	}
	if b.Release != nil {
		b.Release()
	}
	return nil
}

// describe writes a record on a line.
func describe(b *pipeline.RecordBatch, r *pipeline.Record) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s", b.Partition.Topic, r.Time.UTC().Format(time.RFC3339Nano))
	for _, k := range slices.Sorted(maps.Keys(b.Labels)) {
		fmt.Fprintf(&out, " %s=%q", k, b.Labels[k])
	}
	for _, h := range r.Headers {
		fmt.Fprintf(&out, " header %s=%q", h.Key, h.Value)
	}
	fmt.Fprintf(&out, " | %q", r.Value)
	return out.String()
}

// take returns what was emitted since the last time.
func (w *world) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.records
	w.records = nil
	return out
}

// post sends a body; head are names and values of headers.
func (w *world) post(path string, body []byte, head ...string) (status int, text string) {
	w.t.Helper()
	req, err := http.NewRequest("POST", "http://"+w.source.Addresses()[0].String()+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	return w.do(req)
}

func (w *world) do(req *http.Request) (status int, text string) {
	w.t.Helper()
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(said)
}
