package engine

import (
	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/stages/parse"
)

// front implements pipeline.Front: the stashes of the partitions.
type front struct{ *running }

// Save implements pipeline.Front.
func (f front) Save(partitions []pipeline.Partition, w *state.Writer) {
	for _, p := range partitions {
		if s := f.known(p); s != nil {
			s.Save(w)
		}
	}
}

// Forget implements pipeline.Front.
func (f front) Forget(p pipeline.Partition, w *state.Writer) {
	s := f.known(p)
	if s == nil {
		return
	}
	s.Forget(w)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.stashes, p)
}

// known returns the stashes of a partition, nil when it has none.
func (f front) known(p pipeline.Partition) *parse.Stashes {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stashes[p]
}
