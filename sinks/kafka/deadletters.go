package kafka

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/pipeline"
	"sluice/sinks"
)

// The headers of dead letters, behind the record's own. Those that say nothing are left out.
const (
	HeaderDeadKind      = "sluice-dead-kind"      // undecodable, unparsed, rejected, over_quota, undelivered
	HeaderDeadReason    = "sluice-dead-reason"    // a word or a sentence
	HeaderDeadSource    = "sluice-dead-source"    // the source's name in the configuration
	HeaderDeadTopic     = "sluice-dead-topic"     // topic, path or stream
	HeaderDeadPartition = "sluice-dead-partition" // a number
	HeaderDeadOffset    = "sluice-dead-offset"    // of the record
	HeaderDeadLine      = "sluice-dead-line"      // within the record, from 0; of lines and alerts
	HeaderDeadTime      = "sluice-dead-time"      // the record's, RFC 3339
	HeaderDeadSize      = "sluice-dead-size"      // in bytes, of a value that was cut
	HeaderDeadSink      = "sluice-dead-sink"      // the sink that did not take an alert
	deadPrefix          = "sluice-dead-"
)

// DeadLetters writes dead letters to a topic: key and value are the original
// ones, headers say where they came from and why they came to nothing.
type DeadLetters struct{ raw *RawWriter }

// NewDeadLetters makes the writer. Nothing is connected before the first letter.
func NewDeadLetters(c RawConfig, env sinks.Env) (*DeadLetters, error) {
	raw, err := NewRawWriter(c, env.Log)
	if err != nil {
		return nil, err
	}
	return &DeadLetters{raw}, nil
}

// Write implements sinks.DeadLetters.
func (d *DeadLetters) Write(ctx context.Context, letters []pipeline.DeadLetter) error {
	records := make([]RawRecord, len(letters))
	for i := range letters {
		records[i] = RawRecord{Key: letters[i].Key, Value: letters[i].Value, Headers: deadHeaders(&letters[i])}
	}
	err := d.raw.Write(ctx, records)
	var rejected *RejectedError
	if errors.As(err, &rejected) {
		return &sinks.RejectedError{Alerts: rejected.Records, Reason: rejected.Reason}
	}
	return err
}

// Close implements sinks.DeadLetters.
func (d *DeadLetters) Close() error { return d.raw.Close() }

// deadHeaders returns the record's own headers and those of the dead letter.
// A record that was a dead letter before loses the headers of that time.
func deadHeaders(d *pipeline.DeadLetter) []pipeline.Header {
	out := slices.DeleteFunc(slices.Clone(d.Headers), func(h pipeline.Header) bool { return strings.HasPrefix(h.Key, deadPrefix) })
	add := func(key, value string) {
		if value != "" {
			out = append(out, pipeline.Header{Key: key, Value: []byte(value)})
		}
	}
	add(HeaderDeadKind, string(d.Kind))
	add(HeaderDeadReason, d.Reason)
	add(HeaderDeadSource, d.Position.Source)
	add(HeaderDeadTopic, d.Position.Topic)
	add(HeaderDeadPartition, strconv.Itoa(int(d.Position.ID)))
	add(HeaderDeadOffset, strconv.FormatInt(d.Position.Offset, 10))
	if d.Position.Line >= 0 {
		add(HeaderDeadLine, strconv.Itoa(int(d.Position.Line)))
	}
	if !d.Time.IsZero() {
		add(HeaderDeadTime, d.Time.UTC().Format(time.RFC3339Nano))
	}
	if d.Size > len(d.Value) {
		add(HeaderDeadSize, strconv.Itoa(d.Size))
	}
	add(HeaderDeadSink, d.Sink)
	return out
}
