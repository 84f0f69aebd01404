package duration

import (
	"testing"
	"time"
)

func TestDurationsMayHaveDays(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"4h": 4 * time.Hour, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour,
	} {
		if got, err := Parse(in); err != nil || got != want {
			t.Errorf("%s gives %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "4", "d", "-1d", "1d2", "week", "1e9d", "NaNd", "infd", "36500d2500000h", "1d-12h", "1d+1h", "1d2d"} {
		if got, err := Parse(in); err == nil {
			t.Errorf("%q gives %v; want an error", in, got)
		}
	}
	for in, want := range map[string]string{
		"yesterday": `duration "yesterday": want something like 4h, 30m or 7d`,
		"1e9d":      `duration "1e9d": 1e9 days are not between 0 and 36500`,
	} {
		if _, err := Parse(in); err == nil || err.Error() != want {
			t.Errorf("%q fails with %v; want %s", in, err, want)
		}
	}
}
