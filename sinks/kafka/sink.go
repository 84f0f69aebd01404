package kafka

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/sinks"
	"sluice/sinks/internal/spread"
)

// HeaderAlert is the header of an alert's record with the alert's UUID.
const HeaderAlert = "sluice-alert"

// Sink writes alerts to a topic, and keeps a topic of decisions.
type Sink struct {
	name      string
	config    Config
	env       sinks.Env
	writer    *writer
	memory    spread.Memory // what other partitions have taken of a batch that failed
	publisher *publisher    // of the decisions topic, once there is a feed

	alerts, decisions, bytes, errors, rejected atomic.Uint64
}

var (
	_ sinks.DecisionFollower = (*Sink)(nil)
	_ sinks.Runner           = (*Sink)(nil)
)

// New makes the sink. It reads the files that the configuration names;
// nothing is connected before the first alert.
//
// Of alerts it logs nothing: whoever gives a sink its alerts says, once, that it does not take them.
func New(name string, c Config, env sinks.Env) (*Sink, error) {
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
	return &Sink{name: name, config: c, env: env.Complete(), writer: w}, nil
}

// Follow implements sinks.DecisionFollower.
func (s *Sink) Follow(feeds []sinks.DecisionFeed) error {
	c := &s.config
	if c.DecisionsTopic == "" {
		return nil
	}
	feed, err := pick(c.DecisionsOf, feeds)
	if err != nil {
		return err
	}
	s.publisher = &publisher{
		sink: s.name, brokers: c.Brokers, feed: feed, takeOver: c.TakeOver, maxRecord: int64(c.MaxMessageBytes), checkEvery: 5 * time.Second,
		topic: &topic{
			name: c.DecisionsTopic, compression: codecs[c.Compression], maxBytes: int64(c.MaxMessageBytes),
			client: &kafka.Client{Addr: kafka.TCP(c.Brokers...), Transport: s.writer.transport, Timeout: c.RequestTimeout},
		},
		log: s.env.Log.With("sink", s.name), now: s.env.Now, after: s.env.After, seed: maphash.MakeSeed(),
	}
	return nil
}

// pick returns the feed of a name, or the only one.
func pick(name string, feeds []sinks.DecisionFeed) (sinks.DecisionFeed, error) {
	var names []string
	for _, f := range feeds {
		if f.Name() == name {
			return f, nil
		}
		names = append(names, f.Name())
	}
	switch {
	case len(feeds) == 0:
		return nil, component.Invalid("decisions_topic", "it shows what a sink of type local_api keeps, and there is none; "+
			"add one under sinks, such as {type: local_api, listen: []}")
	case name != "":
		return nil, component.Invalid("decisions_of", "no sink of type local_api is called %q; there is %s", name, strings.Join(names, ", "))
	case len(feeds) > 1:
		return nil, component.Invalid("decisions_topic", "there are several sinks of type local_api; set decisions_of to one of %s", strings.Join(names, ", "))
	}
	return feeds[0], nil
}

// Run implements sinks.Runner: it keeps the decisions topic.
func (s *Sink) Run(ctx context.Context) error {
	switch {
	case s.publisher != nil:
		return s.publisher.run(ctx)
	case s.config.DecisionsTopic != "":
		return fmt.Errorf("sink %s: decisions_topic: nobody has called Follow", s.name)
	}
	return nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.name }

// Alerts implements sinks.Sink.
func (s *Sink) Alerts(ctx context.Context, alerts []pipeline.Alert) error {
	if s.config.AlertsTopic == "" {
		return nil // the decisions come from where they are kept
	}
	results := s.memory.Recall(alerts)
	var out outgoing
	for i := range alerts {
		if results[i].Done {
			continue
		}
		if err := s.add(&out, i, &alerts[i]); err != nil {
			results[i] = spread.Result{Done: true, Reason: err}
			s.rejected.Add(1)
		}
	}
	done, err := s.writer.write(ctx, out.messages)
	for m, i := range out.owner {
		switch refused, no := done.refused[m]; {
		case no:
			results[i] = spread.Result{Done: true, Reason: refused}
			s.rejected.Add(1)
		case done.acked[m]:
			results[i].Done = true
			s.count(&alerts[i], len(out.messages[m].Value))
		}
	}
	if err != nil {
		s.errors.Add(1)
	}
	return s.memory.Outcome(alerts, results, func(int) int { return len(alerts) - 1 }, err)
}

// count counts an alert that was acknowledged.
func (s *Sink) count(a *pipeline.Alert, bytes int) {
	s.alerts.Add(1)
	s.bytes.Add(uint64(bytes))
	if s.publisher == nil {
		s.decisions.Add(uint64(len(a.Decisions)))
	}
}

// outgoing are the records of a batch, and the alert that each belongs to.
type outgoing struct {
	messages []kafka.Message
	owner    []int
}

// add makes the record of an alert. An error says that it has none, or one that is too large.
func (s *Sink) add(out *outgoing, i int, a *pipeline.Alert) error {
	key := a.UUID
	if s.config.AlertKey == KeySource {
		key = a.GetScope() + ":" + a.GetValue()
	}
	m := kafka.Message{Topic: s.config.AlertsTopic, Key: []byte(key), Headers: []kafka.Header{{Key: HeaderAlert, Value: []byte(a.UUID)}}}
	var err error
	if m.Value, err = s.config.AlertsFormat.Append(nil, a); err != nil {
		return err
	}
	if err := checkSize(&m, s.config.MaxMessageBytes); err != nil {
		return err
	}
	out.messages, out.owner = append(out.messages, m), append(out.owner, i)
	return nil
}

// Stats implements sinks.Sink. Errors counts attempts of either topic.
func (s *Sink) Stats() sinks.Stats {
	st := sinks.Stats{
		Alerts: s.alerts.Load(), Decisions: s.decisions.Load(), Bytes: s.bytes.Load(),
		Errors: s.errors.Load(), Rejected: s.rejected.Load(),
	}
	if p := s.publisher; p != nil {
		st.Decisions, st.Expired = p.decisions.Load(), p.expired.Load()
		st.Bytes += p.bytes.Load()
		st.Errors += p.errors.Load()
	}
	return st
}

// Close implements sinks.Sink.
func (s *Sink) Close() error { return s.writer.Close() }
