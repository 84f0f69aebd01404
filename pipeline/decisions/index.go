package decisions

import (
	"container/heap"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gaissmai/bart"
)

// Index holds decisions. Any goroutine may use it. The zero value is empty.
type Index struct {
	mu    sync.RWMutex
	slots slots
	texts interned[string] // values of scopes without addresses
	kinds interned[kind]

	// What a value is looked up by; each leads to the newest decision of the
	// value, and slot.next to the older ones.
	addrs  addrs
	ranges bart.Table[ref]
	values map[valueKey]ref

	due   map[int64][]ref // by the second in which they end; those that ended before are passed over
	times seconds         // the seconds of due, the next first

	seq    int64     // of the last change
	log    changeLog // the latest changes, with consecutive numbers up to seq
	active int

	again  []again // the latest of them, by their times
	before int64   // how many there were before those
}

type valueKey struct {
	scope string
	value name
}

// Len returns how many decisions there are, those that have ended but were
// not yet expired among them.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.active
}

// Seq returns the number of the last change.
func (x *Index) Seq() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.seq
}

// Add adds a canonical decision as the next change and returns its id.
func (x *Index) Add(d *Decision) (int64, error) {
	c, err := Canonical(*d)
	if err != nil {
		return 0, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	c.ID = x.seq + 1
	r := x.insert(&c)
	x.note(change{r, Added})
	return c.ID, nil
}

// AddCanonical adds decisions as Canonical returns them, as the next changes, and
// returns the id of the first; the ids in them do not count.
func (x *Index) AddCanonical(ds []Decision) (first int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	first = x.seq + 1
	for i := range ds {
		d := ds[i]
		d.ID = x.seq + 1
		x.note(change{x.insert(&d), Added})
	}
	return first
}

// Restore fills an empty index with what was known of an earlier one: the
// decisions in force, as additions, and the removals behind a number, in any
// order, besides the number of the last change. Bouncers that stand at that
// number or behind it go on from there. A change counts during its yield only.
func (x *Index) Restore(known iter.Seq[*Change], behind, last int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.seq != 0 {
		return errors.New("decisions are restored into an index that has some")
	}
	x.seq = last
	x.log.extend(int(last - behind))
	for k := range known {
		if k.Why != Added && (k.Seq <= behind || k.Seq > last) {
			continue // it tells nobody anything
		}
		c, err := Canonical(k.Decision)
		if err != nil {
			return fmt.Errorf("decision %d: %w", k.ID, err)
		}
		r := x.insert(&c)
		if c.ID > behind && c.ID <= last {
			x.log.set(int(c.ID-behind-1), change{r, Added})
		}
		if k.Why != Added {
			x.unlink(r)
			x.slots.at(r).gone = k.Why
			x.active--
			x.log.set(int(k.Seq-behind-1), change{r, k.Why})
		}
	}
	return nil
}

func (x *Index) note(c change) {
	x.seq++
	x.log.add(c)
}

func (x *Index) insert(d *Decision) ref {
	if x.values == nil {
		x.values, x.due = make(map[valueKey]ref), make(map[int64][]ref)
	}
	r := x.slots.new()
	s := x.slots.at(r)
	*s = slot{
		id: d.ID, alert: d.Alert, until: d.Until.Unix(), uuid: d.UUID, simulated: d.Simulated, kind: x.kinds.use(kindOf(d), kind.clone),
	}
	switch d.Scope {
	case ScopeIP, ScopeRange:
		p, _ := ParsePrefix(d.Value) // it is canonical
		s.setPrefix(p)
	default:
		s.value = x.texts.use(d.Value, strings.Clone)
	}
	s.next = x.head(s)
	x.setHead(s, r)
	if _, ok := x.due[s.until]; !ok {
		heap.Push(&x.times, s.until)
	}
	x.due[s.until] = append(x.due[s.until], r)
	x.active++
	return r
}

// head returns the newest decision of a slot's value.
func (x *Index) head(s *slot) ref {
	switch k := x.kind(s); k.scope {
	case ScopeIP:
		return x.addrs.get(s.addr)
	case ScopeRange:
		r, _ := x.ranges.Get(s.prefix())
		return r
	default:
		return x.values[valueKey{k.scope, s.value}]
	}
}

func (x *Index) setHead(s *slot, r ref) {
	switch k := x.kind(s); k.scope {
	case ScopeIP:
		x.addrs.set(s.addr, r)
	case ScopeRange:
		if r == 0 {
			x.ranges.Delete(s.prefix())
		} else {
			x.ranges.Insert(s.prefix(), r)
		}
	default:
		key := valueKey{k.scope, s.value}
		if r == 0 {
			delete(x.values, key)
		} else {
			x.values[key] = r
		}
	}
}

// unlink takes a slot out of its value's list. The slot itself stays, for the log.
func (x *Index) unlink(r ref) {
	s := x.slots.at(r)
	if head := x.head(s); head == r {
		x.setHead(s, s.next)
	} else {
		for at := head; at != 0; at = x.slots.at(at).next {
			if before := x.slots.at(at); before.next == r {
				before.next = s.next
				break
			}
		}
	}
	s.next = 0
}

// remove must be called with the lock held, for a slot in force.
func (x *Index) remove(r ref, why Why) Change {
	x.unlink(r)
	s := x.slots.at(r)
	s.gone = why
	x.active--
	x.note(change{r, why})
	return Change{Seq: x.seq, Why: why, Decision: x.decision(s)}
}

// Found are decisions that a filter selected, to be removed a few at a time.
type Found []found

type found struct {
	id  int64
	ref ref
}

// Find returns the decisions in force that a filter selects.
func (x *Index) Find(f *Filter, now time.Time) (all Found) {
	for next := ref(1); next != 0; {
		x.mu.RLock()
		next = x.some(next, x.newMatcher(f), nil, now, func(r ref) { all = append(all, found{x.slots.at(r).id, r}) })
		x.mu.RUnlock()
	}
	return all
}

// RemoveFew removes decisions that were found, at most limit of them, takes
// them from all, and returns the removals; those that are gone by now are
// passed over. The limit bounds how long others wait.
func (x *Index) RemoveFew(all *Found, why Why, limit int) (gone []Change) {
	few := (*all)[:min(limit, len(*all))]
	*all = (*all)[len(few):]
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, one := range few {
		if s := x.slots.at(one.ref); s.id == one.id && s.gone == Added {
			gone = append(gone, x.remove(one.ref, why))
		}
	}
	return gone
}

// Remove removes the decisions that a filter selects, and returns the removals.
func (x *Index) Remove(f *Filter, why Why, now time.Time) (gone []Change) {
	all := x.Find(f, now)
	return x.RemoveFew(&all, why, len(all))
}

// Twins appends the decisions in force of a decision's origin, value and type to
// all, and returns when the last of them ends.
func (x *Index) Twins(d *Decision, now time.Time, all Found) (Found, time.Time) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	until := int64(0)
	for r := x.newest(d.Scope, d.Value); r != 0; r = x.slots.at(r).next {
		s := x.slots.at(r)
		if k := x.kind(s); k.origin == d.Origin && k.typ == d.Type && s.simulated == d.Simulated && s.until > now.Unix() {
			all, until = append(all, found{s.id, r}), max(until, s.until)
		}
	}
	return all, time.Unix(until, 0).UTC()
}

// newest returns the newest decision on a canonical value, 0 for none.
func (x *Index) newest(scope, value string) ref {
	if scope == ScopeIP || scope == ScopeRange {
		p, err := ParsePrefix(value)
		switch {
		case err != nil:
			return 0
		case scope == ScopeIP:
			return x.addrs.of(p.Addr())
		}
		r, _ := x.ranges.Get(p)
		return r
	}
	return x.values[valueKey{scope, x.texts.find(value)}]
}

// Expire removes decisions that have ended by now, at most limit of them, and
// returns the removals; it is to be called again while it returns as many.
// The limit bounds how long others wait.
func (x *Index) Expire(now time.Time, limit int) (gone []Change) {
	for more := true; more && len(gone) < limit; {
		gone, more = x.expireFew(now, limit, gone)
	}
	return gone
}

// expireFew looks at a few, of which some may be gone, and tells whether there are more.
func (x *Index) expireFew(now time.Time, limit int, gone []Change) (all []Change, more bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := x.newMatcher(&Filter{})
	for looked := 0; len(x.times) > 0 && x.times[0] <= now.Unix(); {
		second := x.times[0]
		refs := x.due[second]
		for ; len(refs) > 0 && looked < limit && len(gone) < limit; looked++ {
			r := refs[len(refs)-1]
			refs = refs[:len(refs)-1]
			switch s := x.slots.at(r); {
			case s.id == 0 || s.until != second: // its slot is another's by now
			case s.gone == Added:
				gone = append(gone, x.remove(r, Expired))
			case s.gone != Expired:
				x.ends(m, r, now)
			}
		}
		if x.due[second] = refs; len(refs) > 0 {
			return gone, true
		}
		delete(x.due, second)
		heap.Pop(&x.times)
	}
	return gone, false
}

// NextEnd returns when the next decision ends, false without any.
func (x *Index) NextEnd() (time.Time, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.times) == 0 {
		return time.Time{}, false
	}
	return time.Unix(x.times[0], 0).UTC(), true
}

// Covering calls yield with the decisions in force on an address, its own
// first, then those on ranges around it, the smallest first. It holds a lock:
// yield must not call the index.
func (x *Index) Covering(a netip.Addr, now time.Time, yield func(d *Decision) bool) {
	a = a.Unmap()
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := func(r ref) bool {
		for ; r != 0; r = x.slots.at(r).next {
			if s := x.slots.at(r); s.until > now.Unix() {
				if d := x.decision(s); !yield(&d) {
					return false
				}
			}
		}
		return true
	}
	if !list(x.addrs.of(a)) || x.ranges.Size() == 0 {
		return
	}
	for _, r := range x.ranges.Supernets(netip.PrefixFrom(a, a.BitLen())) {
		if !list(r) {
			return
		}
	}
}

// seconds is a heap.
type seconds []int64

func (h seconds) Len() int           { return len(h) }
func (h seconds) Less(i, j int) bool { return h[i] < h[j] }
func (h seconds) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *seconds) Push(v any)        { *h = append(*h, v.(int64)) }
func (h *seconds) Pop() any {
	old := *h
	v := old[len(old)-1]
	*h = old[:len(old)-1]
	return v
}
