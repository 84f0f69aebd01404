package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"

	"sluice/pipeline/kafkaconn"
)

// batchRecords is how many records are given to the library at once: one batch
// a partition, whatever the keys. See the package's comment on order.
const batchRecords = 1000

// recordOverhead is more than what a record's frame and its batch's take.
const recordOverhead = 256

// partitioner is Kafka's default one for records with a key: the murmur2 hash
// of the key without its sign, modulo the number of partitions. Records
// without a key go anywhere.
var partitioner = kafka.Murmur2Balancer{Consistent: true}

var codecs = map[string]kafka.Compression{
	"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

// writerOptions are what a writer needs to know.
type writerOptions struct {
	who          string // "sink x", for errors and logs
	settings     kafkaconn.Settings
	compression  string // a key of codecs
	maxBytes     int64  // of a record
	batchTimeout time.Duration
	maxAttempts  int
	log          *slog.Logger
}

// writer writes records in order and says once that it cannot, and once that
// it can again. One goroutine uses it at a time.
type writer struct {
	writerOptions
	kafka     *kafka.Writer
	transport *kafka.Transport
	stop      context.CancelFunc // ends the transport's own goroutines
	failing   bool
}

func newWriter(o writerOptions) (*writer, error) {
	connector, err := kafkaconn.New(o.settings)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &writer{writerOptions: o, stop: cancel, transport: connector.Transport(ctx)}
	w.kafka = &kafka.Writer{
		Addr: kafka.TCP(o.settings.Brokers...), Transport: w.transport, Balancer: partitioner,
		RequiredAcks: kafka.RequireAll, Compression: codecs[o.compression], MaxAttempts: o.maxAttempts,
		BatchTimeout: o.batchTimeout, BatchSize: batchRecords, BatchBytes: o.maxBytes + 2*recordOverhead,
		ReadTimeout: o.settings.Timeout, WriteTimeout: o.settings.Timeout,
	}
	return w, nil
}

// sizeOf bounds what a record takes of a batch.
func sizeOf(m *kafka.Message) int64 {
	n := int64(len(m.Key)+len(m.Value)) + recordOverhead
	for _, h := range m.Headers {
		n += int64(len(h.Key)+len(h.Value)) + 10
	}
	return n
}

// written is what became of records, by index.
type written struct {
	acked   []bool
	refused map[int]error // for good
}

// write writes all records, in order. After an error those that were neither
// acknowledged nor refused are to be given again: of a partition nothing was
// written behind one of them.
func (w *writer) write(ctx context.Context, messages []kafka.Message) (done *written, err error) {
	done = &written{acked: make([]bool, len(messages)), refused: make(map[int]error)}
	for start := 0; start < len(messages); {
		end := w.cut(messages, start)
		large, err := done.note(w.kafka.WriteMessages(ctx, messages[start:end]...), start, end)
		if err == nil && len(large) > 0 {
			err = w.writeEach(ctx, messages, large, done)
		}
		if err != nil {
			return done, w.failed(ctx, err)
		}
		start = end
	}
	if w.failing {
		w.failing = false
		w.log.Info("records are written again", "to", w.who)
	}
	return done, nil
}

// cut returns the end of the records that fit one batch even if one partition gets all of them.
func (w *writer) cut(messages []kafka.Message, start int) int {
	end, size := start, int64(0)
	for end < len(messages) && end-start < batchRecords {
		if size += sizeOf(&messages[end]); size > w.maxBytes && end > start {
			break
		}
		end++
	}
	return end
}

// note notes which of the records from start to end were acknowledged. It
// returns those of batches that the brokers find too large, apart from errors to try again.
func (d *written) note(err error, start, end int) (large []int, again error) {
	var each kafka.WriteErrors
	if err != nil && !errors.As(err, &each) {
		return nil, err
	}
	for i := start; i < end; i++ {
		var e error
		if each != nil {
			e = each[i-start]
		}
		switch {
		case e == nil:
			d.acked[i] = true
		case errors.Is(e, kafka.MessageSizeTooLarge):
			large = append(large, i)
		case again == nil:
			again = e
		}
	}
	return large, again
}

// writeEach writes records one by one: brokers that take less than the
// configuration says refuse a batch for its size, and only what they refuse
// alone is refused for good.
func (w *writer) writeEach(ctx context.Context, messages []kafka.Message, indexes []int, done *written) error {
	for _, i := range indexes {
		large, err := done.note(w.kafka.WriteMessages(ctx, messages[i]), i, i+1)
		if err != nil {
			return err
		}
		if len(large) > 0 {
			done.refused[i] = fmt.Errorf("kafka: a record of about %d bytes for topic %q: %w", sizeOf(&messages[i]), messages[i].Topic, kafka.MessageSizeTooLarge)
		}
	}
	return nil
}

// failed makes an error a sentence that says where, and logs a change of state.
func (w *writer) failed(ctx context.Context, err error) error {
	brokers := strings.Join(w.settings.Brokers, ", ")
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		err = fmt.Errorf("kafka: a topic of %s does not exist at %s; create it: %w", w.who, brokers, err)
	} else {
		err = fmt.Errorf("kafka: %s, brokers %s: %w", w.who, brokers, err)
	}
	if !w.failing && ctx.Err() == nil {
		w.failing = true
		w.log.Warn("records are not written; they are tried again", "error", err)
	}
	return err
}

// Close waits for what is under way and frees the connections.
func (w *writer) Close() error {
	err := w.kafka.Close()
	w.transport.CloseIdleConnections()
	w.stop()
	if err != nil {
		return fmt.Errorf("kafka: %s: %w", w.who, err)
	}
	return nil
}
