package grok

import "testing"

// ownExpressions are expressions of our own writing, chosen for what the
// matcher does specially. FuzzMatch picks one by its number.
var ownExpressions = []string{
	`%{IPORHOST:host} - %{USER:user} \[%{HTTPDATE:date}\] "%{WORD:verb} %{DATA:path} HTTP/%{NUMBER:version}"`,
	`^%{SYSLOGTIMESTAMP:time} %{SYSLOGHOST:host} %{SYSLOGPROG}: %{GREEDYDATA:message}$`,
	`(%{IPORHOST:host}(:%{INT:port})? )?%{IP:ip}`,
	`%{IP:ip}`, `%{IPV6:ip}`, `^%{IPV6:ip}$`, `%{HOSTNAME:h}`, `%{TIMESTAMP_ISO8601:t}`, `%{QS:q}`, `%{URI:u}`, `%{MAC:m}`,
	`%{LOGLEVEL:l}\b`, `%{MONTH:m} `, `%{BASE16FLOAT:f}`, `%{EMAILADDRESS:e}`, `%{UNIXPATH:p}`, `%{WINPATH:p}`,
	`(?i)k%{WORD:w}s`, `(?i)straße %{WORD:w}`, `(?s)%{DATA:a}\n%{GREEDYDATA:b}`, `(?m)^%{WORD:w}$`, `(?m)%{GREEDYDATA:g}$`,
	`(?U)%{GREEDYDATA:g} %{DATA:d}`, `\B%{WORD:w}\B`, `%{NOTSPACE:a}\s%{NOTSPACE:b}`, `%{DATA:a}%{DATA:b}x`,
	`(?:%{INT:a}|%{WORD:b})+`, `(?:%{WORD:a},)*%{WORD:b}`, `(?:%{WORD:a}=%{DATA:b};)+?$`, `(?:%{INT:a}-){2,4}%{INT:b}`,
	`(?:a|ab)(?:c|bcd)%{DATA:x}(?:d*)$`, `%{GREEDYDATA:a}é%{GREEDYDATA:b}`, `[^é]{2,3}%{NOTSPACE:x}`, `.{3,5}?%{NOTSPACE:x}`,
	`[à-ÿ]+%{WORD:w}`, `\x{FFFD}%{DATA:x}\x{FFFD}`, `[^"]*"%{DATA:x}"`, `%{SPACE:s}%{WORD:w}|%{INT:w}`, `(?:)%{DATA:d}$`,
	`^(?:%{IP:a}|%{WORD:a}) %{GREEDYDATA:b}`, `(?:^| )%{INT:n}(?: |$)`, `\A%{WORD:w}\z`, `(?:%{INT:n}|)x`, `(?:|%{INT:n})x`,
	`(?:a??)%{DATA:x}b`, `(?:ab){0,3}%{DATA:x}(?:ab){2}`, `((a+)+)%{WORD:x}$`, `(a|aa)*b%{DATA:x}$`, `(?:%{DATA:k}=%{DATA:v}(?:,|$))*`,
	`%{DATA:x}(?:\.%{INT:n})?$`, `%{WORD:w}\b.*\b%{WORD:v}`, `(?:\d{1,3}\.){3}\d{1,3}(?P<raw>x)?%{DATA:d}$`, `(?:a*)*%{WORD:w}`,
}

// FuzzMatch compares the fast matcher with the reference on any line, for an
// expression of ours or any other text that compiles.
func FuzzMatch(f *testing.F) {
	lines := []string{
		`192.0.2.1 - bob [29/Sep/2021:14:11:34 +0200] "GET /a?b HTTP/1.1" 200`, "Sep  9 14:11:34 web-1 cron[12]: done", "2001:db8::1%eth0 x",
		"a=1,b=2", "aaaaaaaaaaaaaaaaaaaaaaaac", "::ffff:10.0.0.1", "abcd", "1-2-3-4-5", "\xff\xe2\x82x", "é\x80", "\ufffdx\xff", "\u212aſ", "line\nline", "",
	}
	for i := range ownExpressions {
		f.Add(uint8(i), "", lines[i%len(lines)])
		f.Add(uint8(i), "", lines[(i+5)%len(lines)])
	}
	f.Add(uint8(0), `(?i)[k-s]+%{DATA:x}[[:^alpha:]]`, "Kſs \xff")
	type pair struct {
		fast  *Pattern
		plain *Reference
	}
	library := NewLibrary()
	compile := func(expr string) (pair, error) {
		plain, err := library.CompileReference(expr)
		if err != nil {
			return pair{}, err
		}
		fast, err := library.Compile(expr)
		return pair{fast, plain}, err
	}
	var own []pair
	for _, expr := range ownExpressions {
		p, err := compile(expr)
		if err != nil {
			f.Fatal(err)
		}
		own = append(own, p)
	}
	f.Fuzz(func(t *testing.T, number uint8, expr, line string) {
		if len(expr) > 200 || len(line) > 2000 {
			return
		}
		p := own[int(number)%len(own)]
		if expr == "" {
			expr = ownExpressions[int(number)%len(own)]
		} else {
			expr = "(?:" + expr + ")%{DATA:rest}"
			var err error
			if p, err = compile(expr); err != nil {
				return
			}
		}
		if what := difference(p.fast, p.plain, line, &Scratch{}); what != "" {
			t.Errorf("%q on %q: %s", expr, line, what)
		}
	})
}

// TestOwnExpressionsEqualReference compares on mutated lines without the hub.
func TestOwnExpressionsEqualReference(t *testing.T) {
	library := NewLibrary()
	lines := []string{
		`192.0.2.1 - bob [29/Sep/2021:14:11:34 +0200] "GET /a?b HTTP/1.1" 200 https://u@example.com:80/x?y=z`,
		`Sep  9 14:11:34 web-1.example.com cron[12]: error: it's "done", see /var/log/x C:\temp\y`,
		`2021-09-29T14:11:34.5+02:00 fe80::1%eth0 00:11:22:aa:bb:cc me@example.com 0xdead.beef`,
		"a=1,b=22;key=value;x,y,z 10-20-30-40 ababab aaaab 1.2.3.4x", "K straße ſ k\u212as é\xff\x80\ufffd à \n line two\n3",
	}
	var expressions []hubExpression
	for _, expr := range ownExpressions {
		expressions = append(expressions, hubExpression{file: "own", expr: expr, scope: library})
	}
	_, _, mutations := effort()
	for i, e := range expressions {
		fast, err := e.scope.Compile(e.expr)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := e.scope.CompileReference(e.expr)
		if err != nil {
			t.Fatal(err)
		}
		random := newRandom(uint64(i))
		var scratch Scratch
		for n := range 20 * mutations {
			line := lines[n%len(lines)]
			if n >= len(lines) {
				line = mutate(random, line)
			}
			if difference(fast, plain, line, &scratch) != "" {
				report(t, e, fast, plain, line)
				break
			}
		}
	}
}
