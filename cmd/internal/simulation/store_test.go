package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"sluice/cmd/internal/app"
	"sluice/pipeline"
	"sluice/pipeline/state"
	"sluice/sinks/outbox"
)

// stateDisk is what a member's crashes leave.
type stateDisk interface {
	// open opens the state for a process.
	open(pr *process) (app.Store, error)
	// records are those of the last epoch, with the dictionary of their numbers.
	records() (*state.Dictionary, map[string]string, error)
	// fill says that the disk is almost full, or no longer.
	fill(low bool)
	close() error
}

// diskMaker makes the disk of a folder.
type diskMaker func(dir string) stateDisk

// disk is a state in memory that behaves as state.Store does.
type disk struct {
	mu       sync.Mutex
	epoch    uint64
	held     map[string]string
	entries  map[uint64][]byte // of the outbox; nil when discarded
	next     uint64
	trim     uint64
	cursors  map[string]uint64
	accepted uint64
	low      bool // the disk is almost full
}

func newDisk(string) stateDisk {
	return &disk{
		held: make(map[string]string), entries: make(map[uint64][]byte), next: 1, trim: 1, cursors: make(map[string]uint64),
	}
}

// memory is the store of one process on a disk.
type memory struct {
	pr   *process
	d    *disk
	dict *state.Dictionary
}

var _ app.Store = (*memory)(nil)

func (d *disk) open(pr *process) (app.Store, error) {
	m := &memory{pr: pr, d: d, dict: state.NewDictionary()}
	err := m.pass(never, func() error {
		for k, v := range d.held {
			if state.Kind(k[0]) == state.KindNumber {
				if err := m.dict.Load([]byte(k), []byte(v)); err != nil {
					return err
				}
			}
		}
		// A cursor ahead of the outbox cannot be: both are durable at once here.
		return m.dict.Loaded()
	}, never)
	return m, err
}

func (m *memory) pass(before point, effect func() error, after ...point) error {
	last := never
	if len(after) > 0 {
		last = after[0]
	}
	return m.pr.pass(before, func() error {
		m.d.mu.Lock()
		defer m.d.mu.Unlock()
		return effect()
	}, last)
}

func (d *disk) close() error { return nil }

func (d *disk) fill(low bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.low = low
}

func (d *disk) records() (*state.Dictionary, map[string]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dict := state.NewDictionary()
	for k, v := range d.held {
		if state.Kind(k[0]) == state.KindNumber {
			if err := dict.Load([]byte(k), []byte(v)); err != nil {
				return nil, nil, err
			}
		}
	}
	return dict, maps.Clone(d.held), dict.Loaded()
}

func (m *memory) Dictionary() *state.Dictionary { return m.dict }
func (m *memory) ID() string                    { return m.pr.member.name() }
func (m *memory) Close() error                  { return nil }

// Commit implements app.Store.
func (m *memory) Commit(_ context.Context, e *state.Epoch) (done state.Committed, err error) {
	var numbers state.Writer
	m.dict.Save(&numbers)
	m.pr.w.syncing(m.pr, m.Last())
	err = m.pass(beforeDurable, func() error {
		records := maps.Clone(m.d.held)
		owner := make(map[string]int)
		for i, w := range append(e.Parts[:len(e.Parts):len(e.Parts)], &numbers) {
			if err := apply(records, owner, i, w); err != nil {
				return err
			}
		}
		done = state.Committed{Epoch: m.d.epoch + 1, FirstSeq: m.d.next}
		for _, entry := range e.Outbox {
			m.d.entries[m.d.next] = slices.Clone(entry.Payload)
			m.d.next++
		}
		done.NextSeq = m.d.next
		m.d.epoch++
		m.d.held = records
		return m.pr.w.committed(m.pr.member, m.dict, e, records)
	}, afterDurable)
	return done, err
}

// apply makes a part's changes. A record that is in two parts was deleted by
// the first of them, and none may be deleted that is not there.
func apply(records map[string]string, owner map[string]int, part int, w *state.Writer) error {
	own := func(k string, existed bool) error {
		if o, ok := owner[k]; ok && o != part && existed {
			return fmt.Errorf("record %q is in two parts of an epoch", k)
		}
		owner[k] = part
		return nil
	}
	return w.Each(
		func(k, v []byte) error {
			_, existed := records[string(k)]
			records[string(k)] = string(v)
			return own(string(k), existed)
		},
		func(k []byte) error {
			if _, ok := records[string(k)]; !ok {
				return fmt.Errorf("record %q is deleted and was not there", k)
			}
			delete(records, string(k))
			return own(string(k), true)
		},
	)
}

// LoadParallel implements app.Store.
func (m *memory) LoadParallel(_ int, f func(int, []byte, []byte, state.Sum) error) error {
	var records map[string]string
	err := m.pass(never, func() error {
		records = maps.Clone(m.d.held)
		return nil
	})
	if err != nil {
		return err
	}
	return eachRecord(records, func(k, v []byte, sum state.Sum) error { return f(0, k, v, sum) })
}

// eachRecord calls f for all records but the dictionary's.
func eachRecord(records map[string]string, f func(k, v []byte, sum state.Sum) error) error {
	for _, k := range slices.Sorted(maps.Keys(records)) {
		if state.Kind(k[0]) == state.KindNumber {
			continue
		}
		if err := f([]byte(k), []byte(records[k]), state.SumOf([]byte(k), []byte(records[k]))); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Last() uint64 {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	return m.d.epoch
}

func (m *memory) NextSeq() uint64 {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	return m.d.next
}

// Outbox implements app.Store.
func (m *memory) Outbox(from uint64, limit int) (entries []outbox.Entry, err error) {
	err = m.pass(never, func() error {
		for seq := max(from, m.d.trim); seq < m.d.next && len(entries) < limit; seq++ {
			payload := m.d.entries[seq]
			entries = append(entries, outbox.Entry{Seq: seq, Discarded: payload == nil, Payload: slices.Clone(payload)})
		}
		return nil
	})
	return entries, err
}

func (m *memory) Cursor(sink string) (seq uint64, ok bool) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	seq, ok = m.d.cursors[sink]
	return seq, ok
}

func (m *memory) Cursors() map[string]uint64 {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	return maps.Clone(m.d.cursors)
}

func (m *memory) SetCursor(sink string, seq uint64) error {
	return m.pass(beforeCursor, func() error {
		if seq < m.d.cursors[sink] || seq >= m.d.next {
			return fmt.Errorf("the cursor of %s goes from %d to %d of an outbox up to %d", sink, m.d.cursors[sink], seq, m.d.next)
		}
		m.d.cursors[sink] = seq
		return nil
	}, afterCursor)
}

func (m *memory) RemoveCursor(sink string) error {
	return m.pass(never, func() error {
		delete(m.d.cursors, sink)
		return nil
	})
}

// Trim implements app.Store. What a sink has yet to take must stay.
func (m *memory) Trim(below uint64) error {
	return m.pass(never, func() error {
		for ; m.d.trim < below; m.d.trim++ {
			delete(m.d.entries, m.d.trim)
		}
		return nil
	})
}

func (m *memory) Discard(seqs []uint64) error {
	return m.pass(never, func() error {
		for _, seq := range seqs {
			if seq < m.d.trim || seq >= m.d.next {
				return fmt.Errorf("entry %d is discarded of an outbox from %d to %d", seq, m.d.trim, m.d.next)
			}
			m.pr.w.discarded(m.pr.member, m.d.entries[seq])
			m.d.entries[seq] = nil
		}
		return nil
	})
}

func (m *memory) Accepted() uint64 {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	return m.d.accepted
}

func (m *memory) SetAccepted(seq uint64) error {
	return m.pass(never, func() error {
		if seq > m.d.next {
			return fmt.Errorf("entries below %d are accepted of an outbox up to %d", seq, m.d.next-1)
		}
		m.d.accepted = seq
		return nil
	})
}

func (m *memory) Space() (space state.Space, err error) {
	err = m.pass(never, func() error {
		space.Low = m.d.low
		return nil
	})
	return space, err
}

// positionsOf reads where a state stands.
func positionsOf(dict *state.Dictionary, records map[string]string) (map[pipeline.Partition]int64, error) {
	next := make(map[pipeline.Partition]int64)
	for k, v := range records {
		if state.Kind(k[0]) != state.KindPosition {
			continue
		}
		p, at, _, err := pipeline.DecodePartition(dict, []byte(k), []byte(v))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("position %q", k), err)
		}
		next[p] = at
	}
	return next, nil
}
