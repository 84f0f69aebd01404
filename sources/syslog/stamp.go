package syslog

import (
	"bytes"
	"net/netip"
	"time"
)

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// bsdStampLen returns the length of the time that RFC 3164 messages begin
// with, "Oct 11 22:14:15" or, as many daemons send it, an RFC 3339 one; 0 when
// it is neither.
func bsdStampLen(b []byte) int {
	if len(b) > 0 && isDigit(b[0]) {
		n := bytes.IndexByte(b, ' ')
		if n < 0 || !isTimestamp(b[:n]) {
			return 0
		}
		return n
	}
	if len(b) < len(time.Stamp) || !isBSDStamp(b[:len(time.Stamp)]) {
		return 0
	}
	return len(time.Stamp)
}

// isBSDStamp tells whether a text of 15 bytes is a time such as "Oct  1 22:14:15";
// the day may also have a zero before it. February may have 29 days.
func isBSDStamp(b []byte) bool {
	month := bytes.Index([]byte(months), b[:3])
	if month < 0 || month%3 != 0 || b[3] != ' ' || b[6] != ' ' || !isDigit(b[5]) {
		return false
	}
	day := int(b[5] - '0')
	if isDigit(b[4]) {
		day += 10 * int(b[4]-'0')
	} else if b[4] != ' ' {
		return false
	}
	return day >= 1 && day <= daysIn(month/3+1, 2000) && isClock(b[7:])
}

// isTimestamp tells whether a text is a TIMESTAMP of RFC 5424:
// 2003-10-11T22:14:15.003+02:00, with up to six digits of a second's fraction.
func isTimestamp(b []byte) bool {
	if len(b) < len("2003-10-11T22:14:15Z") || b[4] != '-' || b[7] != '-' || b[10] != 'T' || !isClock(b[11:19]) {
		return false
	}
	year, ok1 := number(b[:4])
	month, ok2 := number(b[5:7])
	day, ok3 := number(b[8:10])
	if !ok1 || !ok2 || !ok3 || month < 1 || month > 12 || day < 1 || day > daysIn(month, year) {
		return false
	}
	b = b[19:]
	if b[0] == '.' {
		n := 1
		for n < len(b) && isDigit(b[n]) {
			n++
		}
		if n == 1 || n > 7 {
			return false
		}
		b = b[n:]
	}
	if len(b) == 1 {
		return b[0] == 'Z'
	}
	if len(b) != len("+02:00") || b[0] != '+' && b[0] != '-' || b[3] != ':' {
		return false
	}
	hour, ok1 := number(b[1:3])
	minute, ok2 := number(b[4:6])
	return ok1 && ok2 && hour < 24 && minute < 60
}

// isClock tells whether a text of 8 bytes is a time of day.
func isClock(b []byte) bool {
	hour, ok1 := number(b[:2])
	minute, ok2 := number(b[3:5])
	second, ok3 := number(b[6:8])
	return ok1 && ok2 && ok3 && b[2] == ':' && b[5] == ':' && hour < 24 && minute < 60 && second < 60
}

func number(b []byte) (n int, ok bool) {
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

func daysIn(month, year int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// isIPv6 tells whether a host that holds a colon is an address.
func isIPv6(b []byte) bool {
	if len(b) > 64 {
		return false
	}
	a, err := netip.ParseAddr(string(b))
	return err == nil && a.Is6()
}

// dated gives a time without a year and zone both: the zone is the configured
// one, and the year is that which brings the time nearest to its receipt.
func dated(stamp []byte, zone *time.Location, received time.Time) (time.Time, bool) {
	text := string(stamp)
	if len(text) > 4 && text[4] == '0' {
		text = text[:4] + " " + text[5:]
	}
	t, err := time.Parse(time.Stamp, text)
	if err != nil {
		return time.Time{}, false
	}
	var best time.Time
	for year := received.Year() - 1; year <= received.Year()+1; year++ {
		c := time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone)
		if best.IsZero() || c.Sub(received).Abs() < best.Sub(received).Abs() {
			best = c
		}
	}
	return best, true
}
