package docker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func framed(stream byte, text string) string {
	return string(binary.BigEndian.AppendUint32([]byte{stream, 0, 0, 0}, uint32(len(text)))) + text
}

const at = "2024-05-01T12:00:00.000000001Z"

func TestLogsAreTakenApart(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		tty  bool
		want []string
		err  string
	}{
		"nothing":                        {"", false, nil, ""},
		"two streams":                    {framed(1, at+" a\n") + framed(2, at+" b\n"), false, []string{"stdout a", "stderr b"}, ""},
		"several lines of a frame":       {framed(1, at+" a\n"+at+" b\n"), false, []string{"stdout a", "stdout b"}, ""},
		"streams within one another":     {framed(1, at+" a") + framed(2, at+" b\n") + framed(1, at+" c\n"), false, []string{"stderr b", "stdout ac"}, ""},
		"an empty line":                  {framed(1, at+" \n"), false, []string{"stdout "}, ""},
		"a time alone":                   {framed(1, at+"\n"), false, []string{"stdout "}, ""},
		"a further frame without a time": {framed(1, at+" a") + framed(1, " word more\n"), false, []string{"stdout a word more"}, ""},
		"a further frame of one word":    {framed(1, at+" a") + framed(1, "word\n"), false, []string{"stdout aword"}, ""},
		"a further frame of a long word": {framed(1, at+" a") + framed(1, strings.Repeat("x", 60)+"\n"), false, []string{"stdout a" + strings.Repeat("x", 60)}, ""},
		"a carriage return":              {framed(1, at+" a\r\n"), false, []string{"stdout a"}, ""},
		"a line without an end":          {framed(1, at+" a\n"+at+" b"), false, []string{"stdout a", "stdout b"}, ""},
		"a time without an end":          {framed(1, at+" a\n2024"), false, []string{"stdout a"}, ""},
		"a line longer than the limit":   {framed(1, at+" "+strings.Repeat("x", 9000)+"\n"+at+" b\n"), false, []string{"stdout " + strings.Repeat("x", 100) + " cut", "stdout b"}, ""},
		"an empty frame":                 {framed(1, "") + framed(1, at+" a\n"), false, []string{"stdout a"}, ""},
		"a terminal":                     {at + " a\r\n" + at + " b\r\n", true, []string{"tty a", "tty b"}, ""},
		"a terminal's line without end":  {at + " a\r\n" + at + " b", true, []string{"tty a", "tty b"}, ""},
		"a terminal's line in pieces":    {at + " a" + at + " b" + at + " \r\n", true, []string{"tty ab"}, ""},
		"a terminal's line in pieces, by whole seconds": {
			"2024-05-01T12:00:00Z a 2024-05-01T12:00:00Z b2024-05-01T12:00:01Z \r\n", true, []string{"tty a 2024-05-01T12:00:00Z b"}, "",
		},
		"a time that a program writes": {
			at + " 2024-05-01T12:00:00.000000000Z a 2024-05-01T11:59:59.999999999Z b\r\n", true,
			[]string{"tty 2024-05-01T12:00:00.000000000Z a 2024-05-01T11:59:59.999999999Z b"}, "",
		},
		"the end within a head":       {"\x01\x00", false, nil, "within a frame"},
		"the end within a frame":      {framed(1, at+" a\n")[:20], false, nil, "within a frame"},
		"a stream that is none":       {framed(7, at+" a\n"), false, nil, "begins no frame"},
		"no head":                     {"hello world", false, nil, "begins no frame"},
		"no time":                     {framed(1, "hello world\n"), false, nil, "is no time"},
		"a time before all computers": {framed(1, "0001-01-01T00:00:00Z a\n"), false, nil, "is no time"},
		"an error of the engine":      {framed(3, "out of disk"), false, nil, "out of disk"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.text), iotest.OneByteReader(strings.NewReader(c.text))} {
				got, err := all(r, c.tty, 100)
				if fmt.Sprint(got) != fmt.Sprint(c.want) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %.200q, %v; want %.200q, %q", got, err, c.want, c.err)
				}
			}
		})
	}
}

func all(r io.Reader, tty bool, max int) (got []string, err error) {
	l := newLineReader(r, tty, max)
	each := func(line logLine) error {
		text := line.stream + " " + string(line.text)
		if line.cut {
			text += " cut"
		}
		if len(line.text) > max || line.at.IsZero() {
			return errors.New("out of bounds: " + text)
		}
		got = append(got, text)
		return nil
	}
	if err = l.read(each); err == nil {
		err = l.rest(each)
	}
	return got, err
}

// FuzzLog feeds any bytes: the reader ends, keeps to its bounds, and it does
// not matter in which pieces they come.
func FuzzLog(f *testing.F) {
	f.Add([]byte(framed(1, at+" a\n")+framed(2, at+" b\n")), false)
	f.Add([]byte(framed(1, at+" a")+framed(1, at+" b\n")), false)
	f.Add([]byte(at+" a\r\n"), true)
	f.Add([]byte("\x01\x00\x00\x00\xff\xff\xff\xff"+at+" a\n"), false)
	f.Fuzz(func(t *testing.T, data []byte, tty bool) {
		whole, err := all(bytes.NewReader(data), tty, 50)
		if err != nil && strings.Contains(err.Error(), "out of bounds") {
			t.Fatal(err)
		}
		pieces, errPieces := all(iotest.OneByteReader(bytes.NewReader(data)), tty, 50)
		if fmt.Sprint(whole) != fmt.Sprint(pieces) || (err == nil) != (errPieces == nil) {
			t.Fatalf("whole %q, %v; in pieces %q, %v", whole, err, pieces, errPieces)
		}
	})
}

func TestPlacesAreReadAsWritten(t *testing.T) {
	p := &place{since: 5, count: 2, newest: 7, last: 0xabc}
	got, err := parsePlace(p.String())
	if err != nil || got.String() != p.String() {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "1 2 3", "1 2 3 x", "1 -2 3 4", "1 2 3 4 5", "a 2 3 4"} {
		if _, err := parsePlace(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func FuzzPlace(f *testing.F) {
	f.Add("1714564800000000000 3 1714564801000000000 ff")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePlace(text)
		if err != nil {
			return
		}
		again, err := parsePlace(p.String())
		if err != nil || again.String() != p.String() {
			t.Fatalf("%q, %v", p, err)
		}
	})
}

// TestPlacesStayBounded takes many lines, whose times are all different, and all alike.
func TestPlacesStayBounded(t *testing.T) {
	begin := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	for name, step := range map[string]time.Duration{"different times": time.Nanosecond, "one time": 0, "slow": 700 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			p := placeAt(begin)
			for i := range 200_000 {
				p.take(&logLine{at: begin.Add(time.Duration(i) * step), text: []byte("x")})
				if len(p.seconds) > 3 {
					t.Fatalf("%d seconds are remembered", len(p.seconds))
				}
			}
			// All lines of since and later come again, and are known.
			q, err := parsePlace(p.String())
			if err != nil {
				t.Fatal(err)
			}
			q.begin()
			for i := range 200_000 {
				line := &logLine{at: begin.Add(time.Duration(i) * step), text: []byte("x")}
				if line.at.Unix() < q.since {
					continue
				}
				if taken, gap := q.taken(line); !taken || gap {
					t.Fatalf("line %d: taken %v, gap %v", i, taken, gap)
				}
			}
			if taken, gap := q.taken(&logLine{at: begin.Add(200_000 * step), text: []byte("x")}); taken || gap {
				t.Errorf("a new line: taken %v, gap %v", taken, gap)
			}
		})
	}
}

func BenchmarkLog(b *testing.B) {
	text := []byte(strings.Repeat(framed(1, at+` 192.0.2.1 - - [01/May/2024:12:00:00 +0000] "GET /index.html HTTP/1.1" 200 612 "-" "curl/8.0"`+"\n"), 1000))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		p := &place{}
		if err := newLineReader(bytes.NewReader(text), false, 1<<20).read(func(l logLine) error {
			p.take(&l)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*1000)/b.Elapsed().Seconds(), "lines/s")
}
