package duration

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse reads a Go duration that may begin with days, such as 4h, 7d or 1d12h.
func Parse(s string) (time.Duration, error) {
	var days time.Duration
	rest := s
	if n, after, ok := strings.Cut(s, "d"); ok {
		d, err := strconv.ParseFloat(n, 64)
		if err == nil && !(d >= 0 && d <= 36500) { // NaN is neither
			return 0, fmt.Errorf("duration %q: %s days are not between 0 and 36500", s, n)
		}
		if err != nil {
			return 0, fmt.Errorf("duration %q: want something like 4h, 30m or 7d", s)
		}
		days, rest = time.Duration(d*24*float64(time.Hour)), after
		if rest == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(rest)
	signed := strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+")
	if err != nil || rest != s && (signed || days+d < days) { // the sum may be more than 292 years
		return 0, fmt.Errorf("duration %q: want something like 4h, 30m or 7d", s)
	}
	return days + d, nil
}
