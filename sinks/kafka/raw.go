package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"

	"sluice/pipeline"
	"sluice/pipeline/component"
	"sluice/pipeline/kafkaconn"
)

// RawConfig says where a RawWriter writes. Start from DefaultRaw.
type RawConfig struct {
	// Brokers are addresses to reach the cluster by, host:port. At least one.
	Brokers []string `yaml:"brokers"`
	// Topic gets all records.
	Topic string `yaml:"topic"`
	// TLS says how connections are encrypted.
	TLS kafkaconn.TLS `yaml:"tls"`
	// SASL says how the client signs in.
	SASL kafkaconn.SASL `yaml:"sasl"`
	// Compression is that of the records: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
	Compression string `yaml:"compression"`
	// MaxMessageBytes is the largest record that the brokers take.
	MaxMessageBytes component.Bytes `yaml:"max_message_bytes"`
	// RequestTimeout is how long a request may take.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// ClientID is the name told to the brokers.
	ClientID string `yaml:"client_id"`
}

// DefaultRaw returns the configuration of no topic yet.
func DefaultRaw() RawConfig {
	return RawConfig{Compression: "zstd", MaxMessageBytes: 1_000_000, RequestTimeout: 10 * time.Second, ClientID: "sluice"}
}

// Validate checks the configuration.
func (c *RawConfig) Validate() error {
	s := c.settings()
	if err := s.Validate(); err != nil {
		return err
	}
	if c.Topic == "" {
		return component.Invalid("topic", "name one")
	}
	if !validTopic(c.Topic) {
		return component.Invalid("topic", "%q is no topic's name: %s", c.Topic, topicNames)
	}
	return validateWriting(c.Compression, c.MaxMessageBytes)
}

func (c *RawConfig) settings() kafkaconn.Settings {
	return kafkaconn.Settings{Brokers: c.Brokers, ClientID: c.ClientID, Timeout: c.RequestTimeout, TLS: c.TLS, SASL: c.SASL}
}

// RawRecord is a record as it is written. A nil Value is a tombstone; a nil
// Key lets the record go to any partition.
type RawRecord struct {
	Key, Value []byte
	Headers    []pipeline.Header
}

// RejectedError says that some records will never be taken; all others were written.
type RejectedError struct {
	// Records are their indexes in what was given to Write, ascending.
	Records []int
	// Reason is why the first of them was refused.
	Reason error
}

// Error counts the records and gives the reason.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("%d records refused for good: %v", len(e.Records), e.Reason)
}

// Unwrap returns the reason.
func (e *RejectedError) Unwrap() error { return e.Reason }

// RawWriter writes records to one topic as they are, for dead letters and
// whatever else is no alert. Order and repeats are as the package's comment
// says. One goroutine uses it at a time.
type RawWriter struct {
	config RawConfig
	writer *writer
}

// NewRawWriter makes a writer; a nil log discards. Nothing is connected before the first record.
func NewRawWriter(c RawConfig, log *slog.Logger) (*RawWriter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w, err := newWriter(writerOptions{
		who: fmt.Sprintf("the writer of topic %q", c.Topic), settings: c.settings(), compression: c.Compression,
		maxBytes: int64(c.MaxMessageBytes), batchTimeout: 5 * time.Millisecond, maxAttempts: 3, log: log,
	})
	if err != nil {
		return nil, err
	}
	return &RawWriter{config: c, writer: w}, nil
}

// Write writes records, in order, and returns once all replicas in sync have
// them. A *RejectedError names records that are too large. After any other
// error the caller gives the same records again: a reader may meet those
// twice that had been written. Write keeps nothing of the records once it has
// returned nil or a *RejectedError; after the end of ctx their bytes may still be read.
func (w *RawWriter) Write(ctx context.Context, records []RawRecord) error {
	rejected := make(map[int]error)
	messages := make([]kafka.Message, 0, len(records))
	owner := make([]int, 0, len(records))
	for i, r := range records {
		m := kafka.Message{Topic: w.config.Topic, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			m.Headers = append(m.Headers, kafka.Header{Key: h.Key, Value: h.Value})
		}
		if err := checkSize(&m, w.config.MaxMessageBytes); err != nil {
			rejected[i] = err
			continue
		}
		messages, owner = append(messages, m), append(owner, i)
	}
	done, err := w.writer.write(ctx, messages)
	if err != nil {
		return err
	}
	for i, err := range done.refused {
		rejected[owner[i]] = err
	}
	if len(rejected) == 0 {
		return nil
	}
	indexes := slices.Sorted(maps.Keys(rejected))
	return &RejectedError{Records: indexes, Reason: rejected[indexes[0]]}
}

// Close waits for what is under way and frees the connections.
func (w *RawWriter) Close() error { return w.writer.Close() }

func checkSize(m *kafka.Message, limit component.Bytes) error {
	if size := sizeOf(m); size > int64(limit) {
		return fmt.Errorf("kafka: a record of %d bytes for topic %q is over max_message_bytes (%d)", size, m.Topic, int64(limit))
	}
	return nil
}
