package sinks

import "sluice/pipeline/decisions"

// DecisionFeed is a sink that keeps decisions, as those see it that follow
// them. What it tells is durable: no crash undoes it. Any goroutine may use it.
type DecisionFeed interface {
	// Name is the sink's name in the configuration.
	Name() string
	// Open makes the other methods usable. It may be called again. An error needs a person.
	Open() error
	// ID is the feed's own, random, for as long as its folder lives.
	ID() (string, error)
	// Changed returns a channel that is closed at the next change. Ask for it
	// before reading, so that no change is missed.
	Changed() <-chan struct{}
	// Touched returns what happened behind a number, at most limit changes of
	// it; false when changes behind it are no longer known, and only Keys tells the whole.
	Touched(since int64, limit int) (t decisions.Touched, known bool, err error)
	// States returns the states of keys as they are now, in their order.
	States(keys []decisions.Key) ([]decisions.State, error)
	// Keys calls page with the keys of all decisions in force, some more than
	// once, and returns the number of the last change before it began. A page is valid during its call.
	Keys(page func([]decisions.Key) error) (seq int64, err error)
	// Place returns what a follower has kept under a name of its own, nil for nothing; SetPlace keeps it.
	Place(follower string) ([]byte, error)
	SetPlace(follower string, place []byte) error
}

// DecisionFollower is a sink that needs the decisions which another sink of
// the same configuration keeps.
type DecisionFollower interface {
	// Follow is called once, before Run and Alerts, when all sinks are made.
	// feeds are those that keep decisions. An error is a mistake in the configuration.
	Follow(feeds []DecisionFeed) error
}
