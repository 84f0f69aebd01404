package intake

import (
	"context"
	"slices"
	"sync"

	"sluice/sources"
)

// door lets calls of Put in while Run runs, ends them with it, and counts
// them, so that Run returns when the last has left.
type door struct {
	mu     sync.Mutex
	ctx    context.Context // of the run; nil while there is none
	cancel context.CancelFunc
	shut   bool
	inside int
	empty  chan struct{} // closed when the door is shut and nobody is inside
	failed error         // why the run has to end
}

// open begins a run; its context ends when a Put has failed for good.
func (d *door) open(ctx context.Context) (context.Context, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx != nil {
		return nil, ErrStopped
	}
	d.ctx, d.cancel = context.WithCancel(ctx)
	d.empty = make(chan struct{})
	return d.ctx, nil
}

// enter returns the context of one call, which ends with its own and with the
// run's, and what is to be called at the end of it.
func (d *door) enter(ctx context.Context) (context.Context, func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil || d.shut {
		return nil, nil, ErrStopped
	}
	if err := d.ctx.Err(); err != nil {
		return nil, nil, err
	}
	d.inside++
	if ctx.Done() == d.ctx.Done() {
		return ctx, d.leave, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		d.leave()
	}, nil
}

func (d *door) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside--
	if d.shut && d.inside == 0 {
		close(d.empty)
	}
}

// fail ends the run because of an error, unless it is that of the call's own context.
func (d *door) fail(ctx context.Context, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil && d.ctx.Err() == nil {
		return
	}
	if d.failed == nil {
		d.failed = err
	}
	d.cancel()
}

// close ends the run: nobody comes in any more, and those inside are waited
// for. It returns the run's error; received is receive's.
func (d *door) close(ctx context.Context, received error) error {
	d.mu.Lock()
	d.shut = true
	if received != nil {
		d.cancel()
	}
	if d.inside == 0 {
		close(d.empty)
	}
	d.mu.Unlock()
	<-d.empty
	ended := ctx.Err() // before it is ended here
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.failed != nil:
		return d.failed
	case received != nil:
		return received
	}
	return ended
}

func sortPartitions(parts []sources.PartitionStats) {
	slices.SortFunc(parts, func(a, b sources.PartitionStats) int { return a.Partition.Compare(b.Partition) })
}
