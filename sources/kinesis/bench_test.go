package kinesis

import (
	"fmt"
	"strings"
	"testing"
)

const accessLine = `192.0.2.7 - - [01/May/2024:12:00:00 +0000] "GET /index.html HTTP/1.1" 200 1234 "-" "Mozilla/5.0"`

// BenchmarkDeaggregate takes an aggregate of 400 lines apart.
func BenchmarkDeaggregate(b *testing.B) {
	var records [][2]string
	for i := range 400 {
		records = append(records, [2]string{fmt.Sprint("key", i%10), accessLine})
	}
	value := aggregate(records...)
	var users []userRecord
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		var ok bool
		if users, ok = deaggregate(value, users[:0]); !ok || len(users) != len(records) {
			b.Fatal(len(users), ok)
		}
	}
}

// BenchmarkEnvelope unpacks an envelope of 400 events.
func BenchmarkEnvelope(b *testing.B) {
	value := subscribed("group", "stream", strings.Split(strings.Repeat(accessLine+"\n", 399)+accessLine, "\n")...)
	b.SetBytes(int64(400 * len(accessLine)))
	b.ReportAllocs()
	for b.Loop() {
		if e, err := openEnvelope(value); err != nil || len(e.LogEvents) != 400 {
			b.Fatal(err)
		}
	}
}
