package format

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"sluice/pipeline"
)

// The colours of a readable line.
const (
	dim    = "\x1b[2m"
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// appendText writes an alert as one line: time, scenario, source with country
// and network, number of events, decisions.
func appendText(out []byte, a *pipeline.Alert, colour bool) []byte {
	b := bytes.NewBuffer(out)
	paint := func(code, text string) string {
		if text = clean(text); colour {
			return code + text + plain
		}
		return text
	}
	fmt.Fprintf(b, "%s  %s  %s  %s", paint(dim, a.StopAt), paint(yellow, a.Scenario), paint(bold, source(a.Source)), events(a.EventsCount))
	if details := place(a.Source); details != "" {
		fmt.Fprintf(b, "  %s", paint(dim, details))
	}
	for _, d := range a.Decisions {
		text := d.Type + " " + d.Duration
		if a.Source == nil || d.Scope != a.Source.Scope || d.Value != a.Source.Value {
			text += " of " + d.Scope + " " + d.Value
		}
		if d.Simulated {
			text += " (simulated)"
		}
		fmt.Fprintf(b, "  %s", paint(red, text))
	}
	return b.Bytes()
}

// AppendColoured appends an alert in the format text, in a terminal's colours.
func AppendColoured(b []byte, a *pipeline.Alert) []byte { return appendText(b, a, true) }

func source(s *pipeline.Source) string {
	if s == nil || s.Scope == "" && s.Value == "" {
		return "-"
	}
	return s.Scope + " " + s.Value
}

func place(s *pipeline.Source) string {
	if s == nil {
		return ""
	}
	var parts []string
	if s.Cn != "" {
		parts = append(parts, s.Cn)
	}
	if s.AsNumber != "" && s.AsNumber != "0" {
		parts = append(parts, strings.TrimSpace("AS"+s.AsNumber+" "+s.AsName))
	}
	if len(parts) == 0 {
		return ""
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

func events(n int32) string {
	if n == 1 {
		return "1 event"
	}
	return strconv.Itoa(int(n)) + " events"
}

// clean escapes what a terminal would act on: a source's value may be an
// attacker's own words.
func clean(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}
