package syslog

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// messages are what real programs send, and what lies beside it; with what they are read as.
var messages = []struct{ name, in, want string }{
	{"RFC 3164 with everything", "<34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed", "pri=34 stamp=Oct 11 22:14:15 host=mymachine app=su pid=12 text='su root' failed"},
	{"a day of one digit", "<34>Oct  1 22:14:15 m su: x", "pri=34 stamp=Oct  1 22:14:15 host=m app=su text=x"},
	{"a day with a zero", "<34>Oct 01 22:14:15 m su: x", "pri=34 stamp=Oct 01 22:14:15 host=m app=su text=x"},
	{"glibc's messages have no host", "<38>Nov 25 19:00:00 sshd[7]: Failed password", "pri=38 stamp=Nov 25 19:00:00 app=sshd pid=7 text=Failed password"},
	{"an IPv4 address as the host", "<38>Nov 25 19:00:00 192.0.2.1 sshd[7]: x y", "pri=38 stamp=Nov 25 19:00:00 host=192.0.2.1 app=sshd pid=7 text=x y"},
	{"an IPv6 address as the host", "<38>Nov 25 19:00:00 2001:db8::1 sshd[7]: x y", "pri=38 stamp=Nov 25 19:00:00 host=2001:db8::1 app=sshd pid=7 text=x y"},
	{"an IPv6 address and no tag", "<38>Nov 25 19:00:00 2001:db8::1 hello", "pri=38 stamp=Nov 25 19:00:00 host=2001:db8::1 text=hello"},
	{"rsyslog's precise time", "<38>2024-10-11T22:14:15.123456+02:00 web sshd[7]: x", "pri=38 stamp=2024-10-11T22:14:15.123456+02:00 host=web app=sshd pid=7 text=x"},
	{"fractions of a second", "<38>Oct 11 22:14:15.003 web sshd[7]: x", "pri=38 stamp=Oct 11 22:14:15.003 host=web app=sshd pid=7 text=x"},
	{"spaces behind the PRI", "<38>  Oct 11 22:14:15 web sshd[7]: x", "pri=38 stamp=Oct 11 22:14:15 host=web app=sshd pid=7 text=x"},
	{"no PRI", "Oct 11 22:14:15 web sshd[7]: x", "pri=-1 stamp=Oct 11 22:14:15 host=web app=sshd pid=7 text=x"},
	{"no tag", "<38>Oct 11 22:14:15 web some text", "pri=38 stamp=Oct 11 22:14:15 host=web text=some text"},
	{"what looks like a tag and is none", "<38>Oct 11 22:14:15 web a:b c", "pri=38 stamp=Oct 11 22:14:15 host=web text=a:b c"},
	{"control characters in the text", "<38>Oct 11 22:14:15 web app: a\x1b[31mb\x01\nc", "pri=38 stamp=Oct 11 22:14:15 host=web app=app text=a\x1b[31mb\x01\nc"},
	{"control characters behind no tag", "<38>Oct 11 22:14:15 web a\x1bb c", "pri=38 stamp=Oct 11 22:14:15 host=web text=a\x1bb c"},
	{"an absent host", "<38>Oct 11 22:14:15 - app: x", "pri=38 stamp=Oct 11 22:14:15 app=app text=x"},
	{"a day that no month has", "<38>Feb 30 22:14:15 web app: x", "none: pri=38 rest=Feb 30 22:14:15 web app: x"},
	{"no time", "<13>dropbear[12]: x", "none: pri=13 rest=dropbear[12]: x"},
	{"a PRI that is too high", "<192>Oct 11 22:14:15 web app: x", "none: pri=-1 rest=<192>Oct 11 22:14:15 web app: x"},
	{"nothing of syslog", "hello", "none: pri=-1 rest=hello"},
	{"only a PRI", "<13>", "none: pri=13 rest="},

	{"RFC 5424 with everything", `<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 ID47 [a@1 k="v" l="w"][b@1 k="x"] hello world`,
		"pri=165 stamp=2003-08-24T05:14:15.000003-07:00 host=192.0.2.1 app=myproc pid=8710 msgid=ID47 a@1.k=v a@1.l=w b@1.k=x text=hello world"},
	{"RFC 5424 with nothing", "<34>1 - - - - - -", "pri=34"},
	{"a byte order mark", "<34>1 2003-10-11T22:14:15.003Z m su - ID47 - \xEF\xBB\xBF'su root'", "pri=34 stamp=2003-10-11T22:14:15.003Z host=m app=su msgid=ID47 text='su root'"},
	{"escapes in structured data", `<34>1 - m su - - [a@1 k="say \"x\" \]"] t`, `pri=34 host=m app=su a@1.k=say "x" ] text=t`},
	{"an element without parameters", `<34>1 - m su - - [a@1] t`, `pri=34 host=m app=su text=t`},
	{"no text", `<34>1 - m su - - -`, `pri=34 host=m app=su`},
	{"control characters in the text", "<34>1 - m su - - - a\x01\nb", "pri=34 host=m app=su text=a\x01\nb"},
	{"an element twice", `<34>1 - m su - - [a k="1"][a k="2"] t`, `none: pri=34 rest=1 - m su - - [a k="1"][a k="2"] t`},
	{"a year without such a day", `<34>1 2023-02-29T00:00:00Z m su - - - t`, `none: pri=34 rest=1 2023-02-29T00:00:00Z m su - - - t`},
	{"a leap second", `<34>1 2016-12-31T23:59:60Z m su - - - t`, `none: pri=34 rest=1 2016-12-31T23:59:60Z m su - - - t`},
}

// show writes what is known of a message, for tables.
func show(m *message, read bool) string {
	if !read {
		return fmt.Sprintf("none: pri=%d rest=%s", m.pri, m.rest)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pri=%d", m.pri)
	for _, f := range []struct {
		name  string
		value []byte
	}{{"stamp", m.stamp}, {"host", m.host}, {"app", m.app}, {"pid", m.pid}, {"msgid", m.msgID}} {
		if f.value != nil {
			fmt.Fprintf(&b, " %s=%s", f.name, f.value)
		}
	}
	for _, p := range m.params {
		fmt.Fprintf(&b, " %s.%s=%s", p.id, p.name, p.value)
	}
	if len(m.text) > 0 {
		fmt.Fprintf(&b, " text=%s", m.text)
	}
	return b.String()
}

func TestMessagesAreTakenApart(t *testing.T) {
	p := newPlain()
	for _, c := range messages {
		t.Run(c.name, func(t *testing.T) {
			var m message
			ok := p.read(&m, []byte(c.in))
			if got := show(&m, ok); got != c.want {
				t.Errorf("%q is read as\n%s, want\n%s", c.in, got, c.want)
			}
		})
	}
}

// alike fails unless what fast reads, if it does, is what plain reads.
func alike(t *testing.T, p *plain, in []byte) (read bool) {
	t.Helper()
	var f, m message
	in = trim(in)
	if !f.fast(in) {
		return false
	}
	if !p.read(&m, in) {
		t.Fatalf("only fast reads %q: %s", in, show(&f, true))
	}
	a, b := ordered(&f), ordered(&m)
	if a != b || f.modern != m.modern || !bytes.Equal(f.tail, m.tail) || !bytes.Equal(f.rest, m.rest) {
		t.Fatalf("%q is read as\n%s, tail %q, but plainly as\n%s, tail %q", in, a, f.tail, b, m.tail)
	}
	return true
}

// ordered is show with the parameters in plain's order: by name, the last of each.
func ordered(m *message) string {
	at := make(map[string][]byte)
	for _, p := range m.params {
		at[string(p.id)+"\x00"+string(p.name)] = p.value
	}
	plainly := *m
	plainly.params = nil
	return fmt.Sprintf("%s %q", show(&plainly, true), fmt.Sprint(at))
}

func TestFastReadsAsPlainDoes(t *testing.T) {
	p := newPlain()
	n := 0
	for _, c := range messages {
		if alike(t, p, []byte(c.in)) {
			n++
		}
	}
	if n < 14 {
		t.Errorf("fast reads only %d of %d messages", n, len(messages))
	}
}

func FuzzFastReadsAsPlainDoes(f *testing.F) {
	for _, c := range messages {
		f.Add([]byte(c.in))
	}
	p := newPlain()
	f.Fuzz(func(t *testing.T, in []byte) { alike(t, p, in) })
}
