package mqtt

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"sluice/sources"
	"sluice/sources/intake"
)

// scripted is a broker that does what the test says, packet by packet.
type scripted struct {
	t        *testing.T
	listener net.Listener
	scheme   string
	upgraded chan net.Conn // WebSockets, for a scheme of theirs
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &scripted{t: t, listener: l, scheme: "mqtt"}
}

// newScriptedWS is newScripted over WebSocket.
func newScriptedWS(t *testing.T) *scripted {
	t.Helper()
	s := newScripted(t)
	s.scheme, s.upgraded = "ws", make(chan net.Conn)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Error(err)
			return
		}
		s.upgraded <- websocket.NetConn(t.Context(), conn, websocket.MessageBinary)
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(s.listener) // until Close
	}()
	t.Cleanup(func() { server.Close(); <-ended })
	return s
}

func (s *scripted) url() string { return s.scheme + "://" + s.listener.Addr().String() }

// next takes a connection.
func (s *scripted) next() (net.Conn, error) {
	if s.upgraded != nil {
		select {
		case conn := <-s.upgraded:
			return conn, nil
		case <-time.After(20 * time.Second):
			return nil, errors.New("nobody connects")
		}
	}
	_ = s.listener.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	return s.listener.Accept()
}

// peer is one connection of the scripted broker.
type peer struct {
	t    *testing.T
	conn net.Conn
}

// accept takes a connection and answers its CONNECT.
func (s *scripted) accept(present bool, code byte) (*peer, *packets.ConnectPacket) {
	s.t.Helper()
	conn, err := s.next()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &peer{s.t, conn}
	s.t.Cleanup(func() { conn.Close() })
	connect := p.want(packets.Connect).(*packets.ConnectPacket)
	answer := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	answer.SessionPresent, answer.ReturnCode = present, code
	p.send(answer)
	return p, connect
}

// subscribed takes a connection, its CONNECT and its SUBSCRIBE.
func (s *scripted) subscribed(present bool) *peer {
	s.t.Helper()
	p, _ := s.accept(present, packets.Accepted)
	p.grant(1)
	return p
}

// grant answers a SUBSCRIBE.
func (p *peer) grant(codes ...byte) *packets.SubscribePacket {
	p.t.Helper()
	asked := p.want(packets.Subscribe).(*packets.SubscribePacket)
	answer := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	answer.MessageID, answer.ReturnCodes = asked.MessageID, codes
	p.send(answer)
	return asked
}

func (p *peer) send(packet packets.ControlPacket) {
	p.t.Helper()
	if err := packet.Write(p.conn); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) publish(text string, qos byte, id uint16, dup bool) {
	p.t.Helper()
	m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	m.TopicName, m.Payload, m.Qos, m.MessageID, m.Dup = "logs/x", []byte(text), qos, id, dup
	p.send(m)
}

// release sends a PUBREL.
func (p *peer) release(id uint16) {
	p.t.Helper()
	m := packets.NewControlPacket(packets.Pubrel).(*packets.PubrelPacket)
	m.MessageID = id
	p.send(m)
}

// read takes the next packet but for PINGREQ.
func (p *peer) read() (packets.ControlPacket, error) {
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		got, err := packets.ReadPacket(p.conn)
		if err != nil {
			return nil, err
		}
		if _, ping := got.(*packets.PingreqPacket); !ping {
			return got, nil
		}
	}
}

func kindOf(p packets.ControlPacket) string {
	name, _, _ := strings.Cut(p.String(), ":")
	return name
}

// want takes the next packet, which must be of a kind.
func (p *peer) want(kind byte) packets.ControlPacket {
	p.t.Helper()
	got, err := p.read()
	if err != nil {
		p.t.Fatalf("waiting for a %s: %v", packets.PacketNames[kind], err)
	}
	if kindOf(got) != packets.PacketNames[kind] {
		p.t.Fatalf("got %v, want a %s", got, packets.PacketNames[kind])
	}
	return got
}

// acked takes acknowledgements of a kind, of these ids in this order.
func (p *peer) acked(kind byte, ids ...uint16) {
	p.t.Helper()
	for _, id := range ids {
		if got := p.want(kind).Details().MessageID; got != id {
			p.t.Fatalf("%s of %d, want of %d", packets.PacketNames[kind], got, id)
		}
	}
}

// gone waits until the source has closed the connection, without a word of goodbye.
func (p *peer) gone() {
	p.t.Helper()
	if got, err := p.read(); err == nil {
		p.t.Fatalf("got %v, want the end of the connection", got)
	}
}

func TestAcknowledgementsKeepTheOrderOfTheMessages(t *testing.T) {
	b := newScripted(t)
	r := read(t, config(b.url(), func(c *Config) { c.Retained = retainedSkip }), t.TempDir(), nil)
	p := b.subscribed(false)
	for id := uint16(1); id <= 50; id++ {
		m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		m.TopicName, m.Payload, m.Qos, m.MessageID = "logs/x", []byte("text"), 1, id
		switch id % 4 {
		case 1:
			m.TopicName = "elsewhere"
		case 2:
			m.Retain = true
		case 3:
			m.Payload = nil
		}
		p.send(m)
	}
	for id := uint16(1); id <= 50; id++ {
		p.acked(packets.Puback, id)
	}
	r.Stop(t)
	p.want(packets.Disconnect)
	st := r.source.Stats()
	if len(r.Lines) != 12 || st.Drops["topic of no subscription"] != 13 || st.Drops["retained message"] != 13 || st.Skipped != 12 {
		t.Errorf("%d lines, %+v", len(r.Lines), st)
	}
}

func TestWhatMayBeARepeatIsCountedAsOne(t *testing.T) {
	b := newScripted(t)
	r := read(t, config(b.url()), t.TempDir(), nil)
	p := b.subscribed(false)
	p.publish("one", 1, 1, false)
	p.acked(packets.Puback, 1)
	p.conn.Close() // the broker has not taken the acknowledgement in
	p, _ = b.accept(true, packets.Accepted)
	p.publish("one", 1, 1, true)
	p.acked(packets.Puback, 1)
	r.Expect(t, "one", "one")
	if st := r.source.Stats(); st.Redelivered != 1 || st.Skipped != 0 {
		t.Errorf("%+v", st)
	}
}

// checkpointed has only checkpoints acknowledge.
func checkpointed(c *Config) { c.Intake, c.Ack = intake.Direct, intake.AckCheckpoint }

// commit tells the source that a checkpoint holds the first n records.
func (r *reading) commit(t *testing.T, n int64) {
	t.Helper()
	if err := r.source.Commit(t.Context(), sources.Positions{{Source: "mqtt"}: n}); err != nil {
		t.Fatal(err)
	}
}

func TestARepeatThatNoCheckpointHoldsYetIsTheSameMessage(t *testing.T) {
	b := newScripted(t)
	r := read(t, config(b.url(), checkpointed), t.TempDir(), nil)
	p := b.subscribed(false)
	p.publish("one", 1, 1, false)
	r.Expect(t, "one")
	p.conn.Close()
	p, _ = b.accept(true, packets.Accepted)
	p.publish("one", 1, 1, true)
	p.publish("two", 1, 2, false)
	r.Expect(t, "two")
	r.commit(t, 2)
	p.acked(packets.Puback, 1, 2)
	if st := r.source.Stats(); st.Skipped != 1 || st.Redelivered != 0 {
		t.Errorf("%+v", st)
	}
}

func TestALostSessionIsForgottenAndSaid(t *testing.T) {
	b := newScripted(t)
	r := read(t, config(b.url(), func(c *Config) { c.Subscriptions[0].QoS = 2 }), t.TempDir(), nil)
	p, _ := b.accept(false, packets.Accepted)
	p.grant(2)
	p.publish("one", 2, 1, false)
	p.acked(packets.Pubrec, 1)
	p.conn.Close()
	p, _ = b.accept(false, packets.Accepted)
	p.grant(2)
	p.publish("two", 2, 1, true) // DUP or not: this session's ids are other ones
	p.acked(packets.Pubrec, 1)
	r.Expect(t, "one", "two")
	if st := r.source.Stats(); st.Gaps != 1 || r.Log.Said("has not kept the session") != 1 {
		t.Errorf("%+v\n%s", st, r.Log)
	}
}

func TestWhatABrokerRefusesIsSaidOnce(t *testing.T) {
	for code, says := range map[byte]string{
		1: "does not speak MQTT 3.1.1", 2: "client_id", 3: "not available", 4: "username or password is wrong", 5: "not allowed in", 77: "code 77",
	} {
		b := newScripted(t)
		r := read(t, config(b.url()), t.TempDir(), nil)
		for range 3 {
			p, _ := b.accept(false, code)
			p.gone()
		}
		b.subscribed(false)
		until(t, "the subscription", func() bool { return r.Log.Said("reading goes on") == 1 })
		if r.Log.Said("reading is interrupted") != 1 || r.Log.Said(says) != 1 {
			t.Errorf("code %d:\n%s", code, r.Log)
		}
		if st := r.source.Stats(); st.Errors != 3 || st.Reconnects != 1 {
			t.Errorf("%+v", st)
		}
		r.Stop(t)
	}
}

func TestARefusedSubscriptionIsNoSubscription(t *testing.T) {
	b := newScripted(t)
	r := read(t, config(b.url()), t.TempDir(), nil)
	p, _ := b.accept(false, packets.Accepted)
	p.grant(0x80)
	p.gone()
	p, _ = b.accept(true, packets.Accepted)
	p.grant(0)
	until(t, "the subscription", func() bool { return r.Log.Said("reading goes on") == 1 })
	if r.Log.Said("refuses the subscription to logs/#") != 1 || r.Log.Said("grants less") != 1 {
		t.Errorf("the log is\n%s", r.Log)
	}
}

func TestAHostileBrokerIsLeft(t *testing.T) {
	for name, script := range map[string]func(p *peer){
		"says nothing sensible":       func(p *peer) { _, _ = p.conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"answers more than was asked": func(p *peer) { p.grant(0, 0, 0, 0) },
		"answers a second CONNECT":    func(p *peer) { p.send(packets.NewControlPacket(packets.Connack)) },
		"sends a client's packet":     func(p *peer) { p.send(packets.NewControlPacket(packets.Pingreq)) },
		"sends a length without end":  func(p *peer) { _, _ = p.conn.Write([]byte{0x30, 255, 255, 255, 255, 255}) },
		"acknowledges what nobody sent": func(p *peer) {
			for _, first := range []byte{packets.Puback << 4, packets.Pubrec << 4, packets.Pubcomp << 4, packets.Unsuback << 4, packets.Pubrel<<4 | 2} {
				_, _ = p.conn.Write([]byte{first, 2, 1, 1})
			}
			_, _ = p.conn.Write([]byte{packets.Suback << 4, 3, 1, 1, 0})
			p.conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newScripted(t)
			r := read(t, config(b.url()), t.TempDir(), nil)
			p, _ := b.accept(false, packets.Accepted)
			script(p)
			p = b.subscribed(false)
			p.publish("fine", 1, 1, false)
			p.acked(packets.Puback, 1)
			r.Expect(t, "fine")
		})
	}
}

func TestABrokerThatNeverAnswersIsLeft(t *testing.T) {
	b := newScripted(t)
	r := read(t, config(b.url(), func(c *Config) { c.ConnectTimeout = 3 * time.Second }), t.TempDir(), nil)
	first, err := b.next() // and no CONNACK
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	p, _ := b.accept(false, packets.Accepted)
	p.want(packets.Subscribe) // and no SUBACK
	p.gone()
	b.subscribed(true)
	until(t, "the subscription", func() bool { return r.Log.Said("reading goes on") == 1 })
	if r.Log.Said("the broker does not answer") != 1 || r.source.Stats().Errors != 2 {
		t.Errorf("%+v\n%s", r.source.Stats(), r.Log)
	}
}

func TestABrokerThatFallsSilentIsLeft(t *testing.T) {
	b := newScripted(t)
	r := read(t, config(b.url(), func(c *Config) { c.KeepAlive = 2 * time.Second }), t.TempDir(), nil)
	p := b.subscribed(false)
	// It takes PINGREQs and answers none.
	if _, err := io.Copy(io.Discard, p.conn); err != nil {
		t.Error(err)
	}
	b.accept(true, packets.Accepted)
	until(t, "the next connection", func() bool { return r.Log.Said("reading goes on") == 1 })
	if r.Log.Said("no sign for one and a half keep_alive") != 1 {
		t.Errorf("the log is\n%s", r.Log)
	}
}

// TestBackpressureEndsNoConnection holds the pipeline for longer than the
// broker would wait without a PINGREQ, and than the source would without its answers.
func TestBackpressureEndsNoConnection(t *testing.T) {
	b := newScripted(t)
	gate := make(chan struct{})
	c := config(b.url(), func(c *Config) {
		c.KeepAlive = 2 * time.Second // a busy machine answers within one and a half of that
	})
	r := read(t, c, t.TempDir(), gate)
	p := b.subscribed(false)
	pings := make(chan struct{}, 100)
	go func() {
		defer close(pings)
		for {
			got, err := packets.ReadPacket(p.conn)
			if err != nil {
				return
			}
			if _, ping := got.(*packets.PingreqPacket); ping {
				pings <- struct{}{}
				if packets.NewControlPacket(packets.Pingresp).Write(p.conn) != nil {
					return
				}
			}
		}
	}()
	for i := range 2000 {
		p.publish(fmt.Sprint(i), 0, 0, false)
	}
	for range 4 { // one a second
		<-pings
	}
	r.none(t)
	close(gate)
	r.Expect(t, texts("%d", 2000)...)
	if st := r.source.Stats(); st.Errors != 0 {
		t.Errorf("%+v\n%s", st, r.Log)
	}
}

func TestSigningInAndTheLastWill(t *testing.T) {
	b := newScripted(t)
	r := read(t, config(b.url(), func(c *Config) {
		c.Username, c.Password = "me", "hunter2"
		c.KeepAlive = 7 * time.Second
		c.LastWill = LastWill{Topic: "alive/sluice", Payload: "gone", Online: "here", QoS: 2, Retain: true}
	}), t.TempDir(), nil)
	p, connect := b.accept(false, packets.Accepted)
	if connect.Username != "me" || string(connect.Password) != "hunter2" || connect.Keepalive != 7 || connect.CleanSession ||
		connect.ClientIdentifier != "test" || connect.ProtocolVersion != 4 || connect.ProtocolName != "MQTT" {
		t.Errorf("signed in with %+v", connect)
	}
	if !connect.WillFlag || connect.WillTopic != "alive/sluice" || string(connect.WillMessage) != "gone" || connect.WillQos != 2 || !connect.WillRetain {
		t.Errorf("the will is %+v", connect)
	}
	p.grant(1)
	online := p.want(packets.Publish).(*packets.PublishPacket)
	if online.TopicName != "alive/sluice" || string(online.Payload) != "here" || !online.Retain || online.Qos != 2 {
		t.Errorf("online is %v", online)
	}
	rec := packets.NewControlPacket(packets.Pubrec).(*packets.PubrecPacket)
	rec.MessageID = online.MessageID
	p.send(rec)
	p.acked(packets.Pubrel, online.MessageID)
	r.Stop(t)
	offline := p.want(packets.Publish).(*packets.PublishPacket)
	if string(offline.Payload) != "gone" || !offline.Retain || offline.Qos != 1 {
		t.Errorf("at the end: %v", offline)
	}
	p.want(packets.Disconnect)
	p.gone()
	if strings.Contains(r.Log.String(), "hunter2") {
		t.Errorf("the password is in the log\n%s", r.Log)
	}
}
