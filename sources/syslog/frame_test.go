package syslog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// split gives a framer a stream in the given pieces, as a connection does, and
// lists what it found. It fails when more is kept than may be.
func split(t *testing.T, f *framer, stream []byte, sizes func() int) (found []string) {
	t.Helper()
	var rest []byte
	for len(stream) > 0 || sizes != nil {
		n := len(stream)
		if sizes != nil {
			n = min(n, sizes())
		}
		rest = append(rest, stream[:n]...)
		stream = stream[n:]
		last := len(stream) == 0
		for {
			msg, done, e := f.next(rest, last)
			if done > len(rest) || e != more && e != broken && done == 0 {
				t.Fatalf("of %q %d bytes are done with, and found is %d", rest, done, e)
			}
			rest = rest[done:]
			switch e {
			case whole:
				found = append(found, string(trim(msg)))
			case shorter:
				found = append(found, string(trim(msg))+"…")
			case refused:
				found = append(found, "refused")
			case broken:
				return append(found, "broken")
			}
			if e == more {
				break
			}
		}
		if len(rest) > f.limit+maxCount+2 {
			t.Fatalf("%d bytes are kept, with a limit of %d", len(rest), f.limit)
		}
		if last {
			break
		}
	}
	return found
}

func TestFrames(t *testing.T) {
	for _, c := range []struct {
		name, framing string
		cut           bool
		in            string
		want          []string
	}{
		{"lines", framingAuto, true, "<1>a\n<2>b\r\n\n<3>c\n", []string{"<1>a", "<2>b", "<3>c"}},
		{"the last line has no end", framingAuto, true, "<1>a\n<2>b", []string{"<1>a", "<2>b"}},
		{"octet counts", framingAuto, true, "4 <1>a6 <2>b\nc4 <3>d", []string{"<1>a", "<2>b\nc", "<3>d"}},
		{"both by turns", framingAuto, true, "4 <1>a<2>b\n4 <3>c", []string{"<1>a", "<2>b", "<3>c"}},
		{"octet counts with line ends between", framingAuto, true, "4 <1>a\n4 <2>b\n", []string{"<1>a", "<2>b"}},
		{"a line that begins with a number", framingAuto, true, "2024 hello\n12 monkeys\n", []string{"2024 hello", "12 monkeys"}},
		{"a line of digits", framingAuto, true, "1234567890\n12\n", []string{"1234567890", "12"}},
		{"a number at the end", framingAuto, true, "12", []string{"12"}},
		{"a count that is too small", framingAuto, true, "3 <1>a4 <2>b", []string{"<1>", "broken"}},
		{"a count that is too large", framingAuto, true, "6 <1>a4 <2>b\n", []string{"<1>a4 ", "<2>b"}},
		{"the stream ends inside a counted message", framingAuto, true, "9 <1>a", nil},
		{"only octet counts", framingOctet, true, "4 <1>a5 hello<2>b\n", []string{"<1>a", "hello", "broken"}},
		{"a count of ten digits", framingOctet, true, "1234567890 <1>a", []string{"broken"}},
		{"a count without a space", framingOctet, true, "12<1>a", []string{"broken"}},
		{"only lines", framingNewline, true, "4 <1>a\n", []string{"4 <1>a"}},
		{"a long line is cut", framingAuto, true, "<1>abcdefghijkl\n<2>b\n", []string{"<1>abcdefg…", "<2>b"}},
		{"a long line is refused", framingAuto, false, "<1>abcdefghijkl\n<2>b\n", []string{"refused", "<2>b"}},
		{"a very long line is cut once", framingAuto, true, "<1>" + strings.Repeat("x", 100) + "\n<2>b\n", []string{"<1>xxxxxxx…", "<2>b"}},
		{"a line as long as may be", framingAuto, true, "<1>abcdefg\r\n<2>b\n", []string{"<1>abcdefg", "<2>b"}},
		{"a long counted message is cut", framingAuto, true, "12 <1>abcdefghi4 <2>b", []string{"<1>abcdefg…", "<2>b"}},
		{"a long counted message is refused", framingAuto, false, "12 <1>abcdefghi4 <2>b", []string{"refused", "<2>b"}},
		{"a counted message as long as may be", framingAuto, true, "10 <1>abcdefg4 <2>b", []string{"<1>abcdefg", "<2>b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, sizes := range map[string]func() int{
				"at once": nil, "a byte at a time": func() int { return 1 }, "in pieces of 3": func() int { return 3 },
			} {
				f := &framer{framing: c.framing, limit: 10, cut: c.cut}
				if got := split(t, f, []byte(c.in), sizes); !slices.Equal(got, c.want) {
					t.Errorf("%s: %q is read as %q, want %q", name, c.in, got, c.want)
				}
			}
		})
	}
}

// FuzzFrames holds that where a stream is cut into reads makes no difference,
// and that no more than a message is kept.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{"4 <1>a<2>b\n12 <1>abcdefghi", "9999 <1>\n\n\x00<1>", "<1>abcdefghijklmnop\r\n3 <", "12 monkeys\n4 <1>a"} {
		f.Add([]byte(s), uint64(1), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, cut bool) {
		for _, framing := range []string{framingAuto, framingOctet, framingNewline} {
			r := rand.New(rand.NewPCG(seed, 0))
			one := split(t, &framer{framing: framing, limit: 10, cut: cut}, in, nil)
			two := split(t, &framer{framing: framing, limit: 10, cut: cut}, in, func() int { return 1 + r.IntN(7) })
			if !slices.Equal(one, two) {
				t.Fatalf("%s: %q is read as %q at once, as %q in pieces", framing, in, one, two)
			}
		}
	})
}

// FuzzCountedFramesComeBack holds that counted messages of any bytes come out as they went in.
func FuzzCountedFramesComeBack(f *testing.F) {
	f.Add([]byte("<1>a\n"), []byte("<2>"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if len(a) == 0 || len(b) == 0 {
			return
		}
		stream := fmt.Appendf(nil, "%d %s%d %s", len(a), a, len(b), b)
		fr := &framer{framing: framingOctet, limit: 1 << 20, cut: true}
		for _, want := range [][]byte{a, b} {
			msg, done, e := fr.next(stream, false)
			if e != whole || !bytes.Equal(msg, want) {
				t.Fatalf("found %d, %q, want %q", e, msg, want)
			}
			stream = stream[done:]
		}
	})
}
