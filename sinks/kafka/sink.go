package kafka

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
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

// Sink writes alerts and decisions to topics.
type Sink struct {
	name   string
	config Config
	writer *writer

	alerts, decisions, bytes, errors, rejected atomic.Uint64
}

// New makes the sink. It reads the files that the configuration names;
// nothing is connected before the first alert.
//
// It logs nothing: whoever gives a sink its alerts says, once, that it does not take them.
func New(name string, c Config, _ sinks.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	topics := slices.DeleteFunc([]string{c.AlertsTopic, c.DecisionsTopic}, func(t string) bool { return t == "" })
	w, err := newWriter(writerOptions{
		who: fmt.Sprintf("sink %s (%s)", name, strings.Join(topics, ", ")), settings: c.settings(), compression: c.Compression,
		maxBytes: int64(c.MaxMessageBytes), batchTimeout: c.BatchTimeout, maxAttempts: c.MaxAttempts, log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	return &Sink{name: name, config: c, writer: w}, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	out := &outgoing{refused: make(map[int]error)}
	for i := range alerts {
		s.add(out, i, &alerts[i])
	}
	refused, err := s.writer.write(ctx, out.messages)
	if err != nil {
		s.errors.Add(1)
		return err
	}
	for i, err := range refused {
		out.refused[out.owner[i]] = err
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
	if err := checkSize(&m, s.config.MaxMessageBytes); err != nil {
		out.refused[owner] = err
		return
	}
	out.messages = append(out.messages, m)
	out.owner = append(out.owner, owner)
	out.bytes += uint64(len(m.Value))
}

// Stats implements sinks.Sink.
func (s *Sink) Stats() sinks.Stats {
	return sinks.Stats{
		Alerts: s.alerts.Load(), Decisions: s.decisions.Load(), Bytes: s.bytes.Load(),
		Errors: s.errors.Load(), Rejected: s.rejected.Load(),
	}
}

// Close implements sinks.Sink.
func (s *Sink) Close() error { return s.writer.Close() }
