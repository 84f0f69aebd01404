package intake

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/sources"
)

// direct emits in the goroutine of whoever calls Put, one call at a time for
// each partition. Offsets count a partition's records, and go on behind the
// position that was restored.
type direct struct {
	in   *Intake
	room chan struct{} // holds one element for each acknowledgement that waits for a checkpoint

	// emitting is how many calls are in the pipeline; progress is when one of
	// them last went in or out of it, as a Unix time in nanoseconds.
	emitting, progress atomic.Int64

	door door
	out  sources.Emit
	from sources.Positions

	mu    sync.Mutex
	lanes map[pipeline.Partition]*lane
}

const (
	// maxUnacked bounds the acknowledgements that wait for a checkpoint.
	maxUnacked = 1 << 17
	// stuckAfter is how long the pipeline takes nothing before the intake counts as full.
	stuckAfter = 250 * time.Millisecond
)

// lane is one partition.
type lane struct {
	part pipeline.Partition
	turn chan struct{} // of one: who emits
	last atomic.Int64  // offset behind the last record emitted
	end  atomic.Int64  // offset behind the last record that is being emitted; written by whoever has the turn

	// acks is held while acknowledgements are called, so that they are in order.
	acks    sync.Mutex
	mu      sync.Mutex
	waiting []*waiter // in order
}

// waiter is an entry that waits for a checkpoint at or behind end.
type waiter struct {
	end   int64
	acked func(error)
}

func newDirect(in *Intake) *direct {
	return &direct{in: in, room: make(chan struct{}, maxUnacked), lanes: make(map[pipeline.Partition]*lane)}
}

func (d *direct) run(ctx context.Context, from sources.Positions, out sources.Emit, receive func(context.Context) error) error {
	d.out, d.from = out, from
	ctx, err := d.door.open(ctx)
	if err != nil {
		return err
	}
	if left, err := filepath.Glob(filepath.Join(d.in.dir(), "*.journal")); err == nil && len(left) > 0 {
		d.in.env.Log.Warn("there is a journal of before, and records in it that were not counted yet stay there; "+
			"run with intake: journal until it is empty", "folder", d.in.dir())
	}
	d.door.close(receive(ctx))
	return d.door.end()
}

func (d *direct) lane(e *Entry) *lane {
	part := d.in.partition(e.Topic, e.ID)
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[part]
	if l == nil {
		l = &lane{part: part, turn: make(chan struct{}, 1)}
		l.last.Store(d.from[part])
		l.end.Store(d.from[part])
		d.lanes[part] = l
	}
	return l
}

func (d *direct) put(ctx context.Context, e *Entry, acked func(error)) error {
	ctx, leave, err := d.door.enter(ctx)
	if err != nil {
		e.release()
		acked(err)
		return err
	}
	defer leave()
	w := &waiter{acked: acked}
	if d.in.config.Ack == AckCheckpoint {
		select {
		case d.room <- struct{}{}:
		case <-ctx.Done():
			e.release()
			acked(ctx.Err())
			return ctx.Err()
		}
	}
	l := d.lane(e)
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		e.release()
		d.answer(w, ctx.Err())
		return ctx.Err()
	}
	w.end = l.end.Load() + int64(len(e.Records))
	l.mu.Lock() // before it is emitted: a checkpoint may hold it before Emit returns
	l.waiting = append(l.waiting, w)
	l.mu.Unlock()
	err = d.emit(ctx, l, e)
	d.door.fail(ctx, err)
	if err == nil {
		d.in.mark(e.Marks)
	}
	switch {
	case err != nil:
		if l.remove(w) {
			d.answer(w, err)
		}
	case d.in.config.Ack == AckAccepted:
		d.acknowledge(l, w.end)
	case len(e.Records) == 0: // where nothing waits before it, no checkpoint need come
		l.settle(w, d.answer)
	}
	return err
}

// emit gives the entry's records to the pipeline. Their offsets are used up
// even when that fails, since the pipeline may have taken some.
func (d *direct) emit(ctx context.Context, l *lane, e *Entry) error {
	if len(e.Records) == 0 {
		e.release()
		return nil
	}
	at := l.end.Load()
	for i := range e.Records {
		e.Records[i].Offset = at + int64(i)
	}
	n := int64(len(e.Records))
	l.end.Store(at + n)
	d.in.count(e.Records)
	d.moved(1)
	defer d.moved(-1)
	err := d.out(ctx, &pipeline.RecordBatch{
		Partition: l.part, Module: d.in.module, Labels: e.Labels, Records: e.Records,
		Next: at + n, HighWatermark: at + n, Release: e.Release,
	})
	l.last.Store(at + n)
	return err
}

// moved notes that a call went into the pipeline or came out of it.
func (d *direct) moved(delta int64) {
	d.emitting.Add(delta)
	d.progress.Store(d.in.env.Clock.Now().UnixNano())
}

func (d *direct) full() bool {
	if len(d.room) == cap(d.room) {
		return true
	}
	return d.emitting.Load() > 0 && d.in.env.Clock.Now().UnixNano()-d.progress.Load() > int64(stuckAfter)
}

// answer gives an entry its acknowledgement.
func (d *direct) answer(w *waiter, err error) {
	if d.in.config.Ack == AckCheckpoint {
		<-d.room
	}
	w.acked(err)
}

// acknowledge answers the entries that end at or before next.
func (d *direct) acknowledge(l *lane, next int64) {
	l.acks.Lock()
	defer l.acks.Unlock()
	for _, w := range l.take(func(w *waiter) bool { return w.end <= next }) {
		d.answer(w, nil)
	}
}

func (d *direct) commit(next sources.Positions) error {
	for part, at := range next {
		d.mu.Lock()
		l := d.lanes[part]
		d.mu.Unlock()
		if l != nil {
			d.acknowledge(l, at)
		}
	}
	return nil
}

func (d *direct) fill(s *sources.Stats) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		s.Partitions = append(s.Partitions, sources.PartitionStats{Partition: l.part, Next: l.last.Load(), HighWatermark: l.end.Load()})
	}
	sortPartitions(s.Partitions)
}

func (d *direct) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lanes {
		l.acks.Lock()
		for _, w := range l.take(func(*waiter) bool { return true }) {
			d.answer(w, ErrStopped)
		}
		l.acks.Unlock()
	}
	return nil
}

// take removes and returns the first waiters, as long as they are wanted.
func (l *lane) take(want func(*waiter) bool) []*waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.waiting) && want(l.waiting[n]) {
		n++
	}
	taken := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	return taken
}

// remove takes an entry off that the pipeline did not take; false when it was answered by now.
func (l *lane) remove(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, w)
	if i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	return i >= 0
}

// settle answers an entry without records when it is the only one that waits.
func (l *lane) settle(w *waiter, answer func(*waiter, error)) {
	l.acks.Lock()
	defer l.acks.Unlock()
	l.mu.Lock()
	alone := len(l.waiting) == 1 && l.waiting[0] == w
	if alone {
		l.waiting = l.waiting[:0]
	}
	l.mu.Unlock()
	if alone {
		answer(w, nil)
	}
}
