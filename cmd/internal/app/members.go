package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/pipeline"
	"sluice/sinks/outbox"
	"sluice/sources"
)

// members are the sources whose partitions come and go, a consumer group's.
// An alert whose cause came from one is in doubt until the group has accepted
// an offset behind it: only then is it released, and with it all behind it in the outbox.
// One that another member is to find again is discarded.
type members struct {
	d       *durable
	keepers map[string]*keeper // by source
	turn    chan struct{}      // of 1: who commits

	mu     sync.Mutex // guards what follows
	doubts []doubt    // by sequence number
	next   uint64     // behind the last entry of the outbox
	told   uint64     // what the deliverer may have
	muted  map[pipeline.Partition]int64
	// positions are those of the last epoch.
	positions map[pipeline.Partition]int64

	discarded, rebuilt, fresh, waiting atomic.Uint64
}

// doubt is an entry of the outbox that no accepted offset covers.
type doubt struct {
	seq   uint64
	cause pipeline.Position
	since time.Time
}

// newMembers finds the entries that were in doubt when the state was closed.
func newMembers(d *durable) (*members, error) {
	m := &members{d: d, turn: make(chan struct{}, 1), positions: d.restored, keepers: make(map[string]*keeper), muted: make(map[pipeline.Partition]int64), next: d.store.NextSeq()}
	for _, s := range d.p.sources {
		if member, ok := s.(sources.Member); ok {
			k := &keeper{m: m, source: member, reading: make(map[pipeline.Partition]bool)}
			m.keepers[s.Name()] = k
			member.Keep(k)
		}
	}
	if len(m.keepers) > 0 {
		if err := m.findDoubts(); err != nil {
			return nil, err
		}
	}
	return m, m.release()
}

func (m *members) findDoubts() error {
	from := max(m.d.store.Accepted(), 1)
	for from < m.next {
		entries, err := m.d.store.Outbox(from, 1000)
		if err != nil {
			return fmt.Errorf("reading the alerts that were not released: %w", err)
		}
		if len(entries) == 0 {
			return nil
		}
		for _, e := range entries {
			from = e.Seq + 1
			if e.Discarded {
				continue
			}
			item, err := outbox.Decode(e.Payload)
			if err != nil {
				return fmt.Errorf("reading the alerts that were not released: %w", err)
			}
			m.doubt(e.Seq, item.Cause())
		}
	}
	return nil
}

// doubt holds back an entry if its cause came from a member.
func (m *members) doubt(seq uint64, cause pipeline.Position) {
	if m.keepers[cause.Source] != nil {
		m.doubts = append(m.doubts, doubt{seq, cause, m.d.p.clock.Now()})
	}
}

// split tells the positions of static sources from those of members.
func (m *members) split(all map[pipeline.Partition]int64) (static map[pipeline.Partition]int64, grouped map[string]sources.Positions) {
	static, grouped = make(map[pipeline.Partition]int64), make(map[string]sources.Positions)
	for p, next := range all {
		k := m.keepers[p.Source]
		switch {
		case k == nil:
			static[p] = next
		case k.reads(p) && next >= m.mutedUntil(p): // a rebuild must not take the group back
			if grouped[p.Source] == nil {
				grouped[p.Source] = make(sources.Positions)
			}
			grouped[p.Source][p] = next
		}
	}
	return static, grouped
}

// durable commits an epoch's offsets to the groups and releases what they accept.
func (m *members) durable(ctx context.Context, e *pipeline.DurableEpoch) error {
	m.mu.Lock()
	for i, cause := range e.Causes {
		m.doubt(e.FirstSeq+uint64(i), cause)
	}
	m.next, m.positions = e.NextSeq, e.Positions
	m.mu.Unlock()
	m.giveUp()
	return m.commit(ctx)
}

// run asks again what the group has not answered, though no epoch follows,
// and gives up what others are to find.
func (m *members) run(ctx context.Context) error {
	for {
		select {
		case <-m.d.p.clock.After(commitAgain):
		case <-ctx.Done():
			return nil
		}
		m.mu.Lock()
		doubts := len(m.doubts)
		m.mu.Unlock()
		if doubts == 0 && !m.failing() {
			continue
		}
		m.giveUp()
		if err := m.commit(ctx); err != nil {
			return err
		}
	}
}

// failing tells whether the last commit to a group failed.
func (m *members) failing() bool {
	for _, k := range m.keepers {
		k.mu.Lock()
		failing := k.failing
		k.mu.Unlock()
		if failing {
			return true
		}
	}
	return false
}

// commit commits the last epoch's offsets to the groups, one call at a time,
// so that no older ones come behind, and releases what they accept.
func (m *members) commit(ctx context.Context) error {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	m.mu.Lock()
	last := m.positions
	m.mu.Unlock()
	_, grouped := m.split(last)
	for name, positions := range grouped {
		k := m.keepers[name]
		err := k.source.Commit(ctx, positions)
		k.tell(err)
		if err == nil {
			m.settle(func(c pipeline.Position) verdict {
				if next, ok := positions[c.Partition]; ok && c.Offset < next {
					return accepted
				}
				return undecided
			})
		}
	}
	return m.release()
}

// doubtBound is how long an alert stays in doubt whose partition is read by
// others: long enough for a group that settles down to give the partition back.
const doubtBound = time.Minute

// giveUp discards what others are to find, as far as anybody knows.
func (m *members) giveUp() {
	now := m.d.p.clock.Now()
	m.mu.Lock()
	old := make(map[pipeline.Position]bool)
	for _, d := range m.doubts {
		if now.Sub(d.since) > doubtBound {
			old[d.cause] = true
		}
	}
	m.mu.Unlock()
	m.settle(func(c pipeline.Position) verdict {
		if old[c] && !m.keepers[c.Source].reads(c.Partition) {
			return refused
		}
		return undecided
	})
}

type verdict int

const (
	undecided verdict = iota
	accepted
	refused
)

// settle decides on doubts; those refused are discarded.
func (m *members) settle(judge func(cause pipeline.Position) verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var gone []uint64
	m.doubts = slices.DeleteFunc(m.doubts, func(d doubt) bool {
		switch judge(d.cause) {
		case accepted:
			return true
		case refused:
			gone = append(gone, d.seq)
			return true
		}
		return false
	})
	if len(gone) == 0 {
		return
	}
	m.discarded.Add(uint64(len(gone)))
	m.d.p.log.Warn("alerts are discarded: another member of the group has the records that made them", "alerts", len(gone))
	if err := m.d.store.Discard(gone); err != nil {
		m.d.p.log.Error("discarding alerts", "error", err)
	}
}

// release lets the deliverer have all before the first doubt.
func (m *members) release() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	below := m.next
	if len(m.doubts) > 0 {
		below = m.doubts[0].seq
	}
	if below <= m.told {
		return nil
	}
	if len(m.keepers) > 0 {
		if err := m.d.store.SetAccepted(below); err != nil {
			return fmt.Errorf("writing down which alerts are released: %w", err)
		}
	}
	m.told = below
	m.d.deliverer.Release(below)
	return nil
}

// mutedUntil is the offset from which on a partition's records may alert.
func (m *members) mutedUntil(p pipeline.Partition) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.muted[p]
}

// mute tells whether an alert was caused by a record that is read again only
// to rebuild state: whoever had read it before has released what it caused.
func (m *members) mute(cause pipeline.Position) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.muted) > 0 && cause.Offset < m.muted[cause.Partition]
}

// keeper implements sources.Keeper for one member.
type keeper struct {
	m      *members
	source sources.Member

	mu      sync.Mutex
	reading map[pipeline.Partition]bool
	failing bool // the last Commit failed
}

func (k *keeper) reads(p pipeline.Partition) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reading[p]
}

// tell logs once that the group takes no offsets, and once that it does again.
func (k *keeper) tell(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	log := k.m.d.p.log.With("source", k.source.Name())
	switch {
	case errors.Is(err, sources.ErrFenced):
		log.Warn("the group refuses offsets; alerts wait until it is known who goes on from where", "error", err)
	case err != nil && !k.failing:
		log.Warn("offsets were not committed, and alerts wait for it; they are tried again", "error", err)
	case err == nil && k.failing:
		log.Info("offsets are committed again")
	}
	k.failing = err != nil
}

// Name implements sources.Keeper.
func (k *keeper) Name() string { return k.m.d.store.ID() }

// Held implements sources.Keeper.
func (k *keeper) Held() sources.Positions {
	next, _ := k.m.d.cp.Held()
	held := make(sources.Positions)
	for p, offset := range next {
		if p.Source == k.source.Name() && offset >= k.m.mutedUntil(p) {
			held[p] = offset
		}
	}
	return held
}

// Assigned implements sources.Keeper.
func (k *keeper) Assigned(ctx context.Context, parts []sources.Assignment) (sources.Positions, error) {
	held := k.Held()
	from := make(sources.Positions)
	var forget []pipeline.Partition
	mute := make(map[pipeline.Partition]int64)
	for _, a := range parts {
		position, ok := held[a.Partition]
		whole := ok && isWhole(a, position)
		k.settle(a, whole)
		switch {
		case whole:
			from[a.Partition] = position
		case !ok && a.Committed < 0:
			from[a.Partition] = -1 // nobody has read it yet
		default:
			offset, until, err := k.missing(ctx, a, position, ok)
			if err != nil {
				return nil, err
			}
			if offset == notRead {
				continue
			}
			from[a.Partition], mute[a.Partition] = offset, until
			forget = append(forget, a.Partition)
		}
	}
	if err := k.take(ctx, from, forget, mute); err != nil {
		return nil, err
	}
	return from, k.m.release()
}

// isWhole tells whether the state at a position is that of all records before
// it, each counted once, and nobody else has read what is behind it.
func isWhole(a sources.Assignment, position int64) bool {
	if a.Committed == position {
		return true
	}
	_, known := sources.Accepted(a.History, a.Committed, position)
	// A commit that was never answered is ours to make up for, unless others went on.
	return !known && a.Committed < position && (a.Committed < 0 || len(a.History) > 0 && a.History[0].Own)
}

// take drops the state of partitions that begin anew, and reads on.
func (k *keeper) take(ctx context.Context, from sources.Positions, forget []pipeline.Partition, mute map[pipeline.Partition]int64) error {
	if len(forget) > 0 {
		if err := k.m.d.cp.Checkpoint(ctx, forget...); err != nil {
			return fmt.Errorf("dropping state that others have gone on without: %w", err)
		}
	}
	k.m.mu.Lock()
	maps.Copy(k.m.muted, mute)
	k.m.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	for p := range from {
		k.reading[p] = true
	}
	k.m.d.p.announced(k.source.Name(), slices.Collect(maps.Keys(from))...)
	return nil
}

// settle decides on the doubts of a partition by what the group knows of it.
// Those of a state that is whole and goes on are decided by its next commit.
func (k *keeper) settle(a sources.Assignment, whole bool) {
	k.m.settle(func(c pipeline.Position) verdict {
		if c.Partition != a.Partition {
			return undecided
		}
		ok, known := sources.Accepted(a.History, a.Committed, c.Offset+1)
		switch {
		case ok:
			return accepted
		case known || !whole:
			return refused
		}
		return undecided
	})
}

// notRead is missing's answer for a partition that waits.
const notRead = -2

// missing says where a partition is read from whose state is not here, or
// that others have gone on with, and up to where its alerts are others'.
func (k *keeper) missing(ctx context.Context, a sources.Assignment, position int64, held bool) (offset, until int64, err error) {
	m, config := k.m, k.m.d.p.config.State
	why := "its state is not here"
	if held {
		why = fmt.Sprintf("its state here stands at %d", position)
	}
	log := m.d.p.log.With("partition", a.Partition.String(), "group_at", a.Committed, "why", why)
	switch config.Missing {
	case "fresh":
		m.fresh.Add(1)
		log.Warn("a partition begins with empty state (state.missing: fresh)")
		return max(a.Committed, -1), 0, nil
	case "rebuild":
		m.rebuilt.Add(1)
		r, ok := k.source.(sources.Rewinder)
		if !ok {
			return 0, 0, fmt.Errorf("source %s cannot read again what it read: set state.missing to wait or fresh", k.source.Name())
		}
		offset, err := r.Rewind(ctx, a.Partition, a.Committed, config.RebuildLookback)
		if err != nil {
			return 0, 0, fmt.Errorf("looking for the records to rebuild state from: %w", err)
		}
		log.Warn("a partition's state is rebuilt, approximately (state.missing: rebuild)", "from", offset)
		return offset, a.Committed, nil
	}
	m.waiting.Add(1)
	log.Warn("a partition is not read (state.missing: wait): start the member that holds its state, or set state.missing to fresh or rebuild")
	return notRead, 0, nil
}

// Revoked implements sources.Keeper.
func (k *keeper) Revoked(ctx context.Context, partitions []pipeline.Partition) error {
	err := k.m.d.cp.Checkpoint(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range partitions {
		delete(k.reading, p)
	}
	return err
}
