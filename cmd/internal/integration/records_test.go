//go:build integration

package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"sluice/benchmarks/workload"
	"sluice/cmd/internal/integration/kafkatest"
)

// record is one line on its way into a partition.
type record struct {
	partition int32
	key       string
	kind      workload.Kind
	text      string
	time      time.Time
}

// begin is when the logs of tests begin. It is in the past, so that brokers take the end too.
var begin = time.Date(2025, 3, 1, 10, 0, 0, 0, time.UTC)

// placement says which partition a line belongs in.
type placement func(l workload.Line, n, partitions int) int32

// byKey keeps a key in one partition.
func byKey(l workload.Line, _, partitions int) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(l.Key)) // a hash takes everything
	return int32(h.Sum32() % uint32(partitions))
}

// logs returns n lines of web and SSH logs with attacks among them, and at the
// end of each partition one of a later time: it fires what waits for a time.
func logs(seed uint64, n, partitions int, place placement) []record {
	stream := workload.New(workload.Options{Seed: seed, Start: begin, Step: 20 * time.Millisecond, Attacks: 0.2, Visitors: 300})
	out := make([]record, 0, n+partitions)
	for i := range n {
		l := stream.Next()
		out = append(out, record{place(l, i, partitions), l.Key, l.Kind, l.Text, l.Time})
	}
	return closing(out, partitions, 2*time.Minute)
}

// closing adds the record of later time to each partition. It is late enough
// to end counters, and early enough for most buckets to be there to compare.
func closing(records []record, partitions int, after time.Duration) []record {
	last := slices.MaxFunc(records, func(a, b record) int { return a.time.Compare(b.time) }).time
	for p := range partitions {
		at := last.Add(after + time.Duration(p)*time.Second)
		// A line that no parser takes would not move the clock; the address is of one partition alone.
		text := fmt.Sprintf("%s db-1 sshd[1]: Failed password for backup from 192.0.2.%d port 4242 ssh2", at.Format("Jan _2 15:04:05"), p+1)
		records = append(records, record{int32(p), "end", workload.Syslog, text, at})
	}
	return records
}

// produce writes records to a topic at a rate a second, 0 for as fast as it
// goes, each partition's in order and once.
func (b *broker) produce(ctx context.Context, topic string, records []record, rate int) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(b.Brokers()...), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	failed := make(chan error, 1)
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case failed <- err:
			default: // the first tells enough
			}
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for start, i := time.Now(), 0; i < len(records); {
		due := len(records)
		if rate > 0 {
			due = min(due, int(time.Since(start).Seconds()*float64(rate)))
		}
		for ; i < due; i++ {
			client.Produce(ctx, records[i].message(), promise)
		}
		select {
		case <-tick.C:
		case err := <-failed:
			return fmt.Errorf("producing to %s: %w", topic, err)
		}
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("producing to %s: %w", topic, err)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("producing to %s: %w", topic, err)
	default:
		return nil
	}
}

func (r *record) message() *kgo.Record {
	return &kgo.Record{
		Partition: r.partition, Key: []byte(r.key), Value: []byte(r.text), Timestamp: r.time,
		Headers: []kgo.RecordHeader{{Key: "type", Value: []byte(r.kind)}},
	}
}

// consumed is one record of a topic as it was read back.
type consumed struct {
	partition int32
	offset    int64
	time      time.Time // when it was produced, or the broker took it
	id        string    // of the alert, if it is one
	value     string
}

// readAll returns all records of a topic, by partition and offset.
func (b *broker) readAll(ctx context.Context, topic string, partitions int) ([]consumed, error) {
	ends, err := b.admin.Offsets(ctx, topic, partitions, kafkatest.Latest)
	if err != nil {
		return nil, err
	}
	offsets := make(map[int32]kgo.Offset)
	left := int64(0)
	for p := range int32(partitions) {
		if ends[p] > 0 {
			offsets[p] = kgo.NewOffset().At(0)
			left += ends[p]
		}
	}
	if left == 0 {
		return nil, nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers()...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var out []consumed
	for left > 0 {
		fetches := client.PollFetches(ctx)
		var errs []error
		fetches.EachError(func(_ string, _ int32, err error) { errs = append(errs, err) })
		if err := errors.Join(errs...); err != nil {
			return nil, fmt.Errorf("reading %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			c := consumed{partition: r.Partition, offset: r.Offset, time: r.Timestamp, value: string(r.Value)}
			for _, h := range r.Headers {
				if h.Key == "sluice-alert" {
					c.id = string(h.Value)
				}
			}
			out = append(out, c)
			left--
		})
	}
	slices.SortFunc(out, func(a, b consumed) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	return out, nil
}
