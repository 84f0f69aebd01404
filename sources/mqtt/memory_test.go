package mqtt

import (
	"maps"
	"slices"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

func patternsOf(t *testing.T, subscriptions ...Subscription) []pattern {
	t.Helper()
	r, err := newRouter(&Config{Subscriptions: subscriptions})
	if err != nil {
		t.Fatal(err)
	}
	return r.patterns
}

func TestOnlyDifferencesAreSubscribed(t *testing.T) {
	first := patternsOf(t, Subscription{Filter: "a/{x}", QoS: 1}, Subscription{Filter: "b", QoS: 2})
	second := patternsOf(t, Subscription{Filter: "a/+", QoS: 1}, Subscription{Filter: "b", QoS: 1}, Subscription{Filter: "c"})
	for _, tc := range []struct {
		name                   string
		have                   string
		want                   []pattern
		subscribe, unsubscribe []string
	}{
		{"a new session", "", first, []string{"a/+", "b"}, nil},
		{"the same again", wanted(first), first, nil, nil},
		{"names are nothing to the broker", wanted(patternsOf(t, Subscription{Filter: "a/{y}", QoS: 1}, Subscription{Filter: "b", QoS: 2})), first, nil, nil},
		{"another QoS and one more", wanted(first), second, []string{"b", "c"}, nil},
		{"one less", wanted(second), first, []string{"b"}, []string{"c"}},
	} {
		subscribe, unsubscribe := changes(tc.have, tc.want)
		var wires []string
		for _, p := range subscribe {
			wires = append(wires, p.wire)
		}
		if !slices.Equal(wires, tc.subscribe) || !slices.Equal(unsubscribe, tc.unsubscribe) {
			t.Errorf("%s: subscribe %v, unsubscribe %v", tc.name, wires, unsubscribe)
		}
	}
}

func TestMarksOfOthersAreStale(t *testing.T) {
	one, _ := parseBroker("mqtt://one")
	two, _ := parseBroker("mqtt://two:99")
	marks := map[string]string{
		"client": "me", "mqtt://one:1883 filters": "1 a", "mqtt://one:1883 id 7": "1", "mqtt://two:99 id 8": "1",
		"mqtt://gone:1883 filters": "1 a", "mqtt://one:1883 id 70000": "1", "mqtt://one:1883 nonsense": "1",
	}
	for _, tc := range []struct {
		client  string
		durable bool
		stale   int
		held    int
	}{{"me", true, 3, 1}, {"you", true, 6, 0}, {"me", false, 6, 0}} {
		memories, stale := remember([]broker{one, two}, tc.client, tc.durable, maps.Clone(marks))
		if len(stale) != tc.stale || len(memories) != 2 || len(memories[0].inbox.ids) != tc.held || len(memories[1].inbox.ids) != tc.held {
			t.Errorf("%+v: stale %v, held %d and %d", tc, stale, len(memories[0].inbox.ids), len(memories[1].inbox.ids))
		}
	}
	memories, _ := remember([]broker{one, two}, "me", true, marks)
	if memories[0].filters != "1 a" {
		t.Errorf("the filters are %q", memories[0].filters)
	}
	lost := memories[0].lost()
	slices.Sort(lost)
	if !slices.Equal(lost, []string{"mqtt://one:1883 filters", "mqtt://one:1883 id 7"}) || memories[0].filters != "" {
		t.Errorf("a lost session leaves %v", lost)
	}
}

func TestTheInboxTakesAMessageOnce(t *testing.T) {
	b := newInbox()
	out := &writer{wake: make(chan struct{}, 1)}
	message := func(qos byte, id uint16, dup bool) *packet { return &packet{qos: qos, id: id, dup: dup} }
	sent := func(want ...byte) {
		t.Helper()
		if !slices.Equal(out.buffer, want) {
			t.Errorf("sent % x, want % x", out.buffer, want)
		}
		out.buffer = nil
	}
	first, again := b.take(message(1, 1, false), out)
	if again {
		t.Fatal("the first is a repeat")
	}
	if _, again = b.take(message(1, 1, true), out); !again {
		t.Error("a repeat that is not safe yet was taken again")
	}
	sent()
	b.settle([]receipt{first}, nil)
	sent(0x40, 2, 0, 1)
	second, again := b.take(message(1, 1, true), out)
	if again {
		t.Error("an id that was acknowledged may be another message's, but it was not taken")
	}

	gone := &writer{closed: true}
	second.held.out = gone
	b.settle([]receipt{second}, nil)
	sent()
	if _, again = b.take(message(1, 1, true), out); !again {
		t.Error("what was safe and could not be acknowledged was taken again")
	}
	sent(0x40, 2, 0, 1)

	third, _ := b.take(message(2, 5, false), out)
	b.settle([]receipt{third}, nil)
	sent(0x50, 2, 0, 5)
	if _, again = b.take(message(2, 5, true), out); !again {
		t.Error("a repeat of QoS 2 was taken")
	}
	sent(0x50, 2, 0, 5)
	if fourth, again := b.take(message(2, 5, false), out); again || fourth.kind != packets.Pubrec {
		t.Error("what the broker does not call a repeat was not taken")
	}
	b.settle([]receipt{b.release(5, out)}, nil)
	sent(0x70, 2, 0, 5)
	if fifth, again := b.take(message(2, 5, true), out); again {
		t.Error("a message of an id that was let go was not taken")
	} else {
		b.settle([]receipt{fifth}, errStopped)
	}
	sent()
	if len(b.ids) != 0 {
		t.Errorf("%d messages are left", len(b.ids))
	}
}
