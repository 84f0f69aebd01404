package kafka

import (
	"hash/maphash"
	"testing"

	"github.com/segmentio/kafka-go"
)

// FuzzFold folds any record: none breaks it, and each is known by its own key again.
func FuzzFold(f *testing.F) {
	f.Add([]byte("Ip:192.0.2.1"), []byte(`{"scope":"Ip","value":"192.0.2.1","decisions":[{"id":1,"until":"2026-03-01T12:00:00Z"}]}`), "w1", "3")
	f.Add([]byte("a:b:c"), []byte(`{"scope":"a:b","value":"c","decisions":[{}]}`), "", "x")
	f.Add([]byte("no colon"), []byte("{"), "w2", "-1")
	f.Add([]byte(""), []byte(nil), "w1", "9223372036854775808")
	seed := maphash.MakeSeed()
	f.Fuzz(func(t *testing.T, key, value []byte, writer, term string) {
		fo := &fold{seed: seed, id: "w1", partitions: []int{0}, keys: make(map[string]standingKey), misplaced: make(map[string]recordAt)}
		fo.add(&found{key: key, value: value, headers: []kafka.Header{
			{Key: HeaderWriter, Value: []byte(writer)}, {Key: HeaderTerm, Value: []byte(term)},
		}})
		e, there := fo.keys[string(key)]
		if !there || e.foreign != (writer != "w1") || (e.digest == 0) != (value == nil) {
			t.Fatalf("%q %q: %+v, %v", key, value, e, there)
		}
		k := e.key(string(key))
		if got := k.String(); got != string(key) && k.Scope != string(key) {
			t.Fatalf("%q became %q", key, got)
		}
	})
}
