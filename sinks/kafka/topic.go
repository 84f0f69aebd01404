package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// topic is one topic, read and written partition by partition, so that it is
// known at which offset each record stands. Its methods try once.
type topic struct {
	name        string
	client      *kafka.Client
	compression kafka.Compression
	maxBytes    int64 // of a batch
}

// span is what a partition holds: offsets from start to before end.
type span struct{ start, end int64 }

// readers is how many partitions are read, or written, at once.
const readers = 4

// layout returns the cluster's id and what each partition holds.
func (t *topic) layout(ctx context.Context) (cluster string, spans []span, err error) {
	meta, err := t.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{t.name}})
	if err != nil {
		return "", nil, err
	}
	if len(meta.Topics) != 1 {
		return "", nil, errors.New("the brokers say nothing of it")
	}
	if err := meta.Topics[0].Error; err != nil {
		return "", nil, err
	}
	spans, err = t.spans(ctx, len(meta.Topics[0].Partitions))
	return meta.ClusterID, spans, err
}

// spans asks what each of n partitions holds.
func (t *topic) spans(ctx context.Context, n int) ([]span, error) {
	var ask []kafka.OffsetRequest
	for p := range n {
		ask = append(ask, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
	}
	res, err := t.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{t.name: ask}})
	if err != nil {
		return nil, err
	}
	out, got := make([]span, n), 0
	for _, o := range res.Topics[t.name] {
		if o.Error != nil {
			return nil, fmt.Errorf("partition %d: %w", o.Partition, o.Error)
		}
		if o.Partition < n {
			out[o.Partition], got = span{o.FirstOffset, o.LastOffset}, got+1
		}
	}
	if got != n {
		return nil, fmt.Errorf("the brokers know of %d of its %d partitions", got, n)
	}
	return out, nil
}

// topicSettings are settings of the topic at the brokers.
type topicSettings struct {
	policy     string // what removes records: compact, delete, or both
	maxMessage int64  // bytes that a batch may have
}

// settings asks for them. Whoever writes a topic may not be allowed to ask.
func (t *topic) settings(ctx context.Context) (s topicSettings, err error) {
	const policy, size = "cleanup.policy", "max.message.bytes"
	res, err := t.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: t.name, ConfigNames: []string{policy, size}},
	}})
	if err != nil {
		return s, err
	}
	for _, r := range res.Resources {
		if r.Error != nil {
			return s, r.Error
		}
		for _, c := range r.ConfigEntries {
			switch c.ConfigName {
			case policy:
				s.policy = c.ConfigValue
			case size:
				s.maxMessage, _ = strconv.ParseInt(c.ConfigValue, 10, 64) // 0 is not known
			}
		}
	}
	if s.policy == "" {
		return s, errors.New("the brokers do not tell " + policy)
	}
	return s, nil
}

// found is a record of the topic.
type found struct {
	partition  int
	offset     int64
	key, value []byte // a nil value is a tombstone
	headers    []kafka.Header
}

// errGone says that records which were to be read are not there any more.
var errGone = errors.New("records that were written are gone")

// read calls visit with the records of the given spans, in the order of each
// partition, from one goroutine at a time.
func (t *topic) read(ctx context.Context, spans []span, visit func(*found)) error {
	var mu sync.Mutex
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(readers)
	for p, s := range spans {
		if s.start >= s.end {
			continue
		}
		all.Go(func() error {
			err := t.readPartition(ctx, p, s, func(f *found) {
				mu.Lock()
				defer mu.Unlock()
				visit(f)
			})
			if err != nil {
				return fmt.Errorf("partition %d: %w", p, err)
			}
			return nil
		})
	}
	return all.Wait()
}

func (t *topic) readPartition(ctx context.Context, p int, s span, visit func(*found)) error {
	for at, empty := s.start, 0; at < s.end; {
		res, err := t.client.Fetch(ctx, &kafka.FetchRequest{
			Topic: t.name, Partition: p, Offset: at, MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 500 * time.Millisecond,
		})
		switch {
		case err != nil:
			return err
		case errors.Is(res.Error, kafka.OffsetOutOfRange):
			return errGone
		case res.Error != nil:
			return res.Error
		}
		next, err := records(res.Records, at, s.end, p, visit)
		if err != nil {
			return err
		}
		if next > at {
			at, empty = next, 0
			continue
		}
		// Compaction may have left nothing up to the end. A broker that slows us
		// down, or that has just become the leader, may also answer with nothing.
		if empty++; res.Throttle == 0 && res.HighWatermark >= s.end && empty >= 3 {
			return nil
		}
		if empty > 20 {
			return fmt.Errorf("there is nothing to read at offset %d, although the partition ends at %d", at, s.end)
		}
	}
	return nil
}

// records visits the records of an answer from one offset to another, and
// returns the offset to go on from.
func records(r kafka.RecordReader, from, end int64, p int, visit func(*found)) (next int64, err error) {
	next = from
	for {
		rec, err := r.ReadRecord()
		if errors.Is(err, io.EOF) {
			return next, nil
		}
		if err != nil {
			return next, err
		}
		f := found{partition: p, offset: rec.Offset, headers: rec.Headers}
		if f.key, err = kafka.ReadAll(rec.Key); err == nil {
			f.value, err = kafka.ReadAll(rec.Value)
		}
		if err != nil {
			return next, err
		}
		if rec.Offset < from {
			continue // a batch is given as a whole
		}
		next = rec.Offset + 1
		if rec.Offset < end {
			visit(&f)
		}
	}
}

// outRecord is a record to be written; a nil value is a tombstone.
type outRecord struct {
	key, value []byte
	headers    []kafka.Header
}

func (r *outRecord) size() int64 {
	return sizeOf(&kafka.Message{Key: r.key, Value: r.value, Headers: r.headers})
}

// batches cuts records into what goes into one request.
func (t *topic) batches(records []outRecord) [][]outRecord {
	var out [][]outRecord
	start, size := 0, int64(0)
	for i := range records {
		if n := records[i].size(); i > start && (size+n > t.maxBytes || i-start == batchRecords) {
			out, start, size = append(out, records[start:i]), i, n
		} else {
			size += n
		}
	}
	return append(out, records[start:])
}

// write writes one batch to a partition and returns its first offset, once all
// replicas in sync have it. After an error it may be there nonetheless, or come to be there later.
func (t *topic) write(ctx context.Context, p int, batch []outRecord) (base int64, err error) {
	now := time.Now()
	rs := make([]kafka.Record, len(batch))
	for i, r := range batch {
		rs[i] = kafka.Record{Time: now, Key: kafka.NewBytes(r.key), Headers: r.headers}
		if r.value != nil {
			rs[i].Value = kafka.NewBytes(r.value)
		}
	}
	res, err := t.client.Produce(ctx, &kafka.ProduceRequest{
		Topic: t.name, Partition: p, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(rs...), Compression: t.compression,
	})
	if err != nil {
		return 0, err
	}
	if res.Error != nil {
		return 0, res.Error
	}
	return res.BaseOffset, nil
}

// place returns where a key belongs, of partitions numbered from 0.
func place(key []byte, partitions []int) int {
	return partitioner.Balance(kafka.Message{Key: key}, partitions...)
}

// header returns the value of the first header of a name.
func header(headers []kafka.Header, name string) (string, bool) {
	i := slices.IndexFunc(headers, func(h kafka.Header) bool { return h.Key == name })
	if i < 0 {
		return "", false
	}
	return string(headers[i].Value), true
}
