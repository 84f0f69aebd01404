package syslog

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
)

// Sink sends alerts to a collector. See the package's comment.
type Sink struct {
	name             string
	config           Config
	network, address string
	header           header
	tls              *tls.Config // nil without TLS
	conn             net.Conn    // nil when there is none
	settle           time.Duration

	alerts, decisions, bytes, failed, rejected atomic.Uint64
}

// New makes the sink. It connects to nothing yet.
func New(name string, c Config, _ sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Sink{name: name, config: c, settle: settleWait}
	var err error
	if s.network, s.address, err = c.target(); err != nil {
		return nil, err
	}
	s.header = header{facility: facilities[c.Facility], severity: -1, hostname: c.Hostname, appName: c.AppName, sdID: c.SDID, format: c.Format}
	if c.Severity != "" {
		s.header.severity = severities[c.Severity]
	}
	if c.Hostname == "" {
		if s.header.hostname, err = os.Hostname(); err != nil || !token(s.header.hostname, 255) {
			s.header.hostname = "-" // RFC 5424's word for not known
		}
	}
	if s.network == "tls" {
		if s.tls, err = c.TLS.Build(); err != nil {
			return nil, fmt.Errorf("sink %s: %w", name, err)
		}
	}
	return s, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// message is an alert that is written.
type message struct {
	text      []byte
	decisions int
}

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	messages := make([]message, 0, len(alerts))
	indexes := make([]int, 0, len(alerts)) // of the messages in alerts
	var rejected *sinks.RejectedError
	for i := range alerts {
		text, err := s.header.append(nil, &alerts[i], time.Now())
		if err == nil && len(text) > int(s.config.MaxMessage) {
			err = fmt.Errorf("its message is of %d bytes, and max_message is %v", len(text), s.config.MaxMessage)
		}
		if err != nil {
			rejected = rejected.With(i, err)
			continue
		}
		messages, indexes = append(messages, message{text, len(alerts[i].Decisions)}), append(indexes, i)
	}
	if sent, err := s.send(ctx, messages); err != nil {
		s.drop()
		s.failed.Add(1)
		err = fmt.Errorf("sink %s: %s: %w", s.name, s.config.URL, err)
		if sent == 0 {
			return err
		}
		return s.partial(indexes[sent], rejected, err)
	}
	if rejected != nil {
		s.rejected.Add(uint64(len(rejected.Alerts)))
		return rejected
	}
	return nil
}

// partial says that what was before an alert of the batch is settled.
func (s *Sink) partial(settled int, rejected *sinks.RejectedError, err error) error {
	out := &sinks.PartialError{Settled: settled, Failed: 1, Err: err} // of datagrams each fails by itself
	if rejected != nil {
		behind := *rejected
		behind.Alerts = nil
		for _, i := range rejected.Alerts {
			if i < settled {
				behind.Alerts = append(behind.Alerts, i)
			}
		}
		if len(behind.Alerts) > 0 {
			s.rejected.Add(uint64(len(behind.Alerts)))
			out.Rejected = &behind
		}
	}
	return out
}

// send sends messages and returns how many are settled: over UDP each by
// itself, over TCP all or none.
func (s *Sink) send(ctx context.Context, messages []message) (int, error) {
	if len(messages) == 0 {
		return 0, nil
	}
	if err := s.connect(ctx); err != nil {
		return 0, err
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.config.Timeout)); err != nil {
		return 0, err
	}
	conn := s.conn
	defer context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })()
	if s.network == "udp" {
		for i := range messages {
			if _, err := conn.Write(messages[i].text); err != nil {
				return i, cause(ctx, err)
			}
			s.count(messages[i : i+1])
		}
		return len(messages), nil
	}
	var all []byte
	for i := range messages { // octet counting: the length, a blank, the message
		all = strconv.AppendInt(all, int64(len(messages[i].text)), 10)
		all = append(append(all, ' '), messages[i].text...)
	}
	if _, err := conn.Write(all); err != nil {
		return 0, cause(ctx, err)
	}
	if err := alive(s.conn, aliveWait); err != nil { // it may have been reset meanwhile
		return 0, err
	}
	s.count(messages)
	return len(messages), nil
}

// cause says that it was ctx that ended a write.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *Sink) count(messages []message) {
	for i := range messages {
		s.alerts.Add(1)
		s.decisions.Add(uint64(messages[i].decisions))
		s.bytes.Add(uint64(len(messages[i].text)))
	}
}

// connect connects where there is no connection, or it is broken.
func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil {
		if s.network == "udp" || alive(s.conn, aliveWait) == nil {
			return nil
		}
		s.drop()
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	network := "tcp"
	if s.network == "udp" {
		network = "udp"
	}
	var err error
	if s.tls != nil {
		dialer := tls.Dialer{Config: s.tls}
		s.conn, err = dialer.DialContext(ctx, network, s.address)
	} else {
		var dialer net.Dialer
		s.conn, err = dialer.DialContext(ctx, network, s.address)
	}
	if err != nil {
		s.conn = nil
		return err
	}
	if s.network == "udp" {
		return nil
	}
	if err := alive(s.conn, s.settle); err != nil {
		return fmt.Errorf("it took the connection and gave it up at once: %w", err)
	}
	return nil
}

func (s *Sink) drop() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	return sinks.Stats{
		Alerts: s.alerts.Load(), Decisions: s.decisions.Load(), Bytes: s.bytes.Load(), Errors: s.failed.Load(), Rejected: s.rejected.Load(),
	}
}

// Close implements sinks.Sink. The kernel still sends what was written.
func (s *Sink) Close() error {
	s.drop()
	return nil
}
