//go:build integration

package syslog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"sluice/cmd/internal/integration/rig"
)

// client sends lines of sshd to a site in one of the ways that there are.
type client struct {
	name string
	send func(t *testing.T, s *site, lines []string)
}

func logger(args func(s *site) []string) func(*testing.T, *site, []string) {
	return func(t *testing.T, s *site, lines []string) {
		path := rig.Need(t, "bsdutils", "logger")
		file := filepath.Join(t.TempDir(), "lines")
		appendLines(t, file, lines)
		cmd := exec.CommandContext(t.Context(), path, append([]string{"-t", "sshd", "--id=42", "-p", "authpriv.info", "-f", file}, args(s)...)...)
		cmd.Env = append(os.Environ(), "TZ=UTC")
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("logger: %v: %s", err, out)
		}
	}
}

func rsyslogClient(global func(s *site) string, action func(s *site) string) func(*testing.T, *site, []string) {
	return func(t *testing.T, s *site, lines []string) {
		more := ""
		if global != nil {
			more = global(s)
		}
		startRsyslog(t, more, action(s)).write(t, lines...)
	}
}

func syslogNGClient(destination func(s *site) string) func(*testing.T, *site, []string) {
	return func(t *testing.T, s *site, lines []string) { startSyslogNG(t, destination(s)).write(t, lines...) }
}

func rsyslogTLS(driver string) func(s *site) string {
	return func(s *site) string {
		return fmt.Sprintf("defaultNetstreamDriver=%q defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q",
			driver, s.files.CA, s.files.ClientCert, s.files.ClientKey)
	}
}

const rsyslogTLSAction = `action(type="omfwd" target="127.0.0.1" port="%d" protocol="tcp" TCP_Framing="octet-counted" ` +
	`template="RSYSLOG_SyslogProtocol23Format" StreamDriver="%s" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="localhost")`

// clients are all the ways.
func clients() []client {
	port := func(p int, more ...string) []string {
		return append([]string{"-n", "127.0.0.1", "-P", strconv.Itoa(p)}, more...)
	}
	forward := func(protocol string, port func(s *site) int, template, framing string) func(s *site) string {
		return func(s *site) string {
			return fmt.Sprintf(`action(type="omfwd" target="127.0.0.1" port="%d" protocol="%s" template="%s" TCP_Framing="%s")`, port(s), protocol, template, framing)
		}
	}
	udp, tcp := func(s *site) int { return s.udp }, func(s *site) int { return s.tcp }
	return []client{
		{"logger, UDP, RFC 3164", logger(func(s *site) []string { return port(s.udp, "-d", "--rfc3164") })},
		{"logger, UDP, RFC 5424", logger(func(s *site) []string {
			return port(s.udp, "-d", "--rfc5424", "--msgid", "ID1", "--sd-id", "a@1", "--sd-param", `k="v"`)
		})},
		{"logger, UDP over IPv6", logger(func(s *site) []string {
			return []string{"-n", "::1", "-P", strconv.Itoa(s.udp), "-d", "--rfc3164"}
		})},
		{"logger, TCP, RFC 3164", logger(func(s *site) []string { return port(s.tcp, "-T", "--rfc3164") })},
		{"logger, TCP, RFC 5424", logger(func(s *site) []string { return port(s.tcp, "-T", "--rfc5424") })},
		{"logger, TCP, RFC 3164, octet counts", logger(func(s *site) []string { return port(s.tcp, "-T", "--rfc3164", "--octet-count") })},
		{"logger, TCP over IPv6, RFC 5424, octet counts", logger(func(s *site) []string {
			return []string{"-n", "::1", "-P", strconv.Itoa(s.tcp), "-T", "--rfc5424", "--octet-count"}
		})},
		{"logger, Unix socket", logger(func(s *site) []string { return []string{"-u", s.socket, "--socket-errors=on"} })},
		{"rsyslog, UDP, RFC 3164", rsyslogClient(nil, forward("udp", udp, "RSYSLOG_TraditionalForwardFormat", "traditional"))},
		{"rsyslog, UDP, RFC 5424", rsyslogClient(nil, forward("udp", udp, "RSYSLOG_SyslogProtocol23Format", "traditional"))},
		{"rsyslog, TCP, RFC 3164", rsyslogClient(nil, forward("tcp", tcp, "RSYSLOG_TraditionalForwardFormat", "traditional"))},
		{"rsyslog, TCP, precise times", rsyslogClient(nil, forward("tcp", tcp, "RSYSLOG_ForwardFormat", "traditional"))},
		{"rsyslog, TCP, RFC 5424, octet counts", rsyslogClient(nil, forward("tcp", tcp, "RSYSLOG_SyslogProtocol23Format", "octet-counted"))},
		{"rsyslog, TLS by GnuTLS", rsyslogClient(rsyslogTLS("gtls"), func(s *site) string { return fmt.Sprintf(rsyslogTLSAction, s.tls, "gtls") })},
		{"rsyslog, TLS by OpenSSL", rsyslogClient(rsyslogTLS("ossl"), func(s *site) string { return fmt.Sprintf(rsyslogTLSAction, s.tls, "ossl") })},
		{"syslog-ng, UDP, RFC 3164", syslogNGClient(func(s *site) string {
			return fmt.Sprintf(`network("127.0.0.1" port(%d) transport("udp"));`, s.udp)
		})},
		{"syslog-ng, TCP, RFC 3164", syslogNGClient(func(s *site) string {
			return fmt.Sprintf(`network("127.0.0.1" port(%d) transport("tcp"));`, s.tcp)
		})},
		{"syslog-ng, TCP, RFC 5424, octet counts", syslogNGClient(func(s *site) string {
			return fmt.Sprintf(`syslog("127.0.0.1" port(%d) transport("tcp"));`, s.tcp)
		})},
		{"syslog-ng, UDP, RFC 5424", syslogNGClient(func(s *site) string {
			return fmt.Sprintf(`syslog("127.0.0.1" port(%d) transport("udp"));`, s.udp)
		})},
		{"syslog-ng, TLS", syslogNGClient(func(s *site) string {
			return fmt.Sprintf(`syslog("127.0.0.1" port(%d) transport("tls") tls(ca-file(%q) cert-file(%q) key-file(%q) peer-verify(required-trusted)));`,
				s.tls, s.files.CA, s.files.ClientCert, s.files.ClientKey)
		})},
	}
}

// TestEveryClientsLinesAreCountedOnce sends numbered lines in every way.
func TestEveryClientsLinesAreCountedOnce(t *testing.T) {
	s := newSite(t)
	in := rig.New(t, "sluice", rig.Probing(s.source()))
	in.StartReady(t, "unixgram:")
	const each = 100
	sent := 0
	for _, c := range clients() {
		t.Run(c.name, func(t *testing.T) {
			lines := make([]string, each)
			for i := range lines {
				lines[i] = rig.Line(sent + i)
			}
			c.send(t, s, lines)
			in.Drained(t, sent+each)
			sent += each
		})
	}
	in.Stop(t)
	in.Tally(t).ExactlyOnce(t, sent)
}
