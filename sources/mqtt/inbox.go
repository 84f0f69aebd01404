package mqtt

import (
	"sync"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// inbox knows the messages of QoS 1 and 2 of one broker's session that are on
// their way in, by their ids, so that the same message is not taken twice:
// one of QoS 1 until its acknowledgement was given to a connection, one of QoS 2 until the broker
// has let go of its id. Any goroutine may use it.
type inbox struct {
	mu  sync.Mutex
	ids map[uint16]*held
}

// held is a message on its way.
type held struct {
	qos  byte
	safe bool    // it may be acknowledged
	out  *writer // the connection on which it came last
}

// receipt is an acknowledgement to send once what it acknowledges is safe.
type receipt struct {
	kind byte // packets.Puback, Pubrec or Pubcomp
	id   uint16
	held *held   // nil for a PUBCOMP
	out  *writer // for a PUBCOMP
}

func newInbox() *inbox { return &inbox{ids: make(map[uint16]*held)} }

// take notes a message; again says that it is on its way already and is not to
// be taken again. Only a message that the broker calls a repeat can be one: an id alone says nothing
// to a broker that was restored from a copy.
func (b *inbox) take(p *packet, out *writer) (r receipt, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kind := byte(packets.Puback)
	if p.qos == 2 {
		kind = packets.Pubrec
	}
	if h := b.ids[p.id]; h != nil && p.dup && h.qos == p.qos {
		h.out = out
		if h.safe {
			b.acknowledge(receipt{kind: kind, id: p.id, held: h})
		}
		return receipt{}, true
	}
	h := &held{qos: p.qos, out: out}
	b.ids[p.id] = h
	return receipt{kind: kind, id: p.id, held: h}, false
}

// release forgets the id of a message of QoS 2.
func (b *inbox) release(id uint16, out *writer) receipt {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h := b.ids[id]; h != nil && h.qos == 2 {
		delete(b.ids, id)
	}
	return receipt{kind: packets.Pubcomp, id: id, out: out}
}

// settle acknowledges what is safe, or forgets what will never be.
func (b *inbox) settle(receipts []receipt, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range receipts {
		switch {
		case r.held == nil && err == nil:
			r.out.ack(r.kind, r.id)
		case r.held == nil:
		case err != nil:
			b.forget(r)
		default:
			r.held.safe = true
			b.acknowledge(r)
		}
	}
}

// acknowledge must be called with the lock held. A message whose connection is
// gone stays: the broker sends it again.
func (b *inbox) acknowledge(r receipt) {
	if r.held.out.ack(r.kind, r.id) && r.kind == packets.Puback {
		b.forget(r)
	}
}

func (b *inbox) forget(r receipt) {
	if b.ids[r.id] == r.held {
		delete(b.ids, r.id)
	}
}

// clear forgets all: the broker has forgotten the session. It returns the ids of QoS 2.
func (b *inbox) clear() (ids []uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, h := range b.ids {
		if h.qos == 2 {
			ids = append(ids, id)
		}
	}
	clear(b.ids)
	return ids
}

// restore notes a message of QoS 2 that an earlier run took.
func (b *inbox) restore(id uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids[id] = &held{qos: 2, safe: true, out: &writer{closed: true}}
}
