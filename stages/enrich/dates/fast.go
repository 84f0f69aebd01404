package dates

import "time"

// fast reads the commonest shapes by hand: "02/Jan/2006:15:04:05 -0700" of
// web servers and "Jan _2 15:04:05" of syslog (year 0). ok is false for
// whatever is not plainly of these shapes; the layouts then decide. Its plain
// counterpart is time.ParseInLocation: TestFastEqualsSlow and FuzzParse.
func fast(s string) (time.Time, bool) {
	switch {
	case len(s) == 26 && s[2] == '/' && s[6] == '/' && s[11] == ':' && s[20] == ' ':
		return fastHTTP(s)
	case len(s) == 15 && s[3] == ' ' && s[6] == ' ':
		return fastSyslog(s)
	}
	return time.Time{}, false
}

func fastHTTP(s string) (time.Time, bool) {
	day, ok1 := digits2(s, 0)
	month, ok2 := monthOf(s[3:6])
	y1, ok3 := digits2(s, 7)
	y2, ok4 := digits2(s, 9)
	zh, ok5 := digits2(s, 22)
	zm, ok6 := digits2(s, 24)
	sign := s[21]
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || sign != '+' && sign != '-' || zh > 23 || zm > 59 {
		return time.Time{}, false
	}
	loc := time.UTC
	if offset := zh*3600 + zm*60; offset != 0 {
		if sign == '-' {
			offset = -offset
		}
		loc = time.FixedZone("", offset)
	}
	return assemble(y1*100+y2, month, day, s[12:20], loc)
}

func fastSyslog(s string) (time.Time, bool) {
	month, ok := monthOf(s[:3])
	if !ok {
		return time.Time{}, false
	}
	day, ok := 0, false
	if s[4] == ' ' {
		day, ok = int(s[5]-'0'), s[5] >= '0' && s[5] <= '9'
	} else {
		day, ok = digits2(s, 4)
	}
	if !ok {
		return time.Time{}, false
	}
	return assemble(0, month, day, s[7:15], time.UTC)
}

// assemble adds the clock "15:04:05" and checks the ranges.
func assemble(year int, month time.Month, day int, clock string, loc *time.Location) (time.Time, bool) {
	hour, ok1 := digits2(clock, 0)
	minute, ok2 := digits2(clock, 3)
	second, ok3 := digits2(clock, 6)
	if !ok1 || !ok2 || !ok3 || clock[2] != ':' || clock[5] != ':' ||
		hour > 23 || minute > 59 || second > 59 || day < 1 || day > daysIn(month, year) {
		return time.Time{}, false
	}
	return time.Date(year, month, day, hour, minute, second, 0, loc), true
}

func daysIn(m time.Month, year int) int {
	switch m {
	case time.February:
		if isLeap(year) {
			return 29
		}
		return 28
	case time.April, time.June, time.September, time.November:
		return 30
	}
	return 31
}

func digits2(s string, at int) (int, bool) {
	a, b := s[at]-'0', s[at+1]-'0'
	return int(a)*10 + int(b), a <= 9 && b <= 9
}

func monthOf(s string) (time.Month, bool) {
	switch s {
	case "Jan":
		return time.January, true
	case "Feb":
		return time.February, true
	case "Mar":
		return time.March, true
	case "Apr":
		return time.April, true
	case "May":
		return time.May, true
	case "Jun":
		return time.June, true
	case "Jul":
		return time.July, true
	case "Aug":
		return time.August, true
	case "Sep":
		return time.September, true
	case "Oct":
		return time.October, true
	case "Nov":
		return time.November, true
	case "Dec":
		return time.December, true
	}
	return 0, false
}
