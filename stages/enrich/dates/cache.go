package dates

import "time"

// Parser is Parse with a memory of its last results. It belongs to one goroutine.
type Parser struct {
	entries [64]entry
}

// Date is a date that was read.
type Date struct {
	Time time.Time
	// Text is the date in RFC 3339, with the fraction that the line had.
	Text string
}

type entry struct {
	value, hint []byte // the parser's own copies
	span        span
	date        Date
	ok, used    bool
}

// Parse reads a date as the function Parse does. A date seen a short while
// ago costs a comparison and no allocation.
func (p *Parser) Parse(s, hint string, reference time.Time) (*Date, bool) {
	e := &p.entries[slot(s)]
	if e.used && string(e.value) == s && string(e.hint) == hint && e.span.holds(reference) {
		return &e.date, e.ok
	}
	const longest = 256 // nothing longer is a date: keep no large text
	t, sp, ok := parse(s, hint, reference)
	if len(s) > longest || len(hint) > longest {
		return &Date{t, text(t)}, ok
	}
	e.value, e.hint = append(e.value[:0], s...), append(e.hint[:0], hint...)
	e.span, e.ok, e.used = sp, ok, true
	e.date = Date{Time: t}
	if ok {
		e.date.Text = text(t)
	}
	return &e.date, ok
}

func text(t time.Time) string { return t.Format(time.RFC3339Nano) }

// slot spreads texts by their ends, where the seconds often are, and their middles.
func slot(s string) int {
	h := uint32(len(s))
	for i := len(s) - 1; i >= 0 && i >= len(s)-20; i-- {
		h = h*31 + uint32(s[i])
	}
	return int((h ^ h>>15) & 63)
}
