package kafka

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/pipeline/kafkaconn"
	"sluice/sources"
)

// Source reads partitions of topics. See the package's comment.
type Source struct {
	name      string
	config    Config
	log       *slog.Logger
	clock     sources.Clock
	connector *kafkaconn.Connector
	cluster   *cluster
	health    *sources.Health
	mem       memory

	// client speaks to the group's coordinator.
	client    *kafka.Client
	transport *kafka.Transport
	stop      context.CancelFunc // ends the transport's own goroutines

	announce func(partitions ...pipeline.Partition) // nil when nobody asked

	records, bytes, skipped, gaps atomic.Uint64

	mu         sync.Mutex // guards partitions
	partitions map[pipeline.Partition]*sources.PartitionStats
}

// New makes the source. It reads the files that the configuration names;
// nothing is connected before Run.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	connector, err := kafkaconn.New(c.settings())
	if err != nil {
		return nil, err
	}
	env = env.Complete()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Source{
		name: name, config: c, log: env.Log.With("source", name), clock: env.Clock, stop: cancel,
		connector: connector, cluster: newCluster(connector), transport: connector.Transport(ctx),
		partitions: make(map[pipeline.Partition]*sources.PartitionStats),
	}
	s.transport.MetadataTopics = c.Topics
	if len(c.Topics) == 0 {
		s.transport.MetadataTTL = time.Minute // it asks for all topics there are
	}
	s.client = &kafka.Client{Addr: kafka.TCP(c.Brokers...), Transport: s.transport}
	s.health = sources.NewHealth(s.log)
	return s, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Announce implements sources.Announcer.
func (s *Source) Announce(tell func(partitions ...pipeline.Partition)) { s.announce = tell }

// Run implements sources.Source. It ends with the context, with an error of
// Emit, or with a sentence: a topic or an offset that is not there and that
// the configuration gives no way around, or a refusal of the brokers.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	if err := s.config.Share.Resolve(); err != nil {
		return err
	}
	defer s.cluster.close()
	from = maps.Clone(from)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return s.discover(ctx, func(part pipeline.Partition, late bool) {
			at := start{offset: -1, late: late}
			if offset, ok := from[part]; ok {
				at.offset, at.resumed = offset, true
				delete(from, part) // it means nothing to a topic of the same name that comes later
			}
			f := s.newFetcher(part, at, out)
			group.Go(func() error { return f.run(ctx) })
		})
	})
	return group.Wait()
}

// Close implements sources.Source.
func (s *Source) Close() error {
	s.transport.CloseIdleConnections()
	s.stop()
	return nil
}

// Stats implements sources.Source. A partition's Next is -1 until it is known
// where reading begins. With read_committed, HighWatermark is the last stable
// offset: what an open transaction holds back cannot be read, and is no lag.
func (s *Source) Stats() sources.Stats {
	st := sources.Stats{
		Records: s.records.Load(), Bytes: s.bytes.Load(), Skipped: s.skipped.Load(), Gaps: s.gaps.Load(),
	}
	s.health.Fill(&st)
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

// knows tells whether a partition is being read.
func (s *Source) knows(part pipeline.Partition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.partitions[part] != nil
}

// forget drops a partition that is gone, so that it is read again should it come back.
func (s *Source) forget(part pipeline.Partition) {
	s.health.Forget(part.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.partitions, part)
}
