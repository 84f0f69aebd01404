package kafkatest

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Admin makes topics and asks for offsets.
type Admin struct {
	client *kgo.Client
}

// NewAdmin returns an Admin of the brokers. Close frees it.
func NewAdmin(brokers []string) (*Admin, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &Admin{client}, nil
}

// Close closes its connections.
func (a *Admin) Close() { a.client.Close() }

// CreateTopic makes a topic with as many replicas as the cluster gives by
// default, and waits until all of its partitions have a leader. settings are
// the topic's own, such as retention.ms.
func (a *Admin) CreateTopic(ctx context.Context, topic string, partitions int, settings map[string]string) error {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, int32(partitions), -1
	for name, value := range settings {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, &value
		t.Configs = append(t.Configs, c)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis, req.Topics = 10_000, append(req.Topics, t)
	res, err := req.RequestWith(ctx, a.client)
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("kafka: creating topic %q: %w", topic, err)
	}
	for {
		parts, err := a.partitions(ctx, topic)
		if err != nil {
			return err
		}
		led := 0
		for _, p := range parts {
			if p.ErrorCode == 0 && p.Leader >= 0 {
				led++
			}
		}
		if led == partitions {
			return nil
		}
	}
}

// Leader returns the node that leads a partition.
func (a *Admin) Leader(ctx context.Context, topic string, partition int32) (int, error) {
	parts, err := a.partitions(ctx, topic)
	if err != nil {
		return 0, err
	}
	for _, p := range parts {
		if p.Partition == partition {
			return int(p.Leader), nil
		}
	}
	return 0, fmt.Errorf("kafka: topic %q has no partition %d", topic, partition)
}

// partitions returns what the cluster knows of a topic.
func (a *Admin) partitions(ctx context.Context, topic string) ([]kmsg.MetadataResponseTopicPartition, error) {
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = append(req.Topics, t)
	res, err := req.RequestWith(ctx, a.client)
	if err != nil {
		return nil, fmt.Errorf("kafka: asking for topic %q: %w", topic, err)
	}
	return res.Topics[0].Partitions, nil
}

// The places that ListOffsets knows by number.
const (
	Earliest int64 = -2
	Latest   int64 = -1
)

// Offsets returns, by partition, the offset of the first record (Earliest) or
// the one after the last (Latest).
func (a *Admin) Offsets(ctx context.Context, topic string, partitions int, which int64) (map[int32]int64, error) {
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for p := range partitions {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = int32(p), which
		t.Partitions = append(t.Partitions, part)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.Topics = append(req.Topics, t)
	out := make(map[int32]int64)
	for _, shard := range a.client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, fmt.Errorf("kafka: offsets of topic %q: %w", topic, shard.Err)
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("kafka: offsets of topic %q, partition %d: %w", topic, p.Partition, err)
				}
				out[p.Partition] = p.Offset
			}
		}
	}
	return out, nil
}

// Committed returns the offsets that a group has committed for a topic, by
// partition; a partition without one is absent.
func (a *Admin) Committed(ctx context.Context, group, topic string, partitions int) (map[int32]int64, error) {
	t := kmsg.NewOffsetFetchRequestGroupTopic()
	t.Topic = topic
	for p := range partitions {
		t.Partitions = append(t.Partitions, int32(p))
	}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.Topics = group, append(g.Topics, t)
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups = append(req.Groups, g)
	res, err := req.RequestWith(ctx, a.client)
	if err == nil && len(res.Groups) > 0 {
		err = kerr.ErrorForCode(res.Groups[0].ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("kafka: offsets of group %q: %w", group, err)
	}
	out := make(map[int32]int64)
	for _, g := range res.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("kafka: offset of group %q in topic %q, partition %d: %w", group, topic, p.Partition, err)
				}
				if p.Offset >= 0 {
					out[p.Partition] = p.Offset
				}
			}
		}
	}
	return out, nil
}

// DeleteRecords deletes a partition's records before an offset, as retention does.
func (a *Admin) DeleteRecords(ctx context.Context, topic string, partition int32, before int64) error {
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = partition, before
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, part)
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis, req.Topics = 10_000, append(req.Topics, t)
	res, err := req.RequestWith(ctx, a.client)
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("kafka: deleting records of topic %q, partition %d: %w", topic, partition, err)
	}
	return nil
}
