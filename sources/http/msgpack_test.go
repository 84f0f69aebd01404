package http

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"sluice/pipeline"
)

// eventAt writes what Fluent Bit writes before an event's map.
func eventAt(at time.Time, metadata bool) []byte {
	var b []byte
	b = msgp.AppendArrayHeader(b, 2)
	if metadata {
		b = msgp.AppendArrayHeader(b, 2)
	}
	s, n := uint32(at.Unix()), uint32(at.Nanosecond())
	b = append(b, 0xd7, 0, byte(s>>24), byte(s>>16), byte(s>>8), byte(s), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	if metadata {
		b = msgp.AppendMapHeader(b, 1)
		b = msgp.AppendString(b, "otlp")
		b = msgp.AppendMapStrStr(b, map[string]string{"x": "y"})
	}
	return b
}

// mapOf writes a map of pairs.
func mapOf(pairs ...any) []byte {
	b := msgp.AppendMapHeader(nil, uint32(len(pairs)/2))
	for _, v := range pairs {
		b, _ = msgp.AppendIntf(b, v)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestMessagePack(t *testing.T) {
	w := listening(t, nil)
	at := time.Date(2026, 11, 25, 19, 0, 0, 681, time.UTC)
	const now, then = "2024-05-01T12:00:00Z", "2026-11-25T19:00:00.000000681Z"
	array := func(n uint32) []byte { return msgp.AppendArrayHeader(nil, n) }
	for _, c := range []struct {
		name string
		body []byte
		want []string
	}{
		{"nothing", nil, nil},
		{"Fluent Bit 2 and newer", join(eventAt(at, true), mapOf("log", "first"), eventAt(at, true), mapOf("log", "second", "n", 2)),
			[]string{then + ` | {"log":"first"}`, then + ` | {"log":"second","n":2}`}},
		{"Fluent Bit 1", join(eventAt(at, false), mapOf("log", "first")), []string{then + ` | {"log":"first"}`}},
		{"seconds", join(array(2), msgp.AppendInt64(nil, at.Unix()), mapOf("a", 1)), []string{`2026-11-25T19:00:00Z | {"a":1}`}},
		{"parts of seconds", join(array(2), msgp.AppendFloat64(nil, 1.5), mapOf("a", 1)), []string{`1970-01-01T00:00:01.5Z | {"a":1}`}},
		{"a map", mapOf("a", 1), []string{now + ` | {"a":1}`}},
		{"an array of maps", join(array(3), mapOf("a", 1), mapOf(), mapOf("b", nil)), []string{now + ` | {"a":1}`, now + ` | {}`, now + ` | {"b":null}`}},
		{"an array of two maps", join(array(2), mapOf("a", 1), mapOf("b", 2)), []string{now + ` | {"a":1}`, now + ` | {"b":2}`}},
		{"an array of events", join(array(1), eventAt(at, true), mapOf("a", 1)), []string{then + ` | {"a":1}`}},
		{"an empty array", array(0), nil},
		{"all kinds", mapOf("i", -1, "u", uint64(math.MaxUint64), "f", 1.5, "g", float32(0.25), "t", true, "n", nil, "b", []byte("bin\x00"), "s", "ü\"\\\n\xff",
			"a", []any{1, []any{}, map[string]any{}}, "nan", math.NaN()),
			[]string{now + ` | {"i":-1,"u":18446744073709551615,"f":1.5,"g":0.25,"t":true,"n":null,"b":"bin\u0000","s":"ü\"\\\n\ufffd","a":[1,[],{}],"nan":null}`}},
		{"keys that are no strings", join(msgp.AppendMapHeader(nil, 3), msgp.AppendInt(nil, 7), msgp.AppendInt(nil, 1), msgp.AppendBool(nil, true),
			msgp.AppendInt(nil, 2), array(1), msgp.AppendString(nil, "x"), msgp.AppendInt(nil, 3)), []string{now + ` | {"7":1,"true":2,"[\"x\"]":3}`}},
		{"extensions", join(msgp.AppendMapHeader(nil, 2), msgp.AppendString(nil, "t"), eventAt(at, false)[1:], msgp.AppendString(nil, "e"), []byte{0xc7, 3, 9, 1, 2, 3}),
			[]string{now + ` | {"t":"` + then + `","e":"extension 9 of 3 bytes"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, said := w.post("/ingest", c.body, "Content-Type", "application/msgpack")
			if status != 200 {
				t.Fatalf("answered %d %s", status, said)
			}
			got := w.take()
			for i := range got {
				var value string
				head, quoted, _ := strings.Cut(got[i], " | ")
				if _, err := fmt.Sscanf(quoted, "%q", &value); err != nil {
					t.Fatal(err)
				}
				if !json.Valid([]byte(value)) {
					t.Errorf("%s is no JSON", value)
				}
				got[i] = strings.TrimPrefix(head, "/ingest ") + " | " + value
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	deep := func(n int) []byte { return join(mapOf("a", 1)[:3], bytes.Repeat([]byte{0x91}, n), []byte{0xc0}) }
	for _, c := range []struct {
		name string
		body []byte
		want string
	}{
		{"a number", []byte{1}, "event 1 of the MessagePack: it is neither a map nor a time and a map"},
		{"an array of numbers", join(array(2), []byte{1, 2}), "event 1 of the MessagePack: it is neither"},
		{"an event without a map", join(eventAt(at, true), mapOf("a", 1), eventAt(at, true), []byte{0xc0}), "event 2 of the MessagePack: it is neither"},
		{"a map that ends early", mapOf("a", "hello")[:5], "event 1 of the MessagePack: "},
		{"an array that ends early", join(array(5), mapOf("a", 1)), "event 2 of the MessagePack: "},
		{"an event that ends early", eventAt(at, true)[:9], "event 1 of the MessagePack: "},
		{"a length that is a lie", []byte{0x81, 0xa1, 'a', 0xdd, 0xff, 0xff, 0xff, 0xff}, "event 1 of the MessagePack: "},
		{"a byte that is none", []byte{0x81, 0xa1, 'a', 0xc1}, "event 1 of the MessagePack: "},
		{"deep nesting", deep(200), "it nests deeper than 128"},
		{"deeper nesting", bytes.Repeat([]byte{0x91}, 100_000), "event 1 of the MessagePack: "},
		{"deeper nesting in metadata", join([]byte{0x92, 0x92, 1, 0x81}, bytes.Repeat([]byte{0x81}, 100_000)), "event 1 of the MessagePack: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, said := w.post("/ingest", c.body, "Content-Type", "application/msgpack"); status != 400 || !strings.Contains(said, c.want) {
				t.Errorf("answered %d %s, want %s", status, said, c.want)
			}
			if got := w.take(); got != nil {
				t.Errorf("took %q", got)
			}
		})
	}
}

// FuzzMessagePack compares with what the library makes of a body.
func FuzzMessagePack(f *testing.F) {
	d := newDecoder(f)
	f.Add(join(eventAt(time.Unix(1e9, 1), true), mapOf("a", []any{1, "x", nil, 1.5, true, []byte("x")})))
	f.Add(join(eventAt(time.Unix(1e9, 1), false), mapOf("a", map[string]any{"b": -1})))
	f.Add(mapOf("a", math.Inf(1), "b", float32(1)))
	f.Add(bytes.Repeat([]byte{0x91}, 1000))
	f.Fuzz(func(t *testing.T, body []byte) {
		var got []string
		err := d.read(t, 4, body, "application/msgpack", "", func(_ map[string]string, r *pipeline.Record) {
			if !json.Valid(r.Value) {
				t.Errorf("%q is no JSON", r.Value)
			}
			got = append(got, string(r.Value))
		})
		if len(body) == 0 || msgp.NextType(body) != msgp.MapType || bytes.ContainsAny(body, "\xc4\xc5\xc6\xc7\xc8\xc9\xca\xcb\xd4\xd5\xd6\xd7\xd8") {
			return // what the library writes otherwise: binaries, extensions, floats
		}
		var want bytes.Buffer
		rest, lerr := msgp.UnmarshalAsJSON(&want, body)
		if lerr != nil || len(rest) > 0 {
			return // keys that are no strings, and several values
		}
		if err != nil {
			if !strings.Contains(err.Error(), "deeper") && !strings.Contains(err.Error(), "longer") {
				t.Errorf("the library reads %s, and here it is %v", &want, err)
			}
			return
		}
		var a, b any
		if json.Unmarshal(want.Bytes(), &b) == nil && (json.Unmarshal([]byte(got[0]), &a) != nil || !reflect.DeepEqual(a, b)) {
			t.Errorf("got %s, want %s", got[0], &want)
		}
	})
}
