package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sluice/pipeline"
)

// discover begins every partition that is for this process, as soon as it is
// there and once: at the start, and then whenever topics and partitions were
// added. late tells begin that others were begun in an earlier round.
func (s *Source) discover(ctx context.Context, begin func(part pipeline.Partition, late bool)) error {
	wait := s.newBackoff()
	for late := false; ; {
		parts, missing, err := s.lookUp(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.refused(err):
			return s.explain(err)
		case err == nil && missing != "" && !late && s.config.MissingTopic == missingFail:
			return fmt.Errorf("kafka: topic %q does not exist at %s; create it or set missing_topic: wait",
				missing, strings.Join(s.config.Brokers, ", "))
		case err == nil && missing == "" && !late && len(parts) == 0 && s.config.pattern == nil:
			return fmt.Errorf("kafka: none of the partitions of %s is for this process; look at partitions and share",
				strings.Join(s.config.Topics, ", "))
		}
		parts = slices.DeleteFunc(parts, s.knows)
		if s.announce != nil && (err == nil || len(parts) > 0) {
			s.announce(parts...)
		}
		for _, p := range parts {
			begin(p, late)
		}
		if err != nil || missing != "" {
			if err == nil {
				late, err = true, fmt.Errorf("topic %q does not exist yet; waiting for it", missing)
			}
			s.health.Failed("metadata", s.explain(err))
			if err := wait.Wait(ctx); err != nil {
				return err
			}
			continue
		}
		s.health.Well("metadata")
		wait.Reset()
		late = true
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.clock.After(s.config.MetadataInterval):
		}
	}
}

// lookUp asks which partitions there are for this process, sorted, and names
// a configured topic that is missing.
func (s *Source) lookUp(ctx context.Context) (parts []pipeline.Partition, missing string, err error) {
	topics, err := s.cluster.look(ctx, s.config.Topics, s.config.pattern != nil)
	if err != nil {
		return nil, "", err
	}
	for name, t := range topics {
		if !s.config.wants(name, t.IsInternal) {
			continue
		}
		if t.ErrorCode != 0 {
			if failed := topicError(t); !errors.Is(failed, errMissing) && err == nil {
				err = fmt.Errorf("topic %q: %w", name, failed)
			}
			continue
		}
		for _, p := range t.Partitions {
			if s.mine(p.PartitionIndex) {
				parts = append(parts, pipeline.Partition{Source: s.name, Topic: name, ID: p.PartitionIndex})
			}
		}
	}
	for _, name := range s.config.Topics {
		if t, ok := topics[name]; !ok || t.ErrorCode != 0 && errors.Is(topicError(t), errMissing) {
			missing = name
			break
		}
	}
	slices.SortFunc(parts, comparePartitions)
	return parts, missing, err
}

// mine tells whether partitions of a number are for this process.
func (s *Source) mine(id int32) bool {
	if len(s.config.Partitions) > 0 && !slices.Contains(s.config.Partitions, id) {
		return false
	}
	return s.config.Share.Count == 0 || id%s.config.Share.Count == int32(s.config.Share.Ordinal)
}
