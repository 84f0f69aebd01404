package localapi

import (
	"sluice/pipeline/decisions"
	"sluice/sinks"
)

var _ sinks.DecisionFeed = (*Sink)(nil)

// The methods here make the sink a sinks.DecisionFeed. They are for use after Open.

// ID implements sinks.DecisionFeed.
func (s *Sink) ID() (string, error) { return s.store.ID() }

// Changed implements sinks.DecisionFeed.
func (s *Sink) Changed() <-chan struct{} { return s.store.Changed() }

// Touched implements sinks.DecisionFeed.
func (s *Sink) Touched(since int64, limit int) (decisions.Touched, bool, error) {
	return s.store.Touched(since, limit)
}

// States implements sinks.DecisionFeed.
func (s *Sink) States(keys []decisions.Key) ([]decisions.State, error) { return s.store.States(keys) }

// Keys implements sinks.DecisionFeed.
func (s *Sink) Keys(page func([]decisions.Key) error) (int64, error) { return s.store.Keys(page) }

// Place implements sinks.DecisionFeed.
func (s *Sink) Place(follower string) ([]byte, error) { return s.store.Place(follower) }

// SetPlace implements sinks.DecisionFeed.
func (s *Sink) SetPlace(follower string, place []byte) error {
	return s.store.SetPlace(follower, place)
}
