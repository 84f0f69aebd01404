package syslog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sources"
)

const (
	bsdMessage = "<38>Nov 25 19:00:00 web sshd[7]: Failed password"
	bsdLine    = "Nov 25 19:00:00 web sshd[7]: Failed password"
	newMessage = "<38>1 2026-11-25T19:00:00.5Z web sshd 7 - - Failed password"
	newLine    = "2026-11-25T19:00:00.5Z web sshd[7]: Failed password"
)

func TestBothFormsComeOverEveryTransport(t *testing.T) {
	files := certificates(t)
	sock := filepath.Join(t.TempDir(), "log")
	for _, c := range []struct {
		listen string
		dial   func(w *world) net.Conn
		end    string // of a message
	}{
		{"udp://127.0.0.1:0", nil, ""},
		{"udp://[::1]:0", nil, ""},
		{"udp://:0", func(w *world) net.Conn { return w.to("udp", "127.0.0.1") }, ""},
		{"udp://:0", func(w *world) net.Conn { return w.to("udp", "::1") }, ""},
		{"tcp://127.0.0.1:0", nil, "\n"},
		{"tcp://:0", func(w *world) net.Conn { return w.to("tcp", "::1") }, "\n"},
		{"tls://127.0.0.1:0", func(w *world) net.Conn { return files.dial(t, w.place(0), "client") }, "\n"},
		{"unixgram:" + sock, nil, ""},
	} {
		t.Run(c.listen, func(t *testing.T) {
			w := listening(t, func(conf *Config) {
				conf.TLS.CertFile, conf.TLS.KeyFile, conf.TLS.ClientCAFile = files.path("server.pem"), files.path("server.key"), files.path("ca.pem")
			}, c.listen)
			conn := func() net.Conn { return w.dial(0) }
			if c.dial != nil {
				conn = func() net.Conn { return c.dial(w) }
			}
			to := conn()
			w.send(to, bsdMessage+c.end)
			w.send(to, newMessage+c.end)
			if got := w.got(2); !slices.Equal(got, []string{bsdLine, newLine}) {
				t.Errorf("lines = %q", got)
			}
			if !w.topics[c.listen] {
				t.Errorf("partitions = %v", w.topics)
			}
			w.end()
			if s := w.source.Stats(); s.Records != 2 || s.Drops != nil || s.Connections != 0 {
				t.Errorf("stats = %+v", s)
			}
		})
	}
	if _, err := os.Lstat(sock); err == nil {
		t.Error("the socket's file is left")
	}
}

// to connects to the first listener by another address of this machine.
func (w *world) to(network, host string) net.Conn {
	w.t.Helper()
	_, port, err := net.SplitHostPort(w.place(0))
	if err != nil {
		w.t.Fatal(err)
	}
	conn, err := net.Dial(network, net.JoinHostPort(host, port))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

func TestTheTypeIsSyslogUnlessItIsSet(t *testing.T) {
	for _, c := range []struct {
		name         string
		labels, want map[string]string
	}{
		{"no labels", nil, map[string]string{"type": "syslog"}},
		{"other labels", map[string]string{"site": "a"}, map[string]string{"type": "syslog", "site": "a"}},
		{"another type", map[string]string{"type": "nginx"}, map[string]string{"type": "nginx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := listening(t, func(conf *Config) { conf.Labels = c.labels }, "udp://127.0.0.1:0")
			w.send(w.dial(0), bsdMessage)
			w.got(1)
			w.mu.Lock()
			defer w.mu.Unlock()
			if !maps.Equal(w.labels, c.want) {
				t.Errorf("labels = %v, want %v", w.labels, c.want)
			}
		})
	}
}

func TestOrderIsKept(t *testing.T) {
	for _, listen := range []string{"udp://127.0.0.1:0", "tcp://127.0.0.1:0"} {
		t.Run(listen, func(t *testing.T) {
			w := listening(t, nil, listen)
			conn := w.dial(0)
			const n = 20000
			var want []string
			for i := range n {
				line := fmt.Sprintf("Nov 25 19:00:00 web app[7]: message %d", i)
				want = append(want, line)
				w.send(conn, "<13>"+line+"\n")
				if i%500 == 0 {
					w.got(i) // no more than the smallest receive buffer holds is under way
				}
			}
			if got := w.got(n); !slices.Equal(got, want) {
				t.Error("the lines are not those that were sent, in their order")
			}
		})
	}
}

func TestAMessageWithoutAHostGetsItsPeers(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "log")
	w := listening(t, nil, "udp://127.0.0.1:0", "udp://[::1]:0", "unixgram:"+sock)
	for i := range 3 {
		w.send(w.dial(i), "<38>Nov 25 19:00:00 sshd[7]: x\n")
		w.got(i + 1)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, h := range []string{"127.0.0.1", "::1", host} {
		want = append(want, "Nov 25 19:00:00 "+h+" sshd[7]: x")
	}
	if got := w.got(3); !slices.Equal(got, want) {
		t.Errorf("lines = %q, want %q", got, want)
	}
}

func TestLongDatagramsAreCutOrRefused(t *testing.T) {
	long := "<13>Nov 25 19:00:00 web app: " + strings.Repeat("x", 200)
	for _, oversize := range []string{oversizeCut, oversizeRefuse} {
		t.Run(oversize, func(t *testing.T) {
			w := listening(t, func(c *Config) { c.MaxMessage, c.Oversize, c.Readers = 100, oversize, 1 }, "udp://127.0.0.1:0")
			conn := w.dial(0)
			w.send(conn, long)
			w.send(conn, bsdMessage)
			if oversize == oversizeCut {
				if got := w.got(2); !slices.Equal(got, []string{long[4:100], bsdLine}) || w.source.Stats().Cut != 1 {
					t.Errorf("lines = %q, stats %+v", got, w.source.Stats())
				}
				return
			}
			if got := w.got(1); !slices.Equal(got, []string{bsdLine}) {
				t.Errorf("lines = %q", got)
			}
			w.drops(dropTooLong, 1)
		})
	}
}

func TestOnlyAllowedPeersMaySend(t *testing.T) {
	for _, c := range []struct {
		name   string
		allow  []string
		v4, v6 bool
	}{
		{name: "an IPv4 network", allow: []string{"127.0.0.0/8"}, v4: true},
		{name: "an IPv6 network", allow: []string{"::1/128"}, v6: true},
		{name: "an IPv4 address", allow: []string{"127.0.0.1"}, v4: true},
		{name: "an IPv6 address", allow: []string{"::1"}, v6: true},
		{name: "an IPv4 network written in IPv6", allow: []string{"::ffff:127.0.0.0/104"}, v4: true},
		{name: "both", allow: []string{"192.0.2.0/24", "127.0.0.1", "::/0"}, v4: true, v6: true},
		{name: "none of them", allow: []string{"192.0.2.0/24", "2001:db8::/32"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := listening(t, func(conf *Config) { conf.Allow = c.allow }, "udp://:0", "tcp://:0")
			n, dropped := 0, uint64(0)
			for _, from := range []struct {
				host string
				ok   bool
			}{{"127.0.0.1", c.v4}, {"::1", c.v6}} {
				w.send(w.to("udp", from.host), bsdMessage)
				_, port, _ := net.SplitHostPort(w.place(1))
				conn, err := net.Dial("tcp", net.JoinHostPort(from.host, port))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if from.ok {
					w.send(conn, bsdMessage+"\n")
					n += 2
					w.got(n)
				} else {
					closed(t, conn)
					dropped += 2
					w.drops(dropPeer, dropped)
				}
			}
			if got := w.source.Stats(); got.Records != uint64(n) || got.Drops[dropPeer.String()] != dropped {
				t.Errorf("stats = %+v", got)
			}
		})
	}
}

func TestTheStreamsEndEndsTheLastLine(t *testing.T) {
	w := listening(t, nil, "tcp://127.0.0.1:0")
	conn := w.dial(0)
	w.send(conn, bsdMessage) // as nc sends it
	conn.Close()
	if got := w.got(1); !slices.Equal(got, []string{bsdLine}) {
		t.Errorf("lines = %q", got)
	}
	conn = w.dial(0)
	w.send(conn, "500 "+bsdMessage)
	conn.Close()
	w.drops(dropInside, 1)
}

func TestAStaleSocketIsReplacedAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	run := func(path string) error {
		c := Default()
		c.Listen = []string{"unixgram:" + path}
		s, err := New("syslog", c, sources.Env{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err = s.Run(ctx, nil, func(context.Context, *pipeline.RecordBatch) error { return nil })
		return errors.Join(err, s.Close())
	}
	stale := filepath.Join(dir, "stale")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(stale); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a socket that somebody has open: %v", err)
	}
	conn.Close()
	if err := run(stale); !errors.Is(err, context.Canceled) {
		t.Errorf("a stale socket: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(file); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("a file: %v", err)
	}
}

func TestAPortInUseIsSaid(t *testing.T) {
	for _, scheme := range []string{"udp", "tcp"} {
		w := listening(t, nil, scheme+"://127.0.0.1:0")
		c := Default()
		c.Listen = []string{scheme + "://" + w.place(0)}
		s, err := New("second", c, sources.Env{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Run(t.Context(), nil, func(context.Context, *pipeline.RecordBatch) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%s: %v", scheme, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestMistakesInTheConfigurationAreNamed(t *testing.T) {
	for _, c := range []struct {
		name, key string
		change    func(*Config)
	}{
		{"no address", "listen", func(c *Config) { c.Listen = nil }},
		{"an address without a scheme", "listen", func(c *Config) { c.Listen = []string{":514"} }},
		{"an address without a port", "listen", func(c *Config) { c.Listen = []string{"udp://127.0.0.1"} }},
		{"a port that is none", "listen", func(c *Config) { c.Listen = []string{"udp://:70000"} }},
		{"an address twice", "listen", func(c *Config) { c.Listen = []string{"udp://:514", "udp://:514"} }},
		{"a Unix socket without a path", "listen", func(c *Config) { c.Listen = []string{"unixgram:"} }},
		{"TLS without a certificate", "tls.cert_file", func(c *Config) { c.Listen = []string{"tls://:6514"} }},
		{"names without an authority", "tls.client_names", func(c *Config) {
			c.Listen = []string{"tls://:6514"}
			c.TLS.CertFile, c.TLS.KeyFile, c.TLS.ClientNames = "a", "b", []string{"c"}
		}},
		{"a network that is none", "allow", func(c *Config) { c.Allow = []string{"192.0.2.0/33"} }},
		{"a way to emit that is none", "emit", func(c *Config) { c.Emit = "lines" }},
		{"a framing that is none", "framing", func(c *Config) { c.Framing = "octets" }},
		{"a header that is none", "headers", func(c *Config) { c.Headers = []string{"color"} }},
		{"a zone that is none", "timezone", func(c *Config) { c.Timezone = "Mars/Olympus" }},
		{"no size", "max_message", func(c *Config) { c.MaxMessage = 0 }},
		{"less memory than a message", "max_unfinished", func(c *Config) { c.MaxUnfinished = 1 }},
		{"a negative time", "idle_timeout", func(c *Config) { c.IdleTimeout = -1 }},
		{"an intake that is none", "intake", func(c *Config) { c.Intake = "disk" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := Default()
			conf.Listen = []string{"udp://:514"}
			c.change(&conf)
			var field *component.FieldError
			if err := conf.Validate(); !errors.As(err, &field) || field.Field != c.key {
				t.Errorf("error = %v, want one of %s", err, c.key)
			}
		})
	}
}

func TestPermissionsMayBeWrittenWithoutQuotes(t *testing.T) {
	for text, want := range map[string]Mode{"0660": 0o660, `"0600"`: 0o600, "666": 0o666, "rw": 0, "0888": 0, "07777": 0} {
		node, err := component.Parse([]byte("listen: ['unixgram:/run/log']\nsocket_mode: " + text + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		c := Default()
		if err := component.Decode(node, &c); (err != nil) != (want == 0) || err == nil && c.SocketMode != want {
			t.Errorf("%s is read as %s: %v", text, c.SocketMode, err)
		}
	}
}
