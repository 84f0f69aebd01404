package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"sluice/pipeline"
	"sluice/sources"
)

// committer tells sources how far everything is through. A goroutine of its
// own runs it, so that a broker that does not answer holds up nothing else.
type committer struct {
	p    *Pipeline
	turn chan struct{} // of 1: who commits, since sources take one call at a time

	mu    sync.Mutex
	due   sources.Positions // not yet committed
	wake  chan struct{}
	wrong map[string]bool // sources that refused the last time
}

func newCommitter(p *Pipeline) *committer {
	return &committer{p: p, turn: make(chan struct{}, 1), due: make(sources.Positions), wake: make(chan struct{}, 1), wrong: make(map[string]bool)}
}

// note says how far a partition is through; it is committed with the others.
func (c *committer) note(p pipeline.Partition, next int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due[p] = next
}

// add says how far partitions are through, and has run commit that.
func (c *committer) add(positions map[pipeline.Partition]int64) {
	c.mu.Lock()
	maps.Copy(c.due, positions)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// commitAgain is how long after a source refused offsets it is asked again,
// if there are no newer ones before.
const commitAgain = time.Second

// run commits until ctx is done.
func (c *committer) run(ctx context.Context) error {
	var again <-chan time.Time
	for {
		select {
		case <-c.wake:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		again = nil
		if c.commit(ctx) != nil { // it was logged
			again = c.p.clock.After(commitAgain)
		}
	}
}

// commit tells every source how far its partitions are through.
func (c *committer) commit(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	bySource := make(map[string]sources.Positions)
	c.mu.Lock()
	for part, next := range c.due {
		if bySource[part.Source] == nil {
			bySource[part.Source] = make(sources.Positions)
		}
		bySource[part.Source][part] = next
	}
	c.mu.Unlock()
	var errs []error
	for _, s := range c.p.sources {
		positions := bySource[s.Name()]
		if len(positions) == 0 {
			continue
		}
		err := s.Commit(ctx, positions)
		c.tell(s.Name(), err)
		if err != nil {
			errs = append(errs, fmt.Errorf("source %s: committing offsets: %w", s.Name(), err))
			continue
		}
		c.mu.Lock()
		for part, next := range positions {
			if c.due[part] == next {
				delete(c.due, part)
			}
		}
		c.mu.Unlock()
	}
	return errors.Join(errs...)
}

// tell logs once that a source takes no offsets, and once that it does again.
func (c *committer) tell(source string, err error) {
	switch was := c.wrong[source]; {
	case err != nil && !was:
		c.p.log.Warn("offsets were not committed; they are tried again", "source", source, "error", err)
	case err == nil && was:
		c.p.log.Info("offsets are committed again", "source", source)
	}
	c.wrong[source] = err != nil
}
