package mqtt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// maxControl bounds packets other than PUBLISH, in bytes: the longest is the
// SUBACK of as many filters as a configuration may reasonably have.
const maxControl = 64 << 10

// packet is what the broker sent.
type packet struct {
	kind byte // packets.Publish and so on
	id   uint16

	// Of a PUBLISH. The topic is valid until the next packet is read.
	topic       []byte
	payload     []byte
	cut         bool // the payload was longer
	qos         byte
	dup, retain bool

	codes   []byte // of a SUBACK
	present bool   // of a CONNACK: the broker has the session
	code    byte   // of a CONNACK
}

// packetReader takes packets off a connection. A payload beyond the limit is
// read and thrown away without being held: whoever may publish decides its length.
type packetReader struct {
	in         *bufio.Reader
	maxPayload int
	topic      []byte
	chunk      []byte // payloads lie in it one behind the other
}

const chunkBytes = 64 << 10

func newPacketReader(r io.Reader, maxPayload int) *packetReader {
	return &packetReader{in: bufio.NewReaderSize(r, 32<<10), maxPayload: maxPayload}
}

// ready tells whether the next packet is here as a whole.
func (r *packetReader) ready() bool {
	have := r.in.Buffered()
	head, _ := r.in.Peek(min(have, 5))
	for i, n := 1, 0; i < len(head); i++ {
		n |= int(head[i]&127) << (7 * (i - 1))
		if head[i]&128 == 0 {
			return have >= 1+i+n
		}
	}
	return false
}

// next reads a packet.
func (r *packetReader) next() (packet, error) {
	first, err := r.in.ReadByte()
	if err != nil {
		return packet{}, err
	}
	length, err := r.length()
	if err != nil {
		return packet{}, err
	}
	p := packet{kind: first >> 4}
	if p.kind == packets.Publish {
		p.dup, p.qos, p.retain = first&8 != 0, first>>1&3, first&1 != 0
		err = r.publish(&p, length)
	} else {
		err = r.control(&p, first&15, length)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return p, err
}

// length reads the remaining length: seven bits a byte, at most four bytes.
func (r *packetReader) length() (int, error) {
	n := 0
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.in.ReadByte()
		if err != nil {
			return 0, unexpected(err)
		}
		n |= int(b&127) << shift
		if b&128 == 0 {
			return n, nil
		}
	}
	return 0, errors.New("the broker sent a length of more than four bytes")
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *packetReader) uint16() (uint16, error) {
	var b [2]byte
	_, err := io.ReadFull(r.in, b[:])
	return binary.BigEndian.Uint16(b[:]), err
}

// publish reads what stands behind the header of a PUBLISH.
func (r *packetReader) publish(p *packet, length int) error {
	size, err := r.uint16()
	if err != nil {
		return err
	}
	rest := length - 2 - int(size)
	if p.qos > 0 {
		rest -= 2
	}
	if p.qos > 2 || size == 0 || rest < 0 {
		return fmt.Errorf("the broker sent a PUBLISH of QoS %d with a topic of %d bytes in %d", p.qos, size, length)
	}
	r.topic = append(r.topic[:0], make([]byte, size)...)
	p.topic = r.topic
	if _, err := io.ReadFull(r.in, p.topic); err != nil {
		return err
	}
	if p.qos > 0 {
		if p.id, err = r.uint16(); err != nil {
			return err
		}
		if p.id == 0 {
			return errors.New("the broker sent a PUBLISH without an id")
		}
	}
	keep := min(rest, r.maxPayload)
	if p.payload, err = r.take(keep); err != nil {
		return err
	}
	if p.cut = rest > keep; p.cut {
		_, err = r.in.Discard(rest - keep)
	}
	return err
}

// take reads a payload into memory that nobody else writes to.
func (r *packetReader) take(n int) ([]byte, error) {
	if n > cap(r.chunk)-len(r.chunk) {
		if n >= chunkBytes/4 {
			// Its length is the broker's word only: memory grows with what has come.
			return readGrowing(r.in, n)
		}
		r.chunk = make([]byte, 0, chunkBytes)
	}
	at := len(r.chunk)
	r.chunk = r.chunk[:at+n]
	out := r.chunk[at : at+n : at+n]
	_, err := io.ReadFull(r.in, out)
	return out, err
}

func readGrowing(in io.Reader, n int) ([]byte, error) {
	out := make([]byte, 0, min(n, 1<<20))
	for len(out) < n {
		if len(out) == cap(out) {
			out = append(make([]byte, 0, min(n, 2*cap(out))), out...)
		}
		part := out[len(out):cap(out)]
		if _, err := io.ReadFull(in, part); err != nil {
			return nil, err
		}
		out = out[:cap(out)]
	}
	return out, nil
}

// control reads a packet other than a PUBLISH.
func (r *packetReader) control(p *packet, flags byte, length int) error {
	least, most := 2, 2
	want := byte(0)
	switch p.kind {
	case packets.Suback:
		least, most = 3, maxControl
	case packets.Pingresp:
		least, most = 0, 0
	case packets.Pubrel:
		want = 2
	case packets.Connack, packets.Puback, packets.Pubrec, packets.Pubcomp, packets.Unsuback:
	default:
		return fmt.Errorf("the broker sent a packet of kind %d, which is not for clients", p.kind)
	}
	if length < least || length > most || flags != want {
		return fmt.Errorf("the broker sent a %s of %d bytes with the flags %d", packets.PacketNames[p.kind], length, flags)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r.in, body); err != nil {
		return err
	}
	switch p.kind {
	case packets.Pingresp:
	case packets.Connack:
		p.present, p.code = body[0]&1 != 0, body[1]
	default:
		p.id, p.codes = binary.BigEndian.Uint16(body), body[2:]
	}
	return nil
}
