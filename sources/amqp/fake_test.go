package amqp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a broker that speaks as much of AMQP 0-9-1 as a consumer needs.
// Frames are written by hand: the library's own encoding is not the judge of itself.
type fake struct {
	t        *testing.T
	listener net.Listener
	wait     sync.WaitGroup
	sessions chan *fakeSession // with every queue that is consumed
	acked    chan ack          // every acknowledgement
	ended    chan struct{}     // a value for every Connection.Close

	mu       sync.Mutex
	conns    []net.Conn
	missing  map[string]bool // queues that a passive declaration does not find
	mute     map[string]bool // queues without a leader: basic.consume is not answered
	made     []string        // queues and bindings that were made, in words
	mechs    string          // the mechanisms on offer
	signedIn []string        // mechanism and response of each sign-in
	refuse   bool            // the next sign-in
}

type ack struct {
	tag      uint64
	multiple bool
}

// fakeSession is a consumer at the broker.
type fakeSession struct {
	f        *fake
	conn     net.Conn
	write    *sync.Mutex
	channel  uint16
	queue    string
	tag      string
	prefetch uint16
	next     uint64
}

func newFake(t *testing.T) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		t: t, listener: l, mechs: "PLAIN EXTERNAL", missing: make(map[string]bool), mute: make(map[string]bool),
		sessions: make(chan *fakeSession, 100), acked: make(chan ack, 10_000), ended: make(chan struct{}, 100),
	}
	f.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, conn)
			f.mu.Unlock()
			f.wait.Go(func() {
				defer conn.Close()
				_ = f.serve(conn) // it ends with the connection
			})
		}
	})
	t.Cleanup(f.stop)
	return f
}

func (f *fake) url() string { return "amqp://" + f.listener.Addr().String() }

// stop ends the broker and all of its connections.
func (f *fake) stop() {
	f.listener.Close()
	f.drop()
	f.wait.Wait()
}

// drop ends all connections without a word.
func (f *fake) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.Close()
	}
	f.conns = nil
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// session waits for a queue to be consumed.
func (f *fake) session() *fakeSession {
	f.t.Helper()
	select {
	case s := <-f.sessions:
		return s
	case <-time.After(20 * time.Second):
		f.t.Fatal("nobody consumes")
		return nil
	}
}

// wantAck waits until all up to a tag is acknowledged.
func (f *fake) wantAck(tag uint64) {
	f.t.Helper()
	for {
		select {
		case a := <-f.acked:
			if !a.multiple || a.tag > tag {
				f.t.Fatalf("acknowledged %+v, want up to %d", a, tag)
			}
			if a.tag == tag {
				return
			}
		case <-time.After(20 * time.Second):
			f.t.Fatalf("%d was not acknowledged", tag)
		}
	}
}

// goodbye waits until a connection was ended in good order.
func (f *fake) goodbye() {
	f.t.Helper()
	select {
	case <-f.ended:
	case <-time.After(20 * time.Second):
		f.t.Fatal("nobody says goodbye")
	}
}

func short(s string) []byte { return append([]byte{byte(len(s))}, s...) }
func long(s string) []byte  { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
func u16(n uint16) []byte   { return binary.BigEndian.AppendUint16(nil, n) }
func u32(n uint32) []byte   { return binary.BigEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte   { return binary.BigEndian.AppendUint64(nil, n) }

func frame(kind byte, channel uint16, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	out := append([]byte{kind}, u16(channel)...)
	out = append(out, u32(uint32(len(body)))...)
	return append(append(out, body...), 0xce)
}

func method(channel, class, id uint16, args ...[]byte) []byte {
	return frame(1, channel, append([][]byte{u16(class), u16(id)}, args...)...)
}

// reader takes arguments off a method.
type reader struct{ b []byte }

func (r *reader) take(n int) []byte {
	n = min(n, len(r.b))
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u16() uint16   { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) short() string { return string(r.take(int(r.take(1)[0]))) }
func (r *reader) long() string  { return string(r.take(int(binary.BigEndian.Uint32(r.take(4))))) }

// serve answers one connection.
func (f *fake) serve(conn net.Conn) error {
	in := bufio.NewReader(conn)
	if _, err := io.ReadFull(in, make([]byte, 8)); err != nil {
		return err
	}
	var write sync.Mutex
	send := func(b []byte) {
		write.Lock()
		defer write.Unlock()
		_, _ = conn.Write(b) // who does not read has gone
	}
	f.mu.Lock()
	mechs := f.mechs
	f.mu.Unlock()
	send(method(0, 10, 10, []byte{0, 9}, u32(0), long(mechs), long("en_US")))
	prefetch := make(map[uint16]uint16)
	for {
		kind, channel, body, err := readFrame(in)
		if err != nil {
			return err
		}
		if kind != 1 {
			continue // a heartbeat
		}
		r := &reader{body}
		switch call := [2]uint16{r.u16(), r.u16()}; call {
		case [2]uint16{10, 11}: // start-ok
			r.long()
			signIn := r.short() + " " + strings.ReplaceAll(r.long(), "\x00", "|")
			f.mu.Lock()
			f.signedIn = append(f.signedIn, signIn)
			refuse := f.refuse
			f.mu.Unlock()
			if refuse {
				return nil
			}
			send(method(0, 10, 30, u16(100), u32(131072), u16(600))) // no heartbeats come, so they are far apart
		case [2]uint16{10, 31}: // tune-ok
		case [2]uint16{10, 40}: // open
			send(method(0, 10, 41, short("")))
		case [2]uint16{10, 50}: // close
			send(method(0, 10, 51))
			f.ended <- struct{}{}
		case [2]uint16{20, 10}: // channel.open
			send(method(channel, 20, 11, long("")))
		case [2]uint16{20, 40}: // channel.close
			send(method(channel, 20, 41))
		case [2]uint16{20, 41}: // channel.close-ok
		case [2]uint16{60, 10}: // basic.qos
			r.take(4)
			prefetch[channel] = r.u16()
			send(method(channel, 60, 11))
		case [2]uint16{50, 10}: // queue.declare
			send(f.declare(channel, r))
		case [2]uint16{50, 20}: // queue.bind
			r.u16()
			queue, exchange, key := r.short(), r.short(), r.short()
			f.set(func() { f.made = append(f.made, fmt.Sprintf("%s from %s by %s", queue, exchange, key)) })
			send(method(channel, 50, 21))
		case [2]uint16{60, 20}: // basic.consume
			r.u16()
			s := &fakeSession{f: f, conn: conn, write: &write, channel: channel, queue: r.short(), tag: r.short(), prefetch: prefetch[channel]}
			f.mu.Lock()
			mute := f.mute[s.queue]
			f.mu.Unlock()
			if mute {
				continue
			}
			send(method(channel, 60, 21, short(s.tag)))
			f.sessions <- s
		case [2]uint16{60, 80}: // basic.ack
			f.acked <- ack{binary.BigEndian.Uint64(r.take(8)), r.take(1)[0]&1 != 0}
		default:
			return fmt.Errorf("method %v is not spoken here", call)
		}
	}
}

func (f *fake) declare(channel uint16, r *reader) []byte {
	r.u16()
	queue, flags := r.short(), r.take(1)[0]
	f.mu.Lock()
	defer f.mu.Unlock()
	if passive := flags&1 != 0; passive && f.missing[queue] {
		return method(channel, 20, 40, u16(404), short("NOT_FOUND - no queue '"+queue+"'"), u16(50), u16(10))
	} else if !passive {
		f.made = append(f.made, fmt.Sprintf("%s, durable %v, %q", queue, flags&2 != 0, r.b[4:]))
	}
	return method(channel, 50, 11, short(queue), u32(0), u32(1))
}

func readFrame(in io.Reader) (kind byte, channel uint16, body []byte, err error) {
	head := make([]byte, 7)
	if _, err = io.ReadFull(in, head); err != nil {
		return 0, 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[3:])+1)
	_, err = io.ReadFull(in, body)
	return head[0], binary.BigEndian.Uint16(head[1:]), body[:len(body)-1], err
}

// message is what the fake delivers.
type message struct {
	body, id string
	again    bool
	headers  []byte // an encoded table, without its length
}

// deliver sends messages and returns the last one's delivery tag.
func (s *fakeSession) deliver(messages ...message) uint64 {
	s.f.t.Helper()
	var out []byte
	for _, m := range messages {
		s.next++
		again := byte(0)
		if m.again {
			again = 1
		}
		out = append(out, method(s.channel, 60, 60, short(s.tag), u64(s.next), []byte{again}, short("ex"), short("key.x"))...)
		flags, props := uint16(0), []byte(nil)
		if m.headers != nil {
			flags |= 1 << 13
			props = append(append(props, u32(uint32(len(m.headers)))...), m.headers...)
		}
		if m.id != "" {
			flags |= 1 << 7
			props = append(props, short(m.id)...)
		}
		out = append(out, frame(2, s.channel, u16(60), u16(0), u64(uint64(len(m.body))), u16(flags), props)...)
		if m.body != "" {
			out = append(out, frame(3, s.channel, []byte(m.body))...)
		}
	}
	s.send(out)
	return s.next
}

func (s *fakeSession) send(b []byte) {
	s.f.t.Helper()
	s.write.Lock()
	defer s.write.Unlock()
	if _, err := s.conn.Write(b); err != nil {
		s.f.t.Error(err)
	}
}

// cancel tells the consumer that its queue is gone.
func (s *fakeSession) cancel() { s.send(method(s.channel, 60, 30, short(s.tag), []byte{1})) }
