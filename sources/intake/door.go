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

// fail ends the run because of an error, unless that is of the call's own
// context or the run is ending already.
func (d *door) fail(ctx context.Context, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil || d.ctx.Err() != nil || ctx.Err() != nil {
		return
	}
	d.failed = err
	d.cancel()
}

// close lets nobody in any more once receive has ended, with received, and
// waits for those inside. An error ends the run.
func (d *door) close(received error) {
	d.mu.Lock()
	d.shut = true
	if received != nil && d.ctx.Err() == nil {
		d.failed = received
		d.cancel()
	}
	if d.inside == 0 {
		close(d.empty)
	}
	d.mu.Unlock()
	<-d.empty
}

// end ends the run, and returns its error.
func (d *door) end() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.ctx.Err()
	d.cancel()
	if d.failed != nil {
		return d.failed
	}
	return err
}

func sortPartitions(parts []sources.PartitionStats) {
	slices.SortFunc(parts, func(a, b sources.PartitionStats) int { return a.Partition.Compare(b.Partition) })
}
