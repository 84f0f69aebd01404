package httpd

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"sluice/sources/sourcetest"
)

// serves fails the test unless a request is still answered.
func (w *world) serves() {
	w.t.Helper()
	w.post("/lines", "it still serves\n", 200)
}

// closed waits until the other side has closed a connection, and returns what it said.
func closed(t testing.TB, c net.Conn) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil && err != io.ErrClosedPipe { // a pipe's, when it is closed already
		t.Fatal(err)
	}
	said, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatalf("the connection is not closed; it said %q", said)
	}
	return string(said)
}

// bomb compresses n bytes of a text over and over. It makes a part of them, twice as
// long as the window, and the stream of so many such parts: all at once takes long.
func bomb(t testing.TB, encoding, text string, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	var z io.WriteCloser
	var err error
	if encoding == "gzip" {
		z, err = gzip.NewWriterLevel(&b, gzip.BestSpeed)
	} else {
		z, err = zstd.NewWriter(&b, zstd.WithWindowSize(8<<20))
	}
	if err != nil {
		t.Fatal(err)
	}
	const part = 16 << 20
	chunk := bytes.Repeat([]byte(text), (1<<20)/len(text))
	for range min(n, part) / len(chunk) {
		if _, err := z.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(b.Bytes(), max(1, n/part))
}

// endless is a body that never ends.
type endless struct {
	head  string
	chunk []byte
	sent  int64
}

func (e *endless) Read(p []byte) (int, error) {
	if e.head != "" {
		n := copy(p, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	n := copy(p, e.chunk)
	e.sent += int64(n)
	return n, nil
}

func TestBodiesThatGrowWithoutEndTakeBoundedMemory(t *testing.T) {
	w := listening(t, func(s *setup) { s.MaxBuffered, s.MaxBufferedPerPeer = 64<<20, 0 })
	zeros := strings.Repeat("\x00", 1<<20)
	for _, c := range []struct {
		name, path, encoding string
		body                 func() io.Reader
		status               int
	}{
		{"a line without an end", "/lines", "", func() io.Reader { return &endless{chunk: []byte(zeros)} }, 413},
		{"lines without an end", "/lines", "", func() io.Reader { return &endless{chunk: bytes.Repeat([]byte("line\n"), 1000)} }, 413},
		{"an array without an end", "/json", "", func() io.Reader { return &endless{head: "[1", chunk: bytes.Repeat([]byte(",1"), 1000)} }, 413},
		{"a string without an end", "/json", "", func() io.Reader { return &endless{head: `["`, chunk: bytes.Repeat([]byte("x"), 1000)} }, 413},
		{"nesting without an end", "/json", "", func() io.Reader { return &endless{chunk: bytes.Repeat([]byte("["), 1000)} }, 400},
		{"blanks without an end", "/json", "", func() io.Reader { return &endless{chunk: bytes.Repeat([]byte(" "), 1000)} }, 413},
		{"a bomb of gzip, of one line", "/lines", "gzip", func() io.Reader { return bytes.NewReader(bomb(t, "gzip", zeros, 256<<20)) }, 413},
		{"a bomb of zstd, of one line", "/lines", "zstd", func() io.Reader { return bytes.NewReader(bomb(t, "zstd", zeros, 256<<20)) }, 413},
		{"a bomb of gzip, of short lines", "/lines", "gzip", func() io.Reader { return bytes.NewReader(bomb(t, "gzip", "a\n", 64<<20)) }, 413},
		{"a bomb of zstd, of blank lines", "/ndjson", "zstd", func() io.Reader { return bytes.NewReader(bomb(t, "zstd", "\n", 64<<20)) }, 413},
		{"a bomb in a bomb", "/lines", "gzip", func() io.Reader {
			return bytes.NewReader(bomb(t, "gzip", string(bomb(t, "gzip", zeros, 64<<20)), 64<<20))
		}, 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			bodies := []io.Reader{c.body()}
			if first, ok := bodies[0].(*bytes.Reader); ok { // a bomb takes long to make
				again := *first
				bodies = append(bodies, &again)
			} else {
				bodies = append(bodies, c.body())
			}
			grown := sourcetest.MemoryWhile(func() {
				for _, body := range bodies {
					head := []string{}
					if c.encoding != "" {
						head = []string{"Content-Encoding", c.encoding}
					}
					a, err := w.try("POST", c.path, body, head...)
					if err != nil { // the connection was closed while the body was being sent
						continue
					}
					if a.status != c.status {
						t.Errorf("answered %d %s, want %d", a.status, a.text, c.status)
					}
				}
			})
			t.Logf("it took %d KiB", grown>>10)
			if grown > 128<<20 { // the limit of the budget, and as much that is not collected yet
				t.Errorf("it took %d bytes", grown)
			}
			w.until("the memory is given back", func() bool { return w.source.budget.held.Load() == 0 })
			w.serves()
		})
	}
}

func TestManyBodiesShareOneBudget(t *testing.T) {
	w := listening(t, func(s *setup) {
		s.MaxBuffered, s.MaxBufferedPerPeer, s.MaxBody, s.MaxCompressed = 8<<20, 0, 2<<20, 2<<20
	})
	// Each has sent a part of its body and stops there.
	var conns []net.Conn
	grown := sourcetest.MemoryWhile(func() {
		for range 64 {
			c := w.dial()
			fmt.Fprintf(c, "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
			if _, err := c.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
				continue // it was told to come later
			}
			conns = append(conns, c)
		}
		w.until("most are told to come later", func() bool { return w.source.Stats().Drops[dropLater.String()] >= 56 })
	})
	t.Logf("it took %d KiB", grown>>10)
	if held := w.source.budget.held.Load(); held > 8<<20 || grown > 40<<20 {
		t.Errorf("%d bytes are held, and the memory grew by %d", held, grown)
	}
	for _, c := range conns {
		c.Close()
	}
	w.until("the memory is given back", func() bool { return w.source.budget.held.Load() == 0 })
	w.serves()
	if n := strings.Count(w.log.String(), "requests are told to come later"); n != 1 {
		t.Errorf("it is told %d times", n)
	}
}

func TestOnePeerDoesNotHoldAllMemory(t *testing.T) {
	w := listening(t, func(s *setup) {
		s.MaxBuffered, s.MaxBufferedPerPeer, s.MaxBody, s.MaxCompressed = 8<<20, 2<<20, 1<<20, 1<<20
		s.Listen = []string{"0.0.0.0:0"}
	})
	port := w.source.Addresses()[0].(*net.TCPAddr).Port
	for range 30 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, 1)}}
		c, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Skipf("addresses 127.0.1.* need Linux: %v", err)
		}
		defer c.Close()
		_, _ = fmt.Fprintf(c, "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("x", 500_000)) // it may be told to come later
	}
	w.until("most are told to come later", func() bool { return w.source.Stats().Drops[dropLater.String()] >= 20 })
	if held := w.source.budget.held.Load(); held > 2<<20 {
		t.Errorf("%d bytes are held", held)
	}
	c := w.dial() // from another address
	fmt.Fprintf(c, "POST /lines HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 900000\r\n\r\n%s", strings.Repeat("y", 900_000))
	if said := closed(t, c); !strings.HasPrefix(said, "HTTP/1.1 200 ") {
		t.Errorf("another peer is answered with %q", said)
	}
}

func TestSlowHeadsAndBodiesEnd(t *testing.T) {
	synctest.Test(t, testSlowHeadsAndBodiesEnd)
}

func testSlowHeadsAndBodiesEnd(t *testing.T) {
	w := piped(t, func(s *setup) { s.HeaderTimeout, s.BodyTimeout = 5*time.Second, 15*time.Second })
	w.source.writeTime = time.Hour // the answers are taken one after the other
	const each = 40
	var heads, bodies []net.Conn
	for range each {
		head, body := w.dial(), w.dial()
		fmt.Fprintf(head, "POST /lines HTTP/1.1\r\nHost: x\r\nX-A: b")
		fmt.Fprintf(body, "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\na line\n")
		heads, bodies = append(heads, head), append(bodies, body)
	}
	time.Sleep(3 * time.Second)
	for i := range each { // a byte now and then makes it no longer
		_, _ = heads[i].Write([]byte("c"))
		_, _ = bodies[i].Write([]byte("b"))
	}
	for _, c := range heads {
		closed(t, c)
	}
	for _, c := range bodies {
		if said := closed(t, c); !strings.HasPrefix(said, "HTTP/1.1 408 ") {
			t.Errorf("a slow body is answered with %q", said)
		}
	}
	w.drops(dropHead, each)
	w.drops(dropSlow, each)
	w.until("they are gone", func() bool { return w.source.Stats().Connections == 0 })
	w.serves()
}

func TestIdleConnectionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := piped(t, func(s *setup) { s.IdleTimeout = 10 * time.Second })
		c := w.dial()
		fmt.Fprintf(c, "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na\n")
		began := time.Now()
		if said := closed(t, c); !strings.HasPrefix(said, "HTTP/1.1 200 ") || time.Since(began) != 10*time.Second {
			t.Errorf("answered %q, and closed after %v", said, time.Since(began))
		}
		if st := w.source.Stats(); st.Drops != nil || st.Records != 1 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestWrongLengthsAreRefused(t *testing.T) {
	w := listening(t, nil)
	for _, c := range []struct{ name, send, want string }{
		{"shorter than said", "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\na\n", "HTTP/1.1 400 "},
		{"chunks that end early", "POST /lines HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\na\n", "HTTP/1.1 400 "},
		{"a chunk of a wrong length", "POST /lines HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na line\n\r\n0\r\n\r\n", "HTTP/1.1 400 "},
		{"a length that is no number", "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 400 "},
		{"a negative length", "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 "},
		{"two lengths", "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 400 "},
		{"a length beyond all bounds", "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999\r\n\r\n", "HTTP/1.1 413 "},
		{"a head without an end", "GET / HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("x", 100_000), "HTTP/1.1 431 "},
		{"no HTTP", "hello\r\n\r\n", "HTTP/1.1 400 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := w.dial()
			_, _ = io.WriteString(conn, c.send) // it may be refused in the middle
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Log(err)
			}
			if said := closed(t, conn); said != "" && !strings.HasPrefix(said, c.want) {
				t.Errorf("answered %.200q, want %q", said, c.want)
			}
		})
	}
	// What follows a body that is longer than it says is taken for another request, which it is not.
	conn := w.dial()
	fmt.Fprintf(conn, "POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na\nb\nc\nd\n\r\n\r\n")
	if said := closed(t, conn); !strings.HasPrefix(said, "HTTP/1.1 200 ") || !strings.Contains(said, "HTTP/1.1 400 ") {
		t.Errorf("answered %.400q", said)
	}
	if got := w.got(1); fmt.Sprint(got) != "[a]" {
		t.Errorf("took %q", got)
	}
	w.serves()
}

func TestGarbageOverTLS(t *testing.T) {
	files := certificatesOf(t)
	// The time is what the last handshake must do with, too, on a busy machine.
	w := listening(t, func(s *setup) { s.TLS = files.config; s.HeaderTimeout = 3 * time.Second })
	const each = 30
	var conns []net.Conn
	for i := range each {
		c := w.dial()
		junk := make([]byte, 4096)
		if i%2 == 0 {
			if _, err := rand.Read(junk); err != nil {
				t.Fatal(err)
			}
		} else { // a record's beginning that promises more
			copy(junk, "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03")
		}
		_, _ = c.Write(junk)
		conns = append(conns, c)
	}
	for _, c := range append(conns, w.dial()) { // the last one says nothing at all
		closed(t, c)
	}
	w.drops(dropHandshake, each+1)
	w.serves()
	if n := strings.Count(w.log.String(), "cannot set up TLS"); n != 1 {
		t.Errorf("it is told %d times", n)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	w := listening(t, func(s *setup) {
		s.MaxConnections, s.MaxConnectionsPerPeer = 10, 5
		s.Listen = []string{"0.0.0.0:0"}
		s.HeaderTimeout, s.BodyTimeout = time.Hour, time.Hour // they say nothing, and stay
	})
	port := w.source.Addresses()[0].(*net.TCPAddr).Port
	from := func(local string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
		c, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Skipf("addresses 127.0.1.* need Linux: %v", err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	var conns []net.Conn
	for range 5 {
		conns = append(conns, from("127.0.1.1"))
	}
	closed(t, from("127.0.1.1"))
	w.drops(dropTooManyOne, 1)
	for range 5 {
		conns = append(conns, from("127.0.1.2"))
	}
	closed(t, from("127.0.1.3"))
	w.drops(dropTooMany, 1)
	if n := w.source.Stats().Connections; n != 10 {
		t.Errorf("%d connections", n)
	}
	for _, c := range conns {
		c.Close()
	}
	w.until("they are gone", func() bool { return w.source.Stats().Connections == 0 })
	w.source.limits.mu.Lock()
	defer w.source.limits.mu.Unlock()
	if n := len(w.source.limits.peers); n > 0 {
		t.Errorf("%d peers are remembered", n)
	}
}

func TestPeersThatMayNotSend(t *testing.T) {
	w := listening(t, func(s *setup) { s.Allow = []string{"192.0.2.0/24", "2001:db8::/32"} })
	closed(t, w.dial())
	w.drops(dropPeer, 1)
	for address, want := range map[string]bool{"192.0.2.7": true, "192.0.3.7": false, "2001:db8::1": true, "::1": false} {
		if got := allowed(w.source.prefixes, netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// TestTenThousandConnections opens them all at once, more than there may be.
func TestTenThousandConnections(t *testing.T) {
	const n, bound = 10_000, 2000
	raised(t, 2*bound+n+200)
	w := listening(t, func(s *setup) {
		s.MaxConnections, s.MaxConnectionsPerPeer = bound, 0
		s.HeaderTimeout, s.BodyTimeout = time.Hour, time.Hour // however long it takes to open them all
	})
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	grown := sourcetest.MemoryWhile(func() {
		for range n {
			c, err := net.Dial("tcp", w.address())
			if err != nil {
				t.Error(err)
				return
			}
			conns = append(conns, c)
			_, _ = io.WriteString(c, "POST /lines HTTP/1.1\r\nHost: x\r\n") // some are closed by now
		}
		w.until("all were let in or refused", func() bool {
			return w.source.Stats().Drops[dropTooMany.String()]+uint64(w.source.Stats().Connections) >= n
		})
	})
	t.Logf("%d connections took %d KiB, %d bytes for each that was let in, both ends", n, grown>>10, grown/bound)
	if st := w.source.Stats(); st.Connections != bound || grown > 128<<20 {
		t.Errorf("%d connections, %d bytes", st.Connections, grown)
	}
	conns[0].Close()
	w.until("one has gone", func() bool { return w.source.Stats().Connections < bound })
	w.serves()
}

func TestHTTP2(t *testing.T) {
	files := certificatesOf(t)
	w := listening(t, func(s *setup) { s.TLS = files.config })
	w.client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	resp, err := w.client.Post("https://"+w.address()+"/lines", "text/plain", strings.NewReader("a\n"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
		t.Errorf("answered with %s %s", resp.Proto, resp.Status)
	}
	for range 3 {
		if a, err := w.try("POST", "/lines", &endless{chunk: []byte("line\n")}); err == nil && a.status != 413 {
			t.Errorf("answered %d", a.status)
		}
	}
	w.serves()
}
