package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources"
)

// Source reads streams. See the package's comment.
type Source struct {
	name     string
	config   Config
	log      *slog.Logger
	clock    sources.Clock
	health   *sources.Health
	client   redis.UniversalClient                  // for what does not block
	announce func(partitions ...pipeline.Partition) // nil when nobody asked
	streams  []*stream

	records, bytes, skipped, gaps, fieldless atomic.Uint64
}

// New makes the source. It reads the files that the configuration names;
// nothing is connected before Run.
func New(name string, c Config, env sources.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	client, err := c.connect()
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	env = env.Complete()
	s := &Source{name: name, config: c, log: env.Log.With("source", name), clock: env.Clock, client: client}
	s.health = sources.NewHealth(s.log)
	for _, key := range slices.Sorted(slices.Values(c.Streams)) {
		s.streams = append(s.streams, newStream(name, key))
	}
	return s, nil
}

// Name implements sources.Source.
func (s *Source) Name() string { return s.name }

// Announce implements sources.Announcer.
func (s *Source) Announce(tell func(partitions ...pipeline.Partition)) { s.announce = tell }

// Run implements sources.Source. It ends with the context, with an error of
// Emit, or with a sentence: entries that are gone and that the configuration
// gives no way around, an id that is no position, or a group that others share.
func (s *Source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	blocking, err := s.config.connect()
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { _ = blocking.Close() }) // what blocks ends with it
	defer func() {
		if stop() {
			_ = blocking.Close()
		}
	}()
	if s.announce != nil {
		parts := make([]pipeline.Partition, len(s.streams))
		for i, st := range s.streams {
			parts[i] = st.part
		}
		s.announce(parts...)
	}
	for _, st := range s.streams {
		r := &reader{s: s, stream: st, blocking: blocking, out: out, read: -1}
		if next, ok := from[st.part]; ok {
			r.known, r.held, r.next = true, true, max(next, 1)
			st.commit(r.next)
		}
		group.Go(func() error { return r.run(ctx) })
	}
	return group.Wait()
}

// finalError is one that no retry mends.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// emitError says that the pipeline is stopping.
type emitError struct{ err error }

func (e *emitError) Error() string { return e.err.Error() }
func (e *emitError) Unwrap() error { return e.err }

// ackChunk is how many entries are acknowledged in one command.
const ackChunk = 1000

// Commit implements sources.Source: it acknowledges to the group what is through.
func (s *Source) Commit(ctx context.Context, next sources.Positions) error {
	if s.config.Group == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.RequestTimeout)
	defer cancel()
	var errs []error
	for _, st := range s.streams {
		offset, ok := next[st.part]
		if !ok {
			continue
		}
		st.commit(offset)
		for due := st.due(ackChunk); len(due) > 0; due = st.due(ackChunk) {
			if err := s.acknowledge(ctx, st, due); err != nil {
				errs = append(errs, err)
				break
			}
			st.done(due)
		}
	}
	return errors.Join(errs...)
}

func (s *Source) acknowledge(ctx context.Context, st *stream, offsets []int64) error {
	ids := make([]string, len(offsets))
	for i, o := range offsets {
		ids[i] = idOf(o)
	}
	if err := s.client.XAck(ctx, st.key, s.config.Group, ids...).Err(); err != nil {
		return fmt.Errorf("redis: stream %s: acknowledging: %w", st.key, err)
	}
	return nil
}

// Committed returns the offset behind the last entry that the group delivered
// where this consumer is in it, else -1. It is for the runtime to notice a state that is missing.
func (s *Source) Committed(ctx context.Context, part pipeline.Partition) (int64, error) {
	if s.config.Group == "" {
		return -1, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.RequestTimeout)
	defer cancel()
	group, err := s.group(ctx, part.Topic)
	if err != nil || group == nil || !group.known {
		return -1, err
	}
	return group.delivered + 1, nil
}

// Stats implements sources.Source. HighWatermark is as far behind Next as there
// are entries left to read: ids say nothing of how many there are.
func (s *Source) Stats() sources.Stats {
	st := sources.Stats{
		Records: s.records.Load(), Bytes: s.bytes.Load(), Skipped: s.skipped.Load(), Gaps: s.gaps.Load(),
	}
	if n := s.fieldless.Load(); n > 0 {
		st.Drops = map[string]uint64{"entry without the field": n}
	}
	s.health.Fill(&st)
	for _, stream := range s.streams {
		st.Partitions = append(st.Partitions, stream.snapshot())
	}
	slices.SortFunc(st.Partitions, func(a, b sources.PartitionStats) int { return strings.Compare(a.Topic, b.Topic) })
	return st
}

// Close implements sources.Source.
func (s *Source) Close() error { return s.client.Close() }
