package httpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lockedBuffer is a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// setup is how a world is.
type setup struct {
	Config
	Intake    intake.Config
	Endpoints []Endpoint
	Dir       string
	From      sources.Positions
	Clock     sources.Clock // the wall's where nil
	gated     bool          // the pipeline takes nothing until open
}

// world runs a source and keeps what it emits.
type world struct {
	t      testing.TB
	source *Source
	log    *lockedBuffer
	stop   context.CancelFunc
	ended  chan error
	client *http.Client
	pipes  *pipes // instead of the network, where not nil

	mu      sync.Mutex
	lines   []string
	labels  []map[string]string
	next    sources.Positions
	changed chan struct{}
	gate    chan struct{} // what is emitted waits until it is closed
}

// standard are endpoints of the formats.
func standard() []Endpoint {
	return []Endpoint{
		{Pattern: "/lines", Read: (*Request).Lines},
		{Pattern: "/ndjson", Read: (*Request).NDJSON},
		{Pattern: "/json", Read: (*Request).JSON},
		{Pattern: "/one", Read: (*Request).One},
	}
}

// newWorld makes a source, which does not run yet, and what it begins at.
func newWorld(t testing.TB, change func(*setup)) (*world, setup) {
	t.Helper()
	w := &world{t: t, log: &lockedBuffer{}, ended: make(chan error, 1), changed: make(chan struct{}), next: make(sources.Positions)}
	s := setup{Config: Default(), Intake: intake.Default(intake.Direct), Endpoints: standard()}
	s.Listen = []string{"127.0.0.1:0"}
	s.Intake.Ack = intake.AckAccepted
	if change != nil {
		change(&s)
	}
	if s.gated {
		w.gate = make(chan struct{})
	}
	var err error
	env := sources.Env{Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Clock: s.Clock, Dir: s.Dir}
	w.source, err = New("in", "http", s.Config, s.Intake, s.Endpoints, env)
	if err != nil {
		t.Fatal(err)
	}
	w.source.Poison()
	w.source.calm = 50 * time.Millisecond
	return w, s
}

// listening runs a source on a free port until the test ends.
func listening(t testing.TB, change func(*setup)) *world {
	t.Helper()
	w, s := newWorld(t, change)
	w.run(t, func(ctx context.Context) error { return w.source.Run(ctx, s.From, w.emit) })
	return w
}

// piped runs a source whose connections are pipes: within a bubble their
// deadlines go by the bubble's clock, and no busy machine misses one.
func piped(t testing.TB, change func(*setup)) *world {
	t.Helper()
	w, s := newWorld(t, change)
	w.pipes = &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	w.run(t, func(ctx context.Context) error {
		encrypted, err := w.source.prepare()
		if err != nil {
			return err
		}
		l := []*listener{w.source.admitting(ctx, w.pipes, "pipes")}
		return w.source.in.Run(ctx, s.From, w.emit, func(ctx context.Context) error { return w.source.receive(ctx, l, encrypted) })
	})
	return w
}

// run runs the source until the test ends.
func (w *world) run(t testing.TB, run func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() { w.ended <- run(ctx) }()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true, MaxIdleConnsPerHost: 64}
	if w.pipes != nil {
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return w.pipes.dial() }
	}
	w.client = &http.Client{Transport: transport, Timeout: 3 * time.Minute}
	t.Cleanup(func() {
		w.end()
		transport.CloseIdleConnections()
	})
	w.until("it listens", func() bool { return len(w.source.Addresses()) > 0 })
}

// pipes is a network without a kernel.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

var pipeAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}

// pipe is the server's end of a connection.
type pipe struct{ net.Conn }

func (pipe) RemoteAddr() net.Addr { return pipeAddr }

func (p *pipes) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- pipe{server}:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return pipeAddr }

// end stops the source, commits what was emitted, and closes it.
func (w *world) end() {
	w.stop()
	select {
	case err, ok := <-w.ended:
		if !ok {
			return
		}
		if err != nil && err != context.Canceled {
			w.t.Errorf("Run: %v", err)
		}
		close(w.ended)
		w.commit()
		if err := w.source.Close(); err != nil {
			w.t.Error(err)
		}
	case <-time.After(20 * time.Second):
		w.t.Error("Run does not end")
	}
	if held := w.source.budget.held.Load(); held != 0 {
		w.t.Errorf("%d bytes are still held", held)
	}
}

func (w *world) commit() {
	w.mu.Lock()
	next := make(sources.Positions)
	for p, at := range w.next {
		next[p] = at
	}
	w.mu.Unlock()
	if err := w.source.Commit(context.Background(), next); err != nil {
		w.t.Error(err)
	}
}

func (w *world) emit(ctx context.Context, b *pipeline.RecordBatch) error {
	w.mu.Lock()
	gate := w.gate
	w.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			b.Release()
			return ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range b.Records {
		w.lines = append(w.lines, string(r.Value))
		w.labels = append(w.labels, b.Labels)
	}
	w.next[b.Partition] = b.Next
	b.Release()
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

// open lets the pipeline take records.
func (w *world) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.gate)
	w.gate = nil
}

// until waits for a condition.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.After(3 * time.Minute)
	for !ok() {
		select {
		case <-time.After(2 * time.Millisecond):
		case err := <-w.ended:
			w.t.Fatalf("Run ended: %v", err)
		case <-deadline:
			w.t.Fatalf("%s: it never does; %+v\n%s", what, w.source.Stats(), w.log)
		}
	}
}

// got waits for so many records, and returns all there are.
func (w *world) got(n int) []string {
	w.t.Helper()
	w.until("the records come", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.lines) >= n
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lines)
}

// drops waits until something was dropped so often.
func (w *world) drops(r reason, n uint64) {
	w.t.Helper()
	w.until(r.String(), func() bool { return w.source.Stats().Drops[r.String()] >= n })
	if got := w.source.Stats().Drops[r.String()]; got != n {
		w.t.Errorf("%s: %d times, want %d", r, got, n)
	}
}

func (w *world) address() string { return w.source.Addresses()[0].String() }

// answer is what a client gets.
type answer struct {
	status int
	text   string
	header http.Header
}

// send sends a request. head are names and values of headers.
func (w *world) send(method, path string, body io.Reader, head ...string) answer {
	w.t.Helper()
	a, err := w.try(method, path, body, head...)
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", method, path, err, w.log)
	}
	return a
}

func (w *world) try(method, path string, body io.Reader, head ...string) (answer, error) {
	scheme := "http"
	if w.source.config.TLS.on() {
		scheme = "https"
	}
	req, err := http.NewRequest(method, scheme+"://"+w.address()+path, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(head); i += 2 {
		if head[i] == "Host" {
			req.Host = head[i+1]
		}
		req.Header.Add(head[i], head[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(text), resp.Header}, err
}

// post sends a body and expects a status.
func (w *world) post(path, body string, status int, head ...string) answer {
	w.t.Helper()
	a := w.send("POST", path, strings.NewReader(body), head...)
	if a.status != status {
		w.t.Fatalf("POST %s answered %d, want %d: %s\n%s", path, a.status, status, a.text, w.log)
	}
	return a
}

// dial connects without HTTP.
func (w *world) dial() net.Conn {
	w.t.Helper()
	dial := func() (net.Conn, error) { return net.Dial("tcp", w.address()) }
	if w.pipes != nil {
		dial = w.pipes.dial
	}
	c, err := dial()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}
