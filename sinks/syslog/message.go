package syslog

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/pipeline"
	"sluice/sinks/format"
)

// facilities are the names of RFC 5424, table 1, as syslog.conf writes them.
var facilities = map[string]int{
	"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11,
	"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

// severities are those of table 2.
var severities = map[string]int{"emerg": 0, "alert": 1, "crit": 2, "err": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7}

// header is what all messages of a sink share.
type header struct {
	facility int
	severity int // below 0 it is the alert's
	hostname string
	appName  string
	sdID     string
	format   format.Format
}

// append writes an alert as a message: RFC 5424, section 6.
func (h *header) append(b []byte, a *pipeline.Alert, now time.Time) ([]byte, error) {
	severity := h.severity
	if severity < 0 {
		severity = severityOf(a)
	}
	at, err := time.Parse(time.RFC3339Nano, a.StopAt)
	if err != nil {
		at = now
	}
	// No more than microseconds are allowed; the PROCID is nil, the MSGID says what sort of message it is.
	b = fmt.Appendf(b, "<%d>1 %s %s %s - alert ", h.facility<<3|severity, at.UTC().Format("2006-01-02T15:04:05.000000Z"), h.hostname, h.appName)
	if h.sdID == "" {
		b = append(b, "- "...)
	} else {
		b = append(append(b, '['), h.sdID...)
		b = param(b, "id", a.UUID)
		b = param(b, "scenario", a.Scenario)
		if a.Source != nil {
			b = param(b, "scope", a.Source.Scope)
			b = param(b, "value", a.Source.Value)
		}
		b = append(b, "] "...)
	}
	return h.format.Append(b, a)
}

func severityOf(a *pipeline.Alert) int {
	switch {
	case a.Simulated:
		return severities["info"]
	case a.Remediation:
		return severities["warning"]
	}
	return severities["notice"]
}

// In a parameter's value quotes, backslashes and closing brackets are
// escaped. Control characters are allowed, and replaced all the same: a value
// may be an attacker's own words, and collectors that write lines would split it.
var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

func param(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	value = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, value)
	return append(append(append(append(append(b, ' '), name...), `="`...), escaped.Replace(value)...), '"')
}
