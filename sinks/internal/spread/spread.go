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

	seed maphash.Seed
	// settled are alerts behind one that failed, by id: they are not sent
	// again when the batch comes again. The value is why one was refused, or nil.
	settled map[string]error
}

// Send sends alerts in one request. nil says that they were acknowledged, a
// *sinks.RejectedError which of them never will be, any other error that they
// are to be sent again.
type Send func(ctx context.Context, alerts []pipeline.Alert) error

// result is what became of an alert.
type result struct {
	done   bool
	reason error // of a refusal
}

// Deliver sends a batch and returns what a sink's Alerts is to return.
func (s *Spread) Deliver(ctx context.Context, alerts []pipeline.Alert, send Send) error {
	if s.seed == (maphash.Seed{}) {
		s.seed = maphash.MakeSeed()
	}
	results := make([]result, len(alerts))
	lanes := make([][]int, s.Parallel)
	for i := range alerts {
		if reason, ok := s.settled[alerts[i].UUID]; ok {
			results[i] = result{true, reason}
			continue
		}
		lane := s.lane(&alerts[i])
		lanes[lane] = append(lanes[lane], i)
	}
	var all errgroup.Group
	for _, lane := range lanes {
		if len(lane) > 0 {
			all.Go(func() error { return s.run(ctx, alerts, lane, results, send) })
		}
	}
	return s.outcome(alerts, results, all.Wait())
}

// lane returns the lane of an alert: alerts about one source share it.
func (s *Spread) lane(a *pipeline.Alert) int {
	if s.Parallel == 1 || a.Source == nil {
		return 0
	}
	return int(maphash.String(s.seed, a.Source.Scope+"\x00"+a.Source.Value) % uint64(s.Parallel))
}

// run sends the alerts of a lane in order, up to the first failure.
func (s *Spread) run(ctx context.Context, alerts []pipeline.Alert, lane []int, results []result, send Send) error {
	for len(lane) > 0 {
		n := min(s.Batch, len(lane))
		batch := make([]pipeline.Alert, n)
		for i, index := range lane[:n] {
			batch[i] = alerts[index]
		}
		err := send(ctx, batch)
		var partial *sinks.PartialError
		var rejected *sinks.RejectedError
		settled := n
		switch {
		case err == nil:
		case errors.As(err, &partial):
			settled, rejected = partial.Settled, partial.Rejected
		case errors.As(err, &rejected):
			err = nil
		default:
			return err
		}
		for _, index := range lane[:settled] {
			results[index].done = true
		}
		if rejected != nil {
			for _, i := range rejected.Alerts {
				results[lane[i]].reason = rejected.Reason
			}
		}
		if err != nil {
			return err
		}
		lane = lane[n:]
	}
	return nil
}

// outcome turns results into an answer, and remembers what was settled behind
// the first that was not.
func (s *Spread) outcome(alerts []pipeline.Alert, results []result, err error) error {
	prefix := len(results)
	for i := range results {
		if !results[i].done {
			prefix = i
			break
		}
	}
	var rejected *sinks.RejectedError
	for i, r := range results[:prefix] {
		if r.reason == nil {
			continue
		}
		if rejected == nil {
			rejected = &sinks.RejectedError{Reason: r.reason}
		}
		rejected.Alerts = append(rejected.Alerts, i)
	}
	s.settled = nil
	if prefix == len(results) {
		if rejected != nil {
			return rejected
		}
		return nil
	}
	s.settled = make(map[string]error)
	for i, r := range results[prefix:] {
		if r.done {
			s.settled[alerts[prefix+i].UUID] = r.reason
		}
	}
	return &sinks.PartialError{Settled: prefix, Rejected: rejected, Err: err}
}
