package app

import (
	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/sinks/outbox"
)

// Store is a pipeline's state as a run uses it. *state.Store is one; the
// simulation's is another, whose crashes it decides.
type Store interface {
	pipeline.EpochStore
	outbox.Log
	// ID is the state's own name, the same at every opening.
	ID() string
	// LoadParallel calls f for every record; see state.Store.
	LoadParallel(workers int, f func(worker int, key, value []byte, sum state.Sum) error) error
	// Last is the last whole epoch, NextSeq the number of the outbox's next entry.
	Last() uint64
	NextSeq() uint64
	// Discard makes entries ones that are not to be delivered; Accepted and
	// SetAccepted keep up to which entry delivery is allowed.
	Discard(seqs []uint64) error
	Accepted() uint64
	SetAccepted(seq uint64) error
	// Space tells how the disk is doing.
	Space() (state.Space, error)
	Close() error
}

var _ Store = (*state.Store)(nil)

// openState opens the state of a pipeline that keeps one.
func (p *Pipeline) openState(o state.Options) (Store, error) {
	if p.env.OpenState != nil {
		return p.env.OpenState(o)
	}
	s, err := state.Open(o)
	if err != nil {
		return nil, err
	}
	return s, nil
}
