package grok

import (
	"path/filepath"
	"testing"
)

// BenchmarkMatch times the hub's busiest expressions on lines of their kind,
// lines that fail late, and lines that are of another kind.
func BenchmarkMatch(b *testing.B) {
	hub := hubDir(b)
	library := hubLibrary(b, hub, NewLibrary())
	expressions := hubExpressions(b, hub, library)
	nth := func(file string, n int) hubExpression {
		for _, e := range expressions {
			if e.file == file {
				if n == 0 {
					return e
				}
				n--
			}
		}
		b.Fatalf("no expression %d in %s", n, filepath.Join(hub, file))
		return hubExpression{}
	}
	direct := func(expr string) hubExpression { return hubExpression{expr: expr, scope: library} }
	access := `203.0.113.7 - - [29/Sep/2021:14:11:34 +0200] "GET /index.php?id=1 HTTP/1.1" 200 10918 "-" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/47.0.2526.111 Safari/537.36"`
	access6 := `2001:db8:1::7 - - [29/Sep/2021:14:11:34 +0200] "GET /index.php?id=1 HTTP/1.1" 200 10918 "-" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/47.0.2526.111 Safari/537.36"`
	syslog := `Sep 29 14:11:34 web-1 sshd[12345]: Failed password for invalid user admin from 203.0.113.7 port 51022 ssh2`
	message := `Failed password for invalid user admin from 203.0.113.7 port 51022 ssh2`
	for _, c := range []struct {
		name string
		e    hubExpression
		line string
		want bool
	}{
		{"nginx-access", nth("nginx-logs.yaml", 0), access, true},
		{"nginx-access-ipv6", nth("nginx-logs.yaml", 0), access6, true},
		{"nginx-error-on-access", nth("nginx-logs.yaml", 1), access, false},
		{"nginx-access-on-malformed", nth("nginx-logs.yaml", 0), `203.0.113.7 - - [29/Sep/2021:14:11:34 +0200] "\x16\x03\x01 HTTP/1.1" 400 166 "-" "-`, false},
		{"nginx-access-on-syslog", nth("nginx-logs.yaml", 0), syslog, false},
		{"apache-combined", direct(`%{COMBINEDAPACHELOG}`), access, true},
		{"apache-access", nth("apache2-logs.yaml", 0), access, true},
		{"syslog", direct(`^%{SYSLOGLINE}`), syslog, true},
		{"syslog-rfc3339", direct(`^%{SYSLOGLINE}`), `2021-09-29T14:11:34.123456+02:00 web-1 sshd[12345]: Failed password`, true},
		{"sshd-user-fail", direct(`%{SSHD_USER_FAIL}`), message, true},
		{"sshd-fail-on-user-fail", direct(`%{SSHD_FAIL}`), message, false},
		{"sshd-disc-preauth-on-user-fail", direct(`%{SSHD_DISC_PREAUTH}`), message, false},
		{"sshd-log", direct(`%{SSHD_LOG:x}`), message, true},
		{"sshd-log-on-access", direct(`%{SSHD_LOG:x}`), access, false},
		{"ip-on-text", direct(`%{IP:ip}`), `the quick brown fox jumps over the lazy dog and goes home again`, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			p, err := c.e.scope.Compile(c.e.expr)
			if err != nil {
				b.Fatal(err)
			}
			captures := make([]string, len(p.Names()))
			var scratch Scratch
			if p.Match(c.line, captures, &scratch) != c.want {
				b.Fatalf("match is not %v", c.want)
			}
			b.ReportAllocs()
			for b.Loop() {
				p.Match(c.line, captures, &scratch)
			}
		})
	}
}

// BenchmarkCompile times what each expression costs at the start.
func BenchmarkCompile(b *testing.B) {
	hub := hubDir(b)
	expressions := hubExpressions(b, hub, hubLibrary(b, hub, NewLibrary()))
	b.ReportAllocs()
	for b.Loop() {
		for _, e := range expressions {
			if _, err := e.scope.Compile(e.expr); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(expressions)), "expressions/op")
}
