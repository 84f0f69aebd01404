package dates

import (
	"fmt"
	"strings"
	"time"
)

// composites are directives that stand for several.
var composites = strings.NewReplacer("%T", "%H:%M:%S", "%D", "%m/%d/%y", "%F", "%Y-%m-%d", "%R", "%H:%M", "%c", "%a %b %e %H:%M:%S %Y", "%%", "%%")

// Strptime reads a date by a strptime format: %Y %y %m %d %e %j %b %B %h %a
// %A %H %k %I %l %M %S %f %L %p %z %Z %s %n %t %%, and the composites %T %D
// %F %R %c. Like C's, it takes numbers with fewer digits than the widest; %f
// and %L take a fraction of any length. A date without a year has year 0.
func Strptime(s, format string) (time.Time, error) {
	p := strptime{in: s, month: 1, day: 1, location: time.UTC, half: -1}
	for f := composites.Replace(format); f != ""; {
		switch {
		case f[0] == '%' && len(f) > 1:
			if !p.directive(f[1]) {
				return time.Time{}, fmt.Errorf("the date %q does not fit %%%c of the format %q", s, f[1], format)
			}
			f = f[2:]
		case f[0] == ' ':
			f, p.in = strings.TrimLeft(f, " "), strings.TrimLeft(p.in, " ")
		default:
			if p.in == "" || p.in[0] != f[0] {
				return time.Time{}, fmt.Errorf("the date %q does not fit the format %q", s, format)
			}
			f, p.in = f[1:], p.in[1:]
		}
	}
	if p.in != "" {
		return time.Time{}, fmt.Errorf("the date %q goes on with %q behind the format %q", s, p.in, format)
	}
	return p.time(s)
}

// strptime is the rest of the text and what was read of it.
type strptime struct {
	in                         string
	year, month, day, yearDay  int
	hour, minute, second, nano int
	half                       int // 0 am, 1 pm, -1 not given
	location                   *time.Location
	unix                       int64
	isUnix                     bool
}

func (p *strptime) time(s string) (time.Time, error) {
	if p.isUnix {
		return time.Unix(p.unix, int64(p.nano)).UTC(), nil
	}
	if p.half >= 0 {
		if p.hour < 1 || p.hour > 12 {
			return time.Time{}, fmt.Errorf("the date %q has a half of the day, but the hour %d", s, p.hour)
		}
		p.hour = p.hour%12 + 12*p.half
	}
	if p.yearDay > 0 {
		if p.yearDay == 366 && !isLeap(p.year) {
			return time.Time{}, fmt.Errorf("the date %q is day 366 of a year without it", s)
		}
		p.month, p.day = 1, p.yearDay
	} else if p.day > daysIn(time.Month(p.month), p.year) {
		return time.Time{}, fmt.Errorf("the date %q has a day that its month has not", s)
	}
	return time.Date(p.year, time.Month(p.month), p.day, p.hour, p.minute, p.second, p.nano, p.location), nil
}

func (p *strptime) directive(d byte) bool {
	switch d {
	case 'Y':
		return p.number(4, 0, 9999, &p.year)
	case 'y':
		if !p.number(2, 0, 99, &p.year) {
			return false
		}
		if p.year += 1900; p.year < 1969 { // as POSIX cuts the centuries
			p.year += 100
		}
		return true
	case 'm':
		return p.number(2, 1, 12, &p.month)
	case 'd', 'e':
		p.in = strings.TrimLeft(p.in, " ")
		return p.number(2, 1, 31, &p.day)
	case 'j':
		return p.number(3, 1, 366, &p.yearDay)
	case 'H', 'k', 'I', 'l':
		p.in = strings.TrimLeft(p.in, " ")
		return p.number(2, 0, 23, &p.hour)
	case 'M':
		return p.number(2, 0, 59, &p.minute)
	case 'S':
		return p.number(2, 0, 59, &p.second)
	case 'f', 'L', 'N':
		return p.fraction()
	case 'b', 'B', 'h':
		return p.word(monthNames[:], &p.month)
	case 'a', 'A':
		var ignored int
		return p.word(dayNames[:], &ignored)
	case 'p', 'P':
		if len(p.in) < 2 || p.in[1]|0x20 != 'm' || p.in[0]|0x20 != 'a' && p.in[0]|0x20 != 'p' {
			return false
		}
		p.half = 0
		if p.in[0]|0x20 == 'p' {
			p.half = 1
		}
		p.in = p.in[2:]
		return true
	case 'z':
		return p.zone()
	case 'Z':
		n := 0
		for n < len(p.in) && (p.in[n] >= 'A' && p.in[n] <= 'Z' || p.in[n] >= 'a' && p.in[n] <= 'z') {
			n++
		}
		p.in = p.in[n:] // abbreviations are ambiguous: only %z moves the time
		return n > 0
	case 's':
		return p.epoch()
	case 'n', 't':
		p.in = strings.TrimLeft(p.in, " \t\r\n")
		return true
	case '%':
		if !strings.HasPrefix(p.in, "%") {
			return false
		}
		p.in = p.in[1:]
		return true
	}
	return false
}

// number reads up to width digits.
func (p *strptime) number(width, lowest, highest int, into *int) bool {
	n, v := 0, 0
	for n < width && n < len(p.in) && p.in[n] >= '0' && p.in[n] <= '9' {
		v = v*10 + int(p.in[n]-'0')
		n++
	}
	if n == 0 || v < lowest || v > highest {
		return false
	}
	p.in, *into = p.in[n:], v
	return true
}

func (p *strptime) fraction() bool {
	n, v, scale := 0, 0, int(time.Second)
	for n < len(p.in) && p.in[n] >= '0' && p.in[n] <= '9' {
		if scale > 1 {
			scale /= 10
			v += int(p.in[n]-'0') * scale
		}
		n++
	}
	p.in, p.nano = p.in[n:], v
	return n > 0
}

func (p *strptime) epoch() bool {
	n := 0
	for n < len(p.in) && n < 12 && p.in[n] >= '0' && p.in[n] <= '9' {
		p.unix = p.unix*10 + int64(p.in[n]-'0')
		n++
	}
	p.in, p.isUnix = p.in[n:], true
	return n > 0
}

// zone reads Z, +hh, +hhmm or +hh:mm.
func (p *strptime) zone() bool {
	if strings.HasPrefix(p.in, "Z") {
		p.in = p.in[1:]
		return true
	}
	if p.in == "" || p.in[0] != '+' && p.in[0] != '-' {
		return false
	}
	negative := p.in[0] == '-'
	p.in = p.in[1:]
	var hours, minutes int
	if !p.number(2, 0, 23, &hours) {
		return false
	}
	p.in = strings.TrimPrefix(p.in, ":")
	p.number(2, 0, 59, &minutes)
	offset := hours*3600 + minutes*60
	if negative {
		offset = -offset
	}
	if offset != 0 {
		p.location = time.FixedZone("", offset)
	}
	return true
}

var monthNames = [...]string{"january", "february", "march", "april", "may", "june", "july",
	"august", "september", "october", "november", "december"}

var dayNames = [...]string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}

// word reads a name, whole or its first three letters, in any case.
func (p *strptime) word(names []string, into *int) bool {
	for i, name := range names {
		for _, length := range [2]int{len(name), 3} {
			if len(p.in) >= length && strings.EqualFold(p.in[:length], name[:length]) {
				p.in, *into = p.in[length:], i+1
				return true
			}
		}
	}
	return false
}
