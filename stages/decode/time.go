package decode

import (
	"math"
	"time"
)

// parseTime reads an envelope's time: RFC 3339, or Unix time with or without
// a fraction, in the unit that puts it into our age.
func parseTime(b []byte) (time.Time, bool) {
	if len(b) == 0 {
		return time.Time{}, false
	}
	if len(b) > 4 && b[4] == '-' {
		t, err := time.Parse(time.RFC3339Nano, alias(b))
		return t, err == nil
	}
	return parseUnix(b)
}

// parseUnix reads digits and a fraction exactly, without floating point:
// 1700000000.123456789 keeps its nanoseconds. Forms with an exponent are no times.
func parseUnix(b []byte) (time.Time, bool) {
	var whole int64
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if whole > (math.MaxInt64-9)/10 {
			return time.Time{}, false
		}
		whole = whole*10 + int64(b[i]-'0')
	}
	if i == 0 {
		return time.Time{}, false
	}
	var nanos, unit int64 = 0, 1e8
	if i < len(b) && b[i] == '.' {
		for i++; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
			nanos += int64(b[i]-'0') * unit
			unit /= 10
		}
	}
	if i != len(b) {
		return time.Time{}, false
	}
	switch {
	case whole < 1e11: // seconds, to the year 5138
		return time.Unix(whole, nanos).UTC(), true
	case whole < 1e14:
		return time.Unix(whole/1e3, whole%1e3*1e6+nanos/1e3).UTC(), true
	case whole < 1e17:
		return time.UnixMicro(whole).UTC(), true
	}
	return time.Unix(0, whole).UTC(), true
}
