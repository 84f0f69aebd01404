package parse

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"
	"time"
)

// StashDef is a stash as rules define it.
type StashDef struct {
	Name     string
	Size     int    // entries kept; 100 when 0
	Strategy string // which entry makes room: LRU (also ""), LFU or ARC
}

// complete fills the defaults in.
func (d *StashDef) complete() error {
	if d.Size <= 0 {
		d.Size = 100
	}
	switch d.Strategy = strings.ToUpper(d.Strategy); d.Strategy {
	case "":
		d.Strategy = "LRU"
	case "LRU", "LFU", "ARC":
	default:
		return fmt.Errorf("stash %s: there is no strategy %q; want LRU, LFU or ARC", d.Name, d.Strategy)
	}
	return nil
}

// Stashes are the stashes of one source partition. They implement
// expression.Stash. An entry expires on the partition's clock, which SetClock
// moves (FIDELITY 13: CrowdSec's is the wall clock), so that what they answer
// is a function of the partition's records. One goroutine at a time uses them.
type Stashes struct {
	clock  time.Time
	stores map[string]*store
}

// NewStashes returns empty stashes. Strategies that do not exist count as LRU.
func NewStashes(defs []StashDef) *Stashes {
	s := &Stashes{stores: make(map[string]*store, len(defs))}
	for _, d := range defs {
		if d.complete() != nil {
			d.Strategy = "LRU"
		}
		s.stores[d.Name] = newStore(d)
	}
	return s
}

// SetClock moves the clock to t; it never goes back.
func (s *Stashes) SetClock(t time.Time) {
	if t.After(s.clock) {
		s.clock = t
	}
}

// Get returns what was stored under a key and has not expired; it counts as a use.
func (s *Stashes) Get(name, key string) (value string, ok bool) {
	st := s.stores[name]
	if st == nil {
		return "", false
	}
	e := st.entries[key]
	if e == nil {
		return "", false
	}
	if s.clock.After(e.deadline) {
		st.policy.remove(e)
		delete(st.entries, key)
		return "", false
	}
	st.policy.use(e)
	return e.value, true
}

// Set stores copies of key and value for ttl. A stash that no rule defines is an error.
func (s *Stashes) Set(name, key, value string, ttl time.Duration) error {
	st := s.stores[name]
	if st == nil {
		return fmt.Errorf("there is no stash %q: define it with stash: in a parser", name)
	}
	deadline := s.clock.Add(ttl)
	if e := st.entries[key]; e != nil {
		e.deadline = deadline
		if e.value != value {
			e.value = strings.Clone(value)
		}
		st.policy.use(e)
		return nil
	}
	st.add(&stashEntry{key: strings.Clone(key), value: strings.Clone(value), deadline: deadline})
	return nil
}

// StashEntry is an entry as plain data, for checkpoints.
type StashEntry struct {
	Key, Value string
	Deadline   time.Time // on the partition's clock
	Uses       uint64
	// List is the list of an ARC that holds the entry: once, often, or the
	// keys forgotten from them, once-gone and often-gone; "" for LRU and LFU.
	List string `json:",omitempty"`
}

// StashState is a stash as plain data.
type StashState struct {
	Name string
	// Target is the size that an ARC wants for its list once.
	Target int `json:",omitempty"`
	// Entries are those longest unused first.
	Entries []StashEntry
}

// Entries returns everything stored, expired entries too, sorted by name.
func (s *Stashes) Entries() []StashState {
	var out []StashState
	for name, st := range s.stores {
		if len(st.entries) > 0 {
			state := StashState{Name: name}
			st.policy.save(&state)
			out = append(out, state)
		}
	}
	slices.SortFunc(out, func(a, b StashState) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Restore fills empty stashes with what Entries returned. Stashes that the
// rules no longer define are dropped; of one that has become smaller, the
// entries longest unused are.
func (s *Stashes) Restore(states []StashState) {
	for _, state := range states {
		if st := s.stores[state.Name]; st != nil {
			st.policy.load(&state, st.entries)
		}
	}
}

// store is one stash.
type store struct {
	entries map[string]*stashEntry
	policy  policy
}

type stashEntry struct {
	key, value string
	deadline   time.Time
	uses       uint64 // Get and Set, the first Set aside
	last       uint64 // when it was last used, by the policy's count
	index      int    // in the policy's heap
	list       arcList
}

// policy says which entry makes room for another.
type policy interface {
	use(e *stashEntry)
	// add takes an entry in and returns the one that it drops, or nil.
	add(e *stashEntry) *stashEntry
	remove(e *stashEntry)
	save(into *StashState)
	load(from *StashState, entries map[string]*stashEntry)
}

func newStore(d StashDef) *store {
	st := &store{entries: make(map[string]*stashEntry)}
	if d.Strategy == "ARC" {
		st.policy = newARC(d.Size)
	} else {
		st.policy = &ranked{size: d.Size, byUses: d.Strategy == "LFU"}
	}
	return st
}

func (st *store) add(e *stashEntry) {
	if dropped := st.policy.add(e); dropped != nil {
		delete(st.entries, dropped.key)
	}
	st.entries[e.key] = e
}

// ranked keeps entries in a heap: by the last use (LRU), or by the number of
// uses and then the last (LFU).
type ranked struct {
	size   int
	byUses bool
	clock  uint64
	heap   []*stashEntry
}

func (p *ranked) use(e *stashEntry) {
	p.clock++
	e.last = p.clock
	e.uses++
	heap.Fix(p, e.index)
}

func (p *ranked) add(e *stashEntry) (dropped *stashEntry) {
	if len(p.heap) >= p.size {
		dropped = heap.Pop(p).(*stashEntry)
	}
	p.clock++
	e.last = p.clock
	heap.Push(p, e)
	return dropped
}

func (p *ranked) remove(e *stashEntry) { heap.Remove(p, e.index) }

func (p *ranked) save(into *StashState) {
	sorted := slices.Clone(p.heap)
	slices.SortFunc(sorted, func(a, b *stashEntry) int {
		if a.last < b.last {
			return -1
		}
		return 1
	})
	for _, e := range sorted {
		into.Entries = append(into.Entries, StashEntry{Key: e.key, Value: e.value, Deadline: e.deadline, Uses: e.uses})
	}
}

func (p *ranked) load(from *StashState, entries map[string]*stashEntry) {
	for _, s := range from.Entries {
		e := &stashEntry{key: s.Key, value: s.Value, deadline: s.Deadline, uses: s.Uses}
		if dropped := p.add(e); dropped != nil {
			delete(entries, dropped.key)
		}
		entries[e.key] = e
	}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (p *ranked) Len() int { return len(p.heap) }

// Less puts the entry that makes room first.
func (p *ranked) Less(i, j int) bool {
	a, b := p.heap[i], p.heap[j]
	if p.byUses && a.uses != b.uses {
		return a.uses < b.uses
	}
	return a.last < b.last
}

// Swap exchanges two entries.
func (p *ranked) Swap(i, j int) {
	p.heap[i], p.heap[j] = p.heap[j], p.heap[i]
	p.heap[i].index, p.heap[j].index = i, j
}

// Push adds an entry.
func (p *ranked) Push(x any) {
	e := x.(*stashEntry)
	e.index = len(p.heap)
	p.heap = append(p.heap, e)
}

// Pop takes the last entry.
func (p *ranked) Pop() any {
	e := p.heap[len(p.heap)-1]
	p.heap[len(p.heap)-1] = nil
	p.heap = p.heap[:len(p.heap)-1]
	return e
}
