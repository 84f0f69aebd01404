package format

import (
	"fmt"
	"strings"
	"unicode"

	"sluice/pipeline"
)

// In CEF's header a backslash and a pipe are escaped, in the extension a
// backslash and an equals sign; line ends are written \n and \r in values of
// the extension and as blanks in the header, where they are not allowed.
var (
	cefHeader    = strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\n", " ", "\r", " ")
	cefExtension = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\n", `\n`, "\r", `\r`)
)

// appendCEF writes an alert as a line of CEF version 0. The severity is 8 for
// what asks for remediation, 5 for the rest, and 2 when simulated.
func appendCEF(b []byte, a *pipeline.Alert) []byte {
	severity := 5
	switch {
	case a.Simulated:
		severity = 2
	case a.Remediation:
		severity = 8
	}
	b = fmt.Appendf(b, "CEF:0|%s|%s|%s|%s|%s|%d|", vendor, product, cefHeader.Replace(printable(a.ScenarioVersion)),
		cefHeader.Replace(printable(a.Scenario)), cefHeader.Replace(printable(a.Message)), severity)
	first := true
	add := func(key, value string) {
		if value == "" {
			return
		}
		if !first {
			b = append(b, ' ')
		}
		first = false
		b = append(append(append(b, key...), '='), cefExtension.Replace(printable(value))...)
	}
	number := func(key string, n int64) {
		if n != 0 {
			add(key, fmt.Sprint(n))
		}
	}
	add("externalId", a.UUID)
	number("start", millis(a.StartAt))
	number("end", millis(a.StopAt))
	number("rt", millis(a.CreatedAt))
	number("cnt", int64(a.EventsCount))
	if addr, ok := address(a.Source); ok {
		if addr.Is4() {
			add("src", addr.String())
		} else {
			add("c6a2", addr.String())
			add("c6a2Label", "Source IPv6 Address")
		}
	}
	if s := a.Source; s != nil {
		custom(add, 1, "scope", s.Scope)
		custom(add, 2, "value", s.Value)
		custom(add, 3, "country", s.Cn)
		if asNumber(s) > 0 {
			custom(add, 4, "autonomous system", strings.TrimSpace("AS"+s.AsNumber+" "+s.AsName))
		}
	}
	custom(add, 5, "decisions", remedies(a))
	custom(add, 6, "techniques", strings.Join(techniques(a), ","))
	return b
}

// printable puts blanks in place of what a terminal would act on: a value may
// be an attacker's own words.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\r' {
			return ' '
		}
		return r
	}, s)
}

// custom writes one of CEF's six custom strings with its label.
func custom(add func(key, value string), n int, label, value string) {
	if value != "" {
		add(fmt.Sprintf("cs%dLabel", n), label)
		add(fmt.Sprintf("cs%d", n), value)
	}
}
