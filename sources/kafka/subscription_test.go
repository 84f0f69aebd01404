package kafka

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/consumer"
)

func TestSubscriptionsAndAssignmentsAreReadAsWritten(t *testing.T) {
	data, err := encodeSubscription([]string{"logs", "more"}, []byte{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if topics, userData, err := decodeSubscription(data); err != nil || !slices.Equal(topics, []string{"logs", "more"}) || !bytes.Equal(userData, []byte{1, 2}) {
		t.Errorf("subscription %v, %v, %v", topics, userData, err)
	}
	for end := range data[:len(data)-4] { // behind the last is what only later versions have
		if _, _, err := decodeSubscription(data[:end]); err == nil {
			t.Errorf("a subscription of %d bytes is read", end)
		}
	}
	data, err = encodeAssignment(map[string][]int{"logs": {0, 2}, "more": {1}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeAssignment(data); err != nil || !reflect.DeepEqual(got, map[string][]int32{"logs": {0, 2}, "more": {1}}) {
		t.Errorf("assignment %v, %v", got, err)
	}
	if got, err := decodeAssignment(nil); err != nil || len(got) > 0 {
		t.Errorf("no assignment: %v, %v", got, err)
	}
}

// FuzzDecodeSubscription holds the decoder to the library's on what the library writes.
func FuzzDecodeSubscription(f *testing.F) {
	f.Add("logs", "more", []byte{1}, []byte{0, 1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, a, b string, userData, raw []byte) {
		_, _, _ = decodeSubscription(raw) // must not fail otherwise than by an error
		_, _ = decodeAssignment(raw)
		if len(a) > 1<<15-1 || len(b) > 1<<15-1 {
			return
		}
		data, err := encodeSubscription([]string{a, b}, userData)
		if err != nil {
			t.Fatal(err)
		}
		var want consumer.Subscription
		if err := protocol.Unmarshal(data, consumer.MaxVersionSupported, &want); err != nil {
			t.Fatal(err)
		}
		topics, got, err := decodeSubscription(data)
		if err != nil || !slices.Equal(topics, want.Topics) || !bytes.Equal(got, want.UserData) {
			t.Errorf("%x: %v %v %v, want %+v", data, topics, got, err, want)
		}
	})
}
