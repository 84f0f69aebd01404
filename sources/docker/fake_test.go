package docker

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/sources"
	"sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// written is a line in a fake container's log.
type written struct {
	stream byte // 1 or 2
	at     time.Time
	text   string
}

// fakeContainer is a container of the fake engine.
type fakeContainer struct {
	id, name string
	tty      bool
	noLog    bool // its logging driver keeps nothing
	running  bool
	labels   map[string]string
	lines    []written
}

// fakeEngine serves the calls that the source makes, as the published
// description of the engine's API has them.
type fakeEngine struct {
	t      testing.TB
	socket string
	server *httptest.Server

	mu         sync.Mutex
	changed    chan struct{} // closed and made anew at each change
	containers []*fakeContainer
	events     []string
	mute       bool   // connections end without an answer
	quiet      bool   // events are not told
	frame      int    // lines longer than this come in several frames; 0 is never
	broken     []byte // is sent in place of a log
	requests   []string
}

func newEngine(t testing.TB) *fakeEngine {
	e := &fakeEngine{t: t, socket: filepath.Join(t.TempDir(), "s"), changed: make(chan struct{})}
	e.start()
	t.Cleanup(e.stop)
	return e
}

func (e *fakeEngine) start() {
	e.t.Helper()
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		e.t.Fatal(err)
	}
	e.change(func() { e.mute = false })
	e.server = httptest.NewUnstartedServer(http.HandlerFunc(e.serve))
	e.server.Listener.Close()
	e.server.Listener = l
	e.server.Start()
}

// stop ends the engine with all of its connections.
func (e *fakeEngine) stop() {
	e.server.Listener.Close() // no connection comes after those that are closed
	e.server.CloseClientConnections()
	e.server.Close()
}

// hush ends all connections; those that come end without an answer until the next start.
func (e *fakeEngine) hush() {
	e.change(func() { e.mute = true })
	e.server.CloseClientConnections()
}

func (e *fakeEngine) change(how func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	how()
	close(e.changed)
	e.changed = make(chan struct{})
}

// run makes a container that runs.
func (e *fakeEngine) run(id, name string, labels map[string]string) *fakeContainer {
	c := &fakeContainer{id: id, name: name, running: true, labels: labels}
	e.change(func() {
		e.containers = append(e.containers, c)
		e.events = append(e.events, id)
	})
	return c
}

func (e *fakeEngine) setRunning(c *fakeContainer, running bool) {
	e.change(func() {
		c.running = running
		e.events = append(e.events, c.id)
	})
}

func (e *fakeEngine) remove(c *fakeContainer) {
	e.change(func() {
		c.running = false
		e.containers = slices.DeleteFunc(e.containers, func(o *fakeContainer) bool { return o == c })
	})
}

// base is when the fake's lines are written.
var base = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// write adds lines to the standard output, at a time behind base.
func (e *fakeEngine) write(c *fakeContainer, after time.Duration, lines ...string) {
	e.writeTo(c, 1, after, lines...)
}

func (e *fakeEngine) writeTo(c *fakeContainer, stream byte, after time.Duration, lines ...string) {
	e.change(func() {
		for _, l := range lines {
			c.lines = append(c.lines, written{stream, base.Add(after), l})
		}
	})
}

func (e *fakeEngine) asked(what string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, r := range e.requests {
		if strings.Contains(r, what) {
			n++
		}
	}
	return n
}

func (e *fakeEngine) serve(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.requests = append(e.requests, r.URL.String())
	mute := e.mute
	e.mu.Unlock()
	if mute {
		panic(http.ErrAbortHandler)
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1.41")
	switch {
	case path == "/_ping":
		w.Header().Set("Api-Version", "1.41")
	case path == "/containers/json":
		e.serveList(w)
	case path == "/events":
		e.serveEvents(w, r)
	case strings.HasPrefix(path, "/containers/"):
		id, call, _ := strings.Cut(strings.TrimPrefix(path, "/containers/"), "/")
		c := e.find(id)
		switch {
		case c == nil:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"message":"No such container: %s"}`, id)
		case call == "json":
			e.mu.Lock()
			defer e.mu.Unlock()
			fmt.Fprintf(w, `{"Id":%q,"Config":{"Tty":%v},"State":{"Running":%v}}`, c.id, c.tty, c.running)
		case c.noLog:
			w.WriteHeader(http.StatusNotImplemented)
			fmt.Fprint(w, `{"message":"configured logging driver does not support reading"}`)
		default:
			e.serveLogs(w, r, c)
		}
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (e *fakeEngine) find(id string) *fakeContainer {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.containers {
		if c.id == id {
			return c
		}
	}
	return nil
}

func (e *fakeEngine) serveList(w http.ResponseWriter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]container, 0)
	for _, c := range e.containers {
		state := "exited"
		if c.running {
			state = "running"
		}
		list = append(list, container{ID: c.id, Names: []string{"/other/" + c.name, "/" + c.name}, Image: "image:1", State: state, Labels: c.labels})
	}
	if err := json.NewEncoder(w).Encode(list); err != nil {
		e.t.Error(err)
	}
}

func (e *fakeEngine) serveEvents(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	at := len(e.events)
	e.mu.Unlock()
	for {
		e.mu.Lock()
		events, changed := e.events[at:], e.changed
		if e.quiet {
			events = nil
		}
		at += len(events)
		e.mu.Unlock()
		for _, id := range events {
			fmt.Fprintf(w, `{"Type":"container","Action":"start","Actor":{"ID":%q}}`+"\n", id)
		}
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// serveLogs writes a log from since on, in its order, as the engine does.
func (e *fakeEngine) serveLogs(w http.ResponseWriter, r *http.Request, c *fakeContainer) {
	q := r.URL.Query()
	since, until := fakeTime(q.Get("since")), fakeTime(q.Get("until"))
	follow := q.Get("follow") == "1"
	at := 0
	for {
		e.mu.Lock()
		at = min(at, len(c.lines)) // of a log that was rotated nobody hears any more
		lines, running, changed, frame, broken := c.lines[at:], c.running, e.changed, e.frame, e.broken
		e.mu.Unlock()
		if broken != nil {
			_, _ = w.Write(broken)
			return
		}
		for _, l := range lines {
			at++
			if l.at.Before(since) || !until.IsZero() && l.at.After(until) || q.Get([]string{"", "stdout", "stderr"}[l.stream]) != "1" {
				continue
			}
			writeLine(w, c.tty, l, frame)
		}
		w.(http.Flusher).Flush()
		if !follow || !running {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// fakeTime reads seconds and their fraction.
func fakeTime(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	seconds, fraction, _ := strings.Cut(text, ".")
	s, _ := strconv.ParseInt(seconds, 10, 64)
	ns, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Unix(s, ns)
}

const stampForm = "2006-01-02T15:04:05.000000000Z07:00"

func writeLine(w http.ResponseWriter, tty bool, l written, frame int) {
	stamp := l.at.Format(stampForm) + " "
	text := l.text + "\n"
	if tty {
		_, _ = w.Write([]byte(stamp + l.text + "\r\n"))
		return
	}
	for text != "" {
		part := text
		if frame > 0 {
			part = text[:min(len(text), frame)]
		}
		text = text[len(part):]
		head := []byte{l.stream, 0, 0, 0}
		head = binary.BigEndian.AppendUint32(head, uint32(len(stamp)+len(part)))
		_, _ = w.Write(append(append(head, stamp...), part...))
	}
}

// read runs a source that reads the fake, with its journal in dir.
func (e *fakeEngine) read(dir string, from sources.Positions, edit func(*Config)) (*sourcetest.Run, *Source) {
	e.t.Helper()
	c := Default()
	c.DockerHost, c.ContainerNameRegexp, c.Since = "unix://"+e.socket, []string{"."}, base.Format(time.RFC3339)
	if edit != nil {
		edit(&c)
	}
	env, log := sourcetest.Env(sourcetest.NewClock(), dir)
	s, err := New("docker", c, env)
	if err != nil {
		e.t.Fatal(err)
	}
	return sourcetest.Start(e.t, s, log, from), s
}
