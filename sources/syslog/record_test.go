package syslog

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func formOf(t testing.TB, change func(*Config)) *form {
	t.Helper()
	c := Default()
	if change != nil {
		change(&c)
	}
	f, err := newForm(&c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func received() time.Time { return time.Date(2026, 3, 1, 10, 0, 0, 5000, time.UTC) }

// TestRecordsOfMessages holds what records hold, for each way to emit, to the golden file.
func TestRecordsOfMessages(t *testing.T) {
	var out bytes.Buffer
	for _, c := range messages {
		fmt.Fprintf(&out, "%s\n  %q\n", c.name, c.in)
		for _, emit := range []string{emitLine, emitMessage, emitNoPRI, emitRaw} {
			r := newRecorder(formOf(t, func(c *Config) { c.Emit = emit }))
			b := new(batches).take()
			if o := r.add(b, []byte(c.in), []byte("2001:db8::9"), received()); o != added {
				fmt.Fprintf(&out, "  %-8s nothing (%d)\n", emit, o)
				continue
			}
			fmt.Fprintf(&out, "  %-8s %q\n", emit, b.records[0].Value)
			if emit == emitLine {
				for _, h := range b.records[0].Headers {
					fmt.Fprintf(&out, "    %s=%q\n", h.Key, h.Value)
				}
			}
		}
	}
	golden := filepath.Join("testdata", "records.golden")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("records are not those of %s; look at the difference and run with -update:\n%s", golden, out.Bytes())
	}
}

func TestTimesWithoutAZoneGetTheConfiguredOne(t *testing.T) {
	for _, c := range []struct{ name, stamp, received, want string }{
		{"winter", "Jan  5 10:00:00", "2026-01-05T09:00:01Z", "2026-01-05T10:00:00.000000+01:00"},
		{"summer", "Jul  5 10:00:00", "2026-07-05T08:00:01Z", "2026-07-05T10:00:00.000000+02:00"},
		{"last year's message", "Dec 31 23:59:59", "2026-12-31T23:00:00Z", "2026-12-31T23:59:59.000000+01:00"},
		{"received after midnight", "Dec 31 23:59:59", "2027-01-01T00:00:02Z", "2026-12-31T23:59:59.000000+01:00"},
		{"a clock that is ahead over midnight", "Jan  1 00:00:01", "2026-12-31T22:00:00Z", "2027-01-01T00:00:01.000000+01:00"},
		{"a day with a zero", "Jan 05 10:00:00", "2026-01-05T09:00:01Z", "2026-01-05T10:00:00.000000+01:00"},
		{"fractions", "Jan  5 10:00:00.25", "2026-01-05T09:00:01Z", "2026-01-05T10:00:00.250000+01:00"},
		{"a time with a zone stays as it is", "2026-01-05T10:00:00Z", "2026-01-05T09:00:01Z", "2026-01-05T10:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecorder(formOf(t, func(c *Config) { c.Timezone = "Europe/Berlin" }))
			at, err := time.Parse(time.RFC3339, c.received)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second one is remembered
				b := new(batches).take()
				r.add(b, []byte("<13>"+c.stamp+" web app: x"), nil, at)
				if got, want := string(b.records[0].Value), c.want+" web app: x"; got != want {
					t.Errorf("line %q, want %q", got, want)
				}
			}
		})
	}
}

func TestMessagesOfNeitherRFCCanBeDropped(t *testing.T) {
	r := newRecorder(formOf(t, func(c *Config) { c.Malformed = malformedDrop }))
	b := new(batches).take()
	if o := r.add(b, []byte("hello"), nil, received()); o != malformed || len(b.records) != 0 {
		t.Errorf("outcome %d, %d records", o, len(b.records))
	}
}

func TestHeadersCanBeLeftOut(t *testing.T) {
	r := newRecorder(formOf(t, func(c *Config) { c.Headers = []string{"severity"} }))
	b := new(batches).take()
	r.add(b, []byte(`<165>1 - web app 7 ID47 [a@1 k="v"] x`), []byte("192.0.2.1"), received())
	h := b.records[0].Headers
	if len(h) != 1 || h[0].Key != "severity" || string(h[0].Value) != "notice" {
		t.Errorf("headers = %v", h)
	}
}

func TestABatchIsFullAndALongMessageHasItsOwn(t *testing.T) {
	r := newRecorder(formOf(t, nil))
	pool := &batches{poison: true}
	b := pool.take()
	msg := []byte("<13>Oct 11 22:14:15 web app[7]: " + string(bytes.Repeat([]byte("x"), 500)))
	n := 0
	for r.add(b, msg, nil, received()) == added {
		n++
	}
	if n < 30 || n > batchRecords || len(b.text) > batchBytes {
		t.Errorf("%d records, %d bytes", n, len(b.text))
	}
	for i, rec := range b.records {
		if !bytes.Equal(rec.Value, msg[4:]) {
			t.Fatalf("record %d is %q", i, rec.Value)
		}
	}
	value := b.records[0].Value
	b.release()
	if bytes.Equal(value, msg[4:]) {
		t.Error("memory that was given back is not overwritten in tests")
	}
	long := append(msg, bytes.Repeat([]byte("y"), 2*batchBytes)...)
	b = pool.take()
	if o := r.add(b, long, nil, received()); o != added || !bytes.Equal(b.records[0].Value, long[4:]) {
		t.Errorf("a long message: outcome %d", o)
	}
	b.release()
	if b = pool.take(); cap(b.text) != batchBytes {
		t.Errorf("%d bytes are kept of a long message", cap(b.text))
	}
}

func TestTheUsualMessagesAllocateNothing(t *testing.T) {
	r := newRecorder(formOf(t, nil))
	pool := &batches{}
	b := pool.take()
	peer := []byte("192.0.2.1")
	for _, c := range messages[:2] {
		msg := []byte(c.in)
		r.add(b, msg, peer, received())
		if n := testing.AllocsPerRun(100, func() {
			b.records, b.headers, b.text = b.records[:0], b.headers[:0], b.text[:0]
			r.add(b, msg, peer, received())
		}); n > 0 {
			t.Errorf("%s: %v allocations a message", c.name, n)
		}
	}
}

// FuzzRecords holds that no message breaks anything, that records do not
// overlap, and that none has a header that is empty.
func FuzzRecords(f *testing.F) {
	for _, c := range messages {
		f.Add([]byte(c.in), []byte(messages[0].in))
	}
	forms := []*form{formOf(f, nil), formOf(f, func(c *Config) { c.Timezone = "Europe/Berlin" }), formOf(f, func(c *Config) { c.Emit = emitMessage })}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		for _, form := range forms {
			r := newRecorder(form)
			b := new(batches).take()
			var want [][]byte
			for _, msg := range [][]byte{one, two} {
				if r.add(b, msg, []byte("192.0.2.1"), received()) == added {
					want = append(want, bytes.Clone(b.records[len(b.records)-1].Value))
				}
			}
			for i, rec := range b.records {
				if !bytes.Equal(rec.Value, want[i]) {
					t.Fatalf("record %d was %q and is %q", i, want[i], rec.Value)
				}
				for _, h := range rec.Headers {
					if h.Key == "" || len(h.Value) == 0 {
						t.Fatalf("header %q is %q", h.Key, h.Value)
					}
				}
			}
		}
	})
}
