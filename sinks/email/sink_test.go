package email

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/pipeline/porttest"
	"sluice/sinks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is an SMTP server that answers as told and keeps what it takes.
type server struct {
	address string
	mu      sync.Mutex
	answer  func(step, what string) error // of MAIL, RCPT and DATA
	got     []received
	logins  []string
	conns   int
}

type received struct {
	from string
	to   []string
	text []byte
}

func newServer(t *testing.T, encryption string, answer func(step, what string) error) *server {
	t.Helper()
	s := &server{answer: answer}
	certificates := httptest.NewTLSServer(nil)
	config := &tls.Config{Certificates: certificates.TLS.Certificates, MinVersion: tls.VersionTLS12}
	certificates.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	srv := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conns++
		return &sessionOf{server: s}, nil
	}))
	srv.Domain, srv.ErrorLog = "localhost", slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	switch encryption {
	case startTLS:
		srv.TLSConfig = config
	case onlyTLS:
		l = tls.NewListener(l, config)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return s
}

// sessionOf is one connection's.
type sessionOf struct {
	server *server
	received
}

func (c *sessionOf) ask(step, what string) error {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.server.answer == nil {
		return nil
	}
	return c.server.answer(step, what)
}

func (c *sessionOf) Reset()                   { c.received = received{} }
func (c *sessionOf) Logout() error            { return nil }
func (c *sessionOf) AuthMechanisms() []string { return []string{sasl.Plain} }

func (c *sessionOf) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.server.logins = append(c.server.logins, user+":"+password)
		if password != "right" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (c *sessionOf) Mail(from string, _ *smtp.MailOptions) error {
	c.from = from
	return c.ask("MAIL", from)
}

func (c *sessionOf) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := c.ask("RCPT", to); err != nil {
		return err
	}
	c.to = append(c.to, to)
	return nil
}

func (c *sessionOf) Data(r io.Reader) (err error) {
	if c.text, err = io.ReadAll(r); err != nil {
		return err
	}
	if err := c.ask("DATA", string(c.text)); err != nil {
		return err
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.got = append(c.server.got, c.received)
	return nil
}

func alerts(n int) []pipeline.Alert {
	out := make([]pipeline.Alert, n)
	for i := range out {
		out[i] = pipeline.Alert{
			UUID: fmt.Sprintf("00000000-0000-5000-8000-%012d", i), Scenario: "sluice/ssh-bf", Message: ".\nhostile é", EventsCount: 6,
			StopAt: "2026-03-01T12:00:01Z", Source: &pipeline.Source{Scope: "user", Value: "bob\r\nBcc: all@example.com é"},
			Decisions: []pipeline.Decision{{Type: "ban", Scope: "user", Value: "bob", Duration: "4h"}},
		}
	}
	return out
}

var now = time.Date(2026, time.March, 1, 12, 0, 2, 0, time.UTC)

func newSink(t *testing.T, s *server, change func(*Config)) (*Sink, *strings.Builder) {
	t.Helper()
	c := Default()
	c.Server, c.Encryption, c.From, c.To, c.Timeout = s.address, plainText, "Sluice <sluice@example.com>", []string{"SOC <soc@example.com>"}, time.Minute // a handshake takes a busy machine seconds
	if change != nil {
		change(&c)
	}
	var log strings.Builder
	sink, err := New("mail", c, sinks.Env{Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return sink, &log
}

func TestAMessageHoldsItsAlerts(t *testing.T) {
	srv := newServer(t, plainText, nil)
	s, _ := newSink(t, srv, func(c *Config) { c.Digest, c.To = 2, []string{"soc@example.com", "Night <night@example.com>"} })
	for range 2 { // a repeat has the same ids
		if err := s.Alerts(t.Context(), alerts(3)); err != nil {
			t.Fatal(err)
		}
	}
	var ids, subjects []string
	for _, got := range srv.got {
		m, err := mail.ReadMessage(bytes.NewReader(got.text))
		if err != nil {
			t.Fatal(err)
		}
		if got.from != "sluice@example.com" || !slices.Equal(got.to, []string{"soc@example.com", "night@example.com"}) ||
			m.Header.Get("Auto-Submitted") != "auto-generated" || m.Header.Get("Bcc") != "" || m.Header.Get("Date") != "Sun, 01 Mar 2026 12:00:02 +0000" ||
			m.Header.Get("From") != `"Sluice" <sluice@example.com>` {
			t.Errorf("from %s to %s: %v", got.from, got.to, m.Header)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if err != nil {
			t.Fatal(err)
		}
		ids, subjects = append(ids, m.Header.Get("Message-ID")), append(subjects, subject)
		body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil || !bytes.Contains(body, []byte("sluice/ssh-bf  user bob\\r\\nBcc: all@example.com é  6 events  ban 4h of user bob")) ||
			!bytes.Contains(body, []byte("hostile é")) || !bytes.Contains(body, []byte("00000000-0000-5000-8000-")) {
			t.Errorf("body %s, %v", body, err)
		}
	}
	one := "<00000000-0000-5000-8000-000000000002@example.com>"
	if len(ids) != 4 || ids[0] != ids[2] || ids[0] == one || ids[1] != one || ids[3] != one {
		t.Errorf("message ids %q", ids)
	}
	if want := []string{"[sluice] 2 alerts", "[sluice] sluice/ssh-bf by bob  Bcc: all@example.com é"}; !slices.Equal(subjects[:2], want) {
		t.Errorf("subjects %q, want %q", subjects[:2], want)
	}
	if st := s.Stats(); st.Alerts != 6 || st.Decisions != 6 || st.Bytes == 0 || st.Errors+st.Rejected != 0 || srv.conns != 2 {
		t.Errorf("stats %+v over %d connections", st, srv.conns)
	}
}

// FuzzMessage: whatever an alert's values are, they add no header and no recipient.
func FuzzMessage(f *testing.F) {
	f.Add("sluice/ssh-bf", "192.0.2.1")
	f.Add("a\r\nBcc: all@example.com\r\n\r\nx", "\r\n.\r\n\x00\xff")
	c := Default()
	c.Server, c.From, c.To = "localhost", "sluice@example.com", []string{"soc@example.com"}
	s, err := New("mail", c, sinks.Env{Now: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, scenario, value string) {
		text, err := s.message([]pipeline.Alert{{UUID: "id", Scenario: scenario, Message: value, Source: &pipeline.Source{Scope: "user", Value: value}}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := mail.ReadMessage(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(m.Header) != 9 || m.Header.Get("Message-ID") != "<id@example.com>" || m.Header.Get("To") != "<soc@example.com>" {
			t.Errorf("headers %v", m.Header)
		}
	})
}

func smtpError(code int) error { return &smtp.SMTPError{Code: code, Message: "its own words"} }

func TestWhatAnAnswerMeans(t *testing.T) {
	for _, c := range []struct {
		step string
		code int
		want string
	}{
		{"", 0, "taken"}, {"MAIL", 451, "again"}, {"MAIL", 550, "again"}, {"MAIL", 530, "again"}, {"RCPT", 450, "again"}, {"RCPT", 550, "again"},
		{"DATA", 452, "again"}, {"DATA", 554, "refused"},
	} {
		srv := newServer(t, plainText, func(step, _ string) error {
			if step == c.step {
				return smtpError(c.code)
			}
			return nil
		})
		s, _ := newSink(t, srv, nil)
		err := s.Alerts(t.Context(), alerts(2))
		var rejected *sinks.RejectedError
		got := "taken"
		switch {
		case sinks.Retryable(err):
			got = "again"
		case errors.As(err, &rejected) && slices.Equal(rejected.Alerts, []int{0, 1}):
			got = "refused"
		}
		if got != c.want || err != nil && !strings.Contains(err.Error(), "its own words") {
			t.Errorf("%s %d is %s (%v), want %s", c.step, c.code, got, err, c.want)
		}
	}
}

func TestARecipientThatIsRefusedHoldsBackNoOther(t *testing.T) {
	srv := newServer(t, plainText, func(_, what string) error {
		if what == "gone@example.com" {
			return smtpError(550)
		}
		return nil
	})
	s, log := newSink(t, srv, func(c *Config) { c.To = []string{"gone@example.com", "soc@example.com"} })
	for range 2 {
		if err := s.Alerts(t.Context(), alerts(1)); err != nil {
			t.Fatal(err)
		}
	}
	if len(srv.got) != 2 || !slices.Equal(srv.got[0].to, []string{"soc@example.com"}) || strings.Count(log.String(), "gone@example.com") != 1 {
		t.Errorf("got %d messages, log %s", len(srv.got), log)
	}
}

func TestAMessageThatIsRefusedIsDivided(t *testing.T) {
	for busy, want := range map[bool]string{false: "refused [2]", true: "3 settled, refused [2]"} {
		srv := newServer(t, plainText, func(step, what string) error {
			switch {
			case step == "DATA" && strings.Contains(what, "000000000002"):
				return smtpError(552)
			case step == "DATA" && busy && strings.Contains(what, "000000000003"):
				return smtpError(451)
			}
			return nil
		})
		s, _ := newSink(t, srv, nil)
		err := s.Alerts(t.Context(), alerts(4))
		var rejected *sinks.RejectedError
		var partial *sinks.PartialError
		got := ""
		if errors.As(err, &partial) {
			rejected, got = partial.Rejected, fmt.Sprintf("%d settled, ", partial.Settled)
		} else if !errors.As(err, &rejected) {
			t.Fatalf("error = %v", err)
		}
		if got += fmt.Sprint("refused ", rejected.Alerts); got != want || s.Stats().Rejected != 1 {
			t.Errorf("%s, want %s; stats %+v", got, want, s.Stats())
		}
	}
}

func TestPasswordsAreSentOverTLSAlone(t *testing.T) {
	for _, encryption := range []string{startTLS, onlyTLS} {
		srv := newServer(t, encryption, nil)
		with := func(password component.Secret, verify bool) func(*Config) {
			return func(c *Config) {
				c.Encryption, c.Username, c.Password, c.TLS.InsecureSkipVerify = encryption, "me", password, !verify
			}
		}
		s, _ := newSink(t, srv, with("right", false))
		if err := s.Alerts(t.Context(), alerts(1)); err != nil || len(srv.got) != 1 || !slices.Equal(srv.logins, []string{"me:right"}) {
			t.Errorf("%s: %v, %d messages, %v", encryption, err, len(srv.got), srv.logins)
		}
		s, _ = newSink(t, srv, with("wrong-one", false))
		if err := s.Alerts(t.Context(), alerts(1)); !sinks.Retryable(err) || !strings.Contains(err.Error(), "signing in as me") || strings.Contains(err.Error(), "wrong-one") {
			t.Errorf("%s: error = %v", encryption, err)
		}
		s, _ = newSink(t, srv, with("right", true))
		if err := s.Alerts(t.Context(), alerts(1)); !sinks.Retryable(err) || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: error = %v", encryption, err)
		}
	}
	plain := newServer(t, plainText, nil)
	s, _ := newSink(t, plain, func(c *Config) { c.Encryption = startTLS })
	if err := s.Alerts(t.Context(), alerts(1)); !sinks.Retryable(err) || !strings.Contains(err.Error(), "does not offer STARTTLS") {
		t.Errorf("error = %v", err)
	}
}

func TestAServerThatIsAwayOrSilentIsTriedAgain(t *testing.T) {
	silent, err := net.Listen("tcp", porttest.Keep(t)) // it takes connections, in the kernel, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s, _ := newSink(t, &server{address: silent.Addr().String()}, func(c *Config) { c.Timeout = 50 * time.Millisecond })
	if err := s.Alerts(t.Context(), alerts(1)); !sinks.Retryable(err) || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("error = %v", err)
	}
	s, _ = newSink(t, &server{address: silent.Addr().String()}, func(c *Config) { c.Timeout = time.Hour })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Alerts(ctx, alerts(1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v", err)
	}
	_ = silent.Close()
	if err := s.Alerts(t.Context(), alerts(1)); !sinks.Retryable(err) || s.Stats().Errors != 2 {
		t.Errorf("error = %v, stats %+v", err, s.Stats())
	}
}

func TestTheIntervalIsKept(t *testing.T) {
	srv := newServer(t, plainText, nil)
	s, _ := newSink(t, srv, func(c *Config) { c.Interval = time.Minute })
	var waits []time.Duration
	s.after = func(d time.Duration) <-chan time.Time {
		waits = append(waits, d)
		fired := make(chan time.Time, 1)
		fired <- now
		return fired
	}
	at := now
	s.now = func() time.Time { return at }
	for _, next := range []time.Duration{0, 20 * time.Second, 90 * time.Second} {
		at = at.Add(next)
		if err := s.Alerts(t.Context(), alerts(1)); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(waits, []time.Duration{40 * time.Second}) {
		t.Errorf("it waits %v", waits)
	}
	s.after = func(time.Duration) <-chan time.Time { return nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Alerts(ctx, alerts(1)); !errors.Is(err, context.Canceled) || len(srv.got) != 3 {
		t.Errorf("error = %v after %d messages", err, len(srv.got))
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	const good = "server: x\nfrom: a@example.com\nto: [b@example.com]\n"
	for _, c := range []struct{ yaml, want string }{
		{"from: a@example.com", "name the SMTP server"}, {"server: x\nfrom: a@example.com", "at least one"}, {"server: x\nto: [a@b.c]", "from: it is no address"},
		{"server: x\nfrom: a@b.c\nto: [soc]", `"soc" is no address`}, {good + "encryption: ssl", "starttls, tls or none"}, {good + "username: a", "go together"},
		{good + "username: a\npassword: b\nencryption: none", "not sent without encryption"}, {good + "digest: 0", "between 1"}, {good + "interval: -1s", "below 0"},
		{good + "timeout: 0s", "above 0"}, {good + "subject: '{{'", "subject: it is no template"}, {good + "body: '{{ env \"HOME\" }}'", "body: it is no template"},
		{good + "body: '{{ .Nope }}'", "body: its template fails on every alert"}, {good + "subject: '{{ .Alert.Nope }}'", "subject: its template fails on every alert"},
		{good + "tls: {cert_file: x}", "go together"}, {good + "encryption: none\ntls: {insecure_skip_verify: true}", "nothing is encrypted"},
		{"server: 'a:b:c'\nfrom: a@b.c\nto: [d@e.f]", "is no host"}, {"server: 'x:smtp'\nfrom: a@b.c\nto: [d@e.f]", "is no host"},
	} {
		node, err := component.Parse([]byte("type: email\n" + c.yaml))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = sinks.New(node, sinks.Env{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.yaml, err, c.want)
		}
	}
	for server, want := range map[string]string{
		"x": "x:587", "x:2525": "x:2525", "192.0.2.1": "192.0.2.1:587", "2001:db8::1": "[2001:db8::1]:587", "[2001:db8::1]": "[2001:db8::1]:587", "[2001:db8::1]:25": "[2001:db8::1]:25",
	} {
		c := Config{Server: server, Encryption: startTLS}
		if _, got := c.address(); got != want {
			t.Errorf("%s is %s, want %s", server, got, want)
		}
	}
}
