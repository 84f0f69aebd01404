package mqtt

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

func publishBytes(t testing.TB, topic, payload string, qos byte, id uint16) []byte {
	t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos, p.MessageID = topic, []byte(payload), qos, id
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPayloadsAreCutAndTheRestIsNotHeld(t *testing.T) {
	long := strings.Repeat("0123456789", 300_000)
	in := append(publishBytes(t, "a/b", long, 1, 7), publishBytes(t, "c", "next", 0, 0)...)
	r := newPacketReader(bytes.NewReader(in), 12)
	p, err := r.next()
	if err != nil || string(p.payload) != "012345678901" || !p.cut || p.id != 7 || string(p.topic) != "a/b" {
		t.Errorf("read %q of %q, id %d, cut %v, %v", p.payload, p.topic, p.id, p.cut, err)
	}
	if p, err = r.next(); err != nil || string(p.payload) != "next" || p.cut {
		t.Errorf("then %q, cut %v, %v", p.payload, p.cut, err)
	}
	if _, err = r.next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestPayloadsShareNoMemory(t *testing.T) {
	var in []byte
	for range 5000 {
		in = append(in, publishBytes(t, "t", strings.Repeat("x", 100), 0, 0)...)
	}
	r := newPacketReader(bytes.NewReader(in), 1<<20)
	var payloads [][]byte
	for range 5000 {
		p, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		payloads = append(payloads, p.payload)
	}
	for i, p := range payloads {
		if string(p) != strings.Repeat("x", 100) || cap(p) != 100 {
			t.Fatalf("payload %d is %q with room for %d", i, p, cap(p))
		}
		for j := range p {
			p[j] = 'y'
		}
	}
}

func TestBytesThatAreNoPacketOfABroker(t *testing.T) {
	for name, in := range map[string][]byte{
		"a length without an end":         {0x30, 0xff, 0xff, 0xff, 0xff, 0x01},
		"QoS 3":                           {0x36, 5, 0, 1, 'a', 0, 1},
		"an empty topic":                  {0x30, 2, 0, 0},
		"a topic longer than the packet":  {0x30, 4, 0, 9, 'a', 'b'},
		"no room for an id":               {0x32, 3, 0, 1, 'a'},
		"the id 0":                        {0x32, 5, 0, 1, 'a', 0, 0},
		"a CONNECT":                       {0x10, 0},
		"a packet of kind 0":              {0x00, 0},
		"a packet of kind 15":             {0xf0, 0},
		"a SUBACK without codes":          {0x90, 2, 0, 1},
		"a PUBACK without an id":          {0x40, 0},
		"a huge SUBACK":                   {0x90, 0xff, 0xff, 0xff, 0x7f},
		"a packet that ends early":        {0x30, 9, 0, 1, 'a'},
		"a length that ends early":        {0x30},
		"a huge PUBLISH that never comes": {0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 'a', 'x'},
	} {
		r := newPacketReader(bytes.NewReader(in), 256<<20)
		if p, err := r.next(); err == nil || err == io.EOF {
			t.Errorf("%s reads as %+v, %v", name, p, err)
		}
	}
}

func TestReadyOnlyForWholePackets(t *testing.T) {
	one := publishBytes(t, "t", strings.Repeat("x", 200), 0, 0)
	for n := range len(one) {
		r := newPacketReader(iotest.DataErrReader(bytes.NewReader(append(bytes.Clone(one), one[:n]...))), 1000)
		if _, err := r.next(); err != nil {
			t.Fatal(err)
		}
		if r.ready() {
			t.Fatalf("ready with %d bytes of %d", n, len(one))
		}
	}
	r := newPacketReader(bytes.NewReader(append(bytes.Clone(one), one...)), 1000)
	if _, err := r.next(); err != nil || !r.ready() {
		t.Errorf("not ready with a whole packet: %v", err)
	}
}

// FuzzPackets reads anything, and holds what paho reads as a PUBLISH to the same content.
func FuzzPackets(f *testing.F) {
	f.Add(publishBytes(f, "a/b", "payload", 2, 9))
	f.Add([]byte{0x20, 2, 1, 0})
	f.Add([]byte{0x90, 4, 0, 1, 0, 0x80})
	f.Add([]byte{0x36, 0xff, 0x01, 0, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := newPacketReader(iotest.HalfReader(bytes.NewReader(in)), 100)
		rest := bytes.NewReader(in)
		for {
			p, err := r.next()
			if err != nil {
				if errors.Is(err, io.EOF) && rest.Len() > 0 {
					t.Fatalf("a clean end with %d bytes left", rest.Len())
				}
				return
			}
			theirs, err := packets.ReadPacket(rest)
			if err != nil {
				t.Fatalf("read %+v where paho says %v", p, err)
			}
			if want, ok := theirs.(*packets.PublishPacket); ok {
				payload := want.Payload[:min(len(want.Payload), 100)]
				if p.kind != packets.Publish || string(p.topic) != want.TopicName || !bytes.Equal(p.payload, payload) ||
					p.id != want.MessageID || p.qos != want.Qos || p.dup != want.Dup || p.retain != want.Retain || p.cut != (len(want.Payload) > 100) {
					t.Fatalf("read %+v, want %v", p, want)
				}
			} else if p.id != theirs.Details().MessageID {
				t.Fatalf("read %+v, want %v", p, theirs)
			}
		}
	})
}
