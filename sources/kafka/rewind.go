package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"sluice/pipeline"
	"sluice/sources"
)

var _ sources.Rewinder = (*Group)(nil)

// Rewind implements sources.Rewinder, by the times that the broker's index holds.
func (g *Group) Rewind(ctx context.Context, part pipeline.Partition, offset int64, lookback time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, g.config.RequestTimeout)
	defer cancel()
	at := g.clock.Now().Add(-lookback)
	young, err := g.listOffset(ctx, part, kafka.TimeOffsetOf(int(part.ID), at))
	if err == nil && len(young.Offsets) > 0 {
		for found := range young.Offsets {
			if found >= 0 { // else nothing is that young
				offset = min(offset, found)
			}
		}
	}
	first := kafka.PartitionOffsets{}
	if err == nil {
		first, err = g.listOffset(ctx, part, kafka.FirstOffsetOf(int(part.ID)))
	}
	if err != nil {
		return 0, fmt.Errorf("kafka: %s: looking for the record of %s ago: %w", part, lookback, err)
	}
	return max(offset, first.FirstOffset), nil
}

// listOffset asks for one offset: brokers refuse a partition that stands in a request twice.
func (g *Group) listOffset(ctx context.Context, part pipeline.Partition, asked kafka.OffsetRequest) (kafka.PartitionOffsets, error) {
	res, err := g.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{part.Topic: {asked}}})
	if err != nil {
		return kafka.PartitionOffsets{}, err
	}
	for _, p := range res.Topics[part.Topic] {
		if p.Partition == int(part.ID) {
			return p, p.Error
		}
	}
	return kafka.PartitionOffsets{}, errors.New("the broker's answer leaves the partition out")
}
