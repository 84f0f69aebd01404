package dates

import (
	"strconv"
	"strings"
	"time"
)

// layout is one entry of the list that is tried in order.
type layout struct {
	text string
	// could is false only for texts that the layout cannot read.
	could func(s string) bool
}

// layouts are tried in this order: rules rely on it, since the first that fits wins.
var layouts = [...]layout{
	{time.RFC3339, isoWith('T')},
	{"02/Jan/2006:15:04:05 -0700", slashed},
	{"Mon Jan 2 15:04:05 2006", worded},
	{"02-Jan-2006 15:04:05 europe/paris", dashed},
	{"01/02/2006 15:04:05", slashed},
	{"2006-01-02 15:04:05.999999999 -0700 MST", isoWith(' ')},
	{"Jan  2 15:04:05", worded},
	{"Mon Jan 02 15:04:05.000000 2006", worded},
	{"2006/01/02", func(s string) bool { return len(s) == 10 && s[4] == '/' }},
	{"2006/01/02 15:04", func(s string) bool { return len(s) > 10 && s[4] == '/' }},
	{"2006-01-02", func(s string) bool { return len(s) == 10 && s[4] == '-' }},
	{"2006-01-02 15:04", isoWith(' ')},
	{"2006/01/02 15:04:05", func(s string) bool { return len(s) > 10 && s[4] == '/' }},
	{"2006-01-02 15:04:05", isoWith(' ')},
	{"2006-01-02T15:04:05", isoWith('T')},
}

func isoWith(separator byte) func(string) bool {
	return func(s string) bool { return len(s) > 10 && s[4] == '-' && s[10] == separator }
}

func slashed(s string) bool { return len(s) > 10 && s[2] == '/' }
func dashed(s string) bool  { return len(s) > 10 && s[2] == '-' }

func worded(s string) bool {
	return len(s) > 10 && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z')
}

// Parse reads a date. hint is the layout that a rule gave, or "". The zone
// of a date that names none is UTC. ok is false for a text that is no date.
func Parse(s, hint string, reference time.Time) (t time.Time, ok bool) {
	t, _, ok = parse(s, hint, reference)
	return t, ok
}

// parse also tells for which references the result holds.
func parse(s, hint string, reference time.Time) (time.Time, span, bool) {
	if s == "" {
		return time.Time{}, span{}, false
	}
	if hint != "" {
		t, err := parseHint(s, hint)
		if t, sp, ok := settle(t, err == nil, reference); ok {
			return t, sp, true
		}
	}
	if t, ok := fast(s); ok {
		return settle(t, true, reference)
	}
	for i := range layouts {
		if !layouts[i].could(s) {
			continue
		}
		t, err := time.ParseInLocation(layouts[i].text, s, time.UTC)
		if t, sp, ok := settle(t, err == nil, reference); ok {
			return t, sp, true
		}
	}
	t, ok := unix(s)
	return t, span{}, ok
}

func parseHint(s, hint string) (time.Time, error) {
	if strings.Contains(hint, "%") {
		return Strptime(s, hint)
	}
	return time.ParseInLocation(hint, s, time.UTC)
}

// settle gives a date without a year (they parse as year 0) its year.
// Dates that no RFC 3339 text can hold are none.
func settle(t time.Time, ok bool, reference time.Time) (time.Time, span, bool) {
	if !ok || t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return time.Time{}, span{}, false
	}
	if t.Year() != 0 {
		return t, span{}, true
	}
	t, sp := giveYear(t, reference)
	return t, sp, true
}

// lastSecond is the last second of the year 9999.
const lastSecond = 253402300799

// unix reads seconds since 1970; a fraction is cut off, as CrowdSec does.
// Numbers too large for a year of four digits are milli-, micro- or nanoseconds.
func unix(s string) (time.Time, bool) {
	whole, _, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	switch {
	case err != nil || n <= 0:
		return time.Time{}, false
	case n <= lastSecond:
		return time.Unix(n, 0).UTC(), true
	case n/1e3 <= lastSecond:
		return time.UnixMilli(n).UTC(), true
	case n/1e6 <= lastSecond:
		return time.UnixMicro(n).UTC(), true
	}
	return time.Unix(0, n).UTC(), true
}
