package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources/intake"
)

// The ids of packets that are sent: there is one of each kind at a time.
const (
	idSubscribe uint16 = 1 + iota
	idUnsubscribe
	idOnline
	idOffline
)

// Bounds of a run of messages that is put at once.
const (
	maxRunRecords = 1000
	maxRunBytes   = 1 << 20
)

// session is one connection to a broker, signed in.
type session struct {
	source *Source
	memory *memory
	conn   net.Conn
	in     *packetReader
	out    *writer
	put    context.Context // of the run, for Put: what was read is put though the connection is gone

	asked    []pattern // what a SUBSCRIBE waits for
	deadline time.Time // until when; zero when it waits for nothing
	next     run

	mu       sync.Mutex // guards the read deadline against being set behind the end
	finished bool
}

// run is messages that are put together: they have the same labels.
type run struct {
	labels   *labelSet
	records  []pipeline.Record
	bytes    int
	marks    map[string]string
	receipts []receipt
}

// putError is an error of the intake, after which there is no way on.
type putError struct{ error }

func (e putError) Unwrap() error { return e.error }

// connect connects to a broker and signs in. The broker's answer says whether it has the session.
func (s *Source) connect(ctx context.Context, b *broker, m *memory) (*session, bool, error) {
	limited, cancel := context.WithTimeout(ctx, s.config.ConnectTimeout)
	defer cancel()
	conn, err := dial(limited, b, s.tls)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", b.name, err)
	}
	c := &session{source: s, memory: m, conn: conn, out: newWriter(conn, s.config.ConnectTimeout), put: ctx}
	c.in = newPacketReader(c, int(s.config.MaxPayloadBytes))
	present, err := c.signIn(limited)
	if err != nil {
		c.out.close()
		return nil, false, fmt.Errorf("%s: %w", b.name, err)
	}
	return c, present, nil
}

// signIn sends CONNECT and waits for its answer, until ctx is done.
func (c *session) signIn(ctx context.Context) (present bool, err error) {
	c.deadline, _ = ctx.Deadline()
	defer context.AfterFunc(ctx, c.interrupt)()
	connect, err := c.source.connectPacket()
	if err != nil {
		return false, err
	}
	c.out.send(connect)
	if err := c.out.flush(); err != nil {
		return false, err
	}
	p, err := c.in.next()
	switch {
	case err != nil && isTimeout(err):
		return false, fmt.Errorf("the broker does not answer: %w", err)
	case err != nil:
		return false, fmt.Errorf("the broker closed the connection instead of answering: %w", err)
	case p.kind != packets.Connack:
		return false, fmt.Errorf("the broker answered with a %s", packets.PacketNames[p.kind])
	case p.code != packets.Accepted:
		return false, fmt.Errorf("the broker refuses the connection: %s", c.source.refusal(p.code))
	}
	return p.present, nil
}

func (s *Source) connectPacket() (packets.ControlPacket, error) {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion = "MQTT", 4
	p.CleanSession, p.ClientIdentifier = s.config.CleanSession, s.config.ClientID
	p.Keepalive = uint16(s.config.KeepAlive / time.Second)
	if w := &s.config.LastWill; w.Topic != "" {
		p.WillFlag, p.WillTopic, p.WillMessage = true, w.Topic, []byte(w.Payload)
		p.WillQos, p.WillRetain = byte(w.QoS), w.Retain
	}
	if s.config.Username == "" {
		return p, nil
	}
	password, err := s.password()
	if err != nil {
		return nil, err
	}
	p.UsernameFlag, p.Username = true, s.config.Username
	p.PasswordFlag, p.Password = password != "", []byte(password)
	return p, nil
}

// password returns the configured one, or what its file holds now.
func (s *Source) password() (string, error) {
	if s.config.PasswordFile == "" {
		return s.config.Password.Reveal(), nil
	}
	text, err := os.ReadFile(s.config.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	if len(text) > maxString {
		return "", fmt.Errorf("password_file: %s has %d bytes, and a password has at most %d", s.config.PasswordFile, len(text), maxString)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}

// refusal says what a CONNACK's code means.
func (s *Source) refusal(code byte) string {
	switch code {
	case packets.ErrRefusedBadProtocolVersion:
		return "it does not speak MQTT 3.1.1"
	case packets.ErrRefusedIDRejected:
		return fmt.Sprintf("it does not want the client_id %q", s.config.ClientID)
	case packets.ErrRefusedServerUnavailable:
		return "it is not available at the moment"
	case packets.ErrRefusedBadUsernameOrPassword:
		return "username or password is wrong"
	case packets.ErrRefusedNotAuthorised:
		return "the client is not allowed in; check username and password, and the broker's access list"
	}
	return fmt.Sprintf("code %d", code)
}

// Read implements io.Reader for the packetReader: each wait for the broker has an end.
func (c *session) Read(b []byte) (int, error) {
	c.mu.Lock()
	if c.finished {
		c.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	until := time.Now().Add(c.source.config.KeepAlive * 3 / 2)
	if !c.deadline.IsZero() && c.deadline.Before(until) {
		until = c.deadline
	}
	_ = c.conn.SetReadDeadline(until)
	c.mu.Unlock()
	return c.conn.Read(b)
}

// interrupt ends a wait for the broker. Only the first time counts: one that
// comes late must not end the wait of goodbye.
func (c *session) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return
	}
	c.finished = true
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
}

// serve subscribes and takes messages until ctx is done or the connection is
// lost. It leaves the connection open.
func (c *session) serve(ctx context.Context, present bool) error {
	c.begin(present)
	g, inner := errgroup.WithContext(ctx)
	defer context.AfterFunc(inner, c.interrupt)()
	g.Go(func() error { return c.out.run(inner, c.source.clock, c.source.config.KeepAlive/2) })
	g.Go(c.read)
	return g.Wait()
}

// begin says what is to be said at the beginning.
func (c *session) begin(present bool) {
	s, m := c.source, c.memory
	if !present {
		if m.filters != "" && !s.config.CleanSession {
			s.gaps.Add(1)
			s.log.Warn("the broker has not kept the session: what was published while there was no connection, and what was not acknowledged, may be lost",
				"broker", m.broker)
		}
		c.next.forget(m, m.lost())
	}
	subscribe, unsubscribe := changes(m.filters, s.router.patterns)
	if len(unsubscribe) > 0 {
		p := packets.NewControlPacket(packets.Unsubscribe).(*packets.UnsubscribePacket)
		p.MessageID, p.Topics = idUnsubscribe, unsubscribe
		c.out.send(p)
	}
	if len(subscribe) > 0 {
		p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		p.MessageID = idSubscribe
		for i := range subscribe {
			p.Topics, p.Qoss = append(p.Topics, subscribe[i].wire), append(p.Qoss, subscribe[i].qos)
		}
		c.asked, c.deadline = subscribe, time.Now().Add(s.config.ConnectTimeout)
		c.out.send(p)
	} else {
		c.deadline = time.Time{}
		s.well(m.broker)
	}
	if w := &s.config.LastWill; w.Topic != "" && w.Online != "" {
		c.out.send(willPacket(w, w.Online, byte(w.QoS), idOnline))
	}
}

func willPacket(w *LastWill, payload string, qos byte, id uint16) packets.ControlPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos, p.Retain, p.MessageID = w.Topic, []byte(payload), qos, w.Retain, id
	return p
}

// read takes packets until the connection is lost. What was received by then is put.
func (c *session) read() error {
	for {
		p, err := c.in.next()
		if err == nil {
			err = c.handle(&p)
		} else {
			err = c.explain(err)
		}
		if err != nil {
			var failed putError
			if errors.As(err, &failed) {
				return err
			}
			return errors.Join(c.flush(), err)
		}
		if !c.in.ready() || len(c.next.receipts) >= maxRunRecords {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// explain says why nothing more is to be read.
func (c *session) explain(err error) error {
	switch {
	case !isTimeout(err):
		return fmt.Errorf("%s: the connection is lost: %w", c.memory.broker, err)
	case len(c.asked) > 0:
		return fmt.Errorf("%s: the broker does not answer the subscription", c.memory.broker)
	}
	return fmt.Errorf("%s: the broker gave no sign for one and a half keep_alive", c.memory.broker)
}

func (c *session) handle(p *packet) error {
	switch p.kind {
	case packets.Publish:
		return c.publish(p)
	case packets.Pubrel:
		r := c.memory.inbox.release(p.id, c.out)
		if !c.memory.durable {
			c.out.ack(r.kind, r.id)
			return nil
		}
		// The broker may use the id for another message once it has the PUBCOMP.
		c.next.receipts = append(c.next.receipts, r)
		c.next.forget(c.memory, []string{c.memory.idMark(p.id)})
	case packets.Suback:
		return c.subscribed(p)
	case packets.Pubrec: // of a message about being online or not
		c.out.ack(packets.Pubrel, p.id)
	case packets.Puback, packets.Pubcomp, packets.Unsuback, packets.Pingresp:
	default:
		return fmt.Errorf("%s: the broker sent a %s at the wrong time", c.memory.broker, packets.PacketNames[p.kind])
	}
	return nil
}

// subscribed takes the answer to the SUBSCRIBE.
func (c *session) subscribed(p *packet) error {
	if p.id != idSubscribe || len(c.asked) == 0 {
		return nil
	}
	if len(p.codes) != len(c.asked) {
		return fmt.Errorf("%s: the broker answered %d subscriptions of %d", c.memory.broker, len(p.codes), len(c.asked))
	}
	for i, code := range p.codes {
		asked := &c.asked[i]
		switch {
		case code > 2:
			return fmt.Errorf("%s: the broker refuses the subscription to %s; its access list may not allow it", c.memory.broker, asked.wire)
		case code < asked.qos:
			c.source.log.Warn("the broker grants less than was asked for", "broker", c.memory.broker, "filter", asked.wire, "asked", asked.qos, "granted", code)
		}
	}
	c.asked, c.deadline = nil, time.Time{}
	c.memory.filters = wanted(c.source.router.patterns)
	c.next.set(c.memory, c.memory.mark(markFilters), c.memory.filters)
	c.next.set(c.memory, markClient, c.source.config.ClientID)
	c.source.well(c.memory.broker)
	return nil
}

// publish takes a message into the next run.
func (c *session) publish(p *packet) error {
	s := c.source
	var r receipt
	if p.qos > 0 {
		var again bool
		if r, again = c.memory.inbox.take(p, c.out); again {
			s.skipped.Add(1)
			return nil
		}
	}
	to := s.router.find(p.topic)
	switch {
	case to.labels == nil:
		s.drop("topic of no subscription")
	case p.retain && s.config.Retained == retainedSkip:
		s.drop("retained message")
	case len(p.payload) == 0:
		s.skipped.Add(1)
	default:
		return c.record(p, to, r)
	}
	if p.qos > 0 {
		c.next.receipts = append(c.next.receipts, r)
	}
	return nil
}

func (c *session) record(p *packet, to *route, r receipt) error {
	n := &c.next
	if len(n.records) > 0 && (n.labels != to.labels || len(n.records) >= maxRunRecords || n.bytes+len(p.payload) > maxRunBytes) {
		if err := c.flush(); err != nil {
			return err
		}
	}
	n.labels = to.labels
	n.records = append(n.records, pipeline.Record{Value: p.payload, Headers: to.headers, Time: c.source.clock.Now()})
	n.bytes += len(p.payload)
	if p.cut {
		c.source.cut.Add(1)
	}
	if p.dup && p.qos > 0 {
		c.source.redelivered.Add(1)
	}
	if p.qos > 0 {
		n.receipts = append(n.receipts, r)
	}
	if p.qos == 2 {
		n.set(c.memory, c.memory.idMark(p.id), "1")
	}
	return nil
}

// flush puts the run. Receipts alone go through the intake too, with a mark
// that says nothing, since acknowledgements keep the order of the messages (MQTT-4.6.0-2).
func (c *session) flush() error {
	n := c.next
	c.next = run{}
	if len(n.records) == 0 && len(n.marks) == 0 {
		if len(n.receipts) == 0 {
			return nil
		}
		n.marks = map[string]string{c.memory.mark("nothing"): ""}
	}
	e := intake.Entry{Records: n.records, Marks: n.marks}
	if n.labels != nil {
		e.Labels = n.labels.values
	}
	settle := func(err error) { c.memory.inbox.settle(n.receipts, err) }
	if err := c.source.in.Put(c.put, e, settle); err != nil {
		return putError{err}
	}
	return nil
}

// set keeps a mark with the run, where marks outlive the process.
func (r *run) set(m *memory, mark, value string) {
	if !m.durable {
		return
	}
	if r.marks == nil {
		r.marks = make(map[string]string)
	}
	r.marks[mark] = value
}

func (r *run) forget(m *memory, marks []string) {
	for _, mark := range marks {
		r.set(m, mark, "")
	}
}

// goodbye says that the source is gone and closes the connection. Nothing else uses the session then.
func (c *session) goodbye() {
	c.interrupt()
	if w := &c.source.config.LastWill; w.Topic != "" {
		// Behind QoS 1 the broker waits for nothing more before it publishes.
		c.out.send(willPacket(w, w.Payload, min(byte(w.QoS), 1), idOffline))
	}
	c.out.send(packets.NewControlPacket(packets.Disconnect))
	if err := c.out.flush(); err != nil {
		c.source.log.Debug("the broker was not told of the end", "error", err)
	}
	// A connection that is closed with something unread is reset, and then the broker may
	// never see what was just written: so what still comes is read until the broker closes.
	hearOut(c.conn, c.source.farewell)
	c.out.close()
}

// hearOut reads until the broker closes the connection or is silent for so long. One that
// is busy may have much to send before it reads on, so only what
// goes on for five times as long is broken off.
func hearOut(conn net.Conn, silence time.Duration) {
	end := time.Now().Add(5 * silence)
	buffer := make([]byte, 32<<10)
	for {
		until := time.Now().Add(silence)
		if until.After(end) {
			until = end
		}
		_ = conn.SetReadDeadline(until)
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}
