package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"

	"sluice/pipeline"
	"sluice/sources"
)

// Commit implements sources.Source. Without a group it does nothing.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	if s.config.Group == "" || len(next) == 0 {
		return nil
	}
	topics := make(map[string][]kafka.OffsetCommit)
	for p, offset := range next {
		topics[p.Topic] = append(topics[p.Topic], kafka.OffsetCommit{Partition: int(p.ID), Offset: offset})
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.RequestTimeout)
	defer cancel()
	res, err := s.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: s.config.Group, GenerationID: -1, Topics: topics})
	if err != nil {
		return fmt.Errorf("kafka: offsets of group %q are not committed: %w", s.config.Group, err)
	}
	var failed []error
	for topic, parts := range res.Topics {
		for _, p := range parts {
			if p.Error != nil {
				failed = append(failed, fmt.Errorf("kafka: topic %q, partition %d: the offset of group %q is not committed: %w",
					topic, p.Partition, s.config.Group, p.Error))
			}
		}
	}
	return errors.Join(failed...)
}

// Committed returns the offset that the group stands at in a partition, -1
// when it stands nowhere or there is no group.
func (s *Source) Committed(ctx context.Context, part pipeline.Partition) (int64, error) {
	if s.config.Group == "" {
		return -1, nil
	}
	return s.committed(ctx, part)
}

// committed returns the offset that the group stands at, -1 when it stands nowhere.
func (s *Source) committed(ctx context.Context, part pipeline.Partition) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.RequestTimeout)
	defer cancel()
	res, err := s.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{
		GroupID: s.config.Group, Topics: map[string][]int{part.Topic: {int(part.ID)}},
	})
	if err == nil {
		err = res.Error
	}
	if errors.Is(err, kafka.GroupIdNotFound) {
		return -1, nil // some brokers say it of a group that never committed
	}
	if err != nil {
		return 0, err
	}
	for _, p := range res.Topics[part.Topic] {
		if p.Partition == int(part.ID) {
			return p.CommittedOffset, p.Error
		}
	}
	return -1, nil
}
