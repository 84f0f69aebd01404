package spread

import (
	"context"
	"errors"
	"hash/maphash"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/sinks"
)

// Spread deals alerts out to requests. It is one goroutine's, as a sink's
// Alerts is.
type Spread struct {
	// Parallel is how many requests are under way at once, Batch how many
	// alerts one holds, at most; both are at least 1.
	Parallel, Batch int

	seed   maphash.Seed
	memory Memory
}

// Send sends alerts in one request. nil says that they were acknowledged, a
// *sinks.RejectedError which of them never will be, any other error that they
// are to be sent again.
type Send func(ctx context.Context, alerts []pipeline.Alert) error

// Deliver sends a batch and returns what a sink's Alerts is to return.
func (s *Spread) Deliver(ctx context.Context, alerts []pipeline.Alert, send Send) error {
	if s.seed == (maphash.Seed{}) {
		s.seed = maphash.MakeSeed()
	}
	results := s.memory.Recall(alerts)
	lanes := make([][]int, s.Parallel)
	for i := range alerts {
		if !results[i].Done {
			lane := s.lane(&alerts[i])
			lanes[lane] = append(lanes[lane], i)
		}
	}
	var all errgroup.Group
	failed := make([]int, len(lanes))
	for i, lane := range lanes {
		if len(lane) > 0 {
			all.Go(func() (err error) {
				failed[i], err = s.run(ctx, alerts, lane, results, send)
				return err
			})
		}
	}
	err := all.Wait()
	// The first of a lane that is not done is one that failed.
	return s.memory.Outcome(alerts, results, func(first int) int { return failed[s.lane(&alerts[first])] }, err)
}

// lane returns the lane of an alert: alerts about one source share it.
func (s *Spread) lane(a *pipeline.Alert) int {
	if s.Parallel == 1 || a.Source == nil {
		return 0
	}
	return int(maphash.String(s.seed, a.Source.Scope+"\x00"+a.Source.Value) % uint64(s.Parallel))
}

// run sends the alerts of a lane in order, up to the first failure: then
// failed is the index of the last alert that the failure is about.
func (s *Spread) run(ctx context.Context, alerts []pipeline.Alert, lane []int, results []Result, send Send) (failed int, err error) {
	for len(lane) > 0 {
		n := min(s.Batch, len(lane))
		batch := make([]pipeline.Alert, n)
		for i, index := range lane[:n] {
			batch[i] = alerts[index]
		}
		err := send(ctx, batch)
		var partial *sinks.PartialError
		var rejected *sinks.RejectedError
		settled, last := n, n
		switch {
		case err == nil:
		case errors.As(err, &partial):
			settled, rejected, err = partial.Settled, partial.Rejected, partial.Err
			if partial.Failed > 0 {
				last = min(n, settled+partial.Failed)
			}
		case errors.As(err, &rejected):
			err = nil
		default:
			return lane[n-1], err
		}
		for _, index := range lane[:settled] {
			results[index].Done = true
		}
		if rejected != nil {
			for _, i := range rejected.Alerts {
				results[lane[i]].Reason = rejected.Reason
			}
		}
		if err != nil {
			return lane[last-1], err
		}
		lane = lane[n:]
	}
	return 0, nil
}
