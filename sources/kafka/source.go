package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources"
)

// Source reads partitions of topics. See the package's comment.
type Source struct {
	name   string
	config Config
	log    *slog.Logger
	clock  sources.Clock
	client *kafka.Client
	health health
	mem    memory
	// stop ends the transport's own goroutines.
	stop      context.CancelFunc
	transport *kafka.Transport

	records, bytes, skipped, gaps atomic.Uint64

	mu         sync.Mutex // guards partitions
	partitions map[pipeline.Partition]*sources.PartitionStats
}

// New makes the source. Nothing is connected before Run.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env = env.Complete()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Source{
		name: name, config: c, log: env.Log.With("source", name), clock: env.Clock, stop: cancel,
		partitions: make(map[pipeline.Partition]*sources.PartitionStats),
	}
	s.transport = &kafka.Transport{
		ClientID: c.ClientID, DialTimeout: c.RequestTimeout, MetadataTopics: c.Topics, Context: ctx,
		// How soon a new leader, or a topic that is waited for, is noticed.
		MetadataTTL: 2 * time.Second,
	}
	s.client = &kafka.Client{Addr: kafka.TCP(c.Brokers...), Transport: s.transport}
	s.health = health{log: s.log, failing: make(map[string]bool)}
	return s, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Run implements sources.Source. It ends with the context, with an error of
// Emit, or with a sentence: a topic or an offset that is not there and that
// the configuration gives no way around, or a refusal of the brokers.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	parts, err := s.assign(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range parts {
		s.note(p, 0, -1)
		group.Go(func() error {
			next, resumed := from[p]
			f := &fetcher{s: s, part: p, out: out, next: next, placed: resumed}
			return f.run(ctx)
		})
	}
	return group.Wait()
}

// assign returns the partitions to read, sorted, once the brokers and, if so
// configured, the topics are there.
func (s *Source) assign(ctx context.Context) ([]pipeline.Partition, error) {
	for wait := s.newBackoff(); ; {
		parts, missing, err := s.lookUp(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case refused(err):
			return nil, s.explain(err)
		case err != nil:
			s.health.failed("metadata", s.explain(err))
		case missing != "" && s.config.MissingTopic == "fail":
			return nil, fmt.Errorf("kafka: topic %q does not exist at %s; create it or set missing_topic: wait",
				missing, strings.Join(s.config.Brokers, ", "))
		case missing != "":
			s.health.failed("metadata", fmt.Errorf("kafka: topic %q does not exist yet; waiting for it", missing))
		case len(parts) == 0:
			return nil, fmt.Errorf("kafka: none of the partitions of %s is for this process; look at partitions and share",
				strings.Join(s.config.Topics, ", "))
		default:
			s.health.well("metadata")
			return parts, nil
		}
		if err := wait.next(ctx); err != nil {
			return nil, err
		}
	}
}

// lookUp asks which partitions there are, and names a topic that is missing.
func (s *Source) lookUp(ctx context.Context) (parts []pipeline.Partition, missing string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.RequestTimeout)
	defer cancel()
	meta, err := s.client.Metadata(ctx, &kafka.MetadataRequest{Topics: s.config.Topics})
	if err != nil {
		return nil, "", err
	}
	found := make(map[string]bool)
	for _, t := range meta.Topics {
		if errors.Is(t.Error, kafka.UnknownTopicOrPartition) {
			continue
		}
		if t.Error != nil {
			return nil, "", fmt.Errorf("topic %q: %w", t.Name, t.Error)
		}
		found[t.Name] = true
		for _, p := range t.Partitions {
			if s.mine(int32(p.ID)) {
				parts = append(parts, pipeline.Partition{Source: s.name, Topic: t.Name, ID: int32(p.ID)})
			}
		}
	}
	for _, topic := range s.config.Topics {
		if !found[topic] {
			return nil, topic, nil
		}
	}
	slices.SortFunc(parts, comparePartitions)
	return slices.Compact(parts), "", nil
}

func (s *Source) mine(id int32) bool {
	if len(s.config.Partitions) > 0 && !slices.Contains(s.config.Partitions, id) {
		return false
	}
	return s.config.Share.Count == 0 || id%s.config.Share.Count == s.config.Share.Ordinal
}

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

// Close implements sources.Source.
func (s *Source) Close() error {
	s.transport.CloseIdleConnections()
	s.stop()
	return nil
}

// Stats implements sources.Source.
func (s *Source) Stats() sources.Stats {
	st := sources.Stats{
		Records: s.records.Load(), Bytes: s.bytes.Load(), Skipped: s.skipped.Load(), Gaps: s.gaps.Load(),
		Errors: s.health.errors.Load(), Reconnects: s.health.reconnects.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.partitions {
		st.Partitions = append(st.Partitions, *p)
	}
	slices.SortFunc(st.Partitions, func(a, b sources.PartitionStats) int { return comparePartitions(a.Partition, b.Partition) })
	return st
}

func comparePartitions(a, b pipeline.Partition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
}

// note remembers how far a partition was read.
func (s *Source) note(part pipeline.Partition, next, high int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.partitions[part]
	if p == nil {
		p = &sources.PartitionStats{Partition: part}
		s.partitions[part] = p
	}
	p.Next, p.HighWatermark = next, high
}
