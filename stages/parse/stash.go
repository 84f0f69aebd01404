package parse

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/pipeline/state"
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
	saving *stashSaving // nil when nobody saves them
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
		st.changes.left(e)
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

// StashEntry is an entry as plain data, for tests and tools.
type StashEntry struct {
	Key      string    `json:"key"`
	Value    string    `json:"value"`
	Deadline time.Time `json:"deadline"` // on the partition's clock
	Uses     uint64    `json:"uses"`
	// List is the list of an ARC that holds the entry: once, often, or the
	// keys forgotten from them, once-gone and often-gone; "" for LRU and LFU.
	List string `json:"list,omitempty"`
}

// StashState is a stash as plain data.
type StashState struct {
	Name string `json:"name"`
	// Target is the size that an ARC wants for its list once.
	Target int `json:"target,omitempty"`
	// Entries are those longest unused first, of an ARC list by list.
	Entries []StashEntry `json:"entries"`
}

// Entries returns everything stored, expired entries too, sorted by name.
func (s *Stashes) Entries() []StashState {
	var out []StashState
	for name, st := range s.stores {
		if len(st.entries) > 0 {
			state := StashState{Name: name}
			for _, e := range st.policy.all(&state.Target) {
				state.Entries = append(state.Entries, e.export(st.policy))
			}
			out = append(out, state)
		}
	}
	slices.SortFunc(out, func(a, b StashState) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (e *stashEntry) export(p policy) StashEntry {
	out := StashEntry{Key: e.key, Value: e.value, Deadline: e.deadline, Uses: e.uses}
	if _, ok := p.(*arc); ok {
		out.List = arcNames[e.list]
	}
	return out
}

// store is one stash.
type store struct {
	entries map[string]*stashEntry
	policy  policy
	changes *stashChanges
}

type stashEntry struct {
	key, value string
	deadline   time.Time
	uses       uint64 // Get and Set, the first Set aside
	last       uint64 // when it was last used or changed its list, by the policy's count
	index      int    // in the policy's heap
	list       arcList
	// changed: it is listed to be saved; sum is that of its record, 0 when it has none.
	changed bool
	sum     state.Sum
}

// policy says which entry makes room for another.
type policy interface {
	use(e *stashEntry)
	// add takes an entry in and returns the one that it drops, or nil.
	add(e *stashEntry) *stashEntry
	remove(e *stashEntry)
	// all lists what it holds, longest unused first, and an ARC's target.
	all(target *int) []*stashEntry
	// load fills an empty policy with entries, longest unused first. Those
	// that do not fit are reported as gone; entries gets the others.
	load(from []*stashEntry, target int, entries map[string]*stashEntry)
}

func newStore(d StashDef) *store {
	st := &store{entries: make(map[string]*stashEntry), changes: &stashChanges{}}
	if d.Strategy == "ARC" {
		st.policy = newARC(d.Size, st.changes)
	} else {
		st.policy = &ranked{size: d.Size, byUses: d.Strategy == "LFU", changes: st.changes}
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
	size    int
	byUses  bool
	clock   uint64
	heap    []*stashEntry
	changes *stashChanges
}

func (p *ranked) use(e *stashEntry) {
	p.clock++
	e.last = p.clock
	e.uses++
	heap.Fix(p, e.index)
	p.changes.mark(e)
}

func (p *ranked) add(e *stashEntry) (dropped *stashEntry) {
	if len(p.heap) >= p.size {
		dropped = heap.Pop(p).(*stashEntry)
		p.changes.left(dropped)
	}
	p.clock++
	e.last = p.clock
	heap.Push(p, e)
	p.changes.mark(e)
	return dropped
}

func (p *ranked) remove(e *stashEntry) { heap.Remove(p, e.index) }

func (p *ranked) all(*int) []*stashEntry {
	return slices.SortedFunc(slices.Values(p.heap), byLast)
}

// byLast orders entries by their last use. The count is unique in a stash.
func byLast(a, b *stashEntry) int { return cmp.Compare(a.last, b.last) }

func (p *ranked) load(from []*stashEntry, _ int, entries map[string]*stashEntry) {
	for _, e := range from {
		if e.list > often { // an ARC's memory of a key: the strategy was another
			p.changes.left(e)
			continue
		}
		if len(p.heap) >= p.size {
			dropped := heap.Pop(p).(*stashEntry)
			p.changes.left(dropped)
			delete(entries, dropped.key)
		}
		p.clock = max(p.clock, e.last)
		heap.Push(p, e)
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
