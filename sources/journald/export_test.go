package journald

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestEntriesAreTakenApart(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, c := range map[string]struct {
		text string
		want []string // cursor: fields
		err  string
	}{
		"nothing":               {"", nil, "EOF"},
		"text and other fields": {export(1, "MESSAGE", "a=b", "OTHER", "x", "_PID", "7"), []string{"s=1;i=1: MESSAGE=a=b _PID=7"}, "EOF"},
		"bytes of any kind":     {export(1, "MESSAGE", "two\nlines \x00\xff", "OTHER", "\n"), []string{"s=1;i=1: MESSAGE=two\nlines \x00\xff"}, "EOF"},
		"an empty message":      {export(1, "MESSAGE", ""), []string{"s=1;i=1: "}, "EOF"},
		"two of one name":       {export(1, "MESSAGE", "a", "MESSAGE", "b"), []string{"s=1;i=1: MESSAGE=a"}, "EOF"},
		"lines longer than the buffer": {
			export(1, "OTHER", long, "MESSAGE", long) + export(2, "MESSAGE", long[:10]),
			[]string{"s=1;i=1: MESSAGE=" + long[:50] + " cut", "s=1;i=2: MESSAGE=" + long[:10]}, "EOF",
		},
		"binary longer than the limit": {
			export(1, "MESSAGE", "\n"+long), []string{"s=1;i=1: MESSAGE=\n" + long[:49] + " cut"}, "EOF",
		},
		"empty lines between":      {"\n\n" + export(1, "MESSAGE", "a") + "\n", []string{"s=1;i=1: MESSAGE=a"}, "EOF"},
		"the end within a name":    {export(1, "MESSAGE", "a") + "__CUR", []string{"s=1;i=1: MESSAGE=a"}, "unexpected EOF"},
		"the end within a value":   {"__CURSOR=s=1", nil, "unexpected EOF"},
		"the end within an entry":  {"__CURSOR=s=1\nMESSAGE=a\n", nil, "unexpected EOF"},
		"the end within a length":  {"MESSAGE\n\x01\x00", nil, "unexpected EOF"},
		"the end within bytes":     {"MESSAGE\n\x05\x00\x00\x00\x00\x00\x00\x00ab", nil, "unexpected EOF"},
		"a length that is too big": {"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffab", nil, "not journalctl's export format"},
		"a length that is wrong":   {"MESSAGE\n\x01\x00\x00\x00\x00\x00\x00\x00ab\n", nil, "longer than it says"},
		"no cursor":                {"MESSAGE=a\n\n", nil, "no __CURSOR"},
		"a time that is none":      {"__CURSOR=a\n__REALTIME_TIMESTAMP=soon\n\n", nil, "no time"},
		"another format":           {"May 01 12:00:00 web sshd[7]: x\n", nil, "not journalctl's export format"},
		"a name without an end":    {long, nil, "not journalctl's export format"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(c.text), iotest.OneByteReader(strings.NewReader(c.text))} {
				d := newDecoder(r, []string{"MESSAGE", "_PID"}, 50)
				var got []string
				var err error
				for {
					var e *entry
					if e, err = d.next(); err != nil {
						break
					}
					var b strings.Builder
					for _, f := range e.fields {
						fmt.Fprintf(&b, " %s=%s", f.name, f.value)
					}
					if e.cut {
						b.WriteString(" cut")
					}
					got = append(got, e.cursor+": "+strings.TrimPrefix(b.String(), " "))
				}
				if strings.Join(got, "|") != strings.Join(c.want, "|") || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %.200q, %v; want %.200q, %s", got, err, c.want, c.err)
				}
			}
		})
	}
}

func TestLinesAreThoseOfASyslogDaemon(t *testing.T) {
	for name, c := range map[string]struct {
		fields []string
		want   string
	}{
		"a daemon":            {[]string{"SYSLOG_IDENTIFIER", "sshd", "_COMM", "sshd-session", "_PID", "7", "SYSLOG_PID", "6", "_HOSTNAME", "web"}, "2024-05-01T12:00:01.000001Z web sshd[7]: m"},
		"without a pid":       {[]string{"SYSLOG_IDENTIFIER", "kernel", "_HOSTNAME", "web"}, "2024-05-01T12:00:01.000001Z web kernel: m"},
		"by syslog alone":     {[]string{"SYSLOG_IDENTIFIER", "su", "SYSLOG_PID", "6", "_HOSTNAME", "web"}, "2024-05-01T12:00:01.000001Z web su[6]: m"},
		"by the command":      {[]string{"_COMM", "cron", "_HOSTNAME", "web"}, "2024-05-01T12:00:01.000001Z web cron: m"},
		"nothing":             {nil, "2024-05-01T12:00:01.000001Z localhost unknown: m"},
		"the program's time":  {[]string{"_SOURCE_REALTIME_TIMESTAMP", "1714564799123456", "_HOSTNAME", "web", "_COMM", "x"}, "2024-05-01T11:59:59.123456Z web x: m"},
		"a time that is none": {[]string{"_SOURCE_REALTIME_TIMESTAMP", "soon", "_HOSTNAME", "web", "_COMM", "x"}, "2024-05-01T12:00:01.000001Z web x: m"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := newDecoder(strings.NewReader(export(1, append(c.fields, "MESSAGE", "m")...)), keptFields, 100).next()
			if err != nil {
				t.Fatal(err)
			}
			if got := string(line(e, e.realtime, e.get("MESSAGE"))); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// FuzzExport feeds any bytes: the decoder ends, keeps to its bounds, and reads
// what it has read the same when it is written again.
func FuzzExport(f *testing.F) {
	f.Add([]byte(export(1, "MESSAGE", "a") + export(2, "MESSAGE", "b\nc", "_PID", "1")))
	f.Add([]byte("__CURSOR=1\nMESSAGE\n\x03\x00\x00\x00\x00\x00\x00\x00abc\n\n"))
	f.Add([]byte("MESSAGE\n\xff\xff\xff\x00\x00\x00\x00\x00a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 100
		d := newDecoder(bytes.NewReader(data), keptFields, limit)
		for {
			e, err := d.next()
			if err != nil {
				if err == nil || errors.Is(err, io.ErrNoProgress) {
					t.Fatal(err)
				}
				return
			}
			if e.cursor == "" || len(e.get("MESSAGE")) > limit {
				t.Fatalf("%+v", e)
			}
			at := e.realtime
			if at.IsZero() {
				at = time.Unix(0, 0)
			}
			if l := line(e, at, e.get("MESSAGE")); !bytes.HasSuffix(l, e.get("MESSAGE")) {
				t.Fatalf("%q", l)
			}
		}
	})
}

func BenchmarkExport(b *testing.B) {
	const entries = 1000
	text := bytes.Repeat([]byte(export(1, "SYSLOG_IDENTIFIER", "sshd", "_PID", "7", "_HOSTNAME", "web", "MESSAGE", "Failed password for root from 192.0.2.1 port 4242 ssh2")), entries)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		d := newDecoder(bytes.NewReader(text), keptFields, 1<<20)
		for {
			e, err := d.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			line(e, e.realtime, e.get("MESSAGE"))
		}
	}
	b.ReportMetric(float64(b.N*entries)/b.Elapsed().Seconds(), "entries/s")
}
