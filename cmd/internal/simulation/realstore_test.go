package simulation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"sluice/cmd/internal/app"
	"sluice/pipeline/state"
	"sluice/sinks/outbox"
)

// host runs calls outside of the bubble: files and their goroutines know
// nothing of its time, which stands still until a call has returned.
type host struct {
	mu    sync.Mutex
	calls chan func()
	done  chan struct{}
}

// newHost starts a host; it ends with the closing of calls.
func newHost() *host {
	h := &host{calls: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(h.done)
		for f := range h.calls {
			f()
			h.done <- struct{}{}
		}
	}()
	return h
}

func (h *host) do(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls <- f
	<-h.done
}

func (h *host) close() {
	close(h.calls)
	<-h.done
}

// realDisk holds the real store. What is committed to it is synced, so a
// process that crashed leaves what a closed store leaves.
type realDisk struct {
	disk   // what should be there: only its records are used
	host   *host
	dir    string
	opened *state.Store
	dict   *state.Dictionary
}

func (d *realDisk) options() state.Options {
	return state.Options{Dir: d.dir, MemTable: 4 << 20, FoldEpochs: 5, FoldShare: 0.01, Reserve: 1, Workers: 2}
}

// onDisk is the store of one process.
type onDisk struct {
	pr *process
	d  *realDisk
	s  *state.Store
}

var _ app.Store = (*onDisk)(nil)

func (d *realDisk) open(pr *process) (app.Store, error) {
	o := &onDisk{pr: pr, d: d}
	var err error
	d.host.do(func() {
		if err = d.shut(); err == nil {
			o.s, err = state.Open(d.options())
		}
	})
	if err != nil {
		return nil, err
	}
	d.opened, d.dict = o.s, o.s.Dictionary()
	return o, nil
}

func (d *realDisk) shut() error {
	s := d.opened
	d.opened = nil
	if s == nil {
		return nil
	}
	return s.Close()
}

func (d *realDisk) records() (*state.Dictionary, map[string]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dict, maps.Clone(d.held), nil
}

// close holds what the store has to what it should have.
func (d *realDisk) close() error {
	found := make(map[string]string)
	var err error
	d.host.do(func() {
		if err = d.shut(); err != nil {
			return
		}
		var s *state.Store
		if s, err = state.Open(d.options()); err == nil {
			if err = s.Load(func(k, v []byte, _ state.Sum) error { found[string(k)] = string(v); return nil }); err == nil {
				err = s.Close()
			}
		}
	})
	if err == nil && !maps.Equal(found, d.held) {
		err = fmt.Errorf("the store holds %d records that are not the %d that were committed to it", len(found), len(d.held))
	}
	return err
}

// pass takes a call of the store through the process's door.
func (o *onDisk) pass(before point, call func() error, after point) error {
	return o.pr.pass(before, func() (err error) {
		o.d.host.do(func() { err = call() })
		return err
	}, after)
}

func (o *onDisk) Dictionary() *state.Dictionary { return o.s.Dictionary() }
func (o *onDisk) ID() string                    { return o.s.ID() }
func (o *onDisk) Last() uint64                  { return o.s.Last() }
func (o *onDisk) NextSeq() uint64               { return o.s.NextSeq() }
func (o *onDisk) Accepted() uint64              { return o.s.Accepted() }
func (o *onDisk) Cursors() map[string]uint64    { return o.s.Cursors() }

func (o *onDisk) Cursor(sink string) (uint64, bool) { return o.s.Cursor(sink) }

// Commit implements app.Store.
func (o *onDisk) Commit(_ context.Context, e *state.Epoch) (done state.Committed, err error) {
	o.pr.w.syncing(o.pr, o.Last())
	err = o.pr.pass(beforeDurable, func() (err error) {
		o.d.host.do(func() { done, err = o.s.Commit(context.Background(), e) })
		if err != nil {
			return err
		}
		o.d.mu.Lock()
		defer o.d.mu.Unlock()
		owner := make(map[string]int)
		for i, w := range e.Parts {
			if err := apply(o.d.held, owner, i, w); err != nil {
				return err
			}
		}
		return o.pr.w.committed(o.pr.member, o.s.Dictionary(), e, o.d.held)
	}, afterDurable)
	return done, err
}

// LoadParallel implements app.Store. f belongs into the bubble.
func (o *onDisk) LoadParallel(workers int, f func(int, []byte, []byte, state.Sum) error) error {
	type record struct {
		key, value []byte
		sum        state.Sum
	}
	var mu sync.Mutex
	var records []record
	err := o.pass(never, func() error {
		return o.s.LoadParallel(workers, func(_ int, k, v []byte, sum state.Sum) error {
			mu.Lock()
			defer mu.Unlock()
			records = append(records, record{slices.Clone(k), slices.Clone(v), sum})
			return nil
		})
	}, never)
	for _, r := range records {
		if err == nil {
			err = f(0, r.key, r.value, r.sum)
		}
	}
	return err
}

// Outbox implements app.Store.
func (o *onDisk) Outbox(from uint64, limit int) (entries []outbox.Entry, err error) {
	err = o.pass(never, func() (err error) {
		entries, err = o.s.Outbox(from, limit)
		return err
	}, never)
	return entries, err
}

func (o *onDisk) SetCursor(sink string, seq uint64) error {
	return o.pass(beforeCursor, func() error { return o.s.SetCursor(sink, seq) }, afterCursor)
}

func (o *onDisk) RemoveCursor(sink string) error {
	return o.pass(never, func() error { return o.s.RemoveCursor(sink) }, never)
}

func (o *onDisk) Trim(below uint64) error {
	return o.pass(never, func() error { return o.s.Trim(below) }, never)
}

func (o *onDisk) Discard(seqs []uint64) error {
	return o.pr.pass(never, func() (err error) {
		var gone [][]byte
		o.d.host.do(func() {
			for _, seq := range seqs {
				entries, rerr := o.s.Outbox(seq, 1)
				if rerr == nil && len(entries) == 1 && entries[0].Seq == seq {
					gone = append(gone, entries[0].Payload)
				}
			}
			err = o.s.Discard(seqs)
		})
		for _, payload := range gone {
			o.pr.w.discarded(o.pr.member, payload)
		}
		return err
	}, never)
}

func (o *onDisk) SetAccepted(seq uint64) error {
	return o.pass(never, func() error { return o.s.SetAccepted(seq) }, never)
}

// Space implements app.Store: what is free is the simulator's to say.
func (o *onDisk) Space() (space state.Space, err error) {
	err = o.pr.pass(never, func() error {
		o.d.mu.Lock()
		defer o.d.mu.Unlock()
		space.Low = o.d.low
		return nil
	}, never)
	return space, err
}

// Close implements app.Store. The disk closes the store of a process that
// crashed when the next one opens it.
func (o *onDisk) Close() (err error) {
	o.d.host.do(func() {
		if o.d.opened == o.s {
			err = o.d.shut()
		}
	})
	return err
}
