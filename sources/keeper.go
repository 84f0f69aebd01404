package sources

import (
	"context"
	"errors"

	"sluice/pipeline"
)

// Keeper is the runtime's durable state, as a source whose partitions come
// and go needs it. Its methods may be called from any goroutine.
type Keeper interface {
	// Held returns where the state stands in every partition of the source
	// that it holds, whether or not it is read here at the moment. A group's
	// members announce it, so that a partition returns to the state that holds it.
	Held() Positions

	// Assigned is called when partitions came to this process, with the
	// offsets that the group stands at (-1 where it has committed none). It
	// answers where each is to be read from, once the state is ready to take
	// its records. A partition that the answer leaves out has no state here
	// that fits and is not to be read in this tenure: the runtime has said so.
	Assigned(ctx context.Context, committed Positions) (from Positions, err error)

	// Revoked is called when partitions are about to leave, after the last
	// Emit for them has returned: the runtime takes what was emitted through
	// the graph, makes it durable, and calls the source's Commit for it, all
	// before it returns. ctx bounds it: what is not committed by then is
	// another member's to read again, and nothing of it will be released here.
	Revoked(ctx context.Context, partitions []pipeline.Partition) error
}

// Member is a Source whose partitions are assigned while it runs, such as a
// consumer group's. Keep is called once, before Run; without it such a source
// begins every partition where the group stands.
//
// Commit of a Member returns an error that wraps ErrFenced when a partition
// in it belongs to somebody else by now: alerts that the records before those
// offsets made are then not released.
type Member interface {
	Source
	Keep(k Keeper)
}

// ErrFenced says that offsets were refused because the partition belongs to
// another member of the group.
var ErrFenced = errors.New("the partition belongs to another member by now")
