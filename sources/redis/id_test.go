package redis

import (
	"cmp"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
)

func TestIdsAreOffsetsOfTheSameOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	id := func() (ms, seq uint64) {
		return random.Uint64N(maxMillis+1) >> random.UintN(43), random.Uint64N(maxSequence+1) >> random.UintN(20)
	}
	for range 100_000 {
		ms1, seq1 := id()
		ms2, seq2 := id()
		if random.UintN(3) == 0 {
			ms2 = ms1
		}
		a, b := idOf(int64(ms1<<sequenceBits|seq1)), idOf(int64(ms2<<sequenceBits|seq2))
		x, err1 := offsetOf(a)
		y, err2 := offsetOf(b)
		if err1 != nil || err2 != nil {
			t.Fatal(a, b, err1, err2)
		}
		if want := cmp.Or(cmp.Compare(ms1, ms2), cmp.Compare(seq1, seq2)); cmp.Compare(x, y) != want {
			t.Fatalf("%s and %s are in order %d, their offsets in %d", a, b, want, cmp.Compare(x, y))
		}
	}
}

func TestIdsAtTheEdges(t *testing.T) {
	for id, want := range map[string]int64{
		"0-0": 0, "0-1": 1, "1-0": 1 << 20, "0-1048575": 1<<20 - 1, "8796093022207-1048575": 1<<63 - 1,
	} {
		if got, err := offsetOf(id); err != nil || got != want || idOf(got) != id {
			t.Errorf("%s is %d, %v and back %s", id, got, err, idOf(got))
		}
	}
	for _, id := range []string{"", "1", "-", "1-", "-1", "a-1", "1-a", "1-2-3", "+1-1", " 1-1", "8796093022208-0", "0-1048576", "18446744073709551615-18446744073709551615", "99999999999999999999-0"} {
		if got, err := offsetOf(id); err == nil {
			t.Errorf("%q is taken for %d", id, got)
		}
	}
	if _, err := offsetOf("1-99999999"); err == nil || !strings.Contains(err.Error(), "does not fit") {
		t.Errorf("error = %v", err)
	}
}

func FuzzID(f *testing.F) {
	for _, s := range []string{"0-0", "1700000000000-5", "8796093022208-0", "1-1048576", "x", "01-1", "1-01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		offset, err := offsetOf(id)
		if err != nil {
			return
		}
		if offset < 0 {
			t.Fatalf("%q is %d", id, offset)
		}
		again, err := offsetOf(idOf(offset))
		if err != nil || again != offset {
			t.Fatalf("%q is %d, which is %s, which is %d, %v", id, offset, idOf(offset), again, err)
		}
	})
}

func FuzzEntry(f *testing.F) {
	f.Add("message", "a line", "host", "web\xff", "message")
	f.Add("", "", "a", "{\"x\":1}", "")
	f.Add("m", "</script>\u2028", "m2", "\x00", "gone")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, field string) {
		m := redis.XMessage{ID: "1-1", Values: map[string]any{k1: v1, k2: v2}}
		c := Config{Field: field}
		rec, ok := c.record(&m, 1, time.Unix(1, 0))
		value, has := m.Values[field]
		if ok != (field == "" || has) {
			t.Fatalf("field %q of %q: %v", field, m.Values, ok)
		}
		if field != "" && has {
			if string(rec.Value) != value || len(rec.Headers) != len(m.Values)-1 {
				t.Fatalf("record %q with %d headers of %q", rec.Value, len(rec.Headers), m.Values)
			}
			return
		}
		var back map[string]string
		if err := json.Unmarshal(rec.Value, &back); err != nil {
			t.Fatalf("%q: %v", rec.Value, err)
		}
		for name, v := range m.Values {
			if utf8.ValidString(k1) && utf8.ValidString(k2) && utf8.ValidString(v.(string)) && back[name] != v {
				t.Fatalf("field %q is %q, want %q", name, back[name], v)
			}
		}
	})
}

func TestEntriesBecomeRecords(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	values := map[string]any{"message": "a <b> line", "host": "web", "app": "nginx"}
	for name, tc := range map[string]struct {
		field, id, value, headers string
		ok                        bool
		at                        time.Time
	}{
		"the whole entry as JSON":        {"", "1600000000123-0", `{"app":"nginx","host":"web","message":"a <b> line"}`, "", true, time.UnixMilli(1_600_000_000_123)},
		"a field, the others as headers": {"message", "1600000000123-7", "a <b> line", "app=nginx host=web", true, time.UnixMilli(1_600_000_000_123)},
		"an entry without the field":     {"line", "1600000000123-7", `{"app":"nginx","host":"web","message":"a <b> line"}`, "", false, time.UnixMilli(1_600_000_000_123)},
		"an id that is no time":          {"message", "5-7", "a <b> line", "app=nginx host=web", true, now},
	} {
		t.Run(name, func(t *testing.T) {
			offset, err := offsetOf(tc.id)
			if err != nil {
				t.Fatal(err)
			}
			c := Config{Field: tc.field}
			rec, ok := c.record(&redis.XMessage{ID: tc.id, Values: values}, offset, now)
			var headers []string
			for _, h := range rec.Headers {
				headers = append(headers, h.Key+"="+string(h.Value))
			}
			if ok != tc.ok || string(rec.Value) != tc.value || strings.Join(headers, " ") != tc.headers || !rec.Time.Equal(tc.at) || string(rec.Key) != tc.id || rec.Offset != offset {
				t.Errorf("record %s, headers %v, key %s, at %v, %v", rec.Value, headers, rec.Key, rec.Time, ok)
			}
		})
	}
}
