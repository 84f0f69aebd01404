package syslog

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/sources/sourcetest"
)

// serves fails the test unless a message still comes through.
func (w *world) serves(listener int) {
	w.t.Helper()
	n := w.source.Stats().Records
	conn := w.dial(listener)
	w.send(conn, bsdMessage+"\n")
	w.until("a message comes through", func() bool { return w.source.Stats().Records > n })
	conn.Close()
}

func TestALineOfAGibibyteTakesNoMemory(t *testing.T) {
	for _, c := range []struct {
		name, start string
		mebibytes   int
	}{
		{"a line", "<13>Nov 25 19:00:00 web app: ", 1024},
		{"a counted message", "999999999 <13>Nov 25 19:00:00 web app: ", 950}, // a count has up to nine digits
	} {
		t.Run(c.name, func(t *testing.T) {
			w := listening(t, func(c *Config) { c.MessageTimeout = 10 * time.Minute }, "tcp://127.0.0.1:0")
			conn := w.dial(0)
			w.send(conn, c.start)
			grown := sourcetest.MemoryWhile(func() {
				chunk := bytes.Repeat([]byte("x"), 1<<20)
				for range c.mebibytes {
					if _, err := conn.Write(chunk); err != nil {
						t.Error(err)
						return
					}
				}
			})
			t.Logf("it took %d KiB", grown>>10)
			if grown > 16<<20 {
				t.Errorf("%d MiB took %d bytes of memory", c.mebibytes, grown)
			}
			lines := w.got(1)
			if len(lines[0]) < 65500 || w.source.Stats().Cut == 0 {
				t.Errorf("the line is of %d bytes, stats %+v", len(lines[0]), w.source.Stats())
			}
			w.serves(0)
		})
	}
}

func TestASlowMessageEndsItsConnection(t *testing.T) {
	w := listening(t, func(c *Config) { c.MessageTimeout = time.Second }, "tcp://127.0.0.1:0")
	var conns []net.Conn
	for range 50 {
		conn := w.dial(0)
		w.send(conn, "<13>Nov")
		conns = append(conns, conn)
	}
	// Bytes that come now and then make it no longer.
	for _, conn := range conns {
		_, _ = conn.Write([]byte("e"))
	}
	for _, conn := range conns {
		closed(t, conn)
	}
	w.drops(dropSlow, 50)
	w.until("they are gone", func() bool { return w.source.Stats().Connections == 0 })
	w.serves(0)
}

func TestTimeInWhichASenderIsHeldUpDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 30 * time.Second
		w, conn := piped(t, func(c *Config) { c.MessageTimeout = timeout })
		gate := make(chan struct{})
		w.mu.Lock()
		w.gate = gate
		w.mu.Unlock()
		w.send(conn, bsdMessage+"\n"+bsdMessage[:20])
		time.Sleep(2 * timeout) // it is held up
		close(gate)
		synctest.Wait()
		time.Sleep(timeout - time.Nanosecond)
		w.send(conn, bsdMessage[20:]+"\n")
		if got := w.got(2); got[1] != bsdLine || w.source.Stats().Drops != nil {
			t.Errorf("lines = %q, stats %+v", got, w.source.Stats())
		}
	})
}

func TestAnIdleConnectionEndsWithoutALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Hour
		w, conn := piped(t, func(c *Config) { c.IdleTimeout = timeout })
		for range 2 {
			time.Sleep(timeout - time.Nanosecond)
			w.send(conn, bsdMessage+"\n")
		}
		synctest.Wait()
		began := time.Now()
		if err := conn.SetReadDeadline(began.Add(2 * timeout)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF || time.Since(began) != timeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if s := w.source.Stats(); s.Drops != nil || s.Records != 2 {
			t.Errorf("stats = %+v", s)
		}
	})
}

func TestUnfinishedMessagesShareABound(t *testing.T) {
	const bound = 1 << 20
	w := listening(t, func(c *Config) { c.MaxUnfinished = bound }, "tcp://127.0.0.1:0")
	part := "<13>" + strings.Repeat("x", 60<<10)
	for range 100 {
		conn := w.dial(0)
		_, _ = conn.Write([]byte(part)) // some are refused in the middle
	}
	w.until("most connections are closed", func() bool {
		s := w.source.Stats()
		return s.Drops[dropMemory.String()] >= 80 && s.Connections <= 20
	})
	if held := w.source.limits.held.Load(); held > bound || held < bound/2 {
		t.Errorf("%d bytes are held, with a bound of %d", held, bound)
	}
	w.end()
	if held := w.source.limits.held.Load(); held != 0 {
		t.Errorf("%d bytes are held at the end", held)
	}
}

func TestWrongOctetCountsEndTheConnection(t *testing.T) {
	for _, c := range []struct{ name, framing, send string }{
		{"too small", framingAuto, "10 " + bsdMessage + "10 " + bsdMessage},
		{"too small by one, and many of them", framingAuto, strings.Repeat(fmt.Sprintf("%d %s", len(bsdMessage)-1, bsdMessage), 3)},
		{"no digit", framingOctet, "x" + bsdMessage},
		{"too many digits", framingOctet, strings.Repeat("9", 100) + " " + bsdMessage},
		{"a line", framingOctet, bsdMessage + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := listening(t, func(conf *Config) { conf.Framing = c.framing }, "tcp://127.0.0.1:0")
			conn := w.dial(0)
			w.send(conn, c.send)
			closed(t, conn)
			w.drops(dropCount, 1)
		})
	}
}

func TestTenThousandConnections(t *testing.T) {
	const all, bound, each = 10000, 8000, 500
	w := listening(t, func(c *Config) {
		c.MaxConnections, c.MaxConnectionsPerPeer = bound, each
		c.MessageTimeout = time.Hour // however long it takes to open them all
	}, "tcp://127.0.0.1:0")
	raised(t, all+bound+500)
	conns := make([]net.Conn, 0, all)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	grown := sourcetest.MemoryWhile(func() {
		for i := range all {
			from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i%20))}
			if i >= all-bound/10 {
				from.IP = net.IPv4(127, 0, 2, byte(i%200)) // peers that have few of them
			}
			conn, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", w.place(0))
			if err != nil {
				t.Errorf("connection %d: %v", i, err)
				return
			}
			conns = append(conns, conn)
			_, _ = conn.Write([]byte("<13>N"))
		}
		w.until("all are served or refused", func() bool {
			s := w.source.Stats()
			return uint64(s.Connections)+s.Drops[dropTooMany.String()]+s.Drops[dropTooManyOne.String()] >= all
		})
	})
	s := w.source.Stats()
	t.Logf("%d connections, drops %v, %d MiB", s.Connections, s.Drops, grown>>20)
	if s.Connections != bound || s.Drops[dropTooMany.String()]+s.Drops[dropTooManyOne.String()] != all-bound {
		t.Errorf("stats = %+v", s)
	}
	// The test's own end of each connection is in it, too.
	if grown > 160<<20 {
		t.Errorf("%d connections took %d bytes of memory", all, grown)
	}
	for _, c := range conns {
		c.Close()
	}
	w.until("they are gone", func() bool { return w.source.Stats().Connections == 0 })
	w.serves(0)
	w.source.limits.mu.Lock()
	defer w.source.limits.mu.Unlock()
	if len(w.source.limits.peers) > 1 {
		t.Errorf("%d peers are remembered that have no connection", len(w.source.limits.peers))
	}
}

func TestConnectionsOfOnePeerAreBounded(t *testing.T) {
	w := listening(t, func(c *Config) { c.MaxConnectionsPerPeer = 2 }, "tcp://:0")
	for _, host := range []string{"127.0.0.1", "::1"} {
		first, second, third := w.to("tcp", host), w.to("tcp", host), w.to("tcp", host)
		closed(t, third)
		w.send(second, bsdMessage+"\n")
		first.Close()
	}
	w.drops(dropTooManyOne, 2)
	w.until("one of each is left", func() bool { return w.source.Stats().Connections == 2 })
	w.send(w.to("tcp", "::1"), bsdMessage+"\n")
	w.got(3)
}

func TestAPeerIsAnAddressOrANetworkOf64Bits(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "::1": "::/64",
	} {
		if got := peerOf(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s counts as %s, want %s", in, got, want)
		}
	}
}

func TestGarbageInsteadOfTLS(t *testing.T) {
	files := certificates(t)
	w := listening(t, func(c *Config) {
		c.TLS.CertFile, c.TLS.KeyFile = files.path("server.pem"), files.path("server.key")
		c.TLS.HandshakeTimeout = 3 * time.Second // which the last one must do with, too, on a busy machine
	}, "tls://127.0.0.1:0")
	var silent []net.Conn
	grown := sourcetest.MemoryWhile(func() {
		for i := range 200 {
			conn := w.dial(0)
			if i%4 == 0 { // says nothing, or begins well and stops
				_, _ = conn.Write([]byte{22, 3, 1, 2, 0, 1}[:i%8])
				silent = append(silent, conn)
				continue
			}
			garbage := make([]byte, 4096)
			_, _ = rand.Read(garbage)
			_, _ = conn.Write(garbage)
			if i%4 == 1 {
				_, _ = conn.Write([]byte(bsdMessage + "\n"))
			}
			closed(t, conn)
		}
		for _, conn := range silent {
			closed(t, conn)
		}
	})
	w.drops(dropHandshake, 200)
	if grown > 32<<20 {
		t.Errorf("it took %d bytes of memory", grown)
	}
	if n := strings.Count(w.log.String(), "cannot set up TLS"); n != 1 {
		t.Errorf("it is said %d times, want once", n)
	}
	w.send(files.dial(t, w.place(0), ""), bsdMessage+"\n")
	w.got(1)
}

func TestAFullPipelineHoldsTheSendersUp(t *testing.T) {
	w := listening(t, nil, "tcp://127.0.0.1:0")
	gate := make(chan struct{})
	w.mu.Lock()
	w.gate, w.keep = gate, false
	w.mu.Unlock()
	line := []byte(bsdMessage + "\n")
	chunk := bytes.Repeat(line, 1000)
	const senders = 40
	sent := make(chan int, senders)
	want := 0
	grown := sourcetest.MemoryWhile(func() {
		for range senders {
			conn := w.dial(0)
			// What the kernel holds comes in the end; by itself it takes megabytes.
			if err := conn.(*net.TCPConn).SetWriteBuffer(64 << 10); err != nil {
				t.Error(err)
			}
			go func() {
				n := 0
				for range 400 { // 20 MB each
					_ = conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
					m, err := conn.Write(chunk)
					n += m
					if err != nil {
						break
					}
				}
				conn.Close()
				sent <- n / len(line)
			}()
		}
		for range senders {
			n := <-sent
			if n >= 400*1000 {
				t.Error("a sender was not held up")
			}
			want += n
		}
	})
	if grown > 24<<20 {
		t.Errorf("it took %d bytes of memory", grown)
	}
	close(gate)
	w.got(want)
	t.Logf("%d messages were sent whole", want)
	w.end() // what was cut in the middle by the deadline is a malformed line or lost
	if s := w.source.Stats(); s.Records < uint64(want) || s.Records > uint64(want+senders) {
		t.Errorf("%d messages came, of %d that were sent whole", s.Records, want)
	}
}

func TestWhatTheKernelDropsIsCounted(t *testing.T) {
	w := listening(t, func(c *Config) { c.ReceiveBuffer = 64 << 10; c.Readers = 1 }, "udp://127.0.0.1:0")
	gate := make(chan struct{})
	w.mu.Lock()
	w.gate = gate
	w.mu.Unlock()
	conn := w.dial(0)
	const n = 5000
	for range n {
		w.send(conn, bsdMessage)
	}
	close(gate)
	w.until("all are accounted for", func() bool {
		s := w.source.Stats()
		return s.Records+s.Drops[dropKernel.String()] == n
	})
	if s := w.source.Stats(); s.Drops[dropKernel.String()] == 0 || s.Records == 0 {
		t.Errorf("stats = %+v", s)
	}
	w.end()
	if s := w.source.Stats(); s.Records+s.Drops[dropKernel.String()] != n {
		t.Errorf("after the end: stats = %+v", s)
	}
}
