package sources

import (
	"context"
	"errors"
	"time"

	"sluice/pipeline"
)

// Keeper is the runtime's durable state, as a source whose partitions come
// and go needs it. Its methods may be called from any goroutine.
type Keeper interface {
	// Name is the state's own name, the same at every start on it and no other
	// state's: something random that was made with it. It has up to 64 letters,
	// digits, dots, dashes and underscores. Tenures are told apart by it.
	Name() string

	// Held returns where the state stands in every partition of the source
	// that it holds, whether or not it is read here at the moment. A group's
	// members announce it, so that a partition returns to the state that holds it.
	Held() Positions

	// Assigned is called when partitions came to this process, sorted. It
	// answers where each is to be read from, once the state is ready to take
	// its records: a negative offset is where the source's configuration says,
	// which is for partitions without a committed offset. A partition that the
	// answer leaves out has no state here that fits and is not to be read in
	// this tenure: the runtime has said so.
	//
	// What it decides about state that does not fit is durable before it
	// returns, since from then on the tenure counts as this state's. ctx ends
	// when the partitions leave; an error then takes none of them, and any
	// other error ends the source's Run.
	Assigned(ctx context.Context, parts []Assignment) (from Positions, err error)

	// Revoked is called when the partitions that an Assigned took are about to
	// leave, after the last Emit for them has returned: the runtime takes what
	// was emitted through the graph, makes it durable, and calls the source's
	// Commit for it, all before it returns. ctx bounds it: what is not committed
	// by then is another member's to read again, and nothing of it will be
	// released here. It is called as well when the partitions were lost without
	// notice; Commit refuses then. An error is logged.
	Revoked(ctx context.Context, partitions []pipeline.Partition) error
}

// Assignment is a partition that came to this process, and what the group
// knows of it.
type Assignment struct {
	pipeline.Partition
	// Committed is the offset that the group stands at, -1 where it stands
	// nowhere or still where its first tenure began: nothing of it was ever through.
	Committed int64
	// History is for Accepted.
	History []Tenure
}

// Member is a Source whose partitions are assigned while it runs, such as a
// consumer group's. Keep is called once, before Run; without it such a source
// begins every partition where the group stands. Run does not use its from.
//
// Commit of a Member returns an error that wraps ErrFenced when a partition
// in it belongs to somebody else by now: alerts that the records before those
// offsets made are then not released.
type Member interface {
	Source
	Keep(k Keeper)
}

// ErrFenced says that offsets were refused because the partition belongs to
// another member of the group, or to nobody at the moment. Whether one has gone
// on from an earlier offset is told by Accepted, when the partition comes back.
var ErrFenced = errors.New("the partition belongs to another member by now")

// Rewinder is a Source that can read again what is long read.
type Rewinder interface {
	// Rewind returns the offset of the first record that is at most so old, by
	// the input's own time: no later one than offset, and one that is still there.
	Rewind(ctx context.Context, p pipeline.Partition, offset int64, lookback time.Duration) (int64, error)
}
