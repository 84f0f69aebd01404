package objects

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// cutAll cuts a text and returns its records; a "…" is behind one that was cut.
func cutAll(s splitter) (out []string, times []time.Time, err error) {
	for {
		p, err := s.next()
		if err == io.EOF {
			return out, times, nil
		}
		if err != nil {
			return out, times, err
		}
		text := string(p.value)
		if p.size > len(p.value) {
			text += fmt.Sprintf("…%d", p.size)
		}
		out, times = append(out, text), append(times, p.time)
	}
}

// readers give a text in portions of several sizes.
func readers(text string) map[string]func() io.Reader {
	return map[string]func() io.Reader{
		"whole":       func() io.Reader { return strings.NewReader(text) },
		"by bytes":    func() io.Reader { return iotest.OneByteReader(strings.NewReader(text)) },
		"by halves":   func() io.Reader { return iotest.HalfReader(strings.NewReader(text)) },
		"with an EOF": func() io.Reader { return iotest.DataErrReader(strings.NewReader(text)) },
	}
}

func TestLinesAreCut(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"lines", "a\nbc\n", `["a" "bc"]`},
		{"the last needs no end", "a\nb", `["a" "b"]`},
		{"a CR before the end is dropped, empty lines are none", "a\r\n\r\n\nb\r", `["a" "b"]`},
		{"nothing", "", `[]`},
		{"one line end", "\n", `[]`},
		{"as long as is allowed", "abcdefgh\nabcdefgh", `["abcdefgh" "abcdefgh"]`},
		{"as long as is allowed with a CR", "abcdefgh\r\nx\n", `["abcdefgh" "x"]`},
		{"too long by one", "abcdefghi\nx", `["abcdefgh…9" "x"]`},
		{"much too long", strings.Repeat("x", 3*readSize) + "\ny", fmt.Sprintf(`["xxxxxxxx…%d" "y"]`, 3*readSize)},
		{"too long, and the last", strings.Repeat("x", 3*readSize), fmt.Sprintf(`["xxxxxxxx…%d"]`, 3*readSize)},
	} {
		for how, r := range readers(c.text) {
			got, _, err := cutAll(newLines(r(), 8))
			if err != nil || fmt.Sprintf("%q", got) != c.want {
				t.Errorf("%s, %s: %q, %v; want %s", c.name, how, got, err, c.want)
			}
		}
	}
}

func TestEntriesAreCut(t *testing.T) {
	long := `{"a":"` + strings.Repeat("x", 3*readSize) + `"}`
	for _, c := range []struct {
		name, text, want string
		bad              string
	}{
		{name: "as they stand there", text: ` { "Records" : [ {"a": [1, {"b":"]}"}]} , {"c":"\"}\\"} ] } `, want: `["{\"a\": [1, {\"b\":\"]}\"}]}" "{\"c\":\"\\\"}\\\\\"}"]`},
		{name: "none", text: `{"Records":[]}`, want: `[]`},
		{name: "members around are passed over", text: `{"x":{"Records":[{}]},"y":[1,"[",{"a":2}],"z":-1.5e+3,"w":null,"Records":[{"k":1}],"v":"\"}"}`, want: `["{\"k\":1}"]`},
		{name: "Records, written otherwise", text: `{"\u0052ecords":[{}]}`, want: `["{}"]`},
		{name: "the name as a value is none", text: `{"a":"Records","Records":[{}]}`, want: `["{}"]`},
		{name: "too long ones are passed over", text: `{"Records":[{"k":1},` + long + `,{"k":2}]}`, want: fmt.Sprintf(`["{\"k\":1}" "{\"a\":\"xxxxxxxxxxxxxxxxxx…%d" "{\"k\":2}"]`, len(long))},

		{name: "no Records", text: `{"a":1}`, want: `[]`, bad: "no array Records"},
		{name: "Records that are no array", text: `{"Records":{}}`, want: `[]`, bad: "no array Records"},
		{name: "an empty file", text: ``, want: `[]`, bad: "ends too early"},
		{name: "no object", text: `[{}]`, want: `[]`, bad: "begins with '['"},
		{name: "it ends within the Records", text: `{"Records":[{"k":1},`, want: `["{\"k\":1}"]`, bad: "ends too early"},
		{name: "it ends within a record", text: `{"Records":[{"k":1},{"k":`, want: `["{\"k\":1}"]`, bad: "ends too early"},
		{name: "it ends behind the Records", text: `{"Records":[{"k":1}]`, want: `["{\"k\":1}"]`, bad: "ends too early"},
		{name: "an element that is no object", text: `{"Records":[{"k":1},2]}`, want: `["{\"k\":1}"]`, bad: "an element of Records"},
		{name: "a comma too many", text: `{"Records":[{"k":1},]}`, want: `["{\"k\":1}"]`, bad: "an element of Records"},
		{name: "a comma too few", text: `{"Records":[{"k":1} {}]}`, want: `["{\"k\":1}"]`, bad: "where a comma should"},
		{name: "brackets that do not match", text: `{"Records":[{"k":[}]}`, want: `[]`, bad: "did not open"},
		{name: "text behind the end", text: `{"Records":[{"k":1}]}{}`, want: `["{\"k\":1}"]`, bad: "behind its end"},
		{name: "no colon", text: `{"Records"[]}`, want: `[]`, bad: "where a colon should"},
		{name: "a name that is none", text: `{1:[]}`, want: `[]`, bad: "where a name should"},
		{name: "nested without end", text: `{"Records":[` + strings.Repeat(`{"a":`, maxDepth+1), want: `[]`, bad: "nests more than"},
		{name: "an array that never ends", text: `{"x":` + strings.Repeat("[", maxDepth+1), want: `[]`, bad: "nests more than"},
	} {
		for how, r := range readers(c.text) {
			got, _, err := cutAll(newEntries(r(), 24))
			if fmt.Sprintf("%q", got) != c.want || (err == nil) != (c.bad == "") || err != nil && !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%s, %s: %.200q, %v\nwant %s, %s", c.name, how, got, err, c.want, c.bad)
			}
			if err != nil && !errors.Is(err, errFormat) {
				t.Errorf("%s: %v is no fault of the format", c.name, err)
			}
		}
	}
}

func TestEntriesTellTheirTime(t *testing.T) {
	for _, c := range []struct{ name, entry, want string }{
		{"as CloudTrail writes it", `{"userIdentity":{"eventTime":"2020-01-01T00:00:00Z"},"eventTime":"2024-05-01T12:00:00Z","z":1}`, "2024-05-01T12:00:00Z"},
		{"with white space", `{ "eventTime" : "2024-05-01T12:00:00Z" }`, "2024-05-01T12:00:00Z"},
		{"as a value it is none", `{"a":"eventTime","b":"2024-05-01T12:00:00Z"}`, ""},
		{"in an array it is none", `{"a":["eventTime","2024-05-01T12:00:00Z"]}`, ""},
		{"a number is none", `{"eventTime":1714564800,"b":"2024-05-01T12:00:00Z"}`, ""},
		{"an object is none", `{"eventTime":{"x":"2024-05-01T12:00:00Z"},"b":"2024-05-01T12:00:00Z"}`, ""},
		{"text is none", `{"eventTime":"noon"}`, ""},
	} {
		for how, r := range readers(`{"Records":[` + c.entry + `]}`) {
			_, times, err := cutAll(newEntries(r(), 1<<20))
			if err != nil || len(times) != 1 {
				t.Fatal(c.name, how, err)
			}
			got := ""
			if !times[0].IsZero() {
				got = times[0].Format(time.RFC3339)
			}
			if got != c.want {
				t.Errorf("%s, %s: %s, want %s", c.name, how, got, c.want)
			}
		}
	}
}

// entriesOf is how encoding/json reads a file of CloudTrail.
func entriesOf(text []byte) (out []string, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("no object")
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		var list []json.RawMessage
		if name == "Records" && value[0] == '[' && json.Unmarshal(value, &list) == nil {
			for _, e := range list {
				if e[0] != '{' {
					return nil, errors.New("an element is no object")
				}
				out = append(out, string(e))
			}
		}
	}
	return out, nil
}

func FuzzEntries(f *testing.F) {
	for _, s := range []string{
		`{"Records":[{"a":[1,2,{"b":"\"}"}]},{}]}`, `{"Records":[{"eventTime":"2024-05-01T12:00:00Z"}],"x":1}`, `{"x":-1e5,"Records":[]}`,
		`{"a":"Records","Records":[{}],"Records":[{"z":null}]}`, `{"\u0052ecords":[{"\u0065ventTime":"x"}]}`, `{"Records":[{"a":"` + strings.Repeat("y", 200) + `"}]}`,
	} {
		f.Add([]byte(s), 50)
	}
	f.Fuzz(func(t *testing.T, text []byte, step int) {
		got, _, err := cutAll(newEntries(&stepReader{text, max(1, step)}, 1<<20))
		again, _, err2 := cutAll(newEntries(bytes.NewReader(text), 1<<20))
		if fmt.Sprint(got, err) != fmt.Sprint(again, err2) {
			t.Fatalf("in steps of %d: %q, %v\nat once: %q, %v", step, got, err, again, err2)
		}
		if err != nil && !errors.Is(err, errFormat) {
			t.Fatalf("%v is no fault of the format", err)
		}
		short, _, _ := cutAll(newEntries(bytes.NewReader(text), 8))
		if len(short) != len(got) {
			t.Fatalf("%d records when long ones are cut, and %d when they are not", len(short), len(got))
		}
		if !json.Valid(text) {
			return
		}
		want, jerr := entriesOf(text)
		if jerr != nil {
			return
		}
		if err == nil && fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("records %q\nwant    %q", got, want)
		}
		if err != nil && len(want) > 0 && !strings.Contains(err.Error(), "nests more") {
			t.Fatalf("encoding/json reads %q; the error is %v", want, err)
		}
	})
}

// stepReader reads in steps of one size.
type stepReader struct {
	text []byte
	step int
}

func (s *stepReader) Read(b []byte) (int, error) {
	if len(s.text) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), s.step)], s.text)
	s.text = s.text[n:]
	return n, nil
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\n\nb"), 1, 5)
	f.Fuzz(func(t *testing.T, text []byte, step, limit int) {
		limit = 1 + max(limit, -limit)%64
		got, _, err := cutAll(newLines(&stepReader{text, max(1, step)}, limit))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, line := range strings.Split(string(text), "\n") {
			short := strings.TrimSuffix(line, "\r")
			switch {
			case short == "":
			case len(short) <= limit:
				want = append(want, short)
			default: // whether a CR counts for the length of one that is cut is nobody's concern
				want = append(want, short[:limit])
			}
		}
		for i := range got {
			got[i], _, _ = strings.Cut(got[i], "…")
		}
		if strings.Contains(string(text), "…") {
			return
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("lines %q\nwant  %q", got, want)
		}
	})
}

// cloudTrailEntry is about as long as most are.
const cloudTrailEntry = `{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","arn":"arn:aws:iam::123456789012:user/u","accountId":"123456789012"},` +
	`"eventTime":"2023-04-12T14:53:45Z","eventSource":"s3.amazonaws.com","eventName":"ListBuckets","awsRegion":"eu-west-1","sourceIPAddress":"1.2.3.4",` +
	`"userAgent":"[aws-cli/1.27.74 Python/3.9.15 Linux/6.1.0-6-amd64 botocore/1.29.74]","requestParameters":{"Host":"s3.eu-west-1.amazonaws.com"},"eventID":"19974c80"}`

func BenchmarkEntries(b *testing.B) {
	text := `{"Records":[` + strings.Repeat(cloudTrailEntry+",", 999) + cloudTrailEntry + `]}`
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		s := newEntries(strings.NewReader(text), 1<<20)
		n := 0
		for {
			if _, err := s.next(); err != nil {
				break
			}
			n++
		}
		if n != 1000 {
			b.Fatal(n)
		}
	}
}

// endless is a text without an end of anything, so many bytes of it.
type endless struct {
	head string
	left int
}

func (e *endless) Read(b []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := copy(b, e.head)
	e.head = e.head[n:]
	for i := n; i < len(b); i++ {
		b[i] = 'x'
	}
	e.left -= len(b)
	return len(b), nil
}

func TestWhatHasNoEndTakesBoundedMemory(t *testing.T) {
	const size, limit = 64 << 20, 1 << 20
	l := newLines(&endless{"", size}, limit)
	e := newEntries(&endless{`{"Records":[{"a":"`, size}, limit)
	p, err := l.next()
	if err != nil || len(p.value) != limit || p.size < size {
		t.Errorf("a line of %d bytes, cut to %d: %v", p.size, len(p.value), err)
	}
	if _, err := e.next(); !errors.Is(err, errFormat) {
		t.Errorf("an entry without an end: %v", err)
	}
	for _, n := range []int{cap(l.in.buf), cap(e.in.buf)} {
		if n > 4*limit {
			t.Errorf("%d bytes are held of one that may have %d", n, limit)
		}
	}
}
