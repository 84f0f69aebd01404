package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sources"
)

func init() {
	sources.Register(sources.Kind[struct{}]{
		Type: "simulated", Summary: "The simulated broker.", Example: "{}",
		Default: func() struct{} { return struct{}{} },
		New: func(name string, _ struct{}, env sources.Env) (sources.Source, error) {
			pr, ok := env.Clock.(*process)
			if !ok {
				return nil, errors.New("a simulated source needs a simulated process")
			}
			pr.source = &source{name: name, pr: pr, next: make(sources.Positions)}
			if pr.w.plan.isGroup() {
				return &memberSource{source: pr.source}, nil
			}
			return pr.source, nil
		},
	})
}

// sourceName is that of all sources; partitions are named after it.
const sourceName = "sim"

// source reads a member's partitions of the broker.
type source struct {
	name     string
	pr       *process
	announce func(partitions ...pipeline.Partition)
	keeper   sources.Keeper // of a member of a group

	mu         sync.Mutex
	next       sources.Positions
	committing bool
}

func (s *source) Name() string { return s.name }
func (s *source) Close() error { return nil }

// Announce implements sources.Announcer.
func (s *source) Announce(tell func(partitions ...pipeline.Partition)) { s.announce = tell }

// Stats implements sources.Source. All partitions are known from the start.
func (s *source) Stats() (st sources.Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pr.member.parts {
		st.Partitions = append(st.Partitions, sources.PartitionStats{Partition: p, Next: s.next[p], HighWatermark: s.pr.w.broker.seen(p)})
	}
	return st
}

// Run implements sources.Source: a goroutine a partition, as Kafka's has.
func (s *source) Run(ctx context.Context, from sources.Positions, out sources.Emit) error {
	s.announce(s.pr.member.parts...)
	readers, ctx := errgroup.WithContext(ctx)
	for _, p := range s.pr.member.parts {
		readers.Go(func() error { return s.read(ctx, p, from[p], out) })
	}
	return readers.Wait()
}

// read emits a partition's records from an offset on, in fetches whose sizes
// depend on seed, life and offset.
func (s *source) read(ctx context.Context, p pipeline.Partition, next int64, out sources.Emit) error {
	rng := s.pr.w.rng(streamFetch, uint64(s.pr.member.index), uint64(s.pr.life), uint64(p.ID))
	for {
		s.mu.Lock()
		s.next[p] = next
		s.mu.Unlock()
		records, high, changed := s.pr.w.broker.fetch(p, next, 1+rng.IntN(s.pr.w.plan.fetch))
		if err := s.pr.pass(beforeFetch, nil, never); err != nil {
			return err
		}
		if len(records) == 0 {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		next += int64(len(records))
		whole := slices.Clone(records)
		err := out(ctx, &pipeline.RecordBatch{
			Partition: p, Module: "simulated", Records: records, HighWatermark: high,
			Release: func() { // the memory is used again
				for _, r := range whole {
					for i := range r.Value {
						r.Value[i] = '#'
					}
				}
			},
		})
		if err != nil {
			return err
		}
	}
}

// Commit implements sources.Source.
func (s *source) Commit(ctx context.Context, next sources.Positions) error {
	return s.commit(ctx, func() error {
		if err := s.pr.w.broker.commit(next, s.pr.member.durable()); err != nil {
			s.pr.w.fail("member %d: %v", s.pr.member.index, err)
		}
		return nil
	})
}

// commit has the broker take offsets, as well as the simulator lets it.
func (s *source) commit(ctx context.Context, take func() error) error {
	s.mu.Lock()
	if s.committing {
		s.pr.w.fail("two calls of Commit at a time")
	}
	s.committing = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.committing = false
		s.mu.Unlock()
	}()
	fault := s.pr.member.faults.commit()
	if fault.slow > 0 {
		select {
		case <-time.After(fault.slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fault.kind == faultRefuses {
		return errors.New("the broker is away")
	}
	err := s.pr.pass(beforeCommit, take, afterCommit)
	if err == nil && fault.kind == faultForgets {
		return fmt.Errorf("the broker's answer was lost")
	}
	return err
}
