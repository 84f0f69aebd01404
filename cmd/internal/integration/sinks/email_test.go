//go:build integration

package sinks

import (
	_ "embed"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/cmd/internal/integration/rig"
	"sluice/pipeline/tlsclient/tlstest"
)

//go:embed smtp.py
var smtpServer string

const mailPassword = "a password for mail"

// mailbox is a mail server and where it keeps its mail.
type mailbox struct {
	*rig.Part
	address, dir, ca string
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	python := rig.NeedPython(t, "aiosmtpd-1.4.6", "aiosmtpd==1.4.6")
	files, dir, port := tlstest.Make(t), t.TempDir(), fmt.Sprint(rig.Port(t))
	m := &mailbox{address: "127.0.0.1:" + port, dir: filepath.Join(dir, "mail"), ca: files.CA}
	m.Part = rig.Run(t, func() *exec.Cmd {
		return python.Command(dir, "-c", smtpServer, port, m.dir, files.ServerCert, files.ServerKey, "sluice", mailPassword)
	}, rig.Listens(m.address))
	return m
}

const digest = 40

func (m *mailbox) sink() map[string]any {
	return map[string]any{
		"type": "email", "server": m.address, "encryption": "starttls", "tls": map[string]any{"ca_file": m.ca},
		"username": "sluice", "password": mailPassword, "from": "Sluice <sluice@example.com>", "to": []string{"soc@example.com", "boss@example.com"},
		"digest": digest, "body": "{{ range .Alerts }}alert {{ .Source.Value }} {{ .UUID }}\n{{ end }}",
	}
}

// read returns the alerts of all messages, and how many alerts the longest message has.
func (m *mailbox) read(t *testing.T) (have *received, messages, longest int) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(m.dir, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	have = newReceived()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := mail.ReadMessage(f)
		if err != nil {
			t.Fatal(err)
		}
		body := msg.Body
		if msg.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
			body = quotedprintable.NewReader(body)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if msg.Header.Get("Message-ID") == "" || !strings.Contains(msg.Header.Get("To"), "boss@example.com") {
			t.Errorf("a message has the header %v", msg.Header)
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			if words := strings.Fields(line); len(words) == 3 && words[0] == "alert" {
				have.count(words[1], words[2])
				n++
			}
		}
		longest = max(longest, n)
	}
	return have, len(paths), longest
}

// TestMail kills sluice and the mail server while messages are handed over.
func TestMail(t *testing.T) {
	m := newMailbox(t)
	f := rig.NewFeed(t, "email", m.sink())
	count := func() int {
		have, _, _ := m.read(t)
		return have.distinct()
	}
	during := f.KillTimes(t, kills(), 600, count)
	f.Write(t, 400)
	m.Kill(t)
	if err := rig.Pause(t.Context(), 500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	f.Write(t, 400)
	m.Start(t)
	arrive(t, f, count)
	f.Stop(t)
	have, messages, longest := m.read(t)
	again := have.repeats(t, f.Lines)
	midway(t, during)
	if longest != digest {
		t.Errorf("the longest message has %d alerts, want %d", longest, digest)
	}
	if strings.Contains(f.Output(), mailPassword) {
		t.Error("the password is in the log")
	}
	t.Logf("%d alerts in %d messages over STARTTLS, signed in; %d kills, %d of them during delivery: %d alerts came again", f.Lines, messages, kills(), during, again)
}
