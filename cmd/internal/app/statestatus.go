package app

import (
	"fmt"
	"strings"
)

// StateStatus is a pipeline's durable state at a glance.
type StateStatus struct {
	// Epoch is the last durable one.
	Epoch uint64
	// Disk is what the state's files take, Free what the file system has
	// left, Reserve what must be left for reading to go on; in bytes.
	Disk, Free, Reserve int64
	// Doubts is how many alerts a group has not accepted the records of.
	Doubts int
	// Discarded alerts belong to another member of the group; Muted ones were
	// made while a partition's state was rebuilt.
	Discarded, Muted uint64
	// Missing counts, by what state.missing says, how often a partition came
	// whose state was not here or was behind.
	Missing map[string]uint64
}

// stateStatus returns a snapshot, nil without durable state.
func (p *Pipeline) stateStatus() *StateStatus {
	d := p.durable
	if d == nil {
		return nil
	}
	s := &StateStatus{Epoch: d.store.Last(), Muted: p.stats.muted.Load()}
	if space, err := d.store.Space(); err == nil {
		s.Disk, s.Free, s.Reserve = space.Used, space.Free, space.Reserve
	}
	m := d.members
	m.mu.Lock()
	s.Doubts = len(m.doubts)
	m.mu.Unlock()
	s.Discarded = m.discarded.Load()
	s.Missing = map[string]uint64{"wait": m.waiting.Load(), "fresh": m.fresh.Load(), "rebuild": m.rebuilt.Load()}
	return s
}

// line renders the state's part of the status.
func (s *StateStatus) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, " · epoch %d, %s on disk", s.Epoch, bytesShort(s.Disk))
	if s.Doubts > 0 {
		fmt.Fprintf(&b, " · %s alerts in doubt", short(float64(s.Doubts)))
	}
	return b.String()
}

func bytesShort(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// losses lists, for the end of a run, what was given up, and why.
func (s *StateStatus) losses(say func(what string, n uint64)) {
	for _, l := range []struct {
		n    uint64
		what string
	}{
		{s.Discarded, "alerts were discarded: another member of the group went on with their records"},
		{s.Muted, "alerts were left to the member that had found them before (state.missing: rebuild)"},
		{s.Missing["wait"], "partitions were not read: their state is elsewhere (state.missing: wait)"},
		{s.Missing["fresh"], "partitions began with empty state (state.missing: fresh)"},
		{s.Missing["rebuild"], "partitions' states were rebuilt, approximately (state.missing: rebuild)"},
	} {
		if l.n > 0 {
			say(l.what, l.n)
		}
	}
}
