package dates

import (
	"testing"
	"time"
)

var reference = time.Date(2025, time.June, 15, 12, 0, 0, 0, time.UTC)

func TestParse(t *testing.T) {
	tests := []struct {
		name, value, hint string
		want              string // RFC 3339, "" for no date
	}{
		{"the date of web servers", "10/Oct/2023:13:55:36 -0700", "", "2023-10-10T13:55:36-07:00"},
		{"the same in UTC", "10/Oct/2023:13:55:36 +0000", "", "2023-10-10T13:55:36Z"},
		{"RFC 3339", "2024-02-29T23:59:59Z", "", "2024-02-29T23:59:59Z"},
		{"RFC 3339 with a fraction keeps it", "2024-02-05T12:01:51.892+02:00", "", "2024-02-05T12:01:51.892+02:00"},
		{"syslog takes the year of the reference", "May  3 04:05:06", "", "2025-05-03T04:05:06Z"},
		{"syslog with a day of two digits", "May 13 04:05:06", "", "2025-05-13T04:05:06Z"},
		{"syslog with a fraction", "May  3 04:05:06.123", "", "2025-05-03T04:05:06.123Z"},
		{"the date of C's asctime", "Tue May  7 10:11:12 2019", "", "2019-05-07T10:11:12Z"},
		{"the error log of Apache", "Tue May 07 10:11:12.123456 2019", "", "2019-05-07T10:11:12.123456Z"},
		{"a month before the day, with slashes", "02/01/2021 03:04:05", "", "2021-02-01T03:04:05Z"},
		{"with offset and zone", "2021-03-04 05:06:07.5 +0200 CEST", "", "2021-03-04T05:06:07.5+02:00"},
		{"a day alone", "2021-03-04", "", "2021-03-04T00:00:00Z"},
		{"a day alone with slashes", "2021/03/04", "", "2021-03-04T00:00:00Z"},
		{"no seconds", "2021/03/04 05:06", "", "2021-03-04T05:06:00Z"},
		{"nginx's error log", "2021/03/04 05:06:07", "", "2021-03-04T05:06:07Z"},
		{"a space for the T", "2021-03-04 05:06:07", "", "2021-03-04T05:06:07Z"},
		{"no zone", "2021-03-04T05:06:07.25", "", "2021-03-04T05:06:07.25Z"},
		{"seconds since 1970", "1700000000", "", "2023-11-14T22:13:20Z"},
		{"seconds with a fraction, which is cut", "1700000000.987", "", "2023-11-14T22:13:20Z"},
		{"milliseconds since 1970", "1700000000123", "", "2023-11-14T22:13:20.123Z"},
		{"microseconds since 1970", "1700000000123456", "", "2023-11-14T22:13:20.123456Z"},
		{"nanoseconds since 1970", "1700000000123456789", "", "2023-11-14T22:13:20.123456789Z"},
		{"a Go layout", "231114 01:02:03", "060102 15:04:05", "2023-11-14T01:02:03Z"},
		{"a Go layout without a year", "0314 01:02:03", "0102 15:04:05", "2025-03-14T01:02:03Z"},
		{"a Go layout that does not fit gives way", "2021-03-04", "15:04", "2021-03-04T00:00:00Z"},
		{"a strptime format", "14.11.2023 01h02", "%d.%m.%Y %Hh%M", "2023-11-14T01:02:00Z"},
		{"a strptime format without a year", "14/Mar 01:02:03", "%d/%b %T", "2025-03-14T01:02:03Z"},
		{"30 February is none", "30/Feb/2023:13:55:36 +0000", "", ""},
		{"zero is none", "0", "", ""},
		{"nothing is none", "", "", ""},
		{"NUL is none", "\x00\x00", "", ""},
		{"words are none", "yesterday at noon, roughly", "", ""},
		{"bytes that are no UTF-8", "\xff\xfe/\xfa\xff/2023:13:55:36 +0000", "", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var p Parser
			for range 2 { // the second comes from the memory
				d, ok := p.Parse(tc.value, tc.hint, reference)
				if ok != (tc.want != "") || ok && d.Text != tc.want {
					t.Fatalf("got %q, %v; want %q", d.Text, ok, tc.want)
				}
			}
		})
	}
}

func TestYearOfDatesWithoutOne(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	tests := []struct{ name, value, reference, want string }{
		{"the old year's last line arrives in the new", "Dec 31 23:59:59", "2026-01-01T00:00:05Z", "2025-12-31T23:59:59Z"},
		{"the new year's first line arrives in the old", "Jan  1 00:00:02", "2025-12-31T23:59:58Z", "2026-01-01T00:00:02Z"},
		{"a local time ahead of UTC", "Jan  1 13:00:00", "2025-12-31T23:30:00Z", "2026-01-01T13:00:00Z"},
		{"more than a day ahead is last year", "Jun 17 00:00:00", "2025-06-15T12:00:00Z", "2024-06-17T00:00:00Z"},
		{"months ago", "Aug  1 00:00:00", "2025-06-15T12:00:00Z", "2024-08-01T00:00:00Z"},
		{"a leap day in a leap year", "Feb 29 10:00:00", "2024-03-01T00:00:00Z", "2024-02-29T10:00:00Z"},
		{"a leap day read later", "Feb 29 10:00:00", "2026-03-01T00:00:00Z", "2024-02-29T10:00:00Z"},
		{"a leap day across 1900's gap", "Feb 29 10:00:00", "2103-03-01T00:00:00Z", "2096-02-29T10:00:00Z"},
		{"the reference's zone does not matter", "Dec 31 23:59:59", "2026-01-01T03:00:00+05:00", "2025-12-31T23:59:59Z"},
	}
	var p Parser // one memory for all: results depend on the reference
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			d, ok := p.Parse(tc.value, "", at(tc.reference))
			if !ok || d.Text != tc.want {
				t.Errorf("got %q, %v; want %q", d.Text, ok, tc.want)
			}
			if plain, ok := Parse(tc.value, "", at(tc.reference)); !ok || !plain.Equal(d.Time) {
				t.Errorf("the memory gives %v, a fresh look %v", d.Time, plain)
			}
		})
	}
}

func TestStrptime(t *testing.T) {
	tests := []struct{ name, value, format, want string }{
		{"the ISO date", "2023-01-02 03:04:05", "%Y-%m-%d %H:%M:%S", "2023-01-02T03:04:05Z"},
		{"the composites", "2023-01-02T03:04:05", "%FT%T", "2023-01-02T03:04:05Z"},
		{"names in full and short, any case", "TUESDAY 02 jan 2023", "%A %d %B %Y", "2023-01-02T00:00:00Z"},
		{"May is as long as its short form", "May 5 2023", "%b %e %Y", "2023-05-05T00:00:00Z"},
		{"a padded day", "Jan  2 2023", "%b %e %Y", "2023-01-02T00:00:00Z"},
		{"half past noon", "12:30 pm", "%I:%M %p", "0000-01-01T12:30:00Z"},
		{"half past midnight", "12:30 AM", "%I:%M %p", "0000-01-01T00:30:00Z"},
		{"a zone with a colon", "2023-01-02 +05:30", "%Y-%m-%d %z", "2023-01-02T00:00:00+05:30"},
		{"a zone without", "2023-01-02 -0800", "%Y-%m-%d %z", "2023-01-02T00:00:00-08:00"},
		{"Z is UTC", "2023-01-02Z", "%Y-%m-%d%z", "2023-01-02T00:00:00Z"},
		{"a fraction", "03:04:05,123456789123", "%H:%M:%S,%f", "0000-01-01T03:04:05.123456789Z"},
		{"a year of two digits before the turn", "99-12-31", "%y-%m-%d", "1999-12-31T00:00:00Z"},
		{"a year of two digits after it", "23-12-31", "%y-%m-%d", "2023-12-31T00:00:00Z"},
		{"the day of the year", "2024 366", "%Y %j", "2024-12-31T00:00:00Z"},
		{"seconds since 1970", "1700000000.5", "%s.%f", "2023-11-14T22:13:20.5Z"},
		{"a percent sign", "5% 2023", "%d%% %Y", "2023-01-05T00:00:00Z"},
		{"a day too many", "2023 366", "%Y %j", ""},
		{"a day that the month has not", "2023-04-31", "%F", ""},
		{"more text than format", "2023-01-02 x", "%F", ""},
		{"less text than format", "2023-01", "%F", ""},
		{"an unknown directive", "2023", "%Q", ""},
		{"hour 13 in the afternoon", "13:00 pm", "%I:%M %p", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Strptime(tc.value, tc.format)
			if (err == nil) != (tc.want != "") {
				t.Fatalf("got %v, %v; want %q", got, err, tc.want)
			}
			if err == nil && got.Format(time.RFC3339Nano) != tc.want {
				t.Errorf("got %s, want %s", got.Format(time.RFC3339Nano), tc.want)
			}
		})
	}
}

// slow is the plain path that parse must equal: every layout, in order.
func slow(s string, reference time.Time) (time.Time, bool) {
	for i := range layouts {
		v, err := time.ParseInLocation(layouts[i].text, s, time.UTC)
		if v, _, ok := settle(v, err == nil, reference); ok {
			return v, true
		}
	}
	return unix(s)
}

func compare(t *testing.T, s string) {
	t.Helper()
	want, wantOK := slow(s, reference)
	got, ok := Parse(s, "", reference)
	if ok != wantOK || ok && got.Format(time.RFC3339Nano) != want.Format(time.RFC3339Nano) {
		t.Errorf("%q: got %v, %v; the layouts in order give %v, %v", s, got, ok, want, wantOK)
	}
}

func TestFastEqualsSlow(t *testing.T) {
	seeds := []string{
		"10/Oct/2023:13:55:36 -0700", "29/Feb/2023:00:00:00 +0000", "29/Feb/2024:23:59:59 +2359", "01/Jan/0000:00:00:00 +0000",
		"01/Jan/2023:24:00:00 +0000", "01/Jan/2023:00:00:60 +0000", "01/Jan/2023:00:00:00 +2400", "01/jan/2023:00:00:00 +0000",
		"Jan  2 03:04:05", "Jan 12 03:04:05", "Feb 29 03:04:05", "Feb 30 03:04:05", "Jan 00 03:04:05", "Jan  0 03:04:05", "JAN  2 03:04:05",
		"2023-01-02T03:04:05Z", "2023-01-02 03:04:05", "2023/01/02 03:04", "Mon Jan 2 03:04:05 2023", "1700000000",
	}
	for _, s := range seeds {
		compare(t, s)
		for i := range len(s) { // every byte, replaced by some
			for _, c := range []byte("0 9:/-+.aZ\x00\xff") {
				compare(t, s[:i]+string([]byte{c})+s[i+1:])
			}
			compare(t, s[:i])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("10/Oct/2023:13:55:36 -0700", "")
	f.Add("Jan  2 03:04:05", "%b %e %T")
	f.Add("2023-01-02T03:04:05.5Z", "2006-01-02")
	f.Fuzz(func(t *testing.T, s, hint string) {
		compare(t, s)
		var p Parser
		first, ok1 := p.Parse(s, hint, reference)
		kept := *first
		second, ok2 := p.Parse(s, hint, reference)
		if ok1 != ok2 || ok1 && (kept.Text != second.Text || !kept.Time.Equal(second.Time)) {
			t.Errorf("%q: the memory gives %v, first it was %v", s, second, kept)
		}
	})
}

func TestSeenDatesCostNoAllocation(t *testing.T) {
	var p Parser
	values := []string{"10/Oct/2023:13:55:36 -0700", "Jan  2 03:04:05", "2023-01-02T03:04:05Z", "no date"}
	for _, v := range values {
		p.Parse(v, "", reference)
	}
	if n := testing.AllocsPerRun(100, func() {
		for _, v := range values {
			p.Parse(v, "", reference)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkParse(b *testing.B) {
	for name, v := range map[string]string{"http": "10/Oct/2023:13:55:36 -0700", "syslog": "Jan  2 03:04:05", "iso": "2023-01-02 03:04:05"} {
		b.Run(name+"/seen", func(b *testing.B) {
			var p Parser
			for b.Loop() {
				p.Parse(v, "", reference)
			}
		})
		b.Run(name+"/new", func(b *testing.B) {
			for b.Loop() {
				Parse(v, "", reference)
			}
		})
	}
}
