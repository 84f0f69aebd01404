package syslog

import (
	"bufio"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/pipeline/porttest"
	"sluice/sinks"
	"sluice/sinks/format"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func alerts(n int) []pipeline.Alert {
	out := make([]pipeline.Alert, n)
	for i := range out {
		out[i] = pipeline.Alert{
			UUID: fmt.Sprintf("00000000-0000-5000-8000-%012d", i), Scenario: "sluice/ssh-bf", Message: "by hand", EventsCount: 6,
			StartAt: "2026-03-01T11:59:50Z", StopAt: "2026-03-01T13:00:01.123456789+01:00", Remediation: i == 0, Simulated: i == 2,
			Events: []pipeline.AlertEvent{}, Source: &pipeline.Source{Scope: "user", Value: "a\"b]\\\n<0>1" + fmt.Sprint(i)},
			Decisions: []pipeline.Decision{{Type: "ban", Scope: "user", Value: "x", Duration: "4h"}},
		}
	}
	return out
}

func newSink(t *testing.T, url string, change func(*Config)) *Sink {
	t.Helper()
	c := Default()
	c.URL, c.Hostname, c.Timeout = url, "gate", time.Minute // a handshake, and the system's authorities, take a busy machine seconds
	if change != nil {
		change(&c)
	}
	s, err := New("logs", c, sinks.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestMessagesAreAsTheStandardAsks writes messages of every format down, and has a parser read them.
func TestMessagesAreAsTheStandardAsks(t *testing.T) {
	var got strings.Builder
	for _, f := range format.All() {
		h := header{facility: 16, severity: -1, hostname: "gate", appName: "sluice", sdID: "sluice@32473", format: f}
		for i, a := range alerts(3) {
			b, err := h.append(nil, &a, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&got, "%s\n", b)
			m, err := rfc5424.NewParser().Parse(b)
			if err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			msg, ok := m.(*rfc5424.SyslogMessage)
			if !ok {
				t.Fatalf("a %T", m)
			}
			element := (*msg.StructuredData)["sluice@32473"]
			if *msg.Severity != []uint8{4, 5, 6}[i] || *msg.Facility != 16 || !msg.Timestamp.Equal(time.Date(2026, 3, 1, 12, 0, 1, 123456000, time.UTC)) ||
				*msg.Appname != "sluice" || *msg.MsgID != "alert" || element["id"] != a.UUID || !strings.HasPrefix(element["value"], `a"b]\?<0>1`) {
				t.Errorf("%s is read as %+v", b, msg)
			}
		}
	}
	h := header{facility: 4, severity: 1, hostname: "-", appName: "x", format: format.Text}
	b, _ := h.append(nil, &pipeline.Alert{Scenario: "s"}, time.Unix(0, 0))
	fmt.Fprintf(&got, "%s\n", b)
	path := filepath.Join("testdata", "messages.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("sluice/ssh-bf", "192.0.2.1", "2026-03-01T13:00:01Z")
	f.Add("a]\"\\", "\x00\xff\n<34>1", "never")
	f.Fuzz(func(t *testing.T, scenario, value, at string) {
		h := header{facility: 16, severity: -1, hostname: "gate", appName: "sluice", sdID: "sluice@32473", format: format.Text}
		b, err := h.append(nil, &pipeline.Alert{UUID: "id", Scenario: scenario, StopAt: at, Source: &pipeline.Source{Scope: "user", Value: value}}, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		m, err := rfc5424.NewParser().Parse(b)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if msg, ok := m.(*rfc5424.SyslogMessage); !ok || (*msg.StructuredData)["sluice@32473"]["id"] != "id" || strings.ContainsAny(string(b), "\n\r\x00") {
			t.Errorf("%q", b)
		}
	})
}

// collector takes connections, and gives what each holds.
type collector struct {
	net.Listener
	conns chan net.Conn
}

func listen(t *testing.T, address string, config *tls.Config) *collector {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	c := &collector{l, make(chan net.Conn, 10)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.conns <- conn
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		for len(c.conns) > 0 {
			_ = (<-c.conns).Close()
		}
	})
	return c
}

// next is the next connection that is made.
func (c *collector) next(t *testing.T) net.Conn {
	t.Helper()
	select {
	case conn := <-c.conns:
		return conn
	case <-time.After(time.Minute):
		t.Fatal("no connection came")
		return nil
	}
}

// read reads a message in octet counting.
func read(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	length, err := r.ReadString(' ')
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOverTCPMessagesAreCountedAndConnectionsMadeAnew(t *testing.T) {
	c := listen(t, "127.0.0.1:0", nil)
	s := newSink(t, "tcp://"+c.Addr().String(), nil)
	for round := range 2 {
		if err := s.Alerts(t.Context(), alerts(3)); err != nil {
			t.Fatal(err)
		}
		conn := c.next(t)
		r := bufio.NewReader(conn)
		for i := range 3 {
			if m := read(t, r); !strings.Contains(m, alerts(3)[i].UUID) {
				t.Errorf("round %d: message %d is %s", round, i, m)
			}
		}
		_ = conn.Close() // the next batch finds it out before it writes
		heard(t, s.conn)
	}
	if st := s.Stats(); st.Alerts != 6 || st.Decisions != 6 || st.Errors != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestACollectorThatIsAwayIsTriedAgain(t *testing.T) {
	address := porttest.Keep(t)
	s := newSink(t, "tcp://"+address, nil)
	err := s.Alerts(t.Context(), alerts(1))
	if !sinks.Retryable(err) || !strings.Contains(err.Error(), "sink logs: tcp://"+address) {
		t.Fatalf("error = %v", err)
	}
	c := listen(t, address, nil)
	if err := s.Alerts(t.Context(), alerts(1)); err != nil {
		t.Fatal(err)
	}
	conn := c.next(t)
	defer conn.Close()
	read(t, bufio.NewReader(conn))
	if st := s.Stats(); st.Alerts != 1 || st.Errors != 1 {
		t.Errorf("stats %+v", st)
	}
}

// TestACollectorThatTakesNobodyIsToldFromOneThatDoes: a relay whose collector
// is away accepts and closes, and one that does not like a certificate of
// TLS 1.3 says so after the handshake. What is written meanwhile is lost.
func TestACollectorThatTakesNobodyIsToldFromOneThatDoes(t *testing.T) {
	c := listen(t, "127.0.0.1:0", nil)
	s := newSink(t, "tcp://"+c.Addr().String(), nil)
	s.settle = time.Minute // however late a busy machine closes it
	closed := make(chan struct{})
	go func() {
		conn := <-c.conns
		time.AfterFunc(20*time.Millisecond, func() {
			_ = conn.Close()
			close(closed)
		})
	}()
	err := s.Alerts(t.Context(), alerts(1))
	<-closed
	if !sinks.Retryable(err) || !strings.Contains(err.Error(), "closed the connection") || s.Stats().Alerts != 0 {
		t.Errorf("error = %v, stats %+v", err, s.Stats())
	}
}

func TestOverTLSTheCollectorIsChecked(t *testing.T) {
	server := httptest.NewTLSServer(nil) // for its certificate
	defer server.Close()
	c := listen(t, "127.0.0.1:0", &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12})
	taken := make(chan string, 1)
	go func() {
		conn := <-c.conns
		defer conn.Close()
		text, _ := bufio.NewReader(conn).ReadString('\n')
		taken <- text
	}()
	s := newSink(t, "tls://"+c.Addr().String(), func(c *Config) { c.TLS.InsecureSkipVerify = true })
	if err := s.Alerts(t.Context(), alerts(1)); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if text := <-taken; !strings.Contains(text, alerts(1)[0].UUID) {
		t.Errorf("the collector got %q", text)
	}
	go func() {
		conn := <-c.conns
		_, _ = conn.Read(make([]byte, 1)) // the handshake, which fails
		_ = conn.Close()
		close(taken)
	}()
	if err := newSink(t, "tls://"+c.Addr().String(), nil).Alerts(t.Context(), alerts(1)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("error = %v", err)
	}
	<-taken
}

func TestOverUDPEachMessageIsADatagram(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newSink(t, "udp://"+l.LocalAddr().String(), func(c *Config) { c.MaxMessage = 480 })
	batch := alerts(3)
	batch[1].Scenario = strings.Repeat("x", 480)
	err = s.Alerts(t.Context(), batch)
	var rejected *sinks.RejectedError
	if !errors.As(err, &rejected) || !slices.Equal(rejected.Alerts, []int{1}) || !strings.Contains(err.Error(), "max_message is 480") {
		t.Errorf("error = %v", err)
	}
	buf := make([]byte, 2000)
	for _, i := range []int{0, 2} {
		n, _, err := l.ReadFrom(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), "<13") || !strings.Contains(string(buf[:n]), batch[i].UUID) {
			t.Errorf("%q, %v", buf[:n], err)
		}
	}
	if st := s.Stats(); st.Alerts != 2 || st.Rejected != 1 || st.Errors != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestHowFarABatchGotIsTold(t *testing.T) {
	s := newSink(t, "udp://127.0.0.1:9", nil)
	err := s.partial(3, &sinks.RejectedError{Alerts: []int{1, 4}, Reason: errors.New("long")}, errors.New("down"))
	var partial *sinks.PartialError
	if !errors.As(err, &partial) || partial.Settled != 3 || !slices.Equal(partial.Rejected.Alerts, []int{1}) || s.Stats().Rejected != 1 {
		t.Errorf("%v, %+v", err, partial)
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"format: cef", "name the collector"}, {"url: http://x", "is not udp"}, {"url: tcp://x/y", "is not udp"}, {"url: 'udp://'", "is not udp"},
		{"url: udp://x\nfacility: none", "no facility"}, {"url: udp://x\nseverity: bad", "no severity"}, {"url: udp://x\napp_name: a b", "app_name"},
		{"url: udp://x\nhostname: ä", "hostname"}, {"url: udp://x\nsd_id: 'a='", "sd_id"}, {"url: udp://x\nmax_message: 10", "480"},
		{"url: udp://x\nmax_message: 1MiB", "datagram"}, {"url: tcp://x\ntimeout: 0s", "above 0"}, {"url: tls://x\ntls: {cert_file: a}", "go together"},
		{"url: udp://x\nformat: xml", "no format"}, {"url: tcp://x\ntls: {insecure_skip_verify: true}", "tcp is not encrypted"},
	} {
		node, err := component.Parse([]byte("type: syslog\n" + c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = sinks.New(node, sinks.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.yaml, err, c.want)
		}
	}
	for url, want := range map[string]string{"udp://x": "x:514", "tls://[::1]": "[::1]:6514", "tcp://x:1": "x:1"} {
		c := Config{URL: url}
		if _, got, err := c.target(); got != want || err != nil {
			t.Errorf("%s is %s, %v", url, got, err)
		}
	}
}
