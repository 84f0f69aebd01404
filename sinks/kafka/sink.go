package kafka

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/segmentio/kafka-go"

	"sluice/pipeline"
	"sluice/sinks"
)

// The headers of records.
const (
	HeaderAlert    = "sluice-alert"    // UUID of the alert
	HeaderDecision = "sluice-decision" // place of the decision in its alert, from 0
)

var codecs = map[string]kafka.Compression{
	"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

// Sink writes alerts and decisions to topics.
type Sink struct {
	name      string
	config    Config
	writer    *kafka.Writer
	transport *kafka.Transport
	stop      context.CancelFunc

	alerts, decisions, bytes, errors, rejected atomic.Uint64
}

// New makes the sink. Nothing is connected before the first alert.
func New(name string, c Config, _ sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sink{name: name, config: c, stop: cancel}
	s.transport = &kafka.Transport{ClientID: c.ClientID, DialTimeout: c.RequestTimeout, Context: ctx}
	s.writer = &kafka.Writer{
		Addr: kafka.TCP(c.Brokers...), Transport: s.transport, Balancer: partitioner,
		RequiredAcks: kafka.RequireAll, Compression: codecs[c.Compression], MaxAttempts: c.MaxAttempts,
		BatchTimeout: c.BatchTimeout, BatchBytes: int64(c.MaxMessageBytes), BatchSize: 1000,
		ReadTimeout: c.RequestTimeout, WriteTimeout: c.RequestTimeout,
	}
	return s, nil
}

// partitioner is Kafka's default one for records with a key: the murmur2 hash
// of the key without its sign, modulo the number of partitions.
var partitioner = kafka.Murmur2Balancer{Consistent: true}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	out := &outgoing{refused: make(map[int]error)}
	for i := range alerts {
		s.add(out, i, &alerts[i])
	}
	err := s.writer.WriteMessages(ctx, out.messages...)
	if err = out.sortOut(err); err != nil {
		s.errors.Add(1)
		return s.explain(err)
	}
	for i := range alerts {
		if _, no := out.refused[i]; !no {
			s.alerts.Add(1)
		}
		s.decisions.Add(uint64(len(alerts[i].Decisions)))
	}
	s.bytes.Add(out.bytes)
	if len(out.refused) == 0 {
		return nil
	}
	s.rejected.Add(uint64(len(out.refused)))
	indexes := slices.Sorted(maps.Keys(out.refused))
	return &sinks.RejectedError{Alerts: indexes, Reason: out.refused[indexes[0]]}
}

// outgoing is a batch on its way: records, the alert that each belongs to, and
// the alerts that will never be taken.
type outgoing struct {
	messages []kafka.Message
	owner    []int
	refused  map[int]error
	bytes    uint64
}

// add makes the records of one alert.
func (s *Sink) add(out *outgoing, i int, a *pipeline.Alert) {
	id := kafka.Header{Key: HeaderAlert, Value: []byte(a.UUID)}
	if s.config.AlertsTopic != "" {
		key := a.UUID
		if s.config.AlertKey == KeySource {
			key = a.GetScope() + ":" + a.GetValue()
		}
		s.put(out, i, a, kafka.Message{Topic: s.config.AlertsTopic, Key: []byte(key), Headers: []kafka.Header{id}})
	}
	if s.config.DecisionsTopic == "" {
		return
	}
	for n, d := range a.Decisions {
		place := kafka.Header{Key: HeaderDecision, Value: strconv.AppendInt(nil, int64(n), 10)}
		s.put(out, i, decision{d, a.UUID}, kafka.Message{
			Topic: s.config.DecisionsTopic, Key: []byte(d.Scope + ":" + d.Value), Headers: []kafka.Header{id, place},
		})
	}
}

// decision is a record of the decisions topic.
type decision struct {
	pipeline.Decision
	AlertUUID string `json:"alert_uuid"`
}

// put gives a record its JSON; one that has none, or is too large, refuses its alert.
func (s *Sink) put(out *outgoing, owner int, value any, m kafka.Message) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		out.refused[owner] = err
		return
	}
	m.Value = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if size := len(m.Key) + len(m.Value) + recordOverhead; size > int(s.config.MaxMessageBytes) {
		out.refused[owner] = fmt.Errorf("kafka: a record of %d bytes for topic %q is over max_message_bytes (%d)", size, m.Topic, int64(s.config.MaxMessageBytes))
		return
	}
	out.messages = append(out.messages, m)
	out.owner = append(out.owner, owner)
	out.bytes += uint64(len(m.Value))
}

// recordOverhead is more than what a record's headers and its batch's frame take.
const recordOverhead = 256

// sortOut keeps the records that brokers refuse for good apart from errors to try again.
func (out *outgoing) sortOut(err error) error {
	var each kafka.WriteErrors
	if !errors.As(err, &each) {
		return err
	}
	var again error
	for i, e := range each {
		switch {
		case e == nil:
		case errors.Is(e, kafka.MessageSizeTooLarge):
			out.refused[out.owner[i]] = e
		case again == nil:
			again = e
		}
	}
	return again
}

// explain makes an error a sentence that says where.
func (s *Sink) explain(err error) error {
	brokers := strings.Join(s.config.Brokers, ", ")
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		return fmt.Errorf("kafka: a topic of sink %s (%s) does not exist at %s; create it: %w", s.name, s.topics(), brokers, err)
	}
	return fmt.Errorf("kafka: sink %s, brokers %s: %w", s.name, brokers, err)
}

func (s *Sink) topics() string {
	return strings.Join(slices.DeleteFunc([]string{s.config.AlertsTopic, s.config.DecisionsTopic}, func(t string) bool { return t == "" }), ", ")
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	return sinks.Stats{
		Alerts: s.alerts.Load(), Decisions: s.decisions.Load(), Bytes: s.bytes.Load(),
		Errors: s.errors.Load(), Rejected: s.rejected.Load(),
	}
}

// Close implements sinks.Sink.
func (s *Sink) Close() error {
	err := s.writer.Close()
	s.transport.CloseIdleConnections()
	s.stop()
	if err != nil {
		return s.explain(err)
	}
	return nil
}
