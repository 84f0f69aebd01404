package mqtt

import (
	"fmt"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

func TestAMessageOfQoS2IsTakenOnceAcrossConnectionsAndProcesses(t *testing.T) {
	b := newScripted(t)
	c := config(b.url(), journaled, func(c *Config) { c.Subscriptions[0].QoS = 2 })
	dir := t.TempDir()
	r := read(t, c, dir, nil)
	p, _ := b.accept(false, packets.Accepted)
	p.grant(2)
	p.publish("one", 2, 1, false)
	p.acked(packets.Pubrec, 1)
	p.conn.Close() // before the broker has the PUBREC

	p, _ = b.accept(true, packets.Accepted)
	p.publish("one", 2, 1, true)
	p.acked(packets.Pubrec, 1)
	r.Expect(t, "one")
	r.none(t)
	until(t, "the count, which is behind the answer", func() bool { return r.source.Stats().Skipped == 1 })
	if st := r.source.Stats(); st.Redelivered != 0 {
		t.Errorf("%+v", st)
	}

	r = r.again(t, c, dir)
	p, _ = b.accept(true, packets.Accepted)
	p.publish("one", 2, 1, true)
	p.acked(packets.Pubrec, 1)
	p.release(1)
	p.acked(packets.Pubcomp, 1)
	p.publish("two", 2, 1, false) // the id is free
	p.acked(packets.Pubrec, 1)
	r.Expect(t, "two")

	r = r.again(t, c, dir)
	p, _ = b.accept(true, packets.Accepted)
	p.release(1)
	p.acked(packets.Pubcomp, 1)
	p.publish("three", 2, 1, true) // its first copy went with the connection
	p.acked(packets.Pubrec, 1)
	r.Expect(t, "three")
	r.none(t)
}

func TestTheSessionsSubscriptionsFollowTheConfiguration(t *testing.T) {
	b := newScripted(t)
	dir := t.TempDir()
	c := config(b.url(), journaled, func(c *Config) { c.Subscriptions = []Subscription{{Filter: "logs/a"}, {Filter: "logs/b", QoS: 1}} })
	r := read(t, c, dir, nil)
	p, _ := b.accept(false, packets.Accepted)
	if asked := p.grant(0, 1); fmt.Sprint(asked.Topics, asked.Qoss) != "[logs/a logs/b] [0 1]" {
		t.Errorf("subscribed to %v, %v", asked.Topics, asked.Qoss)
	}
	p.publish("x", 1, 1, false)
	p.acked(packets.Puback, 1) // so the answer was taken

	c.Subscriptions = []Subscription{{Filter: "logs/b", QoS: 1}, {Filter: "logs/c", QoS: 1}}
	r = r.again(t, c, dir)
	p, _ = b.accept(true, packets.Accepted)
	if gone := p.want(packets.Unsubscribe).(*packets.UnsubscribePacket); fmt.Sprint(gone.Topics) != "[logs/a]" {
		t.Errorf("unsubscribed from %v", gone.Topics)
	}
	if asked := p.grant(1); fmt.Sprint(asked.Topics, asked.Qoss) != "[logs/c] [1]" {
		t.Errorf("subscribed to %v, %v", asked.Topics, asked.Qoss)
	}
	r.Stop(t)
}

func TestRetainedMessagesAreReadOnceAndOnlyIfWanted(t *testing.T) {
	b := startMochi(t, "", false, nil, nil)
	b.publish(t, "logs/old", "old", true, 1)
	for _, retained := range []string{retainedRead, retainedSkip} {
		c := config("mqtt://"+b.address, journaled, func(c *Config) { c.ClientID, c.Retained = retained, retained })
		dir := t.TempDir()
		var r *reading
		for run, want := range [][]string{{"old", "new"}, {"new"}} {
			if retained == retainedSkip {
				want = want[len(want)-1:]
			}
			if r == nil {
				r = read(t, c, dir, nil)
			} else {
				r = r.again(t, c, dir)
			}
			until(t, "the subscription", func() bool { return r.Log.Said("subscribed") == 1 })
			b.publish(t, "logs/new", "new", false, 1)
			r.Expect(t, want...)
			if r.none(t); t.Failed() {
				t.Fatalf("%s, run %d", retained, run)
			}
		}
	}
}
