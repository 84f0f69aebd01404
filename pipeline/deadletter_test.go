package pipeline

import (
	"testing"
	"time"
)

func TestADeadLetterOwnsAtMostSoManyBytes(t *testing.T) {
	value := []byte("0123456789")
	rec := &Record{
		Value: value, Key: []byte("key"), Headers: []Header{{Key: "h", Value: []byte("value")}},
		Offset: 7, Time: time.Unix(1, 0),
	}
	for _, test := range []struct {
		limit, value, key, headers int
	}{
		{100, 10, 3, 1},
		{19, 10, 3, 1},
		{18, 10, 3, 0}, // the headers do not fit
		{12, 10, 0, 0}, // nor the key
		{4, 4, 0, 0},   // nor all of the value
	} {
		d := DeadRecord(DeadUndecodable, "json", Partition{Topic: "t"}, rec, test.limit)
		if len(d.Value) != test.value || len(d.Key) != test.key || len(d.Headers) != test.headers || d.Size != 10 {
			t.Errorf("limit %d: %d bytes, key of %d, %d headers, size %d", test.limit, len(d.Value), len(d.Key), len(d.Headers), d.Size)
		}
		if d.Position.Offset != 7 || d.Position.Line != -1 || !d.Time.Equal(rec.Time) {
			t.Errorf("limit %d: %+v", test.limit, d)
		}
	}
	d := DeadRecord(DeadUndecodable, "json", Partition{}, rec, 100)
	l := DeadLine(DeadUnparsed, "", Position{Offset: 7, Line: 2}, "a line", rec, 100)
	value[0], rec.Key[0], rec.Headers[0].Value[0] = 'X', 'X', 'X'
	if string(d.Value) != "0123456789" || string(d.Key) != "key" || string(d.Headers[0].Value) != "value" || string(l.Key) != "key" {
		t.Errorf("the letter aliases the record: %q %q %q %q", d.Value, d.Key, d.Headers[0].Value, l.Key)
	}
	if string(l.Value) != "a line" || l.Position.Line != 2 || l.Size != 6 {
		t.Errorf("got %+v", l)
	}
}
