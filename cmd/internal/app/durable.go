package app

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/sinks/outbox"
	"sluice/sources"
	"sluice/stages/detect"
	"sluice/stages/engine"
)

// durable keeps a pipeline's state: the store, the checkpoints, and what is
// delivered out of the store.
type durable struct {
	p         *Pipeline
	store     Store
	cp        *pipeline.Checkpointer
	deliverer *outbox.Deliverer
	commits   *committer
	members   *members

	// old says that the state held an epoch when it was opened; refused gets
	// why the run cannot go on.
	old     bool
	refused chan error
	// restored are where the partitions stood when the state was opened.
	restored map[pipeline.Partition]int64
}

// openDurable opens the state and makes the pipeline's first graph of it.
func openDurable(p *Pipeline) (d *durable, err error) {
	c := &p.config.State
	store, err := p.openState(state.Options{Dir: p.config.StateDir(), Log: p.log, Reserve: int64(c.Reserve)})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	d = &durable{p: p, store: store, commits: newCommitter(p), old: store.Last() > 0, refused: make(chan error, 1)}
	d.cp = pipeline.NewCheckpointer(pipeline.CheckpointOptions{
		Store: store, Interval: c.Interval, MinInterval: c.MinInterval, Clock: p.clock,
		Entries: d.entries, Save: func(w *state.Writer) { p.engine.Ledger.Save(w) }, Durable: d.durable,
	})
	g, err := d.graph(true)
	if err != nil {
		return nil, err
	}
	p.graphs.current = newGraphRun(g)
	o := p.outboxOptions()
	o.Log = store
	if d.deliverer, err = outbox.New(o); err != nil {
		return nil, err
	}
	if d.members, err = newMembers(d); err != nil {
		return nil, err
	}
	return d, nil
}

// graph makes a graph of the engine with the state that the store holds.
// first says that positions and clocks come out of the store too; later the
// checkpointer knows them.
func (d *durable) graph(first bool) (*pipeline.Graph, error) {
	began := time.Now()
	o := d.p.graphOptions(d.cp.Deliver)
	o.Muted = func(cause pipeline.Position) bool { return d.members.mute(cause) } // once it runs there are members
	r, err := d.p.engine.Resume(o, engine.StateOptions{
		Dictionary: d.store.Dictionary(), Cold: d.cold(), MemoryLimit: int64(d.p.config.State.MemoryLimit),
	})
	if err != nil {
		return nil, err
	}
	err = d.store.LoadParallel(runtime.GOMAXPROCS(0), func(_ int, key, value []byte, sum state.Sum) error {
		switch state.Kind(key[0]) {
		case state.KindPosition, state.KindClock:
			if !first {
				return nil
			}
			return d.cp.Load(key, value, sum)
		}
		return r.Load(key, value, sum)
	})
	if err != nil {
		return nil, fmt.Errorf("loading the state: %w", err)
	}
	if c := d.cold(); c != nil { // what was loaded beyond the limit is read back from what is folded
		if err := d.store.(coldStore).Fold(context.Background()); err != nil {
			return nil, fmt.Errorf("folding the state, so that buckets can be read back: %w", err)
		}
	}
	next, clocks := d.cp.Held()
	g, orphans, err := r.Graph(next, clocks)
	if err != nil {
		return nil, err
	}
	d.cp.Add(orphans)
	d.cp.Attach(g)
	if first {
		d.restored = next
	}
	d.p.log.Info("the state is loaded", "epoch", d.store.Last(), "records", r.Records(), "partitions", len(next),
		"dropped", orphans.Len(), "took", time.Since(began).Round(time.Millisecond).String())
	return g, nil
}

// entries makes the outbox entries of a batch.
func (d *durable) entries(out *pipeline.Outcome) ([]pipeline.CausedEntry, error) {
	items := append(deadItems(out.Dead), d.p.decideAll(out)...)
	d.p.stats.add(out)
	entries := make([]pipeline.CausedEntry, 0, len(items))
	for i := range items {
		if d.members.mute(items[i].Cause()) {
			d.p.stats.muted.Add(1)
			continue
		}
		items[i].At = d.p.clock.Now()
		payload, err := items[i].Append(nil)
		if err != nil {
			return nil, fmt.Errorf("writing an alert into the outbox: %w", err)
		}
		entries = append(entries, pipeline.CausedEntry{Entry: state.Entry{Payload: payload}, Cause: items[i].Cause()})
	}
	return entries, nil
}

// durable is told of every epoch that a crash no longer undoes: offsets may
// be committed, and its alerts released.
func (d *durable) durable(ctx context.Context, e *pipeline.DurableEpoch) error {
	static, _ := d.members.split(e.Positions)
	d.commits.add(static)
	return d.members.durable(ctx, e)
}

// from returns where a source begins: where the state stands.
func (d *durable) from(s sources.Source) sources.Positions {
	from := make(sources.Positions)
	for p, next := range d.restored {
		if p.Source == s.Name() {
			from[p] = next
		}
	}
	return from
}

// begins is told of the partitions that a source with fixed ones reads. One
// that the state knows nothing of begins with empty buckets: that is as it
// should be where nothing of it was read before, or where the state is new.
// But a state that was there before and knows nothing of a partition of which
// the group has read records is not whole, or was not this partition's: state.missing decides.
func (d *durable) begins(s sources.Source, parts []pipeline.Partition) {
	if d == nil {
		return
	}
	var names, missing []string
	for _, p := range parts {
		if _, ok := d.restored[p]; ok {
			continue
		}
		names = append(names, p.String())
		if d.old && d.wasRead(s, p) {
			missing = append(missing, p.String())
		}
	}
	if len(missing) > 0 && d.p.config.State.Missing != "fresh" {
		d.p.intake.hold(holdMissing, true)
		d.refuse(fmt.Errorf("source %s: the group has read records of %s, and the state in %q knows nothing of them: bring that state back, "+
			"or set state.missing to fresh to begin these partitions with empty buckets", s.Name(), strings.Join(missing, ", "), d.p.config.State.Dir))
		return
	}
	if len(names) > 0 {
		d.p.log.Info("partitions begin with empty state", "partitions", strings.Join(names, ", "))
	}
}

// committedSource is a Source that knows where its group stands.
type committedSource interface {
	Committed(ctx context.Context, p pipeline.Partition) (int64, error)
}

// wasRead tells whether the group has read records of a partition. When that
// cannot be learnt, it may have.
func (d *durable) wasRead(s sources.Source, p pipeline.Partition) bool {
	c, ok := s.(committedSource)
	if !ok {
		return false
	}
	offset, err := c.Committed(context.Background(), p)
	if err != nil {
		d.p.log.Warn("it cannot be learnt where the group stands", "partition", p.String(), "error", err)
	}
	return err != nil || offset > 0
}

// refuse ends the run with an error; only the first counts.
func (d *durable) refuse(err error) {
	select {
	case d.refused <- err:
	default:
	}
}

// run runs the pipeline until its sources end or ctx is done.
func (d *durable) run(ctx context.Context) error {
	p := d.p
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it outlives ctx: what was read is drained
	defer cancel()
	var all errgroup.Group
	fail := make(chan struct{})
	var once sync.Once
	failing := func(err error) error {
		if err != nil {
			once.Do(func() { close(fail) })
			cancel()
		}
		return err
	}
	all.Go(func() error { return failing(p.graphs.run(inner)) })
	all.Go(func() error { return failing(d.cp.Run(inner)) })
	all.Go(func() error { return failing(d.deliverer.Run(inner)) })
	restored, _ := d.members.split(d.restored)
	d.commits.add(restored) // a crash may have come before the last commit
	all.Go(func() error { return d.commits.run(inner) })
	if len(d.members.keepers) > 0 {
		all.Go(func() error { return failing(d.members.run(inner)) })
	}
	all.Go(func() error {
		select {
		case err := <-d.refused:
			return failing(err)
		case <-inner.Done():
			return nil
		}
	})
	all.Go(func() error { return failing(d.watch(inner)) })
	all.Go(func() error { return failing(d.leaveMemory(inner)) })
	all.Go(func() error {
		defer cancel()
		err := p.read(ctx, fail, func(ctx context.Context, s sources.Source) error { return p.readSource(ctx, s, d.from(s)) })
		return errors.Join(err, failing(d.finish(inner)))
	})
	err := all.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return err
}

// finish makes durable what was read, commits it, and gives the sinks a while to take what is left.
func (d *durable) finish(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil // something failed: the state stays as the last epoch has it
	}
	d.p.reloading.Lock() // a reload that is under way ends first
	defer d.p.reloading.Unlock()
	err := d.cp.Checkpoint(ctx)
	d.p.graphs.close()
	if err != nil {
		return err
	}
	left := d.deliverer.Drain(ctx, d.p.config.Outbox.Drain)
	if left > 0 {
		d.p.log.Warn("sinks have not taken all; the rest is delivered at the next start", "alerts", left)
	}
	if err := d.commits.commit(ctx); err != nil {
		d.p.log.Warn("the last offsets were not committed; the state knows them", "error", err)
	}
	return nil
}

// The reasons for which nothing is read.
const (
	holdMissing = "the state of some partitions is missing"
	holdSources = "lines are merged, and not every source has said which partitions it reads"
	holdMemory  = "buckets take more than state.memory_limit, and are written so that they can leave memory"
	holdDisk    = "the disk that holds the state is almost full"
	holdOutbox  = "too much waits for a sink that blocks"
	holdEpoch   = "too many alerts wait to be made durable"
)

// maxWaiting is how many alerts may wait for an epoch before reading waits too.
const maxWaiting = 100_000

// watch holds the intake while the disk or the outbox asks for it.
func (d *durable) watch(ctx context.Context) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		space, err := d.store.Space()
		if err != nil {
			return fmt.Errorf("asking for the space left for the state: %w", err)
		}
		d.p.intake.hold(holdDisk, space.Low)
		d.p.intake.hold(holdOutbox, d.deliverer.Blocked())
		d.p.intake.hold(holdEpoch, d.cp.Waiting() > maxWaiting)
		var unblocked <-chan struct{}
		if d.deliverer.Blocked() {
			unblocked = d.deliverer.Unblocked()
		}
		select {
		case <-ticker.C:
		case <-unblocked:
		case <-ctx.Done():
			return nil
		}
	}
}

// coldStore is a Store that gives back what has left memory.
type coldStore interface {
	detect.Cold
	Fold(ctx context.Context) error
}

// cold returns the store when buckets may leave memory for it.
func (d *durable) cold() detect.Cold {
	if c, ok := d.store.(coldStore); ok && d.p.config.State.MemoryLimit > 0 {
		return c
	}
	return nil
}

// coldBytes is about what a bucket takes in memory that is in the store alone.
const coldBytes = 128

// leaveMemory makes buckets ready to leave memory when it is short: only
// those whose last epoch is folded can. Nothing is read meanwhile.
func (d *durable) leaveMemory(ctx context.Context) error {
	limit := int64(d.p.config.State.MemoryLimit)
	store, ok := d.store.(coldStore)
	if limit == 0 || !ok {
		return nil
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		warm := d.p.gauges.Bytes.Load() - coldBytes*d.p.gauges.Cold.Load()
		if warm < limit || d.store.Last() == store.Folded() && d.p.gauges.Bytes.Load() < 2*limit {
			continue
		}
		d.p.intake.hold(holdMemory, true)
		err := d.cp.Checkpoint(ctx)
		if err == nil {
			err = store.Fold(ctx)
		}
		d.p.intake.hold(holdMemory, false)
		if err != nil && ctx.Err() == nil && !errors.Is(err, pipeline.ErrStopped) {
			return fmt.Errorf("folding the state, so that buckets can leave memory: %w", err)
		}
	}
}

// reload puts a graph with the pipeline's new engine in place of the one that runs.
func (d *durable) reload(ctx context.Context, use func()) error {
	return d.p.graphs.replace(
		func() error { return d.cp.Settle(ctx) },
		func() (*pipeline.Graph, error) {
			use()
			return d.graph(false)
		},
	)
}
